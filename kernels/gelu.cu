#include "kernels/gelu.cuh"

namespace gpu {

template void gelu_forward(bf16*, const bf16*, size_t, Gelu, stream_t);
template void gelu_forward(float*, const float*, size_t, Gelu, stream_t);
template void gelu_backward(bf16*, float*, void*, const bf16*, const bf16*, int, int, Gelu, stream_t);
template void gelu_backward(float*, float*, void*, const float*, const float*, int, int, Gelu, stream_t);

}  // namespace gpu
