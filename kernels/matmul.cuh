// matmul.cuh - the linear layers. The products are cuBLASLt's (matmul_context.h): bf16 or float in, sums in float, the
// weight gradient added to in float. The bias is added in the forward product's epilogue, its gradient is a sum of
// columns (column_sum.cuh).
#pragma once
#include <type_traits>

#include "kernels/column_sum.cuh"
#include "kernels/matmul_context.h"
#include "kernels/operations.h"
#include "util/check.h"

namespace gpu {

template <class Real>
constexpr Storage STORAGE = std::is_same_v<Real, float> ? Storage::Fp32 : Storage::Bf16;

inline void check_matmul(int N, int C, int OC, const stream_t& stream) {
    ENSURE(N > 0 && C > 0 && OC > 0, "matmul: N=%d C=%d OC=%d: all of them are at least 1", N, C, OC);
    ENSURE(stream.matmul, "matmul: the stream has no MatmulContext");
}

// The floor is 2 N C OC flops at 790 TFLOP/s, or (N C + C OC + N OC) sizeof(Real) bytes at 4.3 TB/s where C is small.
// Every element is one sum over c in an order that shape and algorithm fix.
template <class Real>
void matmul_forward(Real* out, const Real* inp, const Real* weight, const Real* bias, int N, int C, int OC,
                    stream_t stream) {
    check_matmul(N, C, OC, stream);
    const Product product = bias ? Product::ForwardBias : Product::Forward;
    stream.matmul->multiply({product, STORAGE<Real>, OC, N, C}, {out, weight, inp, bias}, stream.cuda);
}

// Two products of the forward's flops. The weight gradient reads and writes 8 C OC bytes in addition to its operands.
template <class Real>
void matmul_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, const Real* dout, const Real* inp,
                     const Real* weight, int N, int C, int OC, stream_t stream) {
    check_matmul(N, C, OC, stream);
    MatmulContext& context = *stream.matmul;
    if (dbias) {
        float* scratch = static_cast<float*>(context.scratch(bias_backward_scratch(N, OC)));
        bias_backward(dbias, scratch, dout, N, OC, stream.cuda);
    }
    if (dinp)
        context.multiply({Product::InputGradient, STORAGE<Real>, C, N, OC}, {dinp, weight, dout, nullptr}, stream.cuda);
    context.multiply({Product::WeightGradient, STORAGE<Real>, C, OC, N}, {dweight, inp, dout, nullptr}, stream.cuda);
}

}  // namespace gpu
