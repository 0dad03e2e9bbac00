// matmul.cpp - three products a layer (gemm.cpp); the bias gradient is bias.cpp's.
#include "kernels/operations.h"

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/gemm.h"

namespace cpu {

template <class Real>
void matmul_forward(Real* out, const Real* inp, const Real* weight, const Real* bias, int N, int C, int OC, stream_t) {
    gemm<Real>({out, OC}, {inp, C}, {weight, C, true}, N, OC, C, bias, false);
}

template <class Real>
void matmul_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, const Real* dout, const Real* inp,
                     const Real* weight, int N, int C, int OC, stream_t) {
    if (dinp) gemm<Real>({dinp, C}, {dout, OC}, {weight, C}, N, C, OC, nullptr, false);
    gemm<Real, Stat<Real>>({dweight, C}, {dout, OC, true}, {inp, C}, OC, C, N, nullptr, true);
    if (dbias) bias_backward<Real>(dbias, nullptr, nullptr, dout, N, OC, {});
}

template void matmul_forward(float*, const float*, const float*, const float*, int, int, int, stream_t);
template void matmul_forward(double*, const double*, const double*, const double*, int, int, int, stream_t);
template void matmul_forward(bf16*, const bf16*, const bf16*, const bf16*, int, int, int, stream_t);
template void matmul_backward(float*, float*, float*, const float*, const float*, const float*, int, int, int,
                              stream_t);
template void matmul_backward(double*, double*, double*, const double*, const double*, const double*, int, int, int,
                              stream_t);
template void matmul_backward(bf16*, float*, float*, const bf16*, const bf16*, const bf16*, int, int, int, stream_t);

}  // namespace cpu
