// attention_backward_queries.cuh - the kernel of attention's backward pass that owns queries: dQ.
#pragma once
#include "kernels/attention_backward_statistics.cuh"
#include "kernels/attention_mask.cuh"
#include "kernels/attention_softmax.cuh"
#include "kernels/attention_tile.cuh"
#include "kernels/simt.h"

namespace gpu {

template <class Real, int HS, int ROWS>
struct AttentionBackwardQueries : OwnBlock<ROWS> {
    static constexpr bool LONG = ROWS == LONG_BLOCK;
    static constexpr int KEYS = LONG ? 32 : SHORT_BACKWARD_COLUMNS<Real, HS>;
    // As of the keys' kernel.
    static constexpr int BLOCKS = std::is_same_v<Real, float> ? 1 : LONG ? (HS <= 32 ? 3 : 2) : 0;
    // What stays in registers, as operands, for all tiles of keys.
    static constexpr bool KEEPS_QUERIES = LONG && HS <= 80, KEEPS_DOUT = LONG && HS <= 64;
    static constexpr bool KEEPS_PLACES = true;
    struct Shared {
        SharedTile<Real, ROWS, HS> q, dout;
        SharedTile<Real, KEYS, HS> k[2], v[2];
    };
    static_assert(sizeof(Shared) <= SHARED_MEMORY_LIMIT);
};

// dQ of one segment and one query head, from k and v of its group.     statistics (B, NH, T)
// blockIdx: attention_grid. A block owns ROWS queries, a warp one or two bands of 16, and walks over tiles of keys up
// to the diagonal; a warp leaves out the tiles after its last query. 3 B NH T^2 HS flops (the causal half of three
// products), N (3 NH + 2 KV) HS sizeof(Real) bytes: bound by flops from T = 610 on where KV = NH, from 370 on where KV
// is much smaller. Sums over keys in the product's order, tile by tile in ascending order.
template <class Real, int HS, int ROWS>
__global__ void __launch_bounds__(AttentionBackwardQueries<Real, HS, ROWS>::THREADS,
                                  AttentionBackwardQueries<Real, HS, ROWS>::BLOCKS)
    attention_backward_queries_kernel(Real* dqkv, const Real* dout, const Real* qkv, const QueryStatistic* statistics,
                                      const int* schedule, int T, int NH, int KV, float scale) {
    using Shape = AttentionBackwardQueries<Real, HS, ROWS>;
    constexpr int KEYS = Shape::KEYS, BANDS = Shape::BANDS, PARTS = Shape::PARTS;
    auto& s = shared_memory<typename Shape::Shared>();
    const int warp_row = static_cast<int>(threadIdx.x) / 32 * Shape::WARP_ROWS;
    const int head = query_head(), count = schedule[0];
    const int part = PARTS - 1 - part_of_item<PARTS>();  // an item's last part has the longest way to go

    for (int index = first_item<PARTS>(); index < count; index += item_stride<PARTS>()) {
        const WorkItem item = work_item(schedule, index, T, NH, head);
        const int first_query = item.query + part * ROWS;
        const int token = item.token, length = item.length;
        if (first_query >= length) continue;
        const int tiles = (min(first_query + ROWS, length) + KEYS - 1) / KEYS;
        const int own_first = first_query + warp_row;
        const int own_tiles = own_first < length ? (min(own_first + Shape::WARP_ROWS, length) + KEYS - 1) / KEYS : 0;
        const auto start_loading = [&](int tile) {
            start_loading_keys<Shape>(s.k, s.v, tile, qkv, token, length, NH, KV);
        };

        const int queries = length - first_query;
        load_tile<Shape>(s.q, Packed<HS>::query(qkv, token + first_query, NH, KV, head), Packed<HS>::token(NH, KV),
                         queries);
        load_tile<Shape>(s.dout, head_of_token<HS>(dout, token + first_query, NH, head), static_cast<size_t>(NH) * HS,
                         queries);
        start_loading(0);
        QueryStatistic statistic[BANDS][2] = {};
        UNROLL
        for (int band = 0; band < BANDS; ++band)
            for (int r = 0; r < 2; ++r) {
                const int row = warp_row + 16 * band + lane_index() / 4 + 8 * r;
                if (row < queries) statistic[band][r] = statistics[item.statistic + first_query + row];
            }
        copy_async_wait<0>();
        __syncthreads();
        OwnRows<Shape::KEEPS_QUERIES, Real, BANDS, HS> own_q;
        OwnRows<Shape::KEEPS_DOUT, Real, BANDS, HS> own_dout;
        own_q.load(s.q, warp_row);
        own_dout.load(s.dout, warp_row);

        float dq[BANDS][HS / 8][4] = {};
        for (int tile = 0; tile < tiles; ++tile) {
            if (tile + 1 < tiles) start_loading(tile + 1);
            if (tile < own_tiles) {
                const int stage = tile % 2, own_offset = lane_offset<SharedTile<Real, ROWS, HS>>(warp_row);
                float p[BANDS][KEYS / 8][4] = {}, ds[BANDS][KEYS / 8][4] = {};
                multiply_transposed<Shape::KEEPS_QUERIES ? HS / 16 : UNROLLED_STEPS<Real>>(
                    p, own_q.operand(s.q, own_offset), s.k[stage]);
                if (crosses_diagonal(first_query + warp_row, tile * KEYS + KEYS - 1))
                    mask_later_keys<false>(p, detached(first_query) + warp_row, tile * KEYS);
                multiply_transposed<Shape::KEEPS_DOUT ? HS / 16 : UNROLLED_STEPS<Real>>(
                    ds, own_dout.operand(s.dout, own_offset), s.v[stage]);
                UNROLL
                for (int band = 0; band < BANDS; ++band) {
                    UNROLL
                    for (int n = 0; n < KEYS / 8; ++n) {
                        UNROLL
                        for (int i = 0; i < 4; ++i) {
                            const QueryStatistic& row = statistic[band][i / 2];
                            const float probability = exp2_fast(fmaf(p[band][n][i], scale * LOG2_E, -row.lse));
                            ds[band][n][i] = probability * (ds[band][n][i] - row.dot);
                        }
                    }
                }
                multiply(dq, ds, s.k[stage]);
            }
            copy_async_wait<0>();
            __syncthreads();  // the next tile is there, and this one may be overwritten
        }

        float factor[BANDS][2];
        for (auto& f : factor) f[0] = f[1] = scale;
        store_rows(Packed<HS>::query(dqkv, token + first_query + warp_row, NH, KV, head),
                   Packed<HS>::token(detached(NH), detached(KV)), length - first_query - warp_row, dq, factor, s.q,
                   warp_row);
        __syncthreads();  // the queries' tile has been read
    }
}

}  // namespace gpu
