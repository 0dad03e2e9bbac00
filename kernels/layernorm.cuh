// layernorm.cuh - layer norm, on its way adding up the residual stream that it reads. A row is held in registers by a
// team of threads, from half a warp (two rows a warp) to a block, so that it is read once; mean and variance are two
// sums over the registers. The backward pass has the same teams; each adds up its rows' share of the parameter
// gradients in registers, a block adds its teams', and column_sum.cuh adds the blocks'.
#pragma once
#include "kernels/column_sum.cuh"
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

// Thread i of a team has packs i, i + THREADS, ... of its row.
template <int THREADS_, int PACKS_>
struct Team {
    static constexpr int THREADS = THREADS_, PACKS = PACKS_;
    static constexpr int BLOCK = THREADS > 32 ? THREADS : 256;  // threads
    static constexpr int ROWS = BLOCK / THREADS;                // rows of a block at a time
    // Blocks of the backward kernel that a processor's registers hold at once, and as many chunks of rows as an H200
    // with its 132 processors then works on in one go.
    static constexpr int RESIDENT = BLOCK == 256 ? (PACKS == 1 ? 4 : PACKS <= 3 ? 2 : 1) : BLOCK == 128 ? 8 / PACKS : 1;
    static constexpr int CHUNKS = 132 * RESIDENT;
};
constexpr int MAX_LAYERNORM_CHUNKS = 528;
constexpr int MAX_LAYERNORM_C = 8192;
constexpr size_t TEAM_SHARED = 32 * sizeof(float);  // what a sum over a block needs

// f(Team) with the smallest team that holds a row of C elements.
template <class Real, class F>
void with_team(int C, F f) {
    const int packs = C / Pack<Real>::SIZE;
    if (packs <= 16) return f(Team<16, 1>{});
    if (packs <= 32) return f(Team<32, 1>{});
    if (packs <= 64) return f(Team<32, 2>{});
    if (packs <= 96) return f(Team<32, 3>{});
    if (packs <= 128) return f(Team<32, 4>{});
    if (packs <= 256) return f(Team<128, 2>{});
    if (packs <= 512) return f(Team<128, 4>{});
    if (packs <= 1024) return f(Team<512, 2>{});
    if constexpr (MAX_LAYERNORM_C / Pack<Real>::SIZE > 1024) f(Team<512, 4>{});
}

// The sum over the threads of a team, for all of them.
template <class Row>
__device__ inline float team_sum(float x, float* reduction) {
    if constexpr (Row::THREADS > 32) {
        return block_sum(x, reduction);
    } else if constexpr (Row::THREADS == 32) {
        return warp_sum(x);
    } else {
        for (int d = Row::THREADS / 2; d > 0; d /= 2) x += __shfl_xor_sync(0xffffffffu, x, d);
        return x;
    }
}

// layernorm_forward. A team has a row; a thread adds its packs in ascending order, then the team by halving distances
// (and a block's warps as block_sum does). Bytes: N C sizeof(Real) for each of a, b, c, residual and the outputs: bf16
// N=65536, C=512, of a alone 31 us, of three inputs to residual and two outputs 94 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK)
    layernorm_forward_kernel(Real* residual, Affine<Real> first, Affine<Real> second, float* mean, float* rstd,
                             const Real* a, const Real* b, const Real* c, int N, int C, float eps) {
    constexpr int SIZE = Pack<Real>::SIZE, PACKS = Row::PACKS;
    float* reduction = &shared_memory<float>();
    const int i = static_cast<int>(threadIdx.x) % Row::THREADS;
    const size_t n = static_cast<size_t>(blockIdx.x) * Row::ROWS + threadIdx.x / Row::THREADS;
    const size_t row = n * static_cast<size_t>(C);
    // Where there is no such row or column, a thread only goes along with the sums.
    const int columns = n < static_cast<size_t>(N) ? C : 0;

    float x[PACKS][SIZE], sum = 0;
    for (int p = 0; p < PACKS; ++p) {
        const int at = (i + p * Row::THREADS) * SIZE;
        if (at >= columns) continue;
        Pack<Real> pack = load_pack(a + row + at);
        to_floats(x[p], pack);
        if (b) {
            float term[SIZE];
            to_floats(term, load_pack(b + row + at));
            for (int k = 0; k < SIZE; ++k) x[p][k] += term[k];
            if (c) {
                to_floats(term, load_pack(c + row + at));
                for (int k = 0; k < SIZE; ++k) x[p][k] += term[k];
            }
            for (int k = 0; k < SIZE; ++k) pack[k] = from_float<Real>(x[p][k]);
            to_floats(x[p], pack);
        }
        if (residual) store_pack(residual + row + at, pack);
        for (int k = 0; k < SIZE; ++k) sum += x[p][k];
    }
    const float center = team_sum<Row>(sum, reduction) / static_cast<float>(C);

    // The deviations, not the squares' mean less the mean's square: that loses every digit when the mean is large.
    float squares = 0;
    for (int p = 0; p < PACKS; ++p)
        if ((i + p * Row::THREADS) * SIZE < columns)
            for (int k = 0; k < SIZE; ++k) squares += (x[p][k] - center) * (x[p][k] - center);
    const float scale = 1 / sqrtf(team_sum<Row>(squares, reduction) / static_cast<float>(C) + eps);

    UNROLL
    for (int which = 0; which < 2; ++which) {
        const Affine<Real>& y = which == 0 ? first : second;
        if (!y.out) continue;
        for (int p = 0; p < PACKS; ++p) {
            const int at = (i + p * Row::THREADS) * SIZE;
            if (at >= columns) continue;
            float weight[SIZE], bias[SIZE];
            to_floats(weight, load_pack(y.weight + at));
            to_floats(bias, load_pack(y.bias + at));
            Pack<Real> out;
            for (int k = 0; k < SIZE; ++k) out[k] = from_float<Real>((x[p][k] - center) * scale * weight[k] + bias[k]);
            store_pack(y.out + row + at, out);
        }
    }
    if (i == 0 && columns) {
        mean[n] = center;
        rstd[n] = scale;
    }
}

// layernorm_backward, but for the sums over all rows:
// partial[p,0,c] = sum of dout * x, partial[p,1,c] = sum of dout, over the rows n of chunk p        p < P, c < C
// partial (P, 2, C). A block has a chunk, a team every ROWS-th row of it in ascending order; sums over a row as in the
// forward pass; those over rows by team, then over the teams in order. 4 N C sizeof(Real) bytes: bf16 N=65536, C=512
// 62 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK, Row::RESIDENT)
    layernorm_backward_kernel(Real* dinp, float* partial, const Real* dout, const Real* inp, const Real* weight,
                              const float* mean, const float* rstd, int rows, int N, int C) {
    constexpr int SIZE = Pack<Real>::SIZE, PACKS = Row::PACKS, SPAN = Row::THREADS * SIZE;
    float* reduction = &shared_memory<float>();
    const int i = static_cast<int>(threadIdx.x) % Row::THREADS, team = static_cast<int>(threadIdx.x) / Row::THREADS;
    const int begin = static_cast<int>(blockIdx.x) * rows, end = min(begin + rows, N);
    const size_t stride = static_cast<size_t>(C);
    float dweight[PACKS][SIZE] = {}, dbias[PACKS][SIZE] = {};

    for (int block_row = begin; block_row < end; block_row += Row::ROWS) {
        const int n = block_row + team;
        const int columns = n < end ? C : 0;
        const size_t row = static_cast<size_t>(n) * stride;
        const float center = columns ? mean[n] : 0, scale = columns ? rstd[n] : 0;
        Pack<Real> dy[PACKS], in[PACKS], w[PACKS], dx[PACKS];
        float sum = 0, dot = 0;
        for (int p = 0; p < PACKS; ++p) {
            const int at = i * SIZE + p * SPAN;
            if (at >= columns) continue;
            dy[p] = load_pack(dout + row + at);
            in[p] = load_pack(inp + row + at);
            dx[p] = load_pack(dinp + row + at);  // needed last, asked for before the sums make everyone wait
            w[p] = load_pack(weight + at);
        }
        for (int p = 0; p < PACKS; ++p) {
            if (i * SIZE + p * SPAN >= columns) continue;
            float d[SIZE], from[SIZE], factor[SIZE];
            to_floats(d, dy[p]);
            to_floats(from, in[p]);
            to_floats(factor, w[p]);
            for (int k = 0; k < SIZE; ++k) {
                const float x = (from[k] - center) * scale, g = d[k] * factor[k];
                dweight[p][k] += d[k] * x;
                dbias[p][k] += d[k];
                sum += g;
                dot += g * x;
            }
        }
        const float mean_g = team_sum<Row>(sum, reduction) / static_cast<float>(C);
        const float mean_gx = team_sum<Row>(dot, reduction) / static_cast<float>(C);
        for (int p = 0; p < PACKS; ++p) {
            const int at = i * SIZE + p * SPAN;
            if (at >= columns) continue;
            float d[SIZE], from[SIZE], factor[SIZE], before[SIZE];
            to_floats(d, dy[p]);
            to_floats(from, in[p]);
            to_floats(factor, w[p]);
            to_floats(before, dx[p]);
            for (int k = 0; k < SIZE; ++k) {
                const float x = (from[k] - center) * scale, g = d[k] * factor[k];
                dx[p][k] = from_float<Real>(before[k] + scale * (g - mean_g - x * mean_gx));
            }
            store_pack(dinp + row + at, dx[p]);
        }
    }

    // The teams' sums, SPAN columns at a time
    float* const to = partial + blockIdx.x * 2 * stride;
    for (int p = 0; p < PACKS; ++p) {
        if constexpr (Row::ROWS == 1) {
            const int at = i * SIZE + p * SPAN;
            for (int k = 0; k < SIZE && at < C; ++k) {
                to[at + k] = dweight[p][k];
                to[stride + at + k] = dbias[p][k];
            }
        } else {
            float* const sums = reduction;  // (ROWS, 2, SPAN)
            __syncthreads();
            for (int k = 0; k < SIZE; ++k) {
                sums[team * 2 * SPAN + i * SIZE + k] = dweight[p][k];
                sums[team * 2 * SPAN + SPAN + i * SIZE + k] = dbias[p][k];
            }
            __syncthreads();
            for (int j = static_cast<int>(threadIdx.x); j < 2 * SPAN; j += Row::BLOCK) {
                float total = 0;
                for (int r = 0; r < Row::ROWS; ++r) total += sums[r * 2 * SPAN + j];
                const int c = p * SPAN + j % SPAN;
                if (c < C) to[j / SPAN * stride + c] = total;
            }
        }
    }
}

inline void check_layernorm(int N, int C) {
    ENSURE(N > 0 && C > 0 && C % 8 == 0 && C <= MAX_LAYERNORM_C, "layernorm: N=%d C=%d: C is a multiple of 8, up to %d",
           N, C, MAX_LAYERNORM_C);
}

template <class Real>
void layernorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* mean, Stat<Real>* rstd,
                       const Real* a, const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t stream) {
    check_layernorm(N, C);
    ENSURE(residual || !b, "layernorm: a sum needs a place to be written to");
    ENSURE(b || !c, "layernorm: a third term without a second one");
    with_team<Real>(C, [&](auto team) {
        using Row = decltype(team);
        LAUNCH((layernorm_forward_kernel<Real, Row>), (N - 1) / Row::ROWS + 1, Row::BLOCK, TEAM_SHARED, stream.cuda,
               residual, first, second, mean, rstd, a, b, c, N, C, eps);
    });
}

template <class Real>
void layernorm_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, void* scratch, const Real* dout,
                        const Real* inp, const Real* weight, const Stat<Real>* mean, const Stat<Real>* rstd, int N,
                        int C, stream_t stream) {
    check_layernorm(N, C);
    float* partial = static_cast<float*>(scratch);
    with_team<Real>(C, [&](auto team) {
        using Row = decltype(team);
        static_assert(ROW_CHUNK_UNIT % Row::ROWS == 0 && Row::CHUNKS <= MAX_LAYERNORM_CHUNKS);
        const int chunks = row_chunks(N, Row::CHUNKS), rows = chunk_rows(N, Row::CHUNKS);
        constexpr size_t SUMS = sizeof(float) * Row::BLOCK * 2 * Pack<Real>::SIZE;
        LAUNCH((layernorm_backward_kernel<Real, Row>), chunks, Row::BLOCK, Row::ROWS == 1 ? TEAM_SHARED : SUMS,
               stream.cuda, dinp, partial, dout, inp, weight, mean, rstd, rows, N, C);
        add_column_sums(dweight, dbias, partial, chunks, C, stream.cuda);
    });
}

size_t layernorm_backward_scratch(int N, int C) {
    return 2 * sizeof(float) * static_cast<size_t>(row_chunks(N, MAX_LAYERNORM_CHUNKS)) * static_cast<size_t>(C);
}

}  // namespace gpu
