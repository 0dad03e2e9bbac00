// bias.cpp - sums over the rows of a gradient, in ascending order.
#include "kernels/operations.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/threads.h"

namespace cpu {

template <class Real>
void bias_backward(Stat<Real>* dbias, Stat<Real>* also, void*, const Real* dout, int N, int OC, stream_t) {
    using Sum = Stat<Real>;
    constexpr int COLUMNS = 64;  // of one thread, which adds up the rows in order
#pragma omp parallel for schedule(static) if (worth_sharing(N, OC))
    for (int first = 0; first < OC; first += COLUMNS) {
        const int width = std::min(COLUMNS, OC - first);
        Sum sums[COLUMNS] = {};
        for (int n = 0; n < N; ++n) {
            const Real* row = dout + static_cast<size_t>(n) * OC + first;
#pragma omp simd
            for (int o = 0; o < width; ++o) sums[o] += static_cast<Sum>(row[o]);
        }
        for (Sum* to : {dbias, also})
            for (int o = 0; to && o < width; ++o) to[first + o] += sums[o];
    }
}

size_t bias_backward_scratch(int, int) { return 0; }

template void bias_backward(float*, float*, void*, const float*, int, int, stream_t);
template void bias_backward(double*, double*, void*, const double*, int, int, stream_t);
template void bias_backward(float*, float*, void*, const bf16*, int, int, stream_t);

}  // namespace cpu
