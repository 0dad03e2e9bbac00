// matmul.h - the linear layers, on the product of gemm.h.
#pragma once
#include "kernels/cpu/stream.h"

namespace cpu {

// out[n,o] = sum_c inp[n,c] * weight[o,c] + bias[o]        n < N, o < OC, c < C
// out (N, OC); inp (N, C); weight (OC, C); bias (OC) or null. 2 N C OC flops.
// The same bits for any number of threads; row n's bits depend neither on N nor on where the row stands.
template <class Real>
void matmul_forward(Real* out, const Real* inp, const Real* weight, const Real* bias, int N, int C, int OC, stream_t);

// dinp[n,c] = sum_o dout[n,o] * weight[o,c]        (dinp null: skipped)
// dweight[o,c] += sum_n dout[n,o] * inp[n,c];  dbias[o] += sum_n dout[n,o]        (dbias null: skipped)
// 4 N C OC flops. Deterministic as above; the sums over n run in ascending order.
template <class Real>
void matmul_backward(Real* dinp, Real* dweight, Real* dbias, const Real* dout, const Real* inp, const Real* weight,
                     int N, int C, int OC, stream_t);

// "built-in, 512-bit vectors": for the run's config.json. Bits may differ between builds whose names differ.
const char* matmul_library();

}  // namespace cpu
