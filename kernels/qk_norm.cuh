// qk_norm.cuh - RMS norm of every head of q and k, by teams as in norm_rows.cuh: of 4 to 32 threads, so that a warp has
// up to eight heads. A head's sum is a thread's packs in ascending order, then the team's by halving distances.
#pragma once
#include "kernels/norm_rows.cuh"

namespace gpu {

constexpr int MAX_QK_NORM_HS = 256;

// f(Team) with the smallest team that holds a head. A thread has two packs: what a team computes once, a root and two
// divisions, would else take more instructions than the time to move a pack allows.
template <class Real, class F>
void with_head_team(int HS, F f) {
    const int packs = HS / Pack<Real>::SIZE;
    if (packs <= 8) return f(Team<4, 2>{});
    if (packs <= 16) return f(Team<8, 2>{});
    if (packs <= 32) return f(Team<16, 2>{});
    if constexpr (MAX_QK_NORM_HS / Pack<Real>::SIZE > 32) f(Team<32, 2>{});
}

// qk_norm_forward. A team has a head, those of v only copy; neighbouring teams have neighbouring heads. Bytes:
// 2 N (NH + 2 KV) HS sizeof(Real), and 4 N (NH + KV) of rstd: bf16 N=65536, NH=16, KV=8, HS=128 251 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK)
    qk_norm_forward_kernel(Real* out, float* rstd, const Real* inp, const Real* qweight, const Real* kweight, int N,
                           int NH, int KV, int HS, float eps) {
    constexpr int SIZE = Pack<Real>::SIZE, PACKS = Row::PACKS;
    const int i = static_cast<int>(threadIdx.x) % Row::THREADS;
    const unsigned all = blockIdx.x * Row::ROWS + threadIdx.x / Row::THREADS;  // heads before this one
    const unsigned heads = static_cast<unsigned>(NH + 2 * KV), n = all / heads;
    const int head = static_cast<int>(all % heads);
    const size_t from = static_cast<size_t>(all) * static_cast<size_t>(HS);
    const int columns = n < static_cast<unsigned>(N) ? HS : 0;  // 0: only goes along with the sum

    Pack<Real> pack[PACKS];
    float squares = 0;
    for (int p = 0; p < PACKS; ++p) {
        const int at = (i + p * Row::THREADS) * SIZE;
        if (at >= columns) continue;
        pack[p] = load_pack(inp + from + at);
        float x[SIZE];
        to_floats(x, pack[p]);
        for (int k = 0; k < SIZE; ++k) squares += x[k] * x[k];
    }
    const float scale = 1 / sqrtf(team_sum<Row>(squares, nullptr) / static_cast<float>(HS) + eps);
    const bool normed = head < NH + KV;
    const Real* weight = head < NH ? qweight : kweight;
    for (int p = 0; p < PACKS; ++p) {
        const int at = (i + p * Row::THREADS) * SIZE;
        if (at >= columns) continue;
        if (normed) {
            float x[SIZE], w[SIZE];
            to_floats(x, pack[p]);
            to_floats(w, load_pack(weight + at));
            for (int k = 0; k < SIZE; ++k) pack[p][k] = from_float<Real>(x[k] * scale * w[k]);
        }
        store_pack(out + from + at, pack[p]);
    }
    if (i == 0 && columns && normed)
        rstd[static_cast<size_t>(n) * static_cast<size_t>(NH + KV) + static_cast<size_t>(head)] = scale;
}

// qk_norm_backward, but for the sums over all rows:
// partial[p,0,d] = sum of dout * x over q's heads of the rows n of chunk p, partial[p,1,d] over k's    p < P, d < HS
// partial (P, 2, HS). A block has a chunk, q's heads of it, then k's; a team every ROWS-th of them in ascending order,
// then the teams are added in order, and column_sum.cuh adds the chunks. v is not read. 3 N (NH + KV) HS sizeof(Real)
// bytes, and 4 N (NH + KV) of rstd: bf16 N=65536, NH=16, KV=8, HS=128 282 us.
template <class Real, class Row>
__global__ void __launch_bounds__(Row::BLOCK, Row::RESIDENT)
    qk_norm_backward_kernel(Real* dqkv, float* partial, const Real* inp, const Real* qweight, const Real* kweight,
                            const float* rstd, int rows, int N, int NH, int KV, int HS) {
    constexpr int SIZE = Pack<Real>::SIZE, PACKS = Row::PACKS;
    const int i = static_cast<int>(threadIdx.x) % Row::THREADS, team = static_cast<int>(threadIdx.x) / Row::THREADS;
    const int begin = static_cast<int>(blockIdx.x) * rows, end = min(begin + rows, N);
    const size_t size = static_cast<size_t>(HS);

    for (int which = 0; which < 2; ++which) {  // q's heads, k's
        const int heads = which == 0 ? NH : KV, before = which == 0 ? 0 : NH, count = (end - begin) * heads;
        const Real* weight = which == 0 ? qweight : kweight;
        float factor[PACKS][SIZE], sums[1][PACKS][SIZE] = {};
        for (int p = 0; p < PACKS; ++p)
            if (const int at = (i + p * Row::THREADS) * SIZE; at < HS) to_floats(factor[p], load_pack(weight + at));

        for (int first = 0; first < count; first += Row::ROWS) {
            const int own = first + team, n = begin + own / heads, head = before + own % heads;
            const int columns = own < count ? HS : 0;  // 0: only goes along with the sum
            const size_t from = (static_cast<size_t>(n) * static_cast<size_t>(NH + 2 * KV) + head) * size;
            const float scale = columns ? rstd[static_cast<size_t>(n) * static_cast<size_t>(NH + KV) + head] : 0;
            Pack<Real> d[PACKS], in[PACKS];
            float dot = 0;
            for (int p = 0; p < PACKS; ++p) {
                const int at = (i + p * Row::THREADS) * SIZE;
                if (at >= columns) continue;
                d[p] = load_pack(dqkv + from + at);
                in[p] = load_pack(inp + from + at);
            }
            for (int p = 0; p < PACKS; ++p) {
                if ((i + p * Row::THREADS) * SIZE >= columns) continue;
                float dy[SIZE], x[SIZE];
                to_floats(dy, d[p]);
                to_floats(x, in[p]);
                for (int k = 0; k < SIZE; ++k) {
                    x[k] *= scale;
                    sums[0][p][k] += dy[k] * x[k];
                    dot += dy[k] * factor[p][k] * x[k];
                }
            }
            const float mean_gx = team_sum<Row>(dot, nullptr) / static_cast<float>(HS);
            for (int p = 0; p < PACKS; ++p) {
                const int at = (i + p * Row::THREADS) * SIZE;
                if (at >= columns) continue;
                float dy[SIZE], x[SIZE];
                to_floats(dy, d[p]);
                to_floats(x, in[p]);
                for (int k = 0; k < SIZE; ++k)
                    d[p][k] = from_float<Real>(scale * (dy[k] * factor[p][k] - x[k] * scale * mean_gx));
                store_pack(dqkv + from + at, d[p]);
            }
        }
        add_teams<Row, Real>(partial + (blockIdx.x * 2 + static_cast<unsigned>(which)) * size, size, sums, HS,
                             &shared_memory<float>());
    }
}

inline void check_qk_norm(int N, int NH, int KV, int HS) {
    ENSURE(N > 0 && NH > 0 && KV > 0 && HS > 0 && HS % 8 == 0 && HS <= MAX_QK_NORM_HS,
           "qk_norm: N=%d NH=%d KV=%d HS=%d: HS is a multiple of 8, up to %d", N, NH, KV, HS, MAX_QK_NORM_HS);
    ENSURE(static_cast<size_t>(N) * static_cast<size_t>(NH + 2 * KV) <= INT32_MAX,
           "qk_norm: N=%d NH=%d KV=%d: more than 2^31 heads", N, NH, KV);
}

template <class Real>
void qk_norm_forward(Real* out, Stat<Real>* rstd, const Real* inp, const Real* qweight, const Real* kweight, int N,
                     int NH, int KV, int HS, Stat<Real> eps, stream_t stream) {
    check_qk_norm(N, NH, KV, HS);
    with_head_team<Real>(HS, [&](auto team) {
        using Row = decltype(team);
        LAUNCH((qk_norm_forward_kernel<Real, Row>), (N * (NH + 2 * KV) - 1) / Row::ROWS + 1, Row::BLOCK, 0, stream.cuda,
               out, rstd, inp, qweight, kweight, N, NH, KV, HS, eps);
    });
}

template <class Real>
void qk_norm_backward(Real* dqkv, Stat<Real>* dqweight, Stat<Real>* dkweight, void* scratch, const Real* inp,
                      const Real* qweight, const Real* kweight, const Stat<Real>* rstd, int N, int NH, int KV, int HS,
                      stream_t stream) {
    check_qk_norm(N, NH, KV, HS);
    float* partial = static_cast<float*>(scratch);
    with_head_team<Real>(HS, [&](auto team) {
        using Row = decltype(team);
        static_assert(Row::ROWS > 1 && Row::CHUNKS <= MAX_NORM_CHUNKS);
        const int chunks = row_chunks(N, Row::CHUNKS), rows = chunk_rows(N, Row::CHUNKS);
        LAUNCH((qk_norm_backward_kernel<Real, Row>), chunks, Row::BLOCK, (TEAMS_SHARED<Row, Real, 1>), stream.cuda,
               dqkv, partial, inp, qweight, kweight, rstd, rows, N, NH, KV, HS);
        add_column_sums(dqweight, dkweight, partial, chunks, HS, stream.cuda);
    });
}

size_t qk_norm_backward_scratch(int N, int, int, int HS) {
    return 2 * sizeof(float) * static_cast<size_t>(row_chunks(N, MAX_NORM_CHUNKS)) * static_cast<size_t>(HS);
}

}  // namespace gpu
