// bias.cuh - the gradient of a bias where no product computes it: the sums of columns of column_sum.cuh.
#pragma once
#include "kernels/column_sum.cuh"
#include "kernels/operations.h"

namespace gpu {

template <class Real>
void bias_backward(Stat<Real>* dbias, Stat<Real>* also, void* scratch, const Real* dout, int N, int OC,
                   stream_t stream) {
    add_bias_gradient(dbias, also, static_cast<float*>(scratch), dout, N, OC, stream.cuda);
}

size_t bias_backward_scratch(int N, int OC) {
    return sizeof(float) * static_cast<size_t>(row_chunks(N, BIAS_CHUNKS)) * static_cast<size_t>(OC);
}

}  // namespace gpu
