// rmsnorm.cpp - a row at a time, one thread's, summed in vectors (simd.h) while it stays in the first-level cache: lane
// i of a sum has every LANES-th element from the i-th on, then the lanes are added, halves first. Moves 8 bytes an
// element in fp32 forward, 8 more for the sum, and 16 backward; half of it in bf16, whose sum is rounded before its
// square is taken.
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
void rmsnorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* rstd, const Real* a,
                     const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t) {
    using Sum = Stat<Real>;
    ENSURE(residual || !b, "rmsnorm: a sum needs a place to be written to");
    ENSURE(b || !c, "rmsnorm: a third term without a second one");
    ENSURE(!first.bias && !second.bias, "rmsnorm: a bias, of which it has none");
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
        Vector<Sum> squares{};
        for_vectors<Sum>(stride, [&](auto get, auto) { squares += get(x) * get(x); });
        const Sum scale = 1 / std::sqrt(sum_lanes<Sum>(squares) / C + eps);
        for (const Affine<Real>& y : {first, second}) {
            if (!y.out) continue;
            Real* out = y.out + n * stride;
            for_vectors<Sum>(stride, [&](auto get, auto put) { put(out, get(x) * scale * get(y.weight)); });
        }
        rstd[n] = scale;
    }
}

// The weight's sums run over fixed chunks of rows, then over the chunks in order.
template <class Real>
void rmsnorm_backward(Real* dinp, Stat<Real>* dweight, void* scratch, const Real* dout, const Real* inp,
                      const Real* weight, const Stat<Real>* rstd, int N, int C, stream_t) {
    using Sum = Stat<Real>;
    Sum* const partial = static_cast<Sum*>(scratch);  // (chunk, C)
    const size_t stride = static_cast<size_t>(C);
    const int chunks = num_chunks(N);
#pragma omp parallel if (worth_sharing(N, C))
    {
#pragma omp for schedule(static)
        for (int chunk = 0; chunk < chunks; ++chunk) {
            Sum* dw = partial + chunk * stride;
            std::fill_n(dw, stride, Sum(0));
            for (int n = chunk * CHUNK; n < std::min(N, (chunk + 1) * CHUNK); ++n) {
                const Real* dy = dout + n * stride;
                const Real* row = inp + n * stride;
                Real* dx = dinp + n * stride;
                const Sum scale = rstd[n];
                Vector<Sum> dot{};
                for_vectors<Sum>(stride, [&](auto get, auto put) {
                    const Vector<Sum> d = get(dy), x = get(row) * scale;
                    put(dw, get(dw) + d * x);
                    dot += d * get(weight) * x;
                });
                const Sum mean_gx = sum_lanes<Sum>(dot) / C;
                for_vectors<Sum>(stride, [&](auto get, auto put) {
                    put(dx, get(dx) + scale * (get(dy) * get(weight) - get(row) * scale * mean_gx));
                });
            }
        }
        // the chunks in order, a column at a time; the loop's barrier above makes them complete
#pragma omp for schedule(static)
        for (int c = 0; c < C; ++c) {
            Sum dw = 0;
            for (int chunk = 0; chunk < chunks; ++chunk) dw += partial[chunk * stride + c];
            dweight[c] += dw;
        }
    }
}

size_t rmsnorm_backward_scratch(int N, int C) {
    return sizeof(double) * static_cast<size_t>(num_chunks(N)) * static_cast<size_t>(C);
}

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
