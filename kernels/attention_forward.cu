#include "kernels/attention_forward.cuh"

namespace gpu {

template void attention_forward(bf16*, float*, const bf16*, const int*, int, int, int, int, int, stream_t);
template void attention_forward(float*, float*, const float*, const int*, int, int, int, int, int, stream_t);
template void attention_forward(bf16*, float*, const bf16*, const int*, AttentionBlocks, int, int, int, int, int,
                                stream_t);
template void attention_forward(float*, float*, const float*, const int*, AttentionBlocks, int, int, int, int, int,
                                stream_t);

}  // namespace gpu
