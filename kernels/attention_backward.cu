#include "kernels/attention_backward.cuh"

namespace gpu {

template void attention_backward(bf16*, void*, const bf16*, const bf16*, const float*, const bf16*, const int*, int,
                                 int, int, int, int, stream_t);
template void attention_backward(float*, void*, const float*, const float*, const float*, const float*, const int*, int,
                                 int, int, int, int, stream_t);
template void attention_backward(bf16*, void*, const bf16*, const bf16*, const float*, const bf16*, const int*,
                                 AttentionBlocks, int, int, int, int, int, stream_t);
template void attention_backward(float*, void*, const float*, const float*, const float*, const float*, const int*,
                                 AttentionBlocks, int, int, int, int, int, stream_t);
template size_t attention_backward_workspaces<bf16>(int, int, int, int);
template size_t attention_backward_workspaces<float>(int, int, int, int);

}  // namespace gpu
