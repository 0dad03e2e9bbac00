// norm_rows.cuh - what layer norm and RMS norm share: a row is held in registers by a team of threads, from half a warp
// (two rows a warp) to a block, so that it is read once; its statistics are sums over the registers. CENTRED: layer
// norm, with a mean to take away and a bias; else RMS norm. On their way they add up the residual stream that they
// read. The backward pass has the same teams; each adds up its rows' share of the parameter gradients in registers, a
// block adds its teams', and column_sum.cuh adds the blocks'.
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
constexpr int MAX_NORM_CHUNKS = 528;
constexpr int MAX_NORM_C = 8192;
constexpr size_t ROW_SHARED = 32 * sizeof(float);  // bytes of shared memory that a sum over a block needs

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
    if constexpr (MAX_NORM_C / Pack<Real>::SIZE > 1024) f(Team<512, 4>{});
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

// layernorm_forward or rmsnorm_forward (mean null). A team has a row; a thread adds its packs in ascending order, then
// the team by halving distances (and a block's warps as block_sum does).
template <class Real, class Row, bool CENTRED>
__device__ __forceinline__ void norm_rows_forward(Real* residual, const Affine<Real>& first, const Affine<Real>& second,
                                                  float* mean, float* rstd, const Real* a, const Real* b, const Real* c,
                                                  int N, int C, float eps) {
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
    float center = 0;
    if constexpr (CENTRED) center = team_sum<Row>(sum, reduction) / static_cast<float>(C);

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
            float weight[SIZE];
            to_floats(weight, load_pack(y.weight + at));
            Pack<Real> out;
            if constexpr (CENTRED) {
                float bias[SIZE];
                to_floats(bias, load_pack(y.bias + at));
                for (int k = 0; k < SIZE; ++k)
                    out[k] = from_float<Real>((x[p][k] - center) * scale * weight[k] + bias[k]);
            } else {
                for (int k = 0; k < SIZE; ++k) out[k] = from_float<Real>(x[p][k] * scale * weight[k]);
            }
            store_pack(y.out + row + at, out);
        }
    }
    if (i == 0 && columns) {
        if constexpr (CENTRED) mean[n] = center;
        rstd[n] = scale;
    }
}

// Bytes of shared memory of a block that adds up its teams' sums of M gradients (add_teams), and sums over rows before.
template <class Row, class Real, int M>
constexpr size_t TEAMS_SHARED = Row::ROWS == 1 ? ROW_SHARED : Pack<Real>::SIZE* M* Row::BLOCK * sizeof(float);

// to[m * stride + c] = sum over the block's teams, in order, of sums[m] of column c        m < M, c < C
template <class Row, class Real, int M>
__device__ __forceinline__ void add_teams(float* to, size_t stride,
                                          const float (&sums)[M][Row::PACKS][Pack<Real>::SIZE], int C, float* scratch) {
    constexpr int SIZE = Pack<Real>::SIZE, SPAN = Row::THREADS * SIZE;  // columns at a time
    const int i = static_cast<int>(threadIdx.x) % Row::THREADS, team = static_cast<int>(threadIdx.x) / Row::THREADS;
    for (int p = 0; p < Row::PACKS; ++p) {
        if constexpr (Row::ROWS == 1) {
            const int at = i * SIZE + p * SPAN;
            for (int k = 0; k < SIZE && at < C; ++k)
                for (int m = 0; m < M; ++m) to[m * stride + at + k] = sums[m][p][k];
        } else {  // (ROWS, M, SPAN)
            __syncthreads();
            for (int k = 0; k < SIZE; ++k)
                for (int m = 0; m < M; ++m) scratch[(team * M + m) * SPAN + i * SIZE + k] = sums[m][p][k];
            __syncthreads();
            for (int j = static_cast<int>(threadIdx.x); j < M * SPAN; j += Row::BLOCK) {
                float total = 0;
                for (int r = 0; r < Row::ROWS; ++r) total += scratch[r * M * SPAN + j];
                const int c = p * SPAN + j % SPAN;
                if (c < C) to[j / SPAN * stride + c] = total;
            }
        }
    }
}

// layernorm_backward or rmsnorm_backward (mean null), but for the sums over all rows:
// partial[p,0,c] = sum of dout * x, partial[p,1,c] = sum of dout, over the rows n of chunk p        p < P, c < C
// partial (P, 2, C), of RMS norm (P, 1, C). A block has a chunk, a team every ROWS-th row of it in ascending order;
// sums over a row as in the forward pass; those over rows by team, then over the teams in order.
template <class Real, class Row, bool CENTRED>
__device__ __forceinline__ void norm_rows_backward(Real* dinp, float* partial, const Real* dout, const Real* inp,
                                                   const Real* weight, const float* mean, const float* rstd, int rows,
                                                   int N, int C) {
    static_assert(ROW_CHUNK_UNIT % Row::ROWS == 0 && Row::CHUNKS <= MAX_NORM_CHUNKS);
    constexpr int SIZE = Pack<Real>::SIZE, PACKS = Row::PACKS, SPAN = Row::THREADS * SIZE, SUMS = CENTRED ? 2 : 1;
    float* reduction = &shared_memory<float>();
    const int i = static_cast<int>(threadIdx.x) % Row::THREADS, team = static_cast<int>(threadIdx.x) / Row::THREADS;
    const int begin = static_cast<int>(blockIdx.x) * rows, end = min(begin + rows, N);
    const size_t stride = static_cast<size_t>(C);
    float sums[SUMS][PACKS][SIZE] = {};  // of the weight's gradient, and of the bias's

    for (int block_row = begin; block_row < end; block_row += Row::ROWS) {
        const int n = block_row + team;
        const int columns = n < end ? C : 0;
        const size_t row = static_cast<size_t>(n) * stride;
        const float center = CENTRED && columns ? mean[n] : 0, scale = columns ? rstd[n] : 0;
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
                sums[0][p][k] += d[k] * x;
                if constexpr (CENTRED) sums[1][p][k] += d[k];
                sum += g;
                dot += g * x;
            }
        }
        float mean_g = 0;
        if constexpr (CENTRED) mean_g = team_sum<Row>(sum, reduction) / static_cast<float>(C);
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

    add_teams<Row, Real>(partial + blockIdx.x * SUMS * stride, stride, sums, C, reduction);
}

inline void check_norm(const char* name, int N, int C) {
    ENSURE(N > 0 && C > 0 && C % 8 == 0 && C <= MAX_NORM_C, "%s: N=%d C=%d: C is a multiple of 8, up to %d", name, N, C,
           MAX_NORM_C);
}
template <class Real>
void check_norm_terms(const char* name, const Real* residual, const Real* b, const Real* c) {
    ENSURE(residual || !b, "%s: a sum needs a place to be written to", name);
    ENSURE(b || !c, "%s: a third term without a second one", name);
}

}  // namespace gpu
