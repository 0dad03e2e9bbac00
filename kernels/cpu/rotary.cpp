// rotary.cpp - one rotation per (position, frequency), computed in double and shared by all heads, layers and steps.
#include "kernels/operations.h"

#include <cmath>
#include <cstddef>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {
namespace {

// Turns head after head by one position's angles; table: cosine (R/2), sine (R/2). A pair is (x[i], x[R/2 + i]).
template <class Real, class Sum = Stat<Real>>
void rotate_pairs(Real* x, int heads, int HS, const Sum* cosine, int R, Sum sign) {
    const size_t half = static_cast<size_t>(R / 2);
    for (int head = 0; head < heads; ++head, x += HS)
        for_vectors<Sum>(half, [&](auto get, auto put) {
            const Vector<Sum> u = get(x), v = get(x + half), c = get(cosine), s = sign * get(cosine + half);
            put(x, u * c - v * s);
            put(x + half, v * c + u * s);
        });
}

// The same where a head's rotated part is one vector: both halves at once, the other one exchanged with it.
template <class Real, class Sum = Stat<Real>>
void rotate_vector(Real* x, int heads, int HS, const Sum* cosine, int R, Sum sign) {
    const size_t n = static_cast<size_t>(R);
    Bits<Sum> other{}, of_cosine{};
    Vector<Sum> signs{};
    for (int i = 0; i < R; ++i) {
        other[i] = static_cast<unsigned>((i + R / 2) % R);
        of_cosine[i] = static_cast<unsigned>(i % (R / 2));
        signs[i] = i < R / 2 ? -sign : sign;
    }
    const auto get = [n](const auto* p) { return n == LANES<Sum> ? load(p) : load_some(p, n); };
    const Vector<Sum> table = get(cosine), c = __builtin_shuffle(table, of_cosine),
                      s = __builtin_shuffle(table, of_cosine + static_cast<unsigned>(R / 2)) * signs;
    for (int head = 0; head < heads; ++head, x += HS) {
        const Vector<Sum> own = get(x), turned = own * c + __builtin_shuffle(own, other) * s;
        n == LANES<Sum> ? store(x, turned) : store_some(x, turned, n);
    }
}

// sign = 1 turns q and k by their position's angles, -1 turns gradients back. 2 N (NH + KV) R sizeof(Real) bytes.
template <class Real>
void rotate(Real* qkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
            Stat<Real> sign) {
    ENSURE(R % 2 == 0 && R <= HS, "rotary: %d dimensions do not fit a head of %d", R, HS);
    if (R == 0) return;  // then there is no table
    const auto rotate_heads = R <= LANES<Stat<Real>> ? rotate_vector<Real> : rotate_pairs<Real>;
#pragma omp parallel for schedule(static) if (worth_sharing(N, (NH + KV) * R))
    for (int n = 0; n < N; ++n)  // q's heads, then k's
        rotate_heads(qkv + static_cast<size_t>(n) * (NH + 2 * KV) * HS, NH + KV, HS,
                     table + static_cast<size_t>(positions[n]) * R, R, sign);
}

}  // namespace

template <class Real>
void rotary_table(Real* table, int P, int R, double base, stream_t) {
    const int half = R / 2;
    for (int i = 0; i < half; ++i) {
        const double frequency = std::pow(base, -2.0 * i / R);
        for (int p = 0; p < P; ++p) {
            Real* row = table + static_cast<size_t>(p) * R;
            row[i] = static_cast<Real>(std::cos(p * frequency));
            row[half + i] = static_cast<Real>(std::sin(p * frequency));
        }
    }
}

template <class Real>
void rotary_forward(Real* qkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
                    stream_t) {
    rotate<Real>(qkv, table, positions, N, NH, KV, HS, R, 1);
}

template <class Real>
void rotary_backward(Real* dqkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
                     stream_t) {
    rotate<Real>(dqkv, table, positions, N, NH, KV, HS, R, -1);
}

template void rotary_table(float*, int, int, double, stream_t);
template void rotary_table(double*, int, int, double, stream_t);
template void rotary_forward(float*, const float*, const int*, int, int, int, int, int, stream_t);
template void rotary_forward(double*, const double*, const int*, int, int, int, int, int, stream_t);
template void rotary_forward(bf16*, const float*, const int*, int, int, int, int, int, stream_t);
template void rotary_backward(float*, const float*, const int*, int, int, int, int, int, stream_t);
template void rotary_backward(double*, const double*, const int*, int, int, int, int, int, stream_t);
template void rotary_backward(bf16*, const float*, const int*, int, int, int, int, int, stream_t);

}  // namespace cpu
