// embedding.h - token (and learned position) embedding.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"

namespace cpu {

// out[n,c] = wte[tokens[n],c] + wpe[positions[n],c]        n < N = B*T, c < C
// out (N, C); wte (Vp, C); wpe (max_T, C) or null: no learned positions; tokens, positions (N). Ids are the caller's to
// check. Rows are split over the threads. Moves 12 bytes an element in fp32 (8 without wpe).
template <class Real>
void embedding_forward(Real* out, const int* tokens, const int* positions, const Real* wte, const Real* wpe, int N,
                       int C, stream_t);

// dwte[tokens[n],c] += dout[n,c];  dwpe[positions[n],c] += dout[n,c]      (dwpe null: skipped)
// scratch is not needed here (embedding_backward_scratch is 0), nor are the tables' heights: Vp and max_T.
// Deterministic for any number of threads: a thread owns columns and walks the rows in order, so a sum runs over
// ascending n.
template <class Real>
void embedding_backward(Real* dwte, Real* dwpe, void* scratch, const Real* dout, const int* tokens,
                        const int* positions, int N, int C, int Vp, int max_T, stream_t);
inline size_t embedding_backward_scratch(int, int) { return 0; }

}  // namespace cpu
