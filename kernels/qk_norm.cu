#include "kernels/qk_norm.cuh"

namespace gpu {

template void qk_norm_forward(bf16*, float*, const bf16*, const bf16*, const bf16*, int, int, int, int, float,
                              stream_t);
template void qk_norm_forward(float*, float*, const float*, const float*, const float*, int, int, int, int, float,
                              stream_t);
template void qk_norm_backward(bf16*, float*, float*, void*, const bf16*, const bf16*, const bf16*, const float*, int,
                               int, int, int, stream_t);
template void qk_norm_backward(float*, float*, float*, void*, const float*, const float*, const float*, const float*,
                               int, int, int, int, stream_t);

}  // namespace gpu
