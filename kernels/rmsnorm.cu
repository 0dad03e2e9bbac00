#include "kernels/rmsnorm.cuh"

namespace gpu {

template void rmsnorm_forward(bf16*, Affine<bf16>, Affine<bf16>, float*, const bf16*, const bf16*, const bf16*, int,
                              int, float, stream_t);
template void rmsnorm_forward(float*, Affine<float>, Affine<float>, float*, const float*, const float*, const float*,
                              int, int, float, stream_t);
template void rmsnorm_backward(bf16*, float*, void*, const bf16*, const bf16*, const bf16*, const float*, int, int,
                               stream_t);
template void rmsnorm_backward(float*, float*, void*, const float*, const float*, const float*, const float*, int, int,
                               stream_t);

}  // namespace gpu
