// attention_backward_statistics.cuh - what the backward pass needs of every query, and the kernel that computes it.
#pragma once
#include "kernels/attention_softmax.cuh"
#include "kernels/pack.cuh"
#include "kernels/simt.h"

namespace gpu {

// What the backward pass needs of a query, in this order in memory.
struct alignas(8) QueryStatistic {
    float lse;  // times log2(e)
    float dot;  // D_i = dO_i . O_i
};

constexpr int STATISTICS_THREADS = 256;

// Lanes that share a row of HS elements: a power of two, at most one to 8 elements.
template <int HS>
__host__ __device__ constexpr int statistics_lanes() {
    return HS == 80 ? 2 : HS / 8;
}

// statistics[b,h,t] = (lse[b,h,t] log2(e), sum_d dout[b,t,h,d] out[b,t,h,d])
// dout, out (B, T, NH, HS); lse, statistics (B, NH, T). HS / 8 lanes to a row, 8 elements at a time.
// Moves N NH (2 HS sizeof(Real) + 12) bytes. A lane sums its elements in ascending order, then the row's lanes in a
// tree.
template <class Real, int HS>
__global__ void __launch_bounds__(STATISTICS_THREADS)
    attention_statistics_kernel(QueryStatistic* statistics, const Real* dout, const Real* out, const float* lse, int B,
                                int T, int NH) {
    constexpr int LANES = statistics_lanes<HS>(), PIECE = Pack<Real>::SIZE;
    const size_t rows = static_cast<size_t>(B) * T * NH;
    const size_t row = (static_cast<size_t>(blockIdx.x) * STATISTICS_THREADS + threadIdx.x) / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES;
    float dot = 0.0f;
    if (row < rows)
        for (int unit = lane; unit < HS / 8; unit += LANES)
            for (int d = unit * 8; d < unit * 8 + 8; d += PIECE) {
                const auto a = load_pack(dout + row * HS + d), b = load_pack(out + row * HS + d);
                for (int i = 0; i < PIECE; ++i) dot = fmaf(to_float(a[i]), to_float(b[i]), dot);
            }
    for (int d = LANES / 2; d > 0; d /= 2) dot += __shfl_xor_sync(~0u, dot, d);
    if (row < rows && lane == 0) {
        const size_t token = row / NH, head = row % NH, b = token / T, t = token % T;
        const size_t i = (b * NH + head) * T + t;
        statistics[i] = {lse[i] * LOG2_E, dot};
    }
}

}  // namespace gpu
