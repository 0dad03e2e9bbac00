// gemm.h - matrix products: what matmul is built of; attention has products of its own on the same panels.
#pragma once
#include "kernels/types.h"

namespace cpu {

// A matrix whose rows lie `stride` elements apart in memory, or, transposed, its columns do.
template <class Real>
struct Matrix {
    Real* data;
    int stride;
    bool transposed = false;
};

// C[m,n] = sum_k A[m,k] * B[k,n] + bias[n]  (bias null: none), or  C[m,n] += ..  with `add` (then without bias)
//                                                                  m < M, n < N, k < K; C not transposed
// Of float, double, or bf16 (cpu/bf16.h) with C of bf16 or of float: exact products, sums in float, a C of bf16 rounded
// once, to the nearest even. Nothing can be added to a C of bf16.
// Runs on all threads: each block is packed once by all, then its tiles are handed out. The same bits for any number of
// threads. Row m of the result does not depend on M, on the other rows or on its position, which is what makes scores
// independent of batch and packing; test/test_matmul.cpp holds that.
template <class Real, class Out = Real>
void gemm(Matrix<Out> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, const Real* bias, bool add);

// How products of bf16 are computed: by the instruction vdpbf16ps (AVX-512 BF16), or as products of float, of bf16
// widened on the way into the packed blocks. Their sums are added in different orders: the last bits differ.
enum class Bf16Products { Widened, Avx512 };
bool has_bf16_products(Bf16Products way);  // of this processor and this build
// The fastest that there is, unless set: by tests, while no product runs.
Bf16Products bf16_products();
void set_bf16_products(Bf16Products way);

}  // namespace cpu
