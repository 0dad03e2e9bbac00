// matmul.cuh - the linear layers. The products are cuBLASLt's (matmul_context.h): bf16 or float in, sums in float, the
// weight gradient added to in float. The bias is added in the forward product's epilogue; its gradient is a sum of
// columns (column_sum.cuh) or comes from the weight gradient's epilogue, whichever is faster (choices.h).
#pragma once
#include <string>
#include <type_traits>

#include "kernels/choices.h"
#include "kernels/column_sum.cuh"
#include "kernels/matmul_context.h"
#include "kernels/operations.h"
#include "util/check.h"

namespace gpu {

template <class Real>
constexpr Storage STORAGE = std::is_same_v<Real, float> ? Storage::Fp32 : Storage::Bf16;

inline void check_matmul(int N, int C, int OC, const stream_t& stream) {
    ENSURE(N > 0 && C > 0 && OC > 0, "matmul: N=%d C=%d OC=%d: all of them are at least 1", N, C, OC);
    ENSURE(stream.matmul && stream.choices, "matmul: the stream has no MatmulContext or no Choices");
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

// dweight[o,c] += sum_n dout[n,o] * inp[n,c];  dbias[o] += sum_n dout[n,o]
// The bias gradient by a pass over dout, 2 N OC bytes of bf16 more, or by the product on its way through dout where the
// library can: the faster one.
template <class Real>
void weight_and_bias_backward(float* dweight, float* dbias, const Real* dout, const Real* inp, int N, int C, int OC,
                              stream_t stream) {
    constexpr int COLUMN_SUM = 0;
    MatmulContext& context = *stream.matmul;
    const ProductShape alone{Product::WeightGradient, STORAGE<Real>, C, OC, N},
        with_bias{Product::WeightBiasGradient, STORAGE<Real>, C, OC, N};
    const ProductOperands operands{dweight, inp, dout},
        bias_operands{dweight, inp, dout, nullptr, context.bias_gradient()};
    const auto run = [&](int way, float* to_weight, float* to_bias) {
        if (way == COLUMN_SUM) {
            float* scratch = static_cast<float*>(context.scratch(bias_backward_scratch(N, OC)));
            add_bias_gradient(to_bias, nullptr, scratch, dout, N, OC, stream.cuda);
            context.multiply(alone, {to_weight, inp, dout}, stream.cuda);
        } else {
            context.multiply(with_bias, {to_weight, inp, dout, nullptr, context.bias_gradient()}, stream.cuda);
            add_column_sums(to_bias, nullptr, context.bias_gradient(), 1, OC, stream.cuda);
        }
    };
    const auto can_run = [&](int way) {
        return way == COLUMN_SUM
                   ? context.can_multiply(alone, operands, stream.cuda)
                   : OC <= MatmulContext::MAX_BIAS && context.can_multiply(with_bias, bias_operands, stream.cuda);
    };
    DeviceArray<float> own_weight, own_bias;  // of the runs that are timed: they must not be added to the gradients
    const auto timed = [&](int way) {
        if (!own_weight.get()) {
            own_weight = ready_array<float>(static_cast<size_t>(C) * static_cast<size_t>(OC));
            own_bias = ready_array<float>(static_cast<size_t>(OC));
        }
        run(way, own_weight.get(), own_bias.get());
    };
    const std::string key = format_text("bias_gradient %s N=%d C=%d OC=%d", STORAGE_NAME<Real>, N, C, OC);
    run(stream.choices->choose(key, {"column_sum", "epilogue"}, timed, stream.cuda, can_run), dweight, dbias);
}

// Two products of the forward's flops. The weight gradient reads and writes 8 C OC bytes in addition to its operands.
template <class Real>
void matmul_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, const Real* dout, const Real* inp,
                     const Real* weight, int N, int C, int OC, stream_t stream) {
    check_matmul(N, C, OC, stream);
    if (dinp)
        stream.matmul->multiply({Product::InputGradient, STORAGE<Real>, C, N, OC}, {dinp, weight, dout}, stream.cuda);
    if (dbias)
        weight_and_bias_backward(dweight, dbias, dout, inp, N, C, OC, stream);
    else
        stream.matmul->multiply({Product::WeightGradient, STORAGE<Real>, C, OC, N}, {dweight, inp, dout}, stream.cuda);
}

}  // namespace gpu
