// bias.cpp - sums over the rows of a gradient, in ascending order.
#include "kernels/operations.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/threads.h"

namespace cpu {

namespace {

// sums[c] = sum_n rows[n, c] for c < `columns`, in VECTORS registers, the last of which may be partly filled.
template <int VECTORS, class Real>
void sum_rows(Stat<Real>* sums, const Real* rows, size_t stride, int N, size_t columns) {
    using Sum = Stat<Real>;
    constexpr size_t n = LANES<Sum>, LAST = (VECTORS - 1) * n;
    Vector<Sum> sum[VECTORS] = {};
    const auto add = [&](auto load_last) {
        for (int row = 0; row < N; ++row, rows += stride) {
#pragma GCC unroll 4
            for (int v = 0; v + 1 < VECTORS; ++v) sum[v] += load(rows + v * n);
            sum[VECTORS - 1] += load_last(rows + LAST);
        }
    };
    if (columns == VECTORS * n)
        add([](const Real* from) { return load(from); });
    else
        add([=](const Real* from) { return load_some(from, columns - LAST); });
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) store(sums + v * n, sum[v]);
}

}  // namespace

template <class Real>
void bias_backward(Stat<Real>* dbias, Stat<Real>* also, void*, const Real* dout, int N, int OC, stream_t) {
    using Sum = Stat<Real>;
    constexpr int n = LANES<Sum>, COLUMNS = 4 * n;  // of one thread, which adds up the rows in order
    const size_t stride = static_cast<size_t>(OC);
#pragma omp parallel for schedule(static) if (worth_sharing(N, OC))
    for (int first = 0; first < OC; first += COLUMNS) {
        const int columns = std::min(COLUMNS, OC - first);
        Sum sums[COLUMNS];
        const auto sum = columns > 3 * n   ? sum_rows<4, Real>
                         : columns > 2 * n ? sum_rows<3, Real>
                         : columns > n     ? sum_rows<2, Real>
                                           : sum_rows<1, Real>;
        sum(sums, dout + first, stride, N, static_cast<size_t>(columns));
        for (Sum* to : {dbias, also})
            for (int o = 0; to && o < columns; ++o) to[first + o] += sums[o];
    }
}

size_t bias_backward_scratch(int, int) { return 0; }

template void bias_backward(float*, float*, void*, const float*, int, int, stream_t);
template void bias_backward(double*, double*, void*, const double*, int, int, stream_t);
template void bias_backward(float*, float*, void*, const bf16*, int, int, stream_t);

}  // namespace cpu
