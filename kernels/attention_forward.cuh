// attention_forward.cuh - causal attention, fused: online softmax over tiles of keys (Dao 2023, FlashAttention-2), no
// T x T matrix in memory. Tiles: attention_tile.cuh; the row's softmax: attention_softmax.cuh; who does which tile:
// attention_schedule.cuh.
#pragma once
#include <cmath>

#include "kernels/attention_mask.cuh"
#include "kernels/attention_softmax.cuh"
#include "kernels/attention_tile.cuh"
#include "kernels/operations.h"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

template <class Real, int HS>
struct AttentionForward {
    static constexpr int ROWS = forward_rows<Real, HS>(), KEYS = forward_keys<Real, HS>(), THREADS = ROWS * 2;
    // Blocks that an SM is to hold, which limits a thread's registers to 96, 128, 168, 168 and 255: what the compiler
    // reaches without spilling.
    static constexpr int BLOCKS = !std::is_same_v<Real, bf16> ? 1 : HS <= 16 ? 5 : HS <= 32 ? 4 : HS <= 80 ? 3 : 2;
    // The queries as operands in registers for all tiles of keys, where that leaves BLOCKS as it is.
    static constexpr bool KEEPS_QUERIES = std::is_same_v<Real, bf16> && (HS <= 32 || HS == 128);
    struct Shared {
        SharedTile<Real, ROWS, HS> q;
        SharedTile<Real, KEYS, HS> k[2], v[2];
    };
    static_assert(sizeof(Shared) <= SHARED_MEMORY_LIMIT);
};

// attention_forward, for the tokens of one segment and one head.
// blockIdx = (work item, head, part of the item); a block owns ROWS queries, a warp 16 of them, and walks over tiles of
// keys up to the diagonal while the next tile is on its way. Scores live in registers, rounded to Real as operand of
// p v.
// 2 B NH T^2 HS flops (the causal half; without a mask), 4 N NH HS sizeof(Real) bytes: at 790 TFLOP/s and 4.3 TB/s the
// flops are the floor from T = 735 on.
// A row's maximum and sum run over a lane's keys in ascending order, then over the row's four lanes; outputs over keys
// in the product's order, tile by tile in ascending order.
template <class Real, int HS>
__global__ void __launch_bounds__(AttentionForward<Real, HS>::THREADS, AttentionForward<Real, HS>::BLOCKS)
    attention_forward_kernel(Real* out, float* lse, const Real* qkv, const int* schedule, int T, int NH, float scale) {
    using Shape = AttentionForward<Real, HS>;
    constexpr int ROWS = Shape::ROWS, KEYS = Shape::KEYS, THREADS = Shape::THREADS;
    auto& s = shared_memory<typename Shape::Shared>();
    const int lane = lane_index(), warp_row = static_cast<int>(threadIdx.x) / 32 * 16;
    const int head = static_cast<int>(blockIdx.y), count = schedule[0];

    for (int index = static_cast<int>(blockIdx.x); index < count; index += static_cast<int>(gridDim.x)) {
        const WorkItem item = work_item(schedule, index, T, NH, head);
        const int token = item.token, length = item.length;
        const int first_query = item.query + static_cast<int>(blockIdx.z) * ROWS;
        if (first_query >= length) continue;
        const int tiles = (min(first_query + ROWS, length) + KEYS - 1) / KEYS;
        const auto start_loading = [&](int tile) {
            start_loading_keys<THREADS>(s.k, s.v, tile, qkv, token, length, NH, head);
        };

        load_tile<THREADS>(s.q, Packed<HS>::query(qkv, token + first_query, NH, head), Packed<HS>::token(NH),
                           length - first_query);
        start_loading(0);
        copy_async_wait<0>();
        __syncthreads();
        const int q_offset = lane_offset<decltype(s.q)>(warp_row);
        Matrices<Real> kept[Shape::KEEPS_QUERIES ? HS / 16 : 1];
        if constexpr (Shape::KEEPS_QUERIES) {
            UNROLL
            for (int i = 0; i < HS / 16; ++i) kept[i] = left_operand(s.q, q_offset, i);
        }

        float output[HS / 8][4] = {};
        OnlineSoftmax softmax;
        for (int tile = 0; tile < tiles; ++tile) {
            if (tile + 1 < tiles) start_loading(tile + 1);
            float p[KEYS / 8][4] = {};
            multiply_transposed<Shape::KEEPS_QUERIES ? HS / 16 : UNROLLED_STEPS<Real>>(
                p,
                [&](int i) {
                    if constexpr (Shape::KEEPS_QUERIES)
                        return kept[i];
                    else
                        return left_operand(s.q, q_offset, i);
                },
                s.k[tile % 2]);
            if (crosses_diagonal(first_query, tile * KEYS + KEYS - 1))
                mask_later_keys<false>(p, detached(first_query) + warp_row, tile * KEYS);
            float shrink[2];
            softmax.update(p, shrink, scale);
            UNROLL
            for (int n = 0; n < HS / 8; ++n) {
                UNROLL
                for (int i = 0; i < 4; ++i) output[n][i] *= shrink[i / 2];
            }
            multiply(output, p, s.v[tile % 2]);
            copy_async_wait<0>();
            __syncthreads();  // the next tile is there, and this one may be overwritten
        }

        softmax.finish();
        const float inverse[2] = {1.0f / softmax.sum[0], 1.0f / softmax.sum[1]};
        const int queries = length - first_query;  // those from ROWS on are other blocks'
        store_rows(head_of_token<HS>(out, token + first_query + warp_row, NH, head), static_cast<size_t>(NH) * HS,
                   queries - warp_row, output, inverse, s.q, warp_row);
        if (lane % 4 == 0) {
            float* const row_lse = lse + work_item(detached(schedule), index, T, NH, head).statistic + first_query;
            for (int r = 0; r < 2; ++r) {
                const int row = warp_row + lane / 4 + 8 * r;
                if (row < queries) row_lse[row] = softmax.log_sum(r, scale);
            }
        }
        __syncthreads();  // the queries' tile has been read
    }
}

bool attention_has_head_size(int HS) {
    return with_head_size(HS, [](auto) {});
}

template <class Real>
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int HS,
                       stream_t stream) {
    check_attention_shape("attention_forward", B, T, NH);
    const bool known = with_head_size(HS, [&](auto head_size) {
        using Shape = AttentionForward<Real, head_size.value>;
        const dim3 grid = attention_grid(B, T, NH, ATTENTION_TILE / Shape::ROWS);
        LAUNCH((attention_forward_kernel<Real, head_size.value>), grid, dim3(Shape::THREADS),
               sizeof(typename Shape::Shared), stream.cuda, out, lse, qkv, schedule, T, NH,
               LOG2_E / sqrtf(static_cast<float>(HS)));
    });
    ENSURE(known, "attention_forward: HS=%d: head sizes are %s", HS, HEAD_SIZES);
}

}  // namespace gpu
