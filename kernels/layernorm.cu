#include "kernels/layernorm.cuh"

namespace gpu {

template void layernorm_forward(bf16*, Affine<bf16>, Affine<bf16>, float*, float*, const bf16*, const bf16*,
                                const bf16*, int, int, float, stream_t);
template void layernorm_forward(float*, Affine<float>, Affine<float>, float*, float*, const float*, const float*,
                                const float*, int, int, float, stream_t);
template void layernorm_backward(bf16*, float*, float*, void*, const bf16*, const bf16*, const bf16*, const float*,
                                 const float*, int, int, stream_t);
template void layernorm_backward(float*, float*, float*, void*, const float*, const float*, const float*, const float*,
                                 const float*, int, int, stream_t);

}  // namespace gpu
