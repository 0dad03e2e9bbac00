// qk_norm.cpp - the heads of a row one after another, one thread's, summed in vectors; sums over rows by norm_rows.h.
// Heads are so short that a processor has the next ones in flight by itself: four at a time, as rows in rmsnorm.cpp,
// took 1.3 times as long forward in fp32 at HS = 64. Moves 8 bytes an element in fp32 forward and, of q and k, 12
// backward; half of it in bf16.
#include "kernels/operations.h"

#include <cmath>
#include <cstring>

#include "kernels/cpu/norm_rows.h"

namespace cpu {

template <class Real>
void qk_norm_forward(Real* out, Stat<Real>* rstd, const Real* inp, const Real* qweight, const Real* kweight, int N,
                     int NH, int KV, int HS, Stat<Real> eps, stream_t) {
    using Sum = Stat<Real>;
    const int heads = NH + 2 * KV;
    const size_t size = static_cast<size_t>(HS);
#pragma omp parallel for schedule(static) if (worth_sharing(N, heads * HS))
    for (int n = 0; n < N; ++n) {
        const Real* x = inp + static_cast<size_t>(n) * heads * size;
        Real* y = out + static_cast<size_t>(n) * heads * size;
        for (int head = 0; head < NH + KV; ++head, x += size, y += size) {
            Vector<Sum> squares{};
            for_vectors<Sum>(size, [&](auto get, auto) { squares += get(x) * get(x); });
            const Sum scale = 1 / std::sqrt(sum_lanes<Sum>(squares) / HS + eps);
            const Real* weight = head < NH ? qweight : kweight;
            for_vectors<Sum>(size, [&](auto get, auto put) { put(y, get(x) * scale * get(weight)); });
            rstd[static_cast<size_t>(n) * (NH + KV) + head] = scale;
        }
        std::memcpy(static_cast<void*>(y), x, KV * size * sizeof(Real));
    }
}

template <class Real>
void qk_norm_backward(Real* dqkv, Stat<Real>* dqweight, Stat<Real>* dkweight, void* scratch, const Real* inp,
                      const Real* qweight, const Real* kweight, const Stat<Real>* rstd, int N, int NH, int KV, int HS,
                      stream_t) {
    using Sum = Stat<Real>;
    const size_t size = static_cast<size_t>(HS), heads = static_cast<size_t>(NH + 2 * KV),
                 normed = static_cast<size_t>(NH + KV);
    sums_over_rows<Sum, 2>({dqweight, dkweight}, scratch, N, size, normed * size, [=](int begin, int end, Sum* sums) {
        for (int n = begin; n < end; ++n)
            for (int head = 0; head < NH + KV; ++head) {
                const size_t at = (n * heads + head) * size;
                const Real* const row = inp + at;
                const Real* const weight = head < NH ? qweight : kweight;
                Real* const d = dqkv + at;
                Sum* const dw = head < NH ? sums : sums + size;
                const Sum scale = rstd[n * normed + head];
                Vector<Sum> dot{};
                for_vectors<Sum>(size, [&](auto get, auto put) {
                    const Vector<Sum> dy = get(d), x = get(row) * scale;
                    put(dw, get(dw) + dy * x);
                    dot += dy * get(weight) * x;
                });
                const Sum mean_gx = sum_lanes<Sum>(dot) / HS;
                for_vectors<Sum>(size, [&](auto get, auto put) {
                    put(d, scale * (get(d) * get(weight) - get(row) * scale * mean_gx));
                });
            }
    });
}

size_t qk_norm_backward_scratch(int N, int, int, int HS) {
    return sums_over_rows_scratch(N, 2 * static_cast<size_t>(HS));
}

template void qk_norm_forward(float*, float*, const float*, const float*, const float*, int, int, int, int, float,
                              stream_t);
template void qk_norm_forward(double*, double*, const double*, const double*, const double*, int, int, int, int, double,
                              stream_t);
template void qk_norm_forward(bf16*, float*, const bf16*, const bf16*, const bf16*, int, int, int, int, float,
                              stream_t);
template void qk_norm_backward(float*, float*, float*, void*, const float*, const float*, const float*, const float*,
                               int, int, int, int, stream_t);
template void qk_norm_backward(double*, double*, double*, void*, const double*, const double*, const double*,
                               const double*, int, int, int, int, stream_t);
template void qk_norm_backward(bf16*, float*, float*, void*, const bf16*, const bf16*, const bf16*, const float*, int,
                               int, int, int, stream_t);

}  // namespace cpu
