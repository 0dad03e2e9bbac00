// gelu.h - Gaussian error linear unit (Hendrycks & Gimpel 2016): GPT-2's tanh form and NeoX's exact one.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"
#include "kernels/types.h"

namespace cpu {

// Exact: out = x/2 (1 + erf(x / sqrt 2)).   Tanh: out = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
template <class Real>
void gelu_forward(Real* out, const Real* inp, size_t n, Gelu kind, stream_t);

// dinp = dout * gelu'(inp).  dinp may be dout.
template <class Real>
void gelu_backward(Real* dinp, const Real* inp, const Real* dout, size_t n, Gelu kind, stream_t);

}  // namespace cpu
