// gemm.h - matrix products, row-major: the piece from which matmul and attention are built.
#pragma once

namespace cpu {

// C[m,n] = alpha * sum_k op(A)[m,k] * op(B)[k,n] + beta * C[m,n]
// op(X) = X or X^T; lda, ldb, ldc: row strides as stored.
// Runs on the calling thread only. Row m of the result does not depend on M, on the other rows or on its position,
// which is what makes scores independent of batch and packing; test/test_matmul.cpp holds that.
template <class Real>
void gemm(bool transpose_a, bool transpose_b, int M, int N, int K, Real alpha, const Real* A, int lda, const Real* B,
          int ldb, Real beta, Real* C, int ldc);

// C[m,n] = sum_k op(A)[m,k] * op(B)[k,n] + bias[n]  (bias null: none), or  C[m,n] += ..  with `add` (then without bias)
// Runs on all threads: each block is packed once by all, then its tiles are handed out. The same bits for any number of
// threads, and gemm's.
template <class Real>
void gemm_threads(bool transpose_a, bool transpose_b, int M, int N, int K, const Real* A, int lda, const Real* B,
                  int ldb, const Real* bias, bool add, Real* C, int ldc);

}  // namespace cpu
