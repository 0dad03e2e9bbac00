// layernorm.cpp - rows in flight and sums over rows by norm_rows.h. Moves 8 bytes an element in fp32 forward, 8 more
// for the sum, and 16 backward; half of it in bf16, whose sum is rounded before its statistics are taken.
#include "kernels/operations.h"

#include <cmath>

#include "kernels/cpu/norm_rows.h"

namespace cpu {
namespace {

// ROWS rows of layernorm_forward; the pointers are of the first row.
template <int ROWS, class Real, class Sum = Stat<Real>>
void forward_rows(const Terms<Real>& terms, const Affine<Real>& first, const Affine<Real>& second, Sum* mean, Sum* rstd,
                  size_t C, Sum eps) {
    Vector<Sum> sums[ROWS] = {};
    for_sums<ROWS>(terms, C, [&](int r, Vector<Sum> x) { sums[r] += x; });
    const Real* const x = terms.x();
    Sum center[ROWS], scale[ROWS];
    for (int r = 0; r < ROWS; ++r) mean[r] = center[r] = sum_lanes<Sum>(sums[r]) / static_cast<Sum>(C);
    // the deviations, not the squares' mean less the mean's square: that loses every digit when the mean is large
    Vector<Sum> squares[ROWS] = {};
    size_t i = 0;
    for (; i + LANES<Sum> <= C; i += LANES<Sum>)
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const Vector<Sum> deviation = load(x + r * C + i) - center[r];
            squares[r] += deviation * deviation;
        }
    for (int r = 0; r < ROWS; ++r) {
        if (const size_t rest = C - i; rest > 0) {
            const Vector<Sum> deviation = first_of<Sum>(load_some(x + r * C + i, rest) - center[r], rest);
            squares[r] += deviation * deviation;
        }
        rstd[r] = scale[r] = 1 / std::sqrt(sum_lanes<Sum>(squares[r]) / static_cast<Sum>(C) + eps);
    }
    for (const Affine<Real>* y : {&first, &second})
        if (Real* const out = y->out)
            for_vectors<Sum>(C, [&, w = y->weight, b = y->bias](auto get, auto put) {
                const Vector<Sum> weight = get(w), bias = get(b);
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; ++r)
                    put(out + r * C, (get(x + r * C) - center[r]) * scale[r] * weight + bias);
            });
}

// ROWS rows of layernorm_backward; the pointers are of the first row. dw, db: sums over rows so far, which they join in
// order.
template <int ROWS, class Real, class Sum = Stat<Real>>
void backward_rows(Real* dx, Sum* dw, Sum* db, const Real* dy, const Real* inp, const Real* weight, const Sum* mean,
                   const Sum* rstd, size_t C) {
    Vector<Sum> sum[ROWS] = {}, dot[ROWS] = {};
    for_vectors<Sum>(C, [&](auto get, auto put) {
        const Vector<Sum> w = get(weight);
        Vector<Sum> bias = get(db), scale = get(dw);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const size_t row = r * C;
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
        mean_g[r] = sum_lanes<Sum>(sum[r]) / static_cast<Sum>(C);
        mean_gx[r] = sum_lanes<Sum>(dot[r]) / static_cast<Sum>(C);
    }
    for_vectors<Sum>(C, [&](auto get, auto put) {
        const Vector<Sum> w = get(weight);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const size_t row = r * C;
            const Vector<Sum> x = (get(inp + row) - mean[r]) * rstd[r], g = get(dy + row) * w;
            put(dx + row, get(dx + row) + rstd[r] * (g - mean_g[r] - x * mean_gx[r]));
        }
    });
}

}  // namespace

template <class Real>
void layernorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* mean, Stat<Real>* rstd,
                       const Real* a, const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t) {
    const Terms<Real> terms{residual, a, b, c};
    terms.check("layernorm");
    // also long ones: its two sums one after the other wait longer than the caches make it wait
    for_shared_rows(N, C, true, [&](auto rows, size_t n) {
        const size_t row = n * static_cast<size_t>(C);
        forward_rows<rows>(terms.from(row), affine_from(first, row), affine_from(second, row), mean + n, rstd + n,
                           static_cast<size_t>(C), eps);
    });
}

template <class Real>
void layernorm_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, void* scratch, const Real* dout,
                        const Real* inp, const Real* weight, const Stat<Real>* mean, const Stat<Real>* rstd, int N,
                        int C, stream_t) {
    using Sum = Stat<Real>;
    const size_t stride = static_cast<size_t>(C);
    sums_over_rows<Sum, 2>({dweight, dbias}, scratch, N, stride, stride, [=](int begin, int end, Sum* sums) {
        for_rows(begin, end, short_rows<Real>(stride), [=](auto rows, size_t n) {
            const size_t row = n * stride;
            backward_rows<rows>(dinp + row, sums, sums + stride, dout + row, inp + row, weight, mean + n, rstd + n,
                                stride);
        });
    });
}

size_t layernorm_backward_scratch(int N, int C) { return sums_over_rows_scratch(N, 2 * static_cast<size_t>(C)); }

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
