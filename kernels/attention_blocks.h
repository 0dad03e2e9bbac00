// attention_blocks.h - attention with the length of its blocks given: a choice of speed, for those who measure it. The
// functions of operations.h take the one that choices.h has timed.
#pragma once
#include "kernels/operations.h"

namespace gpu {

// Own rows of a block of the attention kernels: Short 64, a warp 16 of them, or Long 128, a warp 32. The results are
// the same bits. Long needs about half the loads from shared memory for a product; Short leaves fewer rows empty at the
// end of a segment and has more warps on an SM. Where there is no Long (attention_shape.cuh), it is Short.
enum class AttentionBlocks { Short, Long };

// Where nothing is timed: Short where no segment can be longer than one long block, else Long.
AttentionBlocks attention_blocks(int T);

template <class Real>
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, AttentionBlocks blocks, int B,
                       int T, int NH, int KV, int HS, stream_t stream);
template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, AttentionBlocks blocks, int B, int T, int NH, int KV,
                        int HS, stream_t stream);

}  // namespace gpu
