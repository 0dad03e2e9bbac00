// layernorm.h - layer normalisation over the channels of a row (Ba et al. 2016), biased variance.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"
#include "kernels/types.h"

namespace cpu {

// x = a (+ b (+ c)), written to `residual` (null only without b);  b, c may be null
// y.out[n,c] = (x[n,c] - mean[n]) * rstd[n] * y.weight[c] + y.bias[c],  rstd = 1/sqrt(var + eps)    n < N = B*T, c < C
// for y in {first, second}; second.out may be null. a, b, c, residual, out (N, C); mean, rstd (N); weight, bias (C).
// The parallel residual of NeoX gets both of its norms from one pass; residual may be a, b or c. One thread a row.
// Moves 8 bytes an element in fp32, 8 more for the sum.
template <class Real>
void layernorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Real* mean, Real* rstd, const Real* a,
                       const Real* b, const Real* c, int N, int C, Real eps, stream_t);

// dinp[n,c] += rstd[n] * (g - mean_c(g) - x * mean_c(g x)),  g = dout * weight,  x = (inp - mean) * rstd
// dweight[c] += sum_n dout * x,  dbias[c] += sum_n dout scratch: layernorm_backward_scratch(N, C) bytes. The
// parameter sums run over fixed chunks of rows, then over the chunks in order: the same bits for any number of threads.
template <class Real>
void layernorm_backward(Real* dinp, Real* dweight, Real* dbias, void* scratch, const Real* dout, const Real* inp,
                        const Real* weight, const Real* mean, const Real* rstd, int N, int C, stream_t);
size_t layernorm_backward_scratch(int N, int C);

}  // namespace cpu
