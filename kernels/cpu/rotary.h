// rotary.h - rotary position embedding (Su et al. 2021) on the first R dimensions of q and k, in NeoX's half-split
// form.
#pragma once
#include "kernels/cpu/stream.h"

namespace cpu {

// table[p, i] = cos(p f_i), table[p, R/2 + i] = sin(p f_i),  f_i = base^(-2i/R),  p < P, i < R/2; angles in double
// table (P, R).
template <class Real>
void rotary_table(Real* table, int P, int R, double base, stream_t);

// With the cosines and sines of positions[n] < P:
// (x_i, x_{i+R/2}) <- (x_i cos - x_{i+R/2} sin, x_{i+R/2} cos + x_i sin)
// qkv (N, 3, NH, HS), in place; v and dimensions R..HS stay. R even, R <= HS.
template <class Real>
void rotary_forward(Real* qkv, const Real* table, const int* positions, int N, int NH, int HS, int R, stream_t);

// The inverse rotation of the gradient, in place: dqkv (N, 3, NH, HS).
template <class Real>
void rotary_backward(Real* dqkv, const Real* table, const int* positions, int N, int NH, int HS, int R, stream_t);

}  // namespace cpu
