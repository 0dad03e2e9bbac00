// swiglu.cpp - element by element, a row at a time: gate and up are the halves of a row. One exponential and one
// division an element each way. Moves 12 bytes an element of out in fp32 forward and 20 backward; half of it in bf16.
#include "kernels/operations.h"

#include "kernels/cpu/threads.h"
#include "kernels/cpu/vmath.h"

namespace cpu {
namespace {

template <class Sum>
Vector<Sum> sigmoid(Vector<Sum> x) {
    return Sum(1) / (Sum(1) + exp(-x));
}

}  // namespace

template <class Real>
void swiglu_forward(Real* out, const Real* inp, int N, int F, stream_t) {
    using Sum = Stat<Real>;
    const size_t stride = static_cast<size_t>(F);
#pragma omp parallel for schedule(static) if (worth_sharing(N, 3 * F))
    for (int n = 0; n < N; ++n) {
        const Real* gate = inp + n * 2 * stride;
        const Real* up = gate + stride;
        Real* to = out + n * stride;
        for_vectors<Sum>(stride, [&](auto get, auto put) {
            const Vector<Sum> x = get(gate);
            put(to, x * sigmoid<Sum>(x) * get(up));
        });
    }
}

template <class Real>
void swiglu_backward(Real* dinp, const Real* inp, const Real* dout, int N, int F, stream_t) {
    using Sum = Stat<Real>;
    const size_t stride = static_cast<size_t>(F);
#pragma omp parallel for schedule(static) if (worth_sharing(N, 5 * F))
    for (int n = 0; n < N; ++n) {
        const Real* gate = inp + n * 2 * stride;
        const Real* up = gate + stride;
        const Real* dy = dout + n * stride;
        Real* dgate = dinp + n * 2 * stride;
        Real* dup = dgate + stride;
        for_vectors<Sum>(stride, [&](auto get, auto put) {
            const Vector<Sum> x = get(gate), s = sigmoid<Sum>(x), silu = x * s, d = get(dy), u = get(up);
            put(dgate, d * u * (s + silu * (Sum(1) - s)));
            put(dup, d * silu);
        });
    }
}

template void swiglu_forward(float*, const float*, int, int, stream_t);
template void swiglu_forward(double*, const double*, int, int, stream_t);
template void swiglu_forward(bf16*, const bf16*, int, int, stream_t);
template void swiglu_backward(float*, const float*, const float*, int, int, stream_t);
template void swiglu_backward(double*, const double*, const double*, int, int, stream_t);
template void swiglu_backward(bf16*, const bf16*, const bf16*, int, int, stream_t);

}  // namespace cpu
