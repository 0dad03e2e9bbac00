// layernorm.cuh - layer norm, by the teams of norm_rows.cuh: mean and variance are two sums over a row's registers.
#pragma once
#include "kernels/norm_rows.cuh"

namespace gpu {

// layernorm_forward. Bytes: N C sizeof(Real) for each of a, b, c, residual and the outputs: bf16 N=65536, C=512, of a
// alone 31 us, of three inputs to residual and two outputs 94 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK)
    layernorm_forward_kernel(Real* residual, Affine<Real> first, Affine<Real> second, float* mean, float* rstd,
                             const Real* a, const Real* b, const Real* c, int N, int C, float eps) {
    norm_rows_forward<Real, Row, true>(residual, first, second, mean, rstd, a, b, c, N, C, eps);
}

// layernorm_backward, but for the sums over all rows. 4 N C sizeof(Real) bytes: bf16 N=65536, C=512 62 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK, Row::RESIDENT)
    layernorm_backward_kernel(Real* dinp, float* partial, const Real* dout, const Real* inp, const Real* weight,
                              const float* mean, const float* rstd, int rows, int N, int C) {
    norm_rows_backward<Real, Row, true>(dinp, partial, dout, inp, weight, mean, rstd, rows, N, C);
}

template <class Real>
void layernorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* mean, Stat<Real>* rstd,
                       const Real* a, const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t stream) {
    check_norm("layernorm", N, C);
    check_norm_terms("layernorm", residual, b, c);
    with_team<Real>(C, [&](auto team) {
        using Row = decltype(team);
        LAUNCH((layernorm_forward_kernel<Real, Row>), (N - 1) / Row::ROWS + 1, Row::BLOCK, ROW_SHARED, stream.cuda,
               residual, first, second, mean, rstd, a, b, c, N, C, eps);
    });
}

template <class Real>
void layernorm_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, void* scratch, const Real* dout,
                        const Real* inp, const Real* weight, const Stat<Real>* mean, const Stat<Real>* rstd, int N,
                        int C, stream_t stream) {
    check_norm("layernorm", N, C);
    float* partial = static_cast<float*>(scratch);
    with_team<Real>(C, [&](auto team) {
        using Row = decltype(team);
        const int chunks = row_chunks(N, Row::CHUNKS), rows = chunk_rows(N, Row::CHUNKS);
        LAUNCH((layernorm_backward_kernel<Real, Row>), chunks, Row::BLOCK, (TEAMS_SHARED<Row, Real, 2>), stream.cuda,
               dinp, partial, dout, inp, weight, mean, rstd, rows, N, C);
        add_column_sums(dweight, dbias, partial, chunks, C, stream.cuda);
    });
}

size_t layernorm_backward_scratch(int N, int C) {
    return 2 * sizeof(float) * static_cast<size_t>(row_chunks(N, MAX_NORM_CHUNKS)) * static_cast<size_t>(C);
}

}  // namespace gpu
