// layernorm.cpp - a row at a time, one thread's, summed in vectors (simd.h) while it stays in the first-level cache.
// Moves 8 bytes an element in fp32 forward, 8 more for the sum, and 16 backward; half of it in bf16, whose sum is
// rounded before its statistics are taken.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {
namespace {
constexpr int CHUNK = 32;  // rows whose parameter gradients are summed before they meet those of other rows
int num_chunks(int N) { return (N + CHUNK - 1) / CHUNK; }
}  // namespace

template <class Real>
void layernorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* mean, Stat<Real>* rstd,
                       const Real* a, const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t) {
    using Sum = Stat<Real>;
    ENSURE(residual || !b, "layernorm: a sum needs a place to be written to");
    const size_t stride = static_cast<size_t>(C);
#pragma omp parallel for schedule(static) if (worth_sharing(N, C))
    for (int n = 0; n < N; ++n) {
        const Real* x = a + n * stride;
        if (residual) {
            Real* sum = residual + n * stride;
            for_vectors<Sum>(stride, [&](auto get, auto put) {
                Vector<Sum> total = get(x);
                if (b) total += get(b + n * stride);
                if (c) total += get(c + n * stride);
                put(sum, total);
            });
            x = sum;
        }
        Vector<Sum> sum{}, square{};
        for_vectors<Sum>(stride, [&](auto get, auto) { sum += get(x); });
        const Sum center = sum_lanes<Sum>(sum) / C;
        // the deviations, not the squares' mean less the mean's square: that loses every digit when the mean is large
        size_t i = 0;
        for (; i + LANES<Sum> <= stride; i += LANES<Sum>) {
            const Vector<Sum> deviation = load(x + i) - center;
            square += deviation * deviation;
        }
        Sum squares = sum_lanes<Sum>(square);
        for (; i < stride; ++i) {
            const Sum deviation = static_cast<Sum>(x[i]) - center;
            squares += deviation * deviation;
        }
        const Sum scale = 1 / std::sqrt(squares / C + eps);
        for (const Affine<Real>& y : {first, second}) {
            if (!y.out) continue;
            Real* out = y.out + n * stride;
            for_vectors<Sum>(
                stride, [&](auto get, auto put) { put(out, (get(x) - center) * scale * get(y.weight) + get(y.bias)); });
        }
        mean[n] = center;
        rstd[n] = scale;
    }
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
            for (int n = chunk * CHUNK; n < std::min(N, (chunk + 1) * CHUNK); ++n) {
                const Real* dy = dout + n * stride;
                const Real* row = inp + n * stride;
                Real* dx = dinp + n * stride;
                const Sum center = mean[n], scale = rstd[n];
                Vector<Sum> sum{}, dot{};
                for_vectors<Sum>(stride, [&](auto get, auto put) {
                    const Vector<Sum> d = get(dy), x = (get(row) - center) * scale, g = d * get(weight);
                    put(db, get(db) + d);
                    put(dw, get(dw) + d * x);
                    sum += g;
                    dot += g * x;
                });
                const Sum mean_g = sum_lanes<Sum>(sum) / C, mean_gx = sum_lanes<Sum>(dot) / C;
                for_vectors<Sum>(stride, [&](auto get, auto put) {
                    const Vector<Sum> x = (get(row) - center) * scale, g = get(dy) * get(weight);
                    put(dx, get(dx) + scale * (g - mean_g - x * mean_gx));
                });
            }
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
