// global_norm.cpp - sums of squares in double: fixed chunks, then the chunks in order.
#include "kernels/operations.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"

namespace cpu {

template <class Real>
void global_norm_squared(double* sum, void*, const Real* x, size_t n, stream_t) {
    constexpr size_t CHUNK = 1 << 16;
    constexpr int WIDTH = 4 * LANES<double>;  // four chains of adds hide each other's latency
    const size_t chunks = (n + CHUNK - 1) / CHUNK;
    std::vector<double> partial(chunks);
#pragma omp parallel for schedule(static) if (worth_sharing(n))
    for (size_t chunk = 0; chunk < chunks; ++chunk) {
        const Real* from = x + chunk * CHUNK;
        const size_t size = std::min(CHUNK, n - chunk * CHUNK);
        double lane[WIDTH] = {};
        size_t i = 0;
        for (; i + WIDTH <= size; i += WIDTH)
            for (int j = 0; j < WIDTH; ++j) lane[j] += static_cast<double>(from[i + j]) * from[i + j];
        for (int j = 0; i < size; ++i, ++j) lane[j] += static_cast<double>(from[i]) * from[i];
        for (const double s : lane) partial[chunk] += s;
    }
    *sum = 0;
    for (const double s : partial) *sum += s;
}

void add_in_order(double* sum, const double* terms, int n, stream_t) {
    *sum = 0;
    for (int i = 0; i < n; ++i) *sum += terms[i];
}

size_t global_norm_scratch(size_t) { return 0; }

template void global_norm_squared(double*, void*, const float*, size_t, stream_t);
template void global_norm_squared(double*, void*, const double*, size_t, stream_t);

}  // namespace cpu
