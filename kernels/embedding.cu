#include "kernels/embedding.cuh"

namespace gpu {

template void embedding_forward(bf16*, const int*, const int*, const bf16*, const bf16*, int, int, stream_t);
template void embedding_forward(float*, const int*, const int*, const float*, const float*, int, int, stream_t);
template void embedding_backward(float*, float*, void*, const bf16*, const int*, const int*, int, int, int, int,
                                 stream_t);
template void embedding_backward(float*, float*, void*, const float*, const int*, const int*, int, int, int, int,
                                 stream_t);

}  // namespace gpu
