// attention.h - causal self-attention, fused: online softmax over key tiles (Dao 2023, FlashAttention-2), no T x T
// matrix in memory.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"

namespace cpu {

// The segments that there are to do: their count, then (row, first position, length) of each.
// segment_start (B, T): first position of the segment that position t belongs to, ascending along a row; null: 0 (plain
// causal attention). schedule: attention_schedule_size(B, T) ints.
void attention_schedule(int* schedule, const int* segment_start, int B, int T, stream_t);
size_t attention_schedule_size(int B, int T);

// out[b,t,h,:] = sum_{s(b,t) <= j <= t} softmax_j(q_t . k_j / sqrt(HS)) v_j
// lse[b,h,t] = log sum_j exp(q_t . k_j / sqrt(HS))
// out (B, T, NH, HS); lse (B, NH, T); qkv (B, T, 3, NH, HS), rotated already; schedule of attention_schedule.
// A tile of 64 queries of a (row, head, segment) is one thread's; tiles are counted from the segment's first token, so
// that the bits of a segment do not depend on where in a row it stands. Computes only tiles at or below the diagonal:
// about 2 B NH T^2 HS flops without segments.
template <class Real>
void attention_forward(Real* out, Real* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int HS,
                       stream_t);

// dqkv = the gradient of the above (all of q, k, v written). Probabilities are recomputed from lse, tile by tile; 2.5
// times the forward's flops. scratch: attention_backward_scratch(B, T, NH, HS) bytes.
// Deterministic: one thread walks all tiles of its (row, head, segment) in order.
template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Real* lse, const Real* qkv,
                        const int* schedule, int B, int T, int NH, int HS, stream_t);
size_t attention_backward_scratch(int B, int T, int NH, int HS);

}  // namespace cpu
