#include "kernels/swiglu.cuh"

namespace gpu {

template void swiglu_forward(bf16*, const bf16*, int, int, stream_t);
template void swiglu_forward(float*, const float*, int, int, stream_t);
template void swiglu_backward(bf16*, const bf16*, const bf16*, int, int, stream_t);
template void swiglu_backward(float*, const float*, const float*, int, int, stream_t);

}  // namespace gpu
