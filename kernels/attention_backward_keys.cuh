// attention_backward_keys.cuh - the kernel of attention's backward pass that owns keys: dK and dV.
#pragma once
#include "kernels/attention_backward_statistics.cuh"
#include "kernels/attention_mask.cuh"
#include "kernels/attention_softmax.cuh"
#include "kernels/attention_tile.cuh"
#include "kernels/simt.h"

namespace gpu {

// dV and dK of HS = 256 are 256 registers a thread. There the kernel runs twice, once for each.
enum class KeyGradients { Both, Key, Value };

template <class Real, int HS, int ROWS>
struct AttentionBackwardKeys : OwnBlock<ROWS> {
    static constexpr bool LONG = ROWS == LONG_BLOCK;
    static constexpr int QUERIES = LONG ? (HS <= 64 ? 32 : 16) : SHORT_BACKWARD_COLUMNS<Real, HS>;
    // Blocks that an SM is to hold, which limits a thread's registers: what the compiler reaches without spilling (0:
    // as it likes).
    static constexpr int BLOCKS = std::is_same_v<Real, float> ? 1 : LONG ? (HS <= 32 ? 3 : 2) : HS == 64 ? 2 : 0;
    // The keys as operands in registers for all tiles of queries. For the values there is no room. Float's longest rows
    // have no room for their places, either.
    static constexpr bool KEEPS_KEYS = LONG, KEEPS_PLACES = !LONG && HS * sizeof(Real) <= 512;
    // Long blocks of HS = 80 have no register left for the loop over a group's heads: they are for groups of one.
    static constexpr bool HAS_GROUPS = !(LONG && HS == 80);
    struct Shared {
        SharedTile<Real, ROWS, HS> k, v;
        SharedTile<Real, QUERIES, HS> q[2], dout[2];
        alignas(8) float lse[2][QUERIES], dot[2][QUERIES];  // so that a lane's two columns are one load
    };
    static_assert(sizeof(Shared) <= SHARED_MEMORY_LIMIT);
};

__device__ __forceinline__ float2 pair_at(const float* from) { return *reinterpret_cast<const float2*>(from); }

// dV and dK of one segment and one key/value head.     statistics (B, NH, T)
// blockIdx: attention_grid, group 1. A block owns ROWS keys, a warp one or two bands of 16, and walks, for one query
// head of its group after the other, over tiles of queries from the diagonal to the segment's end; a warp leaves out
// the tiles before its first key. A head's first tile is waited for, all others are on their way meanwhile. Scores are
// computed transposed, keys as rows: then P^T and dS^T, rounded to Real, are left operands as they come out of the
// registers. 4 B NH T^2 HS flops (the causal half of four products), N (2 NH + 4 KV) HS sizeof(Real) bytes: bound by
// flops from T = 550 on where KV = NH, from 185 on where KV is much smaller. Sums over queries in the product's order,
// tile by tile in ascending order, over the group's heads in ascending order.
template <class Real, int HS, int ROWS, KeyGradients GRADIENTS>
__global__ void __launch_bounds__(AttentionBackwardKeys<Real, HS, ROWS>::THREADS,
                                  AttentionBackwardKeys<Real, HS, ROWS>::BLOCKS)
    attention_backward_keys_kernel(Real* dqkv, const Real* dout, const Real* qkv, const QueryStatistic* statistics,
                                   const int* schedule, int T, int NH, int KV, int group, float scale) {
    using Shape = AttentionBackwardKeys<Real, HS, ROWS>;
    constexpr int QUERIES = Shape::QUERIES, BANDS = Shape::BANDS, PARTS = Shape::PARTS;
    constexpr bool DK = GRADIENTS != KeyGradients::Value, DV = GRADIENTS != KeyGradients::Key;
    auto& s = shared_memory<typename Shape::Shared>();
    const int t = 2 * (lane_index() % 4), warp_row = static_cast<int>(threadIdx.x) / 32 * Shape::WARP_ROWS;
    const int count = schedule[0];

    for (int index = first_item<PARTS>(); index < count; index += item_stride<PARTS>()) {
        WorkItem item = work_item(schedule, index, T, NH, Shape::HAS_GROUPS ? key_head() * group : key_head());
        // The mirror image of the tile of queries, since here the first tile has the longest way to go.
        const int last_tile = (item.length - 1) / ATTENTION_TILE * ATTENTION_TILE;
        const int first_key = last_tile - item.query + part_of_item<PARTS>() * ROWS;
        const int token = item.token, length = item.length;
        if (first_key >= length) continue;
        const int first_tile = first_key / QUERIES;
        const auto start_loading = [&](int tile, int head) {
            const int first = tile * QUERIES, queries = length - first, i = static_cast<int>(threadIdx.x);
            const int heads = detached(NH), kv_heads = detached(KV);
            load_tile<Shape>(s.q[tile % 2], Packed<HS>::query(qkv, token + first, heads, kv_heads, head),
                             Packed<HS>::token(heads, kv_heads), queries);
            load_tile<Shape>(s.dout[tile % 2], head_of_token<HS>(dout, token + first, NH, head),
                             static_cast<size_t>(heads) * HS, queries);
            if (i < QUERIES) {
                const QueryStatistic* const from = statistics + detached(item.statistic) + first + i;
                copy_async<4>(&s.lse[tile % 2][i], &from->lse, i < queries);
                copy_async<4>(&s.dot[tile % 2][i], &from->dot, i < queries);
            }
            copy_async_commit();
        };

        const size_t stride = Packed<HS>::token(NH, KV);
        const Real* const k = Packed<HS>::key(qkv, token + first_key, NH, KV, key_head());
        load_tile<Shape>(s.k, k, stride, length - first_key);
        if constexpr (DK) load_tile<Shape>(s.v, k + Packed<HS>::value(KV), stride, length - first_key);
        OwnRows<Shape::KEEPS_KEYS, Real, BANDS, HS> own_k;
        const OwnRows<false, Real, BANDS, HS> own_v{};

        float dk[BANDS][DK ? HS / 8 : 1][4] = {}, dv[BANDS][DV ? HS / 8 : 1][4] = {};
        const int heads_of_group = Shape::HAS_GROUPS ? group : 1;
        for (int head = key_head() * heads_of_group; head < (key_head() + 1) * heads_of_group; ++head) {
            start_loading(first_tile, head);
            copy_async_wait<0>();
            __syncthreads();
            own_k.load(s.k, warp_row);
            for (int tile = first_tile; tile * QUERIES < length; ++tile) {
                if ((tile + 1) * QUERIES < length) start_loading(tile + 1, head);
                if (tile * QUERIES + QUERIES > first_key + warp_row && first_key + warp_row < length) {
                    const int stage = tile % 2, own_offset = lane_offset<SharedTile<Real, ROWS, HS>>(warp_row);
                    float p[BANDS][QUERIES / 8][4] = {};
                    multiply_transposed<Shape::KEEPS_KEYS ? HS / 16 : UNROLLED_STEPS<Real>>(
                        p, own_k.operand(s.k, own_offset), s.q[stage]);
                    if (crosses_diagonal(tile * QUERIES, first_key + warp_row + Shape::WARP_ROWS - 1))
                        mask_later_keys<true>(p, detached(first_key) + warp_row, tile * QUERIES);
                    UNROLL
                    for (int n = 0; n < QUERIES / 8; ++n) {
                        const float2 lse = pair_at(&s.lse[stage][8 * n + t]);
                        UNROLL
                        for (int i = 0; i < 4; ++i) {
                            const float shift = -(i % 2 == 0 ? lse.x : lse.y);
                            UNROLL
                            for (int band = 0; band < BANDS; ++band)
                                p[band][n][i] = exp2_fast(fmaf(p[band][n][i], scale * LOG2_E, shift));
                        }
                    }
                    if constexpr (DV) multiply(dv, p, s.dout[stage]);
                    __syncwarp();  // keeps the next product's loads after this one: fewer registers at once
                    if constexpr (DK) {
                        float ds[BANDS][QUERIES / 8][4] = {};
                        multiply_transposed<UNROLLED_STEPS<Real>>(ds, own_v.operand(s.v, own_offset), s.dout[stage]);
                        UNROLL
                        for (int n = 0; n < QUERIES / 8; ++n) {
                            const float2 dot = pair_at(&s.dot[stage][8 * n + t]);
                            UNROLL
                            for (int i = 0; i < 4; ++i) {
                                UNROLL
                                for (int band = 0; band < BANDS; ++band)
                                    ds[band][n][i] = p[band][n][i] * (ds[band][n][i] - (i % 2 == 0 ? dot.x : dot.y));
                            }
                        }
                        multiply(dk, ds, s.q[stage]);
                    }
                }
                copy_async_wait<0>();
                __syncthreads();  // the next tile is there, and this one may be overwritten
            }
            item.statistic += static_cast<size_t>(T);
        }

        const int heads = detached(NH), kv_heads = detached(KV), keys = length - first_key - warp_row;
        const size_t to_token = Packed<HS>::token(heads, kv_heads);
        Real* const gradients = Packed<HS>::key(dqkv, token + first_key + warp_row, heads, kv_heads, key_head());
        float factor[BANDS][2];
        if constexpr (DK) {
            for (auto& f : factor) f[0] = f[1] = scale;
            store_rows(gradients, to_token, keys, dk, factor, s.k, warp_row);
        }
        if constexpr (DV) {
            for (auto& f : factor) f[0] = f[1] = 1.0f;
            store_rows(gradients + Packed<HS>::value(kv_heads), to_token, keys, dv, factor, s.v, warp_row);
        }
        __syncthreads();  // the keys' tiles have been read
    }
}

}  // namespace gpu
