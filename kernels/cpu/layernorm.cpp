// layernorm.cpp - four rows at a time, one thread's, summed in vectors (simd.h) while they stay in the first-level
// cache: the sums over a row's lanes take longer than a short row's arithmetic, and those of four rows as long as those
// of one. Moves 8 bytes an element in fp32 forward, 8 more for the sum, and 16 backward; half of it in bf16, whose sum
// is rounded before its statistics are taken.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {
namespace {

constexpr int CHUNK = 32;  // rows whose parameter gradients are summed before they meet those of other rows
constexpr int ROWS = 4;    // in flight
int num_chunks(int N) { return (N + CHUNK - 1) / CHUNK; }

// f(integral_constant, n) for groups of ROWS rows n .., and the rest one by one.
template <class F>
void for_rows(int begin, int end, F f) {
    int n = begin;
    for (; n + ROWS <= end; n += ROWS) f(std::integral_constant<int, ROWS>{}, static_cast<size_t>(n));
    for (; n < end; ++n) f(std::integral_constant<int, 1>{}, static_cast<size_t>(n));
}

// ROWS rows of layernorm_forward; the pointers are of the first row.
template <int ROWS, class Real, class Sum = Stat<Real>>
void forward_rows(Real* residual, Affine<Real> first, Affine<Real> second, Sum* mean, Sum* rstd, const Real* a,
                  const Real* b, const Real* c, size_t stride, Sum eps) {
    const Sum C = static_cast<Sum>(stride);
    Vector<Sum> sums[ROWS] = {};
    for_vectors<Sum>(stride, [&](auto get, auto put) {
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const size_t row = r * stride;
            Vector<Sum> total = get(a + row);
            if (residual) {
                if (b) total += get(b + row);
                if (c) total += get(c + row);
                put(residual + row, total);
                total = stored_as(residual, total);
            }
            sums[r] += total;
        }
    });
    const Real* const x = residual ? residual : a;
    Sum center[ROWS], scale[ROWS];
    for (int r = 0; r < ROWS; ++r) center[r] = sum_lanes<Sum>(sums[r]) / C;
    // the deviations, not the squares' mean less the mean's square: that loses every digit when the mean is large
    Vector<Sum> squares[ROWS] = {};
    size_t i = 0;
    for (; i + LANES<Sum> <= stride; i += LANES<Sum>)
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const Vector<Sum> deviation = load(x + r * stride + i) - center[r];
            squares[r] += deviation * deviation;
        }
    for (int r = 0; r < ROWS; ++r) {
        if (const size_t rest = stride - i; rest > 0) {
            const Vector<Sum> deviation = first_of<Sum>(load_some(x + r * stride + i, rest) - center[r], rest);
            squares[r] += deviation * deviation;
        }
        const Sum square = sum_lanes<Sum>(squares[r]);
        scale[r] = 1 / std::sqrt(square / C + eps);
        mean[r] = center[r];
        rstd[r] = scale[r];
    }
    for (const Affine<Real>& y : {first, second})
        if (y.out)
            for_vectors<Sum>(stride, [&](auto get, auto put) {
                const Vector<Sum> weight = get(y.weight), bias = get(y.bias);
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; ++r) {
                    const size_t row = r * stride;
                    put(y.out + row, (get(x + row) - center[r]) * scale[r] * weight + bias);
                }
            });
}

// ROWS rows of layernorm_backward; the pointers are of the first row. dw, db: sums over rows so far, which they join in
// order.
template <int ROWS, class Real, class Sum = Stat<Real>>
void backward_rows(Real* dx, Sum* dw, Sum* db, const Real* dy, const Real* inp, const Real* weight, const Sum* mean,
                   const Sum* rstd, size_t stride) {
    const Sum C = static_cast<Sum>(stride);
    Vector<Sum> sum[ROWS] = {}, dot[ROWS] = {};
    for_vectors<Sum>(stride, [&](auto get, auto put) {
        const Vector<Sum> w = get(weight);
        Vector<Sum> bias = get(db), scale = get(dw);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const size_t row = r * stride;
            const Vector<Sum> d = get(dy + row), x = (get(inp + row) - mean[r]) * rstd[r], g = d * w;
            bias += d;
            scale += d * x;
            sum[r] += g;
            dot[r] += g * x;
        }
        put(db, bias);
        put(dw, scale);
    });
    Sum mean_g[ROWS], mean_gx[ROWS];
    for (int r = 0; r < ROWS; ++r) {
        mean_g[r] = sum_lanes<Sum>(sum[r]) / C;
        mean_gx[r] = sum_lanes<Sum>(dot[r]) / C;
    }
    for_vectors<Sum>(stride, [&](auto get, auto put) {
        const Vector<Sum> w = get(weight);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const size_t row = r * stride;
            const Vector<Sum> x = (get(inp + row) - mean[r]) * rstd[r], g = get(dy + row) * w;
            put(dx + row, get(dx + row) + rstd[r] * (g - mean_g[r] - x * mean_gx[r]));
        }
    });
}

}  // namespace

template <class Real>
void layernorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* mean, Stat<Real>* rstd,
                       const Real* a, const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t) {
    ENSURE(residual || !b, "layernorm: a sum needs a place to be written to");
    const size_t stride = static_cast<size_t>(C);
    // null stays null
    const auto at = [](auto* p, size_t offset) { return p ? p + offset : p; };
#pragma omp parallel for schedule(static) if (worth_sharing(N, C))
    for (int chunk = 0; chunk < num_chunks(N); ++chunk)
        for_rows(chunk * CHUNK, std::min(N, (chunk + 1) * CHUNK), [&](auto rows, size_t n) {
            const size_t row = n * stride;
            const auto affine = [&](const Affine<Real>& y) { return Affine<Real>{at(y.out, row), y.weight, y.bias}; };
            forward_rows<rows>(at(residual, row), affine(first), affine(second), mean + n, rstd + n, a + row,
                               at(b, row), at(c, row), stride, eps);
        });
}

// The parameters' sums run over fixed chunks of rows, then over the chunks in order.
template <class Real>
void layernorm_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, void* scratch, const Real* dout,
                        const Real* inp, const Real* weight, const Stat<Real>* mean, const Stat<Real>* rstd, int N,
                        int C, stream_t) {
    using Sum = Stat<Real>;
    Sum* const partial = static_cast<Sum*>(scratch);  // (chunk, dweight and dbias, C)
    const size_t stride = static_cast<size_t>(C);
    const int chunks = num_chunks(N);
#pragma omp parallel if (worth_sharing(N, C))
    {
#pragma omp for schedule(static)
        for (int chunk = 0; chunk < chunks; ++chunk) {
            Sum* dw = partial + chunk * 2 * stride;
            Sum* db = dw + stride;
            std::fill_n(dw, 2 * stride, Sum(0));
            for_rows(chunk * CHUNK, std::min(N, (chunk + 1) * CHUNK), [&](auto rows, size_t n) {
                const size_t row = n * stride;
                backward_rows<rows>(dinp + row, dw, db, dout + row, inp + row, weight, mean + n, rstd + n, stride);
            });
        }
        // the chunks in order, a column at a time; the loop's barrier above makes them complete
#pragma omp for schedule(static)
        for (int c = 0; c < C; ++c) {
            Sum dw = 0, db = 0;
            for (int chunk = 0; chunk < chunks; ++chunk) {
                dw += partial[chunk * 2 * stride + c];
                db += partial[chunk * 2 * stride + stride + c];
            }
            dweight[c] += dw;
            dbias[c] += db;
        }
    }
}

size_t layernorm_backward_scratch(int N, int C) {  // enough for double
    return static_cast<size_t>(num_chunks(N)) * 2 * static_cast<size_t>(C) * sizeof(double);
}

template void layernorm_forward(float*, Affine<float>, Affine<float>, float*, float*, const float*, const float*,
                                const float*, int, int, float, stream_t);
template void layernorm_forward(double*, Affine<double>, Affine<double>, double*, double*, const double*, const double*,
                                const double*, int, int, double, stream_t);
template void layernorm_forward(bf16*, Affine<bf16>, Affine<bf16>, float*, float*, const bf16*, const bf16*,
                                const bf16*, int, int, float, stream_t);
template void layernorm_backward(float*, float*, float*, void*, const float*, const float*, const float*, const float*,
                                 const float*, int, int, stream_t);
template void layernorm_backward(double*, double*, double*, void*, const double*, const double*, const double*,
                                 const double*, const double*, int, int, stream_t);
template void layernorm_backward(bf16*, float*, float*, void*, const bf16*, const bf16*, const bf16*, const float*,
                                 const float*, int, int, stream_t);

}  // namespace cpu
