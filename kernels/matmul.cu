#include "kernels/matmul.cuh"

namespace gpu {

template void matmul_forward(bf16*, const bf16*, const bf16*, const bf16*, int, int, int, stream_t);
template void matmul_forward(float*, const float*, const float*, const float*, int, int, int, stream_t);
template void matmul_backward(bf16*, float*, float*, const bf16*, const bf16*, const bf16*, int, int, int, stream_t);
template void matmul_backward(float*, float*, float*, const float*, const float*, const float*, int, int, int,
                              stream_t);

}  // namespace gpu
