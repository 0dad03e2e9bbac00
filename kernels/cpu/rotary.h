// rotary.h - rotary position embedding (Su et al. 2021) on the first R dimensions of q and k, in NeoX's half-split
// form.
#pragma once
#include "kernels/cpu/stream.h"

namespace cpu {

// With f_i = base^(-2i/R), a = positions[n] * f_i, i < R/2:
// (x_i, x_{i+R/2}) <- (x_i cos a - x_{i+R/2} sin a, x_{i+R/2} cos a + x_i sin a)
// qkv (N, 3, NH, HS), in place; v and dimensions R..HS stay. R even, R <= HS.
// A table of cosines is made per call for the positions in use.
template <class Real>
void rotary_forward(Real* qkv, const int* positions, int N, int NH, int HS, int R, Real base, stream_t);

// The inverse rotation of the gradient, in place: dqkv (N, 3, NH, HS).
template <class Real>
void rotary_backward(Real* dqkv, const int* positions, int N, int NH, int HS, int R, Real base, stream_t);

}  // namespace cpu
