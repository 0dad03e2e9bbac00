// qk_norm.cpp - the heads of a row one after another, one thread's, summed in vectors as in rmsnorm.cpp. Moves 8 bytes
// an element in fp32 forward and, of q and k, 12 backward; half of it in bf16.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {
namespace {
constexpr int CHUNK = 32;  // rows whose weights' gradients are summed before they meet those of other rows
int num_chunks(int N) { return (N + CHUNK - 1) / CHUNK; }
}  // namespace

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

// The weights' sums run over fixed chunks of rows and over the heads of each, then over the chunks in order.
template <class Real>
void qk_norm_backward(Real* dqkv, Stat<Real>* dqweight, Stat<Real>* dkweight, void* scratch, const Real* inp,
                      const Real* qweight, const Real* kweight, const Stat<Real>* rstd, int N, int NH, int KV, int HS,
                      stream_t) {
    using Sum = Stat<Real>;
    Sum* const partial = static_cast<Sum*>(scratch);  // (chunk, q's and k's, HS)
    const size_t size = static_cast<size_t>(HS), heads = static_cast<size_t>(NH + 2 * KV);
    const int chunks = num_chunks(N);
#pragma omp parallel for schedule(static) if (worth_sharing(N, (NH + KV) * HS))
    for (int chunk = 0; chunk < chunks; ++chunk) {
        Sum* const sums = partial + chunk * 2 * size;
        std::fill_n(sums, 2 * size, Sum(0));
        for (int n = chunk * CHUNK; n < std::min(N, (chunk + 1) * CHUNK); ++n)
            for (int head = 0; head < NH + KV; ++head) {
                const size_t at = (n * heads + head) * size;
                const Real* const row = inp + at;
                const Real* const weight = head < NH ? qweight : kweight;
                Real* const d = dqkv + at;
                Sum* const dw = head < NH ? sums : sums + size;
                const Sum scale = rstd[static_cast<size_t>(n) * (NH + KV) + head];
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
    }
    for (int chunk = 0; chunk < chunks; ++chunk)
        for (int d = 0; d < HS; ++d) {
            dqweight[d] += partial[chunk * 2 * size + d];
            dkweight[d] += partial[(chunk * 2 + 1) * size + d];
        }
}

size_t qk_norm_backward_scratch(int N, int, int, int HS) {  // enough for double
    return static_cast<size_t>(num_chunks(N)) * 2 * static_cast<size_t>(HS) * sizeof(double);
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
