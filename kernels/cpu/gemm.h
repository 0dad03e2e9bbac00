// gemm.h - matrix products: the piece from which matmul and attention are built.
#pragma once
namespace cpu {

// A matrix whose rows lie `stride` elements apart in memory, or, transposed, its columns do.
template <class Real>
struct Matrix {
    Real* data;
    int stride;
    bool transposed = false;
};

// C[m,n] = alpha * sum_k A[m,k] * B[k,n] + beta * C[m,n]        m < M, n < N, k < K; C not transposed
// Runs on the calling thread only. Row m of the result does not depend on M, on the other rows or on its position,
// which is what makes scores independent of batch and packing; test/test_matmul.cpp holds that.
template <class Real>
void gemm(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, Real alpha, Real beta);

// C[m,n] = sum_k A[m,k] * B[k,n] + bias[n]  (bias null: none), or  C[m,n] += ..  with `add` (then without bias)
// Runs on all threads: each block is packed once by all, then its tiles are handed out. The same bits for any number of
// threads, and gemm's.
template <class Real>
void gemm_threads(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, const Real* bias,
                  bool add);

}  // namespace cpu
