// swiglu.cuh - element by element, in one pass over gate and up.
#pragma once
#include <type_traits>

#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int SWIGLU_THREADS = 256;

// 1 / (1 + e^-x). For bf16 by the fast exponential and reciprocal: relative error below 6e-6, 1/600 of a rounding to
// bf16, where the result is above 1e-37; below, it is 0.
template <class Real>
__device__ inline float sigmoid(float x) {
    if constexpr (std::is_same_v<Real, float>)
        return 1 / (1 + expf(-x));
    else
        return reciprocal_fast(1 + exp2_fast(x * -LOG2_E));
}

// Where a thread's packs are: it has 16 bytes of out, at `out`, and the gates and what they scale at `gate` and `up`.
struct GatedPlace {
    size_t out, gate, up;
};
template <class Real>
__device__ inline bool gated_place(GatedPlace* place, int N, int F) {
    const unsigned packs = static_cast<unsigned>(F / Pack<Real>::SIZE);  // of a row
    const unsigned thread = blockIdx.x * SWIGLU_THREADS + threadIdx.x, n = thread / packs;
    const size_t width = static_cast<size_t>(F);
    place->out = static_cast<size_t>(thread) * Pack<Real>::SIZE;
    place->gate = place->out + n * width;  // rows of 2F
    place->up = place->gate + width;
    return n < static_cast<unsigned>(N);
}

// swiglu_forward. A thread has 16 bytes of out and reads 16 of gate and of up. 3 N F sizeof(Real) bytes: bf16 N=65536,
// F=2048 187 us.
template <class Real>
__global__ void __launch_bounds__(SWIGLU_THREADS) swiglu_forward_kernel(Real* out, const Real* inp, int N, int F) {
    constexpr int SIZE = Pack<Real>::SIZE;
    GatedPlace at;
    if (!gated_place<Real>(&at, N, F)) return;
    float gate[SIZE], up[SIZE];
    to_floats(gate, load_pack(inp + at.gate));
    to_floats(up, load_pack(inp + at.up));
    Pack<Real> y;
    for (int k = 0; k < SIZE; ++k) y[k] = from_float<Real>(gate[k] * sigmoid<Real>(gate[k]) * up[k]);
    store_pack(out + at.out, y);
}

// swiglu_backward. A thread has 16 bytes of dout, and writes those of gate and of up where it has read them. 5 N F
// sizeof(Real) bytes: bf16 N=65536, F=2048 312 us.
template <class Real>
__global__ void __launch_bounds__(SWIGLU_THREADS)
    swiglu_backward_kernel(Real* dinp, const Real* inp, const Real* dout, int N, int F) {
    constexpr int SIZE = Pack<Real>::SIZE;
    GatedPlace at;
    if (!gated_place<Real>(&at, N, F)) return;
    float gate[SIZE], up[SIZE], d[SIZE];
    to_floats(gate, load_pack(inp + at.gate));
    to_floats(up, load_pack(inp + at.up));
    to_floats(d, load_pack(dout + at.out));
    Pack<Real> dgate, dup;
    for (int k = 0; k < SIZE; ++k) {
        const float s = sigmoid<Real>(gate[k]), silu = gate[k] * s;
        dgate[k] = from_float<Real>(d[k] * up[k] * (s + silu * (1 - s)));
        dup[k] = from_float<Real>(d[k] * silu);
    }
    store_pack(dinp + at.gate, dgate);
    store_pack(dinp + at.up, dup);
}

template <class Real>
unsigned swiglu_blocks(int N, int F) {
    ENSURE(N > 0 && F > 0 && F % 8 == 0, "swiglu: N=%d F=%d: F is a multiple of 8", N, F);
    const size_t packs = static_cast<size_t>(N) * static_cast<size_t>(F / Pack<Real>::SIZE);
    ENSURE(packs <= UINT32_MAX - SWIGLU_THREADS, "swiglu: N=%d F=%d: more than 2^32 times 16 bytes", N, F);
    return static_cast<unsigned>((packs + SWIGLU_THREADS - 1) / SWIGLU_THREADS);
}

template <class Real>
void swiglu_forward(Real* out, const Real* inp, int N, int F, stream_t stream) {
    LAUNCH(swiglu_forward_kernel<Real>, swiglu_blocks<Real>(N, F), SWIGLU_THREADS, 0, stream.cuda, out, inp, N, F);
}

template <class Real>
void swiglu_backward(Real* dinp, const Real* inp, const Real* dout, int N, int F, stream_t stream) {
    LAUNCH(swiglu_backward_kernel<Real>, swiglu_blocks<Real>(N, F), SWIGLU_THREADS, 0, stream.cuda, dinp, inp, dout, N,
           F);
}

}  // namespace gpu
