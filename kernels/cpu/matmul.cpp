// matmul.cpp - three products a layer, all of gemm_threads (gemm.cpp); the bias gradient is bias.cpp's.
#include "kernels/operations.h"

#include <vector>

#include "kernels/cpu/gemm.h"

namespace cpu {

template <class Real>
void matmul_forward(Real* out, const Real* inp, const Real* weight, const Real* bias, int N, int C, int OC, stream_t) {
    gemm_threads<Real>({out, OC}, {inp, C}, {weight, C, true}, N, OC, C, bias, false);
}

template <class Real>
void matmul_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, const Real* dout, const Real* inp,
                     const Real* weight, int N, int C, int OC, stream_t) {
    if (dinp) gemm_threads<Real>({dinp, C}, {dout, OC}, {weight, C}, N, C, OC, nullptr, false);
    gemm_threads<Real>({dweight, C}, {dout, OC, true}, {inp, C}, OC, C, N, nullptr, true);
    if (dbias) bias_backward<Real>(dbias, nullptr, nullptr, dout, N, OC, {});
}

template void matmul_forward(float*, const float*, const float*, const float*, int, int, int, stream_t);
template void matmul_forward(double*, const double*, const double*, const double*, int, int, int, stream_t);
template void matmul_backward(float*, float*, float*, const float*, const float*, const float*, int, int, int,
                              stream_t);
template void matmul_backward(double*, double*, double*, const double*, const double*, const double*, int, int, int,
                              stream_t);

static std::vector<float> floats(const bf16* x, size_t n) {
    std::vector<float> y(x ? n : 0);
    for (size_t i = 0; i < y.size(); ++i) y[i] = to_float(x[i]);
    return y;
}
static const float* or_null(const std::vector<float>& x) { return x.empty() ? nullptr : x.data(); }

template <>
void matmul_forward(bf16* out, const bf16* inp, const bf16* weight, const bf16* bias, int N, int C, int OC,
                    stream_t s) {
    const size_t n = N, c = C, oc = OC;
    std::vector<float> y(n * oc);
    matmul_forward<float>(y.data(), floats(inp, n * c).data(), floats(weight, oc * c).data(), or_null(floats(bias, oc)),
                          N, C, OC, s);
    for (size_t i = 0; i < y.size(); ++i) out[i] = bf16(y[i]);
}
template <>
void matmul_backward(bf16* dinp, float* dweight, float* dbias, const bf16* dout, const bf16* inp, const bf16* weight,
                     int N, int C, int OC, stream_t s) {
    const size_t n = N, c = C, oc = OC;
    std::vector<float> y(dinp ? n * c : 0);
    matmul_backward<float>(dinp ? y.data() : nullptr, dweight, dbias, floats(dout, n * oc).data(),
                           floats(inp, n * c).data(), floats(weight, oc * c).data(), N, C, OC, s);
    for (size_t i = 0; i < y.size(); ++i) dinp[i] = bf16(y[i]);
}

}  // namespace cpu
