// rmsnorm.cuh - RMS norm, by the teams of norm_rows.cuh: the mean square is one sum over a row's registers.
#pragma once
#include "kernels/norm_rows.cuh"

namespace gpu {

// rmsnorm_forward. Bytes: N C sizeof(Real) for each of a, b, c, residual and the outputs: bf16 N=65536, C=512, of a
// alone 31 us, of two inputs to residual and one output 62 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK)
    rmsnorm_forward_kernel(Real* residual, Affine<Real> first, Affine<Real> second, float* rstd, const Real* a,
                           const Real* b, const Real* c, int N, int C, float eps) {
    norm_rows_forward<Real, Row, false>(residual, first, second, nullptr, rstd, a, b, c, N, C, eps);
}

// rmsnorm_backward, but for the sums over all rows: partial (P, C) has those of P chunks (norm_rows.cuh), and
// column_sum.cuh adds them. 4 N C sizeof(Real) bytes, and 4 P C written: bf16 N=65536, C=512 62 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK, Row::RESIDENT)
    rmsnorm_backward_kernel(Real* dinp, float* partial, const Real* dout, const Real* inp, const Real* weight,
                            const float* rstd, int rows, int N, int C) {
    norm_rows_backward<Real, Row, false>(dinp, partial, dout, inp, weight, nullptr, rstd, rows, N, C);
}

template <class Real>
void rmsnorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* rstd, const Real* a,
                     const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t stream) {
    check_norm("rmsnorm", N, C);
    check_norm_terms("rmsnorm", residual, b, c);
    ENSURE(!first.bias && !second.bias, "rmsnorm: a bias, of which it has none");
    with_team<Real>(C, [&](auto team) {
        using Row = decltype(team);
        LAUNCH((rmsnorm_forward_kernel<Real, Row>), (N - 1) / Row::ROWS + 1, Row::BLOCK, ROW_SHARED, stream.cuda,
               residual, first, second, rstd, a, b, c, N, C, eps);
    });
}

template <class Real>
void rmsnorm_backward(Real* dinp, Stat<Real>* dweight, void* scratch, const Real* dout, const Real* inp,
                      const Real* weight, const Stat<Real>* rstd, int N, int C, stream_t stream) {
    check_norm("rmsnorm", N, C);
    float* partial = static_cast<float*>(scratch);
    with_team<Real>(C, [&](auto team) {
        using Row = decltype(team);
        const int chunks = row_chunks(N, Row::CHUNKS), rows = chunk_rows(N, Row::CHUNKS);
        LAUNCH((rmsnorm_backward_kernel<Real, Row>), chunks, Row::BLOCK, (TEAMS_SHARED<Row, Real, 1>), stream.cuda,
               dinp, partial, dout, inp, weight, rstd, rows, N, C);
        add_column_sums(dweight, nullptr, partial, chunks, C, stream.cuda);
    });
}

size_t rmsnorm_backward_scratch(int N, int C) {
    return sizeof(float) * static_cast<size_t>(row_chunks(N, MAX_NORM_CHUNKS)) * static_cast<size_t>(C);
}

}  // namespace gpu
