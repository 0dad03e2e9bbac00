// rotary.cpp - one rotation per (position, frequency), computed in double and shared by all heads.
#include "kernels/cpu/rotary.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "util/check.h"

#include "kernels/cpu/threads.h"

namespace cpu {
namespace {

// sign = 1 turns q and k by their position's angles, -1 turns gradients back.
template <class Real>
void rotate(Real* qkv, const int* positions, int N, int NH, int HS, int R, Real base, Real sign) {
    ENSURE(R % 2 == 0 && R <= HS, "rotary: %d dimensions do not fit a head of %d", R, HS);
    if (R == 0 || N == 0) return;
    const int half = R / 2, num_positions = 1 + *std::max_element(positions, positions + N);
    std::vector<Real> table(static_cast<size_t>(num_positions) * R);  // (position, cosines then sines)
#pragma omp parallel if (worth_sharing(N, 2 * NH * R))
    {
#pragma omp for schedule(static)
        for (int position = 0; position < num_positions; ++position) {
            Real* row = table.data() + static_cast<size_t>(position) * R;
            for (int i = 0; i < half; ++i) {
                const double angle = position * std::pow(static_cast<double>(base), -2.0 * i / R);
                row[i] = static_cast<Real>(std::cos(angle));
                row[half + i] = sign * static_cast<Real>(std::sin(angle));
            }
        }
#pragma omp for schedule(static)
        for (int n = 0; n < N; ++n) {
            const Real* cosine = table.data() + static_cast<size_t>(positions[n]) * R;
            const Real* sine = cosine + half;
            for (int head = 0; head < 2 * NH; ++head) {  // q's heads, then k's
                Real* x = qkv + (static_cast<size_t>(n) * 3 * NH + head) * HS;
                Real* y = x + half;
#pragma omp simd
                for (int i = 0; i < half; ++i) {
                    const Real x_i = x[i], y_i = y[i];
                    x[i] = x_i * cosine[i] - y_i * sine[i];
                    y[i] = y_i * cosine[i] + x_i * sine[i];
                }
            }
        }
    }
}

}  // namespace

template <class Real>
void rotary_forward(Real* qkv, const int* positions, int N, int NH, int HS, int R, Real base, stream_t) {
    rotate<Real>(qkv, positions, N, NH, HS, R, base, 1);
}

template <class Real>
void rotary_backward(Real* dqkv, const int* positions, int N, int NH, int HS, int R, Real base, stream_t) {
    rotate<Real>(dqkv, positions, N, NH, HS, R, base, -1);
}

template void rotary_forward(float*, const int*, int, int, int, int, float, stream_t);
template void rotary_forward(double*, const int*, int, int, int, int, double, stream_t);
template void rotary_backward(float*, const int*, int, int, int, int, float, stream_t);
template void rotary_backward(double*, const int*, int, int, int, int, double, stream_t);

}  // namespace cpu
