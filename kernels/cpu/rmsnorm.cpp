// rmsnorm.cpp - rows in flight and sums over rows by norm_rows.h. Moves 8 bytes an element in fp32 forward, 8 more for
// the sum, and 16 backward; half of it in bf16, whose sum is rounded before its square is taken.
#include "kernels/operations.h"

#include <cmath>

#include "kernels/cpu/norm_rows.h"

namespace cpu {
namespace {

// ROWS rows of rmsnorm_forward; the pointers are of the first row.
template <int ROWS, class Real, class Sum = Stat<Real>>
void forward_rows(const Terms<Real>& terms, const Affine<Real>& first, const Affine<Real>& second, Sum* rstd, size_t C,
                  Sum eps) {
    Vector<Sum> squares[ROWS] = {};
    for_sums<ROWS>(terms, C, [&](int r, Vector<Sum> x) { squares[r] += x * x; });
    Sum scale[ROWS];
    for (int r = 0; r < ROWS; ++r)
        rstd[r] = scale[r] = 1 / std::sqrt(sum_lanes<Sum>(squares[r]) / static_cast<Sum>(C) + eps);
    const Real* const x = terms.x();
    for (const Affine<Real>* y : {&first, &second})
        if (Real* const out = y->out)
            for_vectors<Sum>(C, [&, from = y->weight](auto get, auto put) {
                const Vector<Sum> weight = get(from);
#pragma GCC unroll 4
                for (int r = 0; r < ROWS; ++r) put(out + r * C, get(x + r * C) * scale[r] * weight);
            });
}

// ROWS rows of rmsnorm_backward; the pointers are of the first row. dw: sums over rows so far, which they join in
// order.
template <int ROWS, class Real, class Sum = Stat<Real>>
void backward_rows(Real* dx, Sum* dw, const Real* dy, const Real* inp, const Real* weight, const Sum* rstd, size_t C) {
    Vector<Sum> dot[ROWS] = {};
    for_vectors<Sum>(C, [&](auto get, auto put) {
        const Vector<Sum> w = get(weight);
        Vector<Sum> sum = get(dw);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const Vector<Sum> d = get(dy + r * C), x = get(inp + r * C) * rstd[r];
            sum += d * x;
            dot[r] += d * w * x;
        }
        put(dw, sum);
    });
    Sum mean_gx[ROWS];
    for (int r = 0; r < ROWS; ++r) mean_gx[r] = sum_lanes<Sum>(dot[r]) / static_cast<Sum>(C);
    for_vectors<Sum>(C, [&](auto get, auto put) {
        const Vector<Sum> w = get(weight);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const Vector<Sum> x = get(inp + r * C) * rstd[r];
            put(dx + r * C, get(dx + r * C) + rstd[r] * (get(dy + r * C) * w - x * mean_gx[r]));
        }
    });
}

}  // namespace

template <class Real>
void rmsnorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* rstd, const Real* a,
                     const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t) {
    const Terms<Real> terms{residual, a, b, c};
    terms.check("rmsnorm");
    ENSURE(!first.bias && !second.bias, "rmsnorm: a bias, of which it has none");
    for_shared_rows(N, C, short_rows<Real>(static_cast<size_t>(C)), [&](auto rows, size_t n) {
        const size_t row = n * static_cast<size_t>(C);
        forward_rows<rows>(terms.from(row), affine_from(first, row), affine_from(second, row), rstd + n,
                           static_cast<size_t>(C), eps);
    });
}

template <class Real>
void rmsnorm_backward(Real* dinp, Stat<Real>* dweight, void* scratch, const Real* dout, const Real* inp,
                      const Real* weight, const Stat<Real>* rstd, int N, int C, stream_t) {
    using Sum = Stat<Real>;
    const size_t stride = static_cast<size_t>(C);
    sums_over_rows<Sum, 1>({dweight}, scratch, N, stride, stride, [=](int begin, int end, Sum* sums) {
        for_rows(begin, end, short_rows<Real>(stride), [=](auto rows, size_t n) {
            const size_t row = n * stride;
            backward_rows<rows>(dinp + row, sums, dout + row, inp + row, weight, rstd + n, stride);
        });
    });
}

size_t rmsnorm_backward_scratch(int N, int C) { return sums_over_rows_scratch(N, static_cast<size_t>(C)); }

template void rmsnorm_forward(float*, Affine<float>, Affine<float>, float*, const float*, const float*, const float*,
                              int, int, float, stream_t);
template void rmsnorm_forward(double*, Affine<double>, Affine<double>, double*, const double*, const double*,
                              const double*, int, int, double, stream_t);
template void rmsnorm_forward(bf16*, Affine<bf16>, Affine<bf16>, float*, const bf16*, const bf16*, const bf16*, int,
                              int, float, stream_t);
template void rmsnorm_backward(float*, float*, void*, const float*, const float*, const float*, const float*, int, int,
                               stream_t);
template void rmsnorm_backward(double*, double*, void*, const double*, const double*, const double*, const double*, int,
                               int, stream_t);
template void rmsnorm_backward(bf16*, float*, void*, const bf16*, const bf16*, const bf16*, const float*, int, int,
                               stream_t);

}  // namespace cpu
