// gelu.cuh - both forms of GELU, element by element. The tanh form is x/2 (1 + tanh u) = x / (1 + e^(-2u)), which loses
// no digits where tanh u nears -1.
#pragma once
#include <type_traits>

#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int GELU_THREADS = 256;

constexpr float GELU_LOG2_E = 1.44269504088896341f;

// 1 / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3). For bf16 by the fast exponential and reciprocal, with the factor
// log2(e) in the polynomial: relative error below 1e-5, 1/400 of one rounding to bf16, where the gate is above 1e-30.
constexpr float GELU_A = 0.797884560802865356f, GELU_B = GELU_A * 0.044715f;
template <class Real>
__device__ inline float tanh_gate(float x) {
    if constexpr (std::is_same_v<Real, float>)
        return 1 / (1 + expf(x * (x * x * (-2 * GELU_B) - 2 * GELU_A)));
    else
        return reciprocal_fast(1 + exp2_fast(x * (x * x * (-2 * GELU_B * GELU_LOG2_E) - 2 * GELU_A * GELU_LOG2_E)));
}

// The normal distribution at x: bell, its density without 1/sqrt(2 pi), and cdf = (1 + erf(x / sqrt 2)) / 2.
// float: by erfc, which keeps its digits where erf is near -1. bf16: at -|x| the cdf is e^(-x^2/2) t P(t) with
// t = 1 / (1 + 0.375 |x|), and P a minimax fit for |x| < 13 of relative error 2.6e-5, 1/150 of the rounding to bf16.
// The slope shares the exponential. With erf instead, the kernels have half as many instructions again, and here
// arithmetic takes about as long as memory.
struct Normal {
    float bell, cdf;
};
template <class Real>
__device__ inline Normal normal(float x) {
    if constexpr (std::is_same_v<Real, float>) {
        return {expf(-0.5f * x * x), 0.5f * erfcf(x * -0.707106781186547524f)};
    } else {
        const float bell = exp2_fast(x * x * (-0.5f * GELU_LOG2_E)), t = reciprocal_fast(1 + 0.375f * fabsf(x));
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

// Each thread's share of n elements: whole(first) for its pack; where that reaches beyond n, single(i) for what is
// below.
template <class Real, class PackFunction, class ElementFunction>
__device__ inline void each_pack(size_t n, PackFunction whole, ElementFunction single) {
    constexpr size_t SIZE = Pack<Real>::SIZE;
    const size_t first = (static_cast<size_t>(blockIdx.x) * GELU_THREADS + threadIdx.x) * SIZE;
    if (first + SIZE <= n)
        whole(first);
    else
        for (size_t i = first; i < n; ++i) single(i);
}

// gelu_forward. A thread has 16 bytes, the last one of the array what is left. 2 n sizeof(Real) bytes: bf16 N=65536,
// 4C=2048 125 us.
template <class Real, Gelu KIND>
__global__ void __launch_bounds__(GELU_THREADS) gelu_forward_kernel(Real* out, const Real* inp, size_t n) {
    const auto value = [](float x) { return from_float<Real>(gelu_value<Real, KIND>(x)); };
    each_pack<Real>(
        n,
        [&](size_t i) {
            Pack<Real> pack = load_pack(inp + i);
            float x[Pack<Real>::SIZE];
            to_floats(x, pack);
            for (int k = 0; k < Pack<Real>::SIZE; ++k) pack[k] = value(x[k]);
            store_pack(out + i, pack);
        },
        [&](size_t i) { out[i] = value(to_float(inp[i])); });
}

// gelu_backward. A thread has 16 bytes, the last one of the array what is left. 3 n sizeof(Real) bytes: bf16 N=65536,
// 4C=2048 187 us.
template <class Real, Gelu KIND>
__global__ void __launch_bounds__(GELU_THREADS)
    gelu_backward_kernel(Real* dinp, const Real* inp, const Real* dout, size_t n) {
    const auto value = [](float d, float x) { return from_float<Real>(d * gelu_slope<Real, KIND>(x)); };
    each_pack<Real>(
        n,
        [&](size_t i) {
            Pack<Real> pack = load_pack(dout + i);
            float d[Pack<Real>::SIZE], x[Pack<Real>::SIZE];
            to_floats(x, load_pack(inp + i));
            to_floats(d, pack);
            for (int k = 0; k < Pack<Real>::SIZE; ++k) pack[k] = value(d[k], x[k]);
            store_pack(dinp + i, pack);
        },
        [&](size_t i) { dinp[i] = value(to_float(dout[i]), to_float(inp[i])); });
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
void gelu_backward(Real* dinp, const Real* inp, const Real* dout, size_t n, Gelu kind, stream_t stream) {
    if (kind == Gelu::Tanh)
        LAUNCH((gelu_backward_kernel<Real, Gelu::Tanh>), gelu_blocks<Real>(n), GELU_THREADS, 0, stream.cuda, dinp, inp,
               dout, n);
    else
        LAUNCH((gelu_backward_kernel<Real, Gelu::Exact>), gelu_blocks<Real>(n), GELU_THREADS, 0, stream.cuda, dinp, inp,
               dout, n);
}

}  // namespace gpu
