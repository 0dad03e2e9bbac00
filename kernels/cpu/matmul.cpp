// matmul.cpp - three products a layer, all of gemm_threads (gemm.cpp).
#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"

namespace cpu {

template <class Real>
void matmul_forward(Real* out, const Real* inp, const Real* weight, const Real* bias, int N, int C, int OC, stream_t) {
    gemm_threads<Real>(false, true, N, OC, C, inp, C, weight, C, bias, false, out, OC);
}

template <class Real>
void matmul_backward(Real* dinp, Real* dweight, Real* dbias, const Real* dout, const Real* inp, const Real* weight,
                     int N, int C, int OC, stream_t) {
    if (dinp) gemm_threads<Real>(false, false, N, C, OC, dout, OC, weight, C, nullptr, false, dinp, C);
    gemm_threads<Real>(true, false, OC, C, N, dout, OC, inp, C, nullptr, true, dweight, C);
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

const char* matmul_library() {
    return VECTOR_BYTES == 64   ? "built-in, 512-bit vectors"
           : VECTOR_BYTES == 32 ? "built-in, 256-bit vectors"
                                : "built-in, 128-bit vectors";
}

template void matmul_forward(float*, const float*, const float*, const float*, int, int, int, stream_t);
template void matmul_forward(double*, const double*, const double*, const double*, int, int, int, stream_t);
template void matmul_backward(float*, float*, float*, const float*, const float*, const float*, int, int, int,
                              stream_t);
template void matmul_backward(double*, double*, double*, const double*, const double*, const double*, int, int, int,
                              stream_t);

}  // namespace cpu
