// global_norm.h - the L2 norm of gradients: of a run of elements, and from the runs' to that of all.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"

namespace cpu {

// *sum = sum_i x[i]^2, in double: fixed chunks, then the chunks in order, the same bits for any number of threads. NaN
// and inf come through.
template <class Real>
void global_norm_squared(double* sum, void* scratch, const Real* x, size_t n, stream_t);
inline size_t global_norm_scratch(size_t) { return 0; }  // the GPU needs some

// *sum = ((terms[0] + terms[1]) + terms[2]) + ...        n terms
void add_in_order(double* sum, const double* terms, int n, stream_t);

}  // namespace cpu
