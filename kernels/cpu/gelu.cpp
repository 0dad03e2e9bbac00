// gelu.cpp - element by element; the bias gradient is a pass of its own here, where arithmetic takes the time.
#include "kernels/operations.h"

#include <algorithm>
#include <type_traits>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/vmath.h"

namespace cpu {
namespace {

constexpr size_t CHUNK = 1 << 13;

// x/2 (1 + tanh u) = x / (1 + e^(-2u)): no digits are lost where tanh u nears -1.
template <class Real>
struct Tanh {
    static constexpr Real A = 0.797884560802865356, B = A * 0.044715;  // u = A x + B x^3, A = sqrt(2/pi)
    static Vector<Real> gate(Vector<Real> x) { return Real(1) / (Real(1) + exp(x * (x * x * (-2 * B) - 2 * A))); }
    static Vector<Real> value(Vector<Real> x) { return x * gate(x); }
    static Vector<Real> slope(Vector<Real> x) {
        const Vector<Real> s = gate(x), slope = s + s * ((Real(1) - s) * (x * (x * x * (6 * B) + 2 * A)));
        return x * x > Real(1e4) ? s : slope;  // the second term is 0 there, or 0 * inf
    }
};

template <class Real>
struct Exact {
    using Sum = Stat<Real>;
    static Normal<Sum> at(Vector<Sum> x) {
        if constexpr (std::is_same_v<Real, bf16>)
            return normal_for_bf16(x);
        else
            return normal(x);
    }
    static Vector<Sum> value(Vector<Sum> x) { return x * at(x).cdf; }
    static Vector<Sum> slope(Vector<Sum> x) {
        const Normal<Sum> normal = at(x);
        return normal.cdf + x * (normal.bell * Sum(0.398942280401432678));  // 1/sqrt(2 pi)
    }
};

template <class F, class Real>
void forward(Real* out, const Real* inp, size_t n) {
#pragma omp parallel for schedule(static) if (worth_sharing(n))
    for (size_t first = 0; first < n; first += CHUNK)
        for_vectors<Stat<Real>>(std::min(CHUNK, n - first),
                                [=](auto get, auto put) { put(out + first, F::value(get(inp + first))); });
}

template <class F, class Real>
void backward(Real* dinp, const Real* inp, const Real* dout, size_t n) {
#pragma omp parallel for schedule(static) if (worth_sharing(n))
    for (size_t first = 0; first < n; first += CHUNK)
        for_vectors<Stat<Real>>(std::min(CHUNK, n - first), [=](auto get, auto put) {
            put(dinp + first, get(dout + first) * F::slope(get(inp + first)));
        });
}

}  // namespace

template <class Real>
void gelu_forward(Real* out, const Real* inp, size_t n, Gelu kind, stream_t) {
    kind == Gelu::Tanh ? forward<Tanh<Stat<Real>>>(out, inp, n) : forward<Exact<Real>>(out, inp, n);
}

template <class Real>
void gelu_backward(Real* dinp, Stat<Real>* dbias, void* scratch, const Real* inp, const Real* dout, int N, int F,
                   Gelu kind, stream_t stream) {
    const size_t n = static_cast<size_t>(N) * static_cast<size_t>(F);
    kind == Gelu::Tanh ? backward<Tanh<Stat<Real>>>(dinp, inp, dout, n) : backward<Exact<Real>>(dinp, inp, dout, n);
    if (dbias) bias_backward<Real>(dbias, nullptr, scratch, dinp, N, F, stream);
}

template void gelu_forward(float*, const float*, size_t, Gelu, stream_t);
template void gelu_forward(double*, const double*, size_t, Gelu, stream_t);
template void gelu_forward(bf16*, const bf16*, size_t, Gelu, stream_t);
template void gelu_backward(float*, float*, void*, const float*, const float*, int, int, Gelu, stream_t);
template void gelu_backward(double*, double*, void*, const double*, const double*, int, int, Gelu, stream_t);
template void gelu_backward(bf16*, float*, void*, const bf16*, const bf16*, int, int, Gelu, stream_t);

}  // namespace cpu
