// matmul.cpp - three products a layer, all of gemm_threads (gemm.cpp); sums over rows run in ascending order.
#include "kernels/operations.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/threads.h"

namespace cpu {

template <class Real>
void matmul_forward(Real* out, const Real* inp, const Real* weight, const Real* bias, int N, int C, int OC, stream_t) {
    gemm_threads<Real>({out, OC}, {inp, C}, {weight, C, true}, N, OC, C, bias, false);
}

template <class Real>
void matmul_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, const Real* dout, const Real* inp,
                     const Real* weight, int N, int C, int OC, stream_t) {
    if (dinp) gemm_threads<Real>({dinp, C}, {dout, OC}, {weight, C}, N, C, OC, nullptr, false);
    gemm_threads<Real>({dweight, C}, {dout, OC, true}, {inp, C}, OC, C, N, nullptr, true);
    if (!dbias) return;
    constexpr int COLUMNS = 64;  // of one thread, which adds up the rows in order
#pragma omp parallel for schedule(static) if (worth_sharing(N, OC))
    for (int first = 0; first < OC; first += COLUMNS) {
        const int width = std::min(COLUMNS, OC - first);
        Real sums[COLUMNS] = {};
        for (int n = 0; n < N; ++n) {
            const Real* row = dout + static_cast<size_t>(n) * OC + first;
#pragma omp simd
            for (int o = 0; o < width; ++o) sums[o] += row[o];
        }
        for (int o = 0; o < width; ++o) dbias[first + o] += sums[o];
    }
}

template void matmul_forward(float*, const float*, const float*, const float*, int, int, int, stream_t);
template void matmul_forward(double*, const double*, const double*, const double*, int, int, int, stream_t);
template void matmul_backward(float*, float*, float*, const float*, const float*, const float*, int, int, int,
                              stream_t);
template void matmul_backward(double*, double*, double*, const double*, const double*, const double*, int, int, int,
                              stream_t);

}  // namespace cpu
