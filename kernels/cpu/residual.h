// residual.h - sums along the residual stream.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"

namespace cpu {

// out[i] = a[i] + b[i] (+ c[i]; null: none). out may be a. Moves 12 (16) bytes an element in fp32.
template <class Real>
void residual_forward(Real* out, const Real* a, const Real* b, const Real* c, size_t n, stream_t);

}  // namespace cpu
