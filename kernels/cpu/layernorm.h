// layernorm.h - layer normalisation over the channels of a row (Ba et al. 2016), biased variance.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"

namespace cpu {

// out[n,c] = (inp[n,c] - mean[n]) * rstd[n] * weight[c] + bias[c],  rstd = 1/sqrt(var + eps)        n < N = B*T, c < C
// out, inp (N, C); mean, rstd (N); weight, bias (C). One thread a row. Moves 8 bytes an element in fp32.
template <class Real>
void layernorm_forward(Real* out, Real* mean, Real* rstd, const Real* inp, const Real* weight, const Real* bias, int N,
                       int C, Real eps, stream_t);

// dinp[n,c] += rstd[n] * (g - mean_c(g) - x * mean_c(g x)),  g = dout * weight,  x = (inp - mean) * rstd
// dweight[c] += sum_n dout * x,  dbias[c] += sum_n dout scratch: layernorm_backward_scratch(N, C) elements. The
// parameter sums run over fixed chunks of rows, then over the chunks in order: the same bits for any number of threads.
template <class Real>
void layernorm_backward(Real* dinp, Real* dweight, Real* dbias, Real* scratch, const Real* dout, const Real* inp,
                        const Real* weight, const Real* mean, const Real* rstd, int N, int C, stream_t);
size_t layernorm_backward_scratch(int N, int C);

}  // namespace cpu
