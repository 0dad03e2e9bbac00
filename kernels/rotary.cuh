// rotary.cuh - rotary position embedding: the table of angles is made once; a rotation is in place, each thread turning
// a few pairs.
#pragma once
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int ROTARY_THREADS = 256;

// rotary_table. A thread has a pair (p, i). 4 P R bytes, once for a model.
__global__ void __launch_bounds__(ROTARY_THREADS) rotary_table_kernel(float* table, int P, int R, double base) {
    const unsigned half = static_cast<unsigned>(R / 2), thread = blockIdx.x * ROTARY_THREADS + threadIdx.x;
    const unsigned p = thread / half, i = thread % half;
    if (p >= static_cast<unsigned>(P)) return;
    const double angle = p * pow(base, -2.0 * i / R);
    float* row = table + static_cast<size_t>(p) * static_cast<size_t>(R);
    row[i] = static_cast<float>(cos(angle));
    row[half + i] = static_cast<float>(sin(angle));
}

// W consecutive elements that move as one: 16, 8 or 4 bytes, or one element.
template <class Real, int W>
struct alignas(W * sizeof(Real)) Span {
    Real x[W];
};
template <class Real, int W>
__device__ inline Span<Real, W> load_span(const Real* from) {
    return *reinterpret_cast<const Span<Real, W>*>(from);
}
template <class Real, int W>
__device__ inline void store_span(Real* to, const Span<Real, W>& x) {
    *reinterpret_cast<Span<Real, W>*>(to) = x;
}

// The rotation of rotary_forward, `sign` times as far: of the first `heads` of a token's `all_heads`, which are those
// of q, k and v. A thread has W neighbouring pairs. Each pair is read and written once: 2 N heads R sizeof(Real) bytes,
// where a head's part is not below the 32 bytes that memory moves: bf16 N=65536, 8 heads of q and of k, R=16 16 us.
template <class Real, int W>
__global__ void __launch_bounds__(ROTARY_THREADS)
    rotary_kernel(Real* qkv, const float* table, const int* positions, float sign, int N, unsigned heads,
                  unsigned all_heads, int HS, int R) {
    const unsigned half = static_cast<unsigned>(R / 2), spans = half / W;
    const unsigned thread = blockIdx.x * ROTARY_THREADS + threadIdx.x;
    const unsigned i = thread % spans * W, head = thread / spans % heads, n = thread / spans / heads;
    if (n >= static_cast<unsigned>(N)) return;
    const float* cosine = table + static_cast<size_t>(positions[n]) * static_cast<size_t>(R) + i;
    const float* sine = cosine + half;
    Real* at = qkv + (static_cast<size_t>(n) * all_heads + head) * static_cast<size_t>(HS) + i;
    Span<Real, W> x = load_span<Real, W>(at), y = load_span<Real, W>(at + half);
    for (int k = 0; k < W; ++k) {
        const float u = to_float(x.x[k]), v = to_float(y.x[k]), c = cosine[k], s = sign * sine[k];
        x.x[k] = from_float<Real>(u * c - v * s);
        y.x[k] = from_float<Real>(v * c + u * s);
    }
    store_span(at, x);
    store_span(at + half, y);
}

// Blocks for so many threads in each of `rows` rows.
inline unsigned rotary_blocks(int rows, int threads) {
    const size_t all = static_cast<size_t>(rows) * static_cast<size_t>(threads);
    ENSURE(all <= UINT32_MAX - ROTARY_THREADS, "rotary: %d rows of %d threads: more than 2^32", rows, threads);
    return static_cast<unsigned>((all + ROTARY_THREADS - 1) / ROTARY_THREADS);
}

template <class Real>
void rotary_table(Real* table, int P, int R, double base, stream_t stream) {
    ENSURE(P > 0 && R > 0 && R % 2 == 0, "rotary: a table of %d positions, R=%d: R is even", P, R);
    LAUNCH(rotary_table_kernel, rotary_blocks(P, R / 2), ROTARY_THREADS, 0, stream.cuda, table, P, R, base);
}

template <class Real, int W>
void rotate_spans(Real* qkv, const float* table, const int* positions, float sign, int N, int NH, int KV, int HS, int R,
                  stream_t stream) {
    const int heads = NH + KV, threads = heads * (R / 2 / W);  // of a row
    LAUNCH((rotary_kernel<Real, W>), rotary_blocks(N, threads), ROTARY_THREADS, 0, stream.cuda, qkv, table, positions,
           sign, N, static_cast<unsigned>(heads), static_cast<unsigned>(heads + KV), HS, R);
}

// sign = 1 turns q and k by their position's angles, -1 turns gradients back. The widest access that R/2 is a multiple
// of.
template <class Real>
void rotate(Real* qkv, const float* table, const int* positions, float sign, int N, int NH, int KV, int HS, int R,
            stream_t stream) {
    ENSURE(N > 0 && NH > 0 && KV > 0 && HS > 0 && HS % 8 == 0 && R >= 0 && R % 2 == 0 && R <= HS,
           "rotary: N=%d NH=%d KV=%d HS=%d R=%d: HS is a multiple of 8, R even and no larger", N, NH, KV, HS, R);
    if (R == 0) return;  // then there is no table
    constexpr int SIZE = Pack<Real>::SIZE;
    if (R / 2 % SIZE == 0)
        rotate_spans<Real, SIZE>(qkv, table, positions, sign, N, NH, KV, HS, R, stream);
    else if (R / 2 % (SIZE / 2) == 0)
        rotate_spans<Real, SIZE / 2>(qkv, table, positions, sign, N, NH, KV, HS, R, stream);
    else if (R / 2 % 2 == 0)
        rotate_spans<Real, 2>(qkv, table, positions, sign, N, NH, KV, HS, R, stream);
    else
        rotate_spans<Real, 1>(qkv, table, positions, sign, N, NH, KV, HS, R, stream);
}

template <class Real>
void rotary_forward(Real* qkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
                    stream_t stream) {
    rotate(qkv, table, positions, 1.0f, N, NH, KV, HS, R, stream);
}

template <class Real>
void rotary_backward(Real* dqkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
                     stream_t stream) {
    rotate(dqkv, table, positions, -1.0f, N, NH, KV, HS, R, stream);
}

}  // namespace gpu
