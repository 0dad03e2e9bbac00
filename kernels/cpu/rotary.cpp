// rotary.cpp - one rotation per (position, frequency), computed in double and shared by all heads, layers and steps.
#include "kernels/operations.h"

#include <cmath>
#include <cstddef>

#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {
namespace {

// sign = 1 turns q and k by their position's angles, -1 turns gradients back.
template <class Real>
void rotate(Real* qkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
            Stat<Real> sign) {
    ENSURE(R % 2 == 0 && R <= HS, "rotary: %d dimensions do not fit a head of %d", R, HS);
    const int half = R / 2;
#pragma omp parallel for schedule(static) if (worth_sharing(N, (NH + KV) * R))
    for (int n = 0; n < N; ++n) {
        const Stat<Real>* cosine = table + static_cast<size_t>(positions[n]) * R;
        const Stat<Real>* sine = cosine + half;
        for (int head = 0; head < NH + KV; ++head) {  // q's heads, then k's
            Real* x = qkv + (static_cast<size_t>(n) * (NH + 2 * KV) + head) * HS;
            Real* y = x + half;
#pragma omp simd
            for (int i = 0; i < half; ++i) {
                const auto x_i = static_cast<Stat<Real>>(x[i]), y_i = static_cast<Stat<Real>>(y[i]),
                           sine_i = sign * sine[i];
                x[i] = x_i * cosine[i] - y_i * sine_i;
                y[i] = y_i * cosine[i] + x_i * sine_i;
            }
        }
    }
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
