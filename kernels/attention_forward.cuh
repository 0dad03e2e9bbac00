// attention_forward.cuh - causal attention, fused: online softmax over tiles of keys (Dao 2023, FlashAttention-2), no
// T x T matrix in memory. Tiles: attention_tile.cuh; the row's softmax: attention_softmax.cuh; who does which tile:
// attention_schedule.cuh.
#pragma once
#include <cmath>

#include "kernels/attention_blocks.h"
#include "kernels/attention_mask.cuh"
#include "kernels/attention_softmax.cuh"
#include "kernels/attention_tile.cuh"
#include "kernels/operations.h"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

template <class Real, int HS, int ROWS>
struct AttentionForward : OwnBlock<ROWS> {
    static constexpr bool BF16 = std::is_same_v<Real, bf16>, LONG = ROWS == LONG_BLOCK;
    static constexpr int KEYS = FORWARD_KEYS<Real, HS>;
    // Blocks that an SM is to hold, which limits a thread's registers (5: 96, 4: 128, 3: 168, 2: 255): what the
    // compiler reaches without spilling.
    static constexpr int LONG_BLOCKS = HS <= 32 ? 3 : 2, SHORT_BLOCKS = HS <= 16 ? 5 : HS <= 32 ? 4 : HS <= 80 ? 3 : 2;
    static constexpr int FLOAT_BLOCKS = HS <= 32 ? 4 : 1;
    static constexpr int BLOCKS = !BF16 ? FLOAT_BLOCKS : LONG ? LONG_BLOCKS : SHORT_BLOCKS;
    // The queries as operands in registers for all tiles of keys, where that leaves BLOCKS as it is.
    static constexpr bool KEEPS_QUERIES = BF16 && (LONG ? HS == 64 || HS == 80 : HS <= 32 || HS == 128);
    static constexpr bool KEEPS_PLACES = true;
    struct Shared {
        SharedTile<Real, ROWS, HS> q;
        SharedTile<Real, KEYS, HS> k[2], v[2];
    };
    static_assert(sizeof(Shared) <= SHARED_MEMORY_LIMIT);
};

// attention_forward, for the tokens of one segment and one query head; k and v are those of its group (operations.h).
// blockIdx: attention_grid; a block owns ROWS queries of a head, a warp one or two bands of 16, and walks over
// tiles of keys up to the diagonal while the next tile is on its way; a warp leaves out the tiles after its last query.
// Scores live in registers, rounded to Real as operand of p v.
// 2 B NH T^2 HS flops (the causal half; without a mask), 2 N (NH + KV) HS sizeof(Real) bytes: at 790 TFLOP/s and
// 4.3 TB/s the flops are the floor from T = 735 on where KV = NH, from 370 on where KV is much smaller.
// A row's maximum and sum run over a lane's keys in ascending order, then over the row's four lanes; outputs over keys
// in the product's order, tile by tile in ascending order.
template <class Real, int HS, int ROWS>
__global__ void __launch_bounds__(AttentionForward<Real, HS, ROWS>::THREADS, AttentionForward<Real, HS, ROWS>::BLOCKS)
    attention_forward_kernel(Real* out, float* lse, const Real* qkv, const int* schedule, int T, int NH, int KV,
                             float scale) {
    using Shape = AttentionForward<Real, HS, ROWS>;
    constexpr int KEYS = Shape::KEYS, BANDS = Shape::BANDS, PARTS = Shape::PARTS;
    auto& s = shared_memory<typename Shape::Shared>();
    const int lane = lane_index(), warp_row = static_cast<int>(threadIdx.x) / 32 * Shape::WARP_ROWS;
    const int head = query_head(), count = schedule[0];
    const int part = PARTS - 1 - part_of_item<PARTS>();  // an item's last part has the longest way to go

    for (int index = first_item<PARTS>(); index < count; index += item_stride<PARTS>()) {
        const WorkItem item = work_item(schedule, index, T, NH, head);
        const int token = item.token, length = item.length;
        const int first_query = item.query + part * ROWS;
        if (first_query >= length) continue;
        const int tiles = (min(first_query + ROWS, length) + KEYS - 1) / KEYS;
        const int own_first = first_query + warp_row;
        const int own_tiles = own_first < length ? (min(own_first + Shape::WARP_ROWS, length) + KEYS - 1) / KEYS : 0;
        const auto start_loading = [&](int tile) {
            start_loading_keys<Shape>(s.k, s.v, tile, qkv, token, length, NH, KV);
        };

        load_tile<Shape>(s.q, Packed<HS>::query(qkv, token + first_query, NH, KV, head), Packed<HS>::token(NH, KV),
                         length - first_query);
        start_loading(0);
        copy_async_wait<0>();
        __syncthreads();
        OwnRows<Shape::KEEPS_QUERIES, Real, BANDS, HS> q;
        q.load(s.q, warp_row);
        const int q_offset = lane_offset<decltype(s.q)>(warp_row);

        float output[BANDS][HS / 8][4] = {};
        OnlineSoftmax softmax[BANDS];
        for (int tile = 0; tile < tiles; ++tile) {
            if (tile + 1 < tiles) start_loading(tile + 1);
            if (tile < own_tiles) {
                float p[BANDS][KEYS / 8][4] = {};
                multiply_transposed<Shape::KEEPS_QUERIES ? HS / 16 : UNROLLED_STEPS<Real>>(p, q.operand(s.q, q_offset),
                                                                                           s.k[tile % 2]);
                if (crosses_diagonal(first_query + warp_row, tile * KEYS + KEYS - 1))
                    mask_later_keys<false>(p, detached(first_query) + warp_row, tile * KEYS);
                UNROLL
                for (int band = 0; band < BANDS; ++band) {
                    float shrink[2];
                    softmax[band].update(p[band], shrink, scale);
                    UNROLL
                    for (int n = 0; n < HS / 8; ++n) {
                        UNROLL
                        for (int i = 0; i < 4; ++i) output[band][n][i] *= shrink[i / 2];
                    }
                }
                multiply(output, p, s.v[tile % 2]);
            }
            copy_async_wait<0>();
            __syncthreads();  // the next tile is there, and this one may be overwritten
        }

        float inverse[BANDS][2];
        UNROLL
        for (int band = 0; band < BANDS; ++band) {
            softmax[band].finish();
            for (int r = 0; r < 2; ++r) inverse[band][r] = 1.0f / softmax[band].sum[r];
        }
        const int queries = length - first_query;  // those from ROWS on are other blocks'
        store_rows(head_of_token<HS>(out, token + first_query + warp_row, NH, head), static_cast<size_t>(NH) * HS,
                   queries - warp_row, output, inverse, s.q, warp_row);
        if (lane % 4 == 0) {
            float* const row_lse = lse + work_item(detached(schedule), index, T, NH, head).statistic + first_query;
            UNROLL
            for (int band = 0; band < BANDS; ++band)
                for (int r = 0; r < 2; ++r) {
                    const int row = warp_row + 16 * band + lane / 4 + 8 * r;
                    if (row < queries) row_lse[row] = softmax[band].log_sum(r, scale);
                }
        }
        __syncthreads();  // the queries' tile has been read
    }
}

bool attention_has_head_size(int HS) {
    return with_head_size(HS, [](auto) {});
}

AttentionBlocks attention_blocks(int T) { return T <= LONG_BLOCK ? AttentionBlocks::Short : AttentionBlocks::Long; }

template <class Real, int HS, int ROWS>
void launch_attention_forward(Real* out, float* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int KV,
                              stream_t stream) {
    using Shape = AttentionForward<Real, HS, ROWS>;
    LAUNCH((attention_forward_kernel<Real, HS, ROWS>), attention_grid(B, T, NH / KV, KV, Shape::PARTS),
           dim3(Shape::THREADS), sizeof(typename Shape::Shared), stream.cuda, out, lse, qkv, schedule, T, NH, KV,
           LOG2_E / sqrtf(static_cast<float>(HS)));
}

template <class Real>
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, AttentionBlocks blocks, int B,
                       int T, int NH, int KV, int HS, stream_t stream) {
    check_attention_shape("attention_forward", B, T, NH, KV);
    const bool known = with_head_size(HS, [&](auto head_size) {
        constexpr int SIZE = head_size.value;
        if constexpr (HAS_LONG_BLOCKS<Real, SIZE>)
            if (blocks == AttentionBlocks::Long)
                return launch_attention_forward<Real, SIZE, LONG_BLOCK>(out, lse, qkv, schedule, B, T, NH, KV, stream);
        launch_attention_forward<Real, SIZE, SHORT_FORWARD_BLOCK<Real, SIZE>>(out, lse, qkv, schedule, B, T, NH, KV,
                                                                              stream);
    });
    ENSURE(known, "attention_forward: HS=%d: head sizes are %s", HS, HEAD_SIZES);
}

template <class Real>
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int KV,
                       int HS, stream_t stream) {
    run_faster_blocks<Real>("attention_forward", B, T, NH, KV, HS, stream, [&](AttentionBlocks blocks) {
        attention_forward<Real>(out, lse, qkv, schedule, blocks, B, T, NH, KV, HS, stream);
    });
}

}  // namespace gpu
