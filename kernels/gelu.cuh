// gelu.cuh - both forms of GELU, element by element; the backward pass adds up the columns that it has in registers for
// the bias before it. The tanh form is x/2 (1 + tanh u) = x / (1 + e^(-2u)), which loses no digits where tanh u nears
// -1.
#pragma once
#include <type_traits>

#include "kernels/column_sum.cuh"
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int GELU_THREADS = 256;

// 1 / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3). For bf16 by the fast exponential and reciprocal, with the
// factor log2(e) in the polynomial: relative error below 1.2e-5, 1/300 of a rounding to bf16, where the gate is above
// 1e-30.
constexpr float GELU_A = 0.797884560802865356f, GELU_B = GELU_A * 0.044715f;
template <class Real>
__device__ inline float tanh_gate(float x) {
    if constexpr (std::is_same_v<Real, float>)
        return 1 / (1 + expf(x * (x * x * (-2 * GELU_B) - 2 * GELU_A)));
    else
        return reciprocal_fast(1 + exp2_fast(x * (x * x * (-2 * GELU_B * LOG2_E) - 2 * GELU_A * LOG2_E)));
}

// The normal distribution at x: bell, its density without 1/sqrt(2 pi), and cdf = (1 + erf(x / sqrt 2)) / 2.
// float: by erfc, which keeps its digits where erf is near -1. bf16: at -|x| the cdf is e^(-x^2/2) t P(t) with
// t = 1 / (1 + 0.375 |x|), and P a minimax fit for |x| < 13 of relative error 2.6e-5, 1/150 of the rounding to bf16.
// The slope shares the exponential. A pack of 8 takes 151 instructions forward and 180 backward (sm_90a); with erf it
// would be 245 and 292, and arithmetic would take as long as memory.
struct Normal {
    float bell, cdf;
};
template <class Real>
__device__ inline Normal normal(float x) {
    if constexpr (std::is_same_v<Real, float>) {
        return {expf(-0.5f * x * x), 0.5f * erfcf(x * -0.707106781186547524f)};
    } else {
        const float bell = exp2_fast(x * x * (-0.5f * LOG2_E)), t = reciprocal_fast(1 + 0.375f * fabsf(x));
        float p = t * -0.0913456284f + 0.201844797f;
        p = p * t + 0.0823519856f;
        p = p * t + 0.158117218f;
        p = p * t + 0.149019868f;
        const float tail = bell * (t * p);
        return {bell, x < 0 ? tail : 1 - tail};
    }
}

template <class Real, Gelu KIND>
__device__ inline float gelu_value(float x) {
    if constexpr (KIND == Gelu::Tanh)
        return x * tanh_gate<Real>(x);
    else
        return x * normal<Real>(x).cdf;
}

template <class Real, Gelu KIND>
__device__ inline float gelu_slope(float x) {
    if constexpr (KIND == Gelu::Tanh) {
        const float s = tanh_gate<Real>(x), slope = s + s * ((1 - s) * (x * (x * x * (6 * GELU_B) + 2 * GELU_A)));
        return fabsf(x) > 10 ? s : slope;  // the second term is below 1e-36 there, or 0 * inf
    } else {
        const Normal at = normal<Real>(x);
        return at.cdf + x * (at.bell * 0.398942280401432678f);  // 1/sqrt(2 pi)
    }
}

// gelu_forward. A thread has 16 bytes, the last one of the array what is left. 2 n sizeof(Real) bytes: bf16 N=65536,
// 4C=2048 125 us.
template <class Real, Gelu KIND>
__global__ void __launch_bounds__(GELU_THREADS) gelu_forward_kernel(Real* out, const Real* inp, size_t n) {
    constexpr size_t SIZE = Pack<Real>::SIZE;
    const size_t first = (static_cast<size_t>(blockIdx.x) * GELU_THREADS + threadIdx.x) * SIZE;
    const auto value = [](float x) { return from_float<Real>(gelu_value<Real, KIND>(x)); };
    if (first + SIZE <= n) {
        Pack<Real> pack = load_pack(inp + first);
        float x[SIZE];
        to_floats(x, pack);
        for (size_t k = 0; k < SIZE; ++k) pack.element[k] = value(x[k]);
        store_pack(out + first, pack);
    } else {
        for (size_t i = first; i < n; ++i) out[i] = value(to_float(inp[i]));
    }
}

// d = what gelu_backward writes for output gradients d and inputs x, which is added to sum, too.
template <class Real, Gelu KIND>
__device__ inline void gelu_pack(Pack<Real>& d, float (&sum)[Pack<Real>::SIZE], const Pack<Real>& x) {
    constexpr int SIZE = Pack<Real>::SIZE;
    float from[SIZE], at[SIZE];
    to_floats(from, d);
    to_floats(at, x);
    for (int k = 0; k < SIZE; ++k) d[k] = from_float<Real>(from[k] * gelu_slope<Real, KIND>(at[k]));
    to_floats(from, d);
    for (int k = 0; k < SIZE; ++k) sum[k] = __fadd_rn(sum[k], from[k]);  // of float products, too, as they are written
}

// gelu_backward, but for the sums over all rows:
// partial[p,f] = sum_n dinp[n,f] over the rows n of chunk p        p < P, f < F
// partial (P, F). A block has a chunk of rows and 256 bytes of its columns, a thread 16 bytes of every GROUPS-th row,
// two rows at a time; sums in the order of column_sum. Neighbouring blocks have neighbouring columns, so that rows are
// read whole. 3 N F sizeof(Real) bytes, and 4 P F written: bf16 N=65536, F=2048 187 us.
template <class Real, Gelu KIND>
__global__ void __launch_bounds__(COLUMN_THREADS)
    gelu_backward_kernel(Real* dinp, float* partial, const Real* inp, const Real* dout, int rows, int N, int F) {
    constexpr int SIZE = Pack<Real>::SIZE, WIDTH = BiasTile::COLUMNS<Real> / SIZE, STEP = BiasTile::GROUPS;
    const int first = static_cast<int>(blockIdx.x) * BiasTile::COLUMNS<Real>;
    const int begin = static_cast<int>(blockIdx.y) * rows, end = min(begin + rows, N);
    const int column = first + static_cast<int>(threadIdx.x) % WIDTH * SIZE;
    const size_t stride = static_cast<size_t>(F);
    float sum[SIZE] = {};
    if (column < F) {
        int n = begin + static_cast<int>(threadIdx.x) / WIDTH;
        for (; n + STEP < end; n += 2 * STEP) {
            const size_t at = n * stride + static_cast<size_t>(column), next = at + STEP * stride;
            const Pack<Real> x = load_pack(inp + at), x_next = load_pack(inp + next);
            Pack<Real> d = load_pack(dout + at), d_next = load_pack(dout + next);
            gelu_pack<Real, KIND>(d, sum, x);
            store_pack(dinp + at, d);
            gelu_pack<Real, KIND>(d_next, sum, x_next);
            store_pack(dinp + next, d_next);
        }
        if (n < end) {
            const size_t at = n * stride + static_cast<size_t>(column);
            const Pack<Real> x = load_pack(inp + at);
            Pack<Real> d = load_pack(dout + at);
            gelu_pack<Real, KIND>(d, sum, x);
            store_pack(dinp + at, d);
        }
    }
    const float total = add_groups<BiasTile, Real>(sum, &shared_memory<float>());
    const int f = first + static_cast<int>(threadIdx.x);
    if (threadIdx.x < BiasTile::COLUMNS<Real> && f < F) partial[blockIdx.y * stride + static_cast<size_t>(f)] = total;
}

template <class Real>
unsigned gelu_blocks(size_t n) {
    constexpr size_t BLOCK = GELU_THREADS * Pack<Real>::SIZE;
    ENSURE(n > 0 && n <= INT32_MAX * BLOCK, "gelu: n=%zu: from 1 to 2^31 blocks of %zu", n, BLOCK);
    return static_cast<unsigned>((n + BLOCK - 1) / BLOCK);
}

template <class Real>
void gelu_forward(Real* out, const Real* inp, size_t n, Gelu kind, stream_t stream) {
    if (kind == Gelu::Tanh)
        LAUNCH((gelu_forward_kernel<Real, Gelu::Tanh>), gelu_blocks<Real>(n), GELU_THREADS, 0, stream.cuda, out, inp,
               n);
    else
        LAUNCH((gelu_forward_kernel<Real, Gelu::Exact>), gelu_blocks<Real>(n), GELU_THREADS, 0, stream.cuda, out, inp,
               n);
}

template <class Real>
void gelu_backward(Real* dinp, Stat<Real>* dbias, void* scratch, const Real* inp, const Real* dout, int N, int F,
                   Gelu kind, stream_t stream) {
    ENSURE(N > 0 && F > 0 && F % 8 == 0, "gelu_backward: N=%d F=%d: F is a multiple of 8", N, F);
    constexpr int COLUMNS = BiasTile::COLUMNS<Real>;
    const int chunks = row_chunks(N, BIAS_CHUNKS), rows = chunk_rows(N, BIAS_CHUNKS);
    const dim3 grid(static_cast<unsigned>((F + COLUMNS - 1) / COLUMNS), static_cast<unsigned>(chunks));
    float* partial = static_cast<float*>(scratch);
    if (kind == Gelu::Tanh)
        LAUNCH((gelu_backward_kernel<Real, Gelu::Tanh>), grid, COLUMN_THREADS, BiasTile::SHARED<Real>, stream.cuda,
               dinp, partial, inp, dout, rows, N, F);
    else
        LAUNCH((gelu_backward_kernel<Real, Gelu::Exact>), grid, COLUMN_THREADS, BiasTile::SHARED<Real>, stream.cuda,
               dinp, partial, inp, dout, rows, N, F);
    if (dbias) add_column_sums(dbias, nullptr, partial, chunks, F, stream.cuda);
}

}  // namespace gpu
