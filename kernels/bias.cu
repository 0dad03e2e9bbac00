#include "kernels/bias.cuh"

namespace gpu {

template void bias_backward(float*, float*, void*, const bf16*, int, int, stream_t);
template void bias_backward(float*, float*, void*, const float*, int, int, stream_t);

}  // namespace gpu
