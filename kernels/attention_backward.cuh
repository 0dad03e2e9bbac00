// attention_backward.cuh - the gradient of causal attention. Probabilities are recomputed from lse, tile by tile.
//
// Two kernels, one that owns keys (dK, dV) and one that owns queries (dQ), each sums in registers and writes once. S
// and dP (operations.h) are computed in both: 7 products where one kernel would need 5. In return there are no atomics,
// no second pass over a float dQ in memory and no order between blocks: deterministic, and parallel over tiles at any
// batch size.
#pragma once
#include <cmath>

#include "kernels/attention_mask.cuh"
#include "kernels/attention_softmax.cuh"
#include "kernels/attention_tile.cuh"
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

// What the backward pass needs of a query, in this order in memory.
struct alignas(8) QueryStatistic {
    float lse;  // times log2(e)
    float dot;  // D_i = dO_i . O_i
};

constexpr int STATISTICS_THREADS = 256;

// Lanes that share a row of HS elements: a power of two, at most one to 8 elements.
template <int HS>
__host__ __device__ constexpr int statistics_lanes() {
    return HS == 80 ? 2 : HS / 8;
}

// statistics[b,h,t] = (lse[b,h,t] log2(e), sum_d dout[b,t,h,d] out[b,t,h,d])
// dout, out (B, T, NH, HS); lse, statistics (B, NH, T). HS / 8 lanes to a row, 8 elements at a time.
// Moves N NH (2 HS sizeof(Real) + 12) bytes. A lane sums its elements in ascending order, then the row's lanes in a
// tree.
template <class Real, int HS>
__global__ void __launch_bounds__(STATISTICS_THREADS)
    attention_statistics_kernel(QueryStatistic* statistics, const Real* dout, const Real* out, const float* lse, int B,
                                int T, int NH) {
    constexpr int LANES = statistics_lanes<HS>(), PIECE = Pack<Real>::SIZE;
    const size_t rows = static_cast<size_t>(B) * T * NH;
    const size_t row = (static_cast<size_t>(blockIdx.x) * STATISTICS_THREADS + threadIdx.x) / LANES;
    const int lane = static_cast<int>(threadIdx.x) % LANES;
    float dot = 0.0f;
    if (row < rows)
        for (int unit = lane; unit < HS / 8; unit += LANES)
            for (int d = unit * 8; d < unit * 8 + 8; d += PIECE) {
                const auto a = load_pack(dout + row * HS + d), b = load_pack(out + row * HS + d);
                for (int i = 0; i < PIECE; ++i) dot = fmaf(to_float(a[i]), to_float(b[i]), dot);
            }
    for (int d = LANES / 2; d > 0; d /= 2) dot += __shfl_xor_sync(~0u, dot, d);
    if (row < rows && lane == 0) {
        const size_t token = row / NH, head = row % NH, b = token / T, t = token % T;
        const size_t i = (b * NH + head) * T + t;
        statistics[i] = {lse[i] * LOG2_E, dot};
    }
}

template <class Real, int HS>
struct AttentionBackward {
    static constexpr int ROWS = backward_rows<Real, HS>(), COLUMNS = backward_columns<Real, HS>(), THREADS = ROWS * 2;
    // Blocks that an SM is to hold: for bf16 as the compiler likes (0), which spills nothing. For float it would spill
    // at HS = 32 and 128 to make room for a third, so one must do.
    static constexpr int BLOCKS = std::is_same_v<Real, float> ? 1 : 0;
    struct KeysShared {
        SharedTile<Real, ROWS, HS> k, v;
        SharedTile<Real, COLUMNS, HS> q[2], dout[2];
        QueryStatistic statistics[2][COLUMNS];
    };
    struct QueriesShared {
        SharedTile<Real, ROWS, HS> q, dout;
        SharedTile<Real, COLUMNS, HS> k[2], v[2];
    };
    static_assert(sizeof(KeysShared) <= SHARED_MEMORY_LIMIT && sizeof(QueriesShared) <= SHARED_MEMORY_LIMIT);
};

// dV and dK of HS = 256 are 256 registers a thread. There the kernel runs twice, once for each.
enum class KeyGradients { Both, Key, Value };

// dV and dK of one segment and one head.     statistics (B, NH, T)
// blockIdx = (work item, head, part of the item). A block owns ROWS keys, a warp 16 of them, and walks over tiles of
// queries from the diagonal to the segment's end. Scores are computed transposed, keys as rows:
// then P^T and dS^T, rounded to Real, are left operands as they come out of the registers. 4 B NH T^2 HS flops (the
// causal half of four products), 6 N NH HS sizeof(Real) bytes: bound by flops from T = 550 on. Sums over queries in the
// product's order, tile by tile in ascending order.
template <class Real, int HS, KeyGradients GRADIENTS>
__global__ void __launch_bounds__(AttentionBackward<Real, HS>::THREADS, AttentionBackward<Real, HS>::BLOCKS)
    attention_backward_keys_kernel(Real* dqkv, const Real* dout, const Real* qkv, const QueryStatistic* statistics,
                                   const int* schedule, int T, int NH, float scale) {
    using Shape = AttentionBackward<Real, HS>;
    constexpr int ROWS = Shape::ROWS, QUERIES = Shape::COLUMNS, THREADS = Shape::THREADS;
    constexpr bool DK = GRADIENTS != KeyGradients::Value, DV = GRADIENTS != KeyGradients::Key;
    auto& s = shared_memory<typename Shape::KeysShared>();
    const int t = 2 * (lane_index() % 4), warp_row = static_cast<int>(threadIdx.x) / 32 * 16;
    const int head = static_cast<int>(blockIdx.y), count = schedule[0];

    for (int index = static_cast<int>(blockIdx.x); index < count; index += static_cast<int>(gridDim.x)) {
        const WorkItem item = work_item(schedule, index, T, NH, head);
        // The mirror image of the tile of queries, since here the first tile has the longest way to go.
        const int last_tile = (item.length - 1) / ATTENTION_TILE * ATTENTION_TILE;
        const int first_key = last_tile - item.query + static_cast<int>(blockIdx.z) * ROWS;
        const int token = item.token, length = item.length;
        if (first_key >= length) continue;
        const int first_tile = first_key / QUERIES;
        const auto start_loading = [&](int tile) {
            const int first = tile * QUERIES, queries = length - first, i = static_cast<int>(threadIdx.x);
            const int heads = detached(NH);
            load_tile<THREADS>(s.q[tile % 2], Packed<HS>::query(qkv, token + first, NH, head), Packed<HS>::token(heads),
                               queries);
            load_tile<THREADS>(s.dout[tile % 2], head_of_token<HS>(dout, token + first, NH, head),
                               static_cast<size_t>(heads) * HS, queries);
            if (i < QUERIES)
                copy_async<8>(&s.statistics[tile % 2][i], statistics + detached(item.statistic) + first + i,
                              i < queries);
            copy_async_commit();
        };

        const size_t part = Packed<HS>::part(NH), stride = Packed<HS>::token(NH);
        const Real* const k = Packed<HS>::query(qkv, token + first_key, NH, head) + part;
        load_tile<THREADS>(s.k, k, stride, length - first_key);
        if constexpr (DK) load_tile<THREADS>(s.v, k + part, stride, length - first_key);
        start_loading(first_tile);
        copy_async_wait<0>();
        __syncthreads();

        float dk[DK ? HS / 8 : 1][4] = {}, dv[DV ? HS / 8 : 1][4] = {};
        for (int tile = first_tile; tile * QUERIES < length; ++tile) {
            if ((tile + 1) * QUERIES < length) start_loading(tile + 1);
            const int stage = tile % 2, own_offset = lane_offset<SharedTile<Real, ROWS, HS>>(warp_row);
            float p[QUERIES / 8][4] = {};
            multiply_transposed<UNROLLED_STEPS<Real>>(
                p, [&](int i) { return left_operand(s.k, own_offset, i); }, s.q[stage]);
            if (crosses_diagonal(tile * QUERIES, first_key + ROWS - 1))
                mask_later_keys<true>(p, detached(first_key) + warp_row, tile * QUERIES);
            UNROLL
            for (int n = 0; n < QUERIES / 8; ++n) {
                UNROLL
                for (int i = 0; i < 4; ++i)
                    p[n][i] = exp2_fast(fmaf(p[n][i], scale * LOG2_E, -s.statistics[stage][8 * n + t + i % 2].lse));
            }
            if constexpr (DV) multiply(dv, p, s.dout[stage]);
            __syncwarp();  // keeps the next product's loads after this one: fewer registers at once
            if constexpr (DK) {
                float ds[QUERIES / 8][4] = {};
                multiply_transposed<UNROLLED_STEPS<Real>>(
                    ds, [&](int i) { return left_operand(s.v, own_offset, i); }, s.dout[stage]);
                UNROLL
                for (int n = 0; n < QUERIES / 8; ++n) {
                    UNROLL
                    for (int i = 0; i < 4; ++i)
                        ds[n][i] = p[n][i] * (ds[n][i] - s.statistics[stage][8 * n + t + i % 2].dot);
                }
                multiply(dk, ds, s.q[stage]);
            }
            copy_async_wait<0>();
            __syncthreads();  // the next tile is there, and this one may be overwritten
        }

        const int heads = detached(NH), keys = length - first_key - warp_row;
        const size_t to_part = Packed<HS>::part(heads), to_token = Packed<HS>::token(heads);
        Real* const gradients = Packed<HS>::query(dqkv, token + first_key + warp_row, NH, head);
        if constexpr (DK) {
            const float factor[2] = {scale, scale};
            store_rows(gradients + to_part, to_token, keys, dk, factor, s.k, warp_row);
        }
        if constexpr (DV) {
            const float factor[2] = {1.0f, 1.0f};
            store_rows(gradients + 2 * to_part, to_token, keys, dv, factor, s.v, warp_row);
        }
        __syncthreads();  // the keys' tiles have been read
    }
}

// dQ of one segment and one head.     statistics (B, NH, T)
// blockIdx = (work item, head, part of the item). A block owns ROWS queries, a warp 16 of them, and walks over tiles of
// keys up to the diagonal. 3 B NH T^2 HS flops (the causal half of three products), 5 N NH HS
// sizeof(Real) bytes: bound by flops from T = 610 on. Sums over keys in the product's order, tile by tile in ascending
// order.
template <class Real, int HS>
__global__ void __launch_bounds__(AttentionBackward<Real, HS>::THREADS, AttentionBackward<Real, HS>::BLOCKS)
    attention_backward_queries_kernel(Real* dqkv, const Real* dout, const Real* qkv, const QueryStatistic* statistics,
                                      const int* schedule, int T, int NH, float scale) {
    using Shape = AttentionBackward<Real, HS>;
    constexpr int ROWS = Shape::ROWS, KEYS = Shape::COLUMNS, THREADS = Shape::THREADS;
    auto& s = shared_memory<typename Shape::QueriesShared>();
    const int warp_row = static_cast<int>(threadIdx.x) / 32 * 16;
    const int head = static_cast<int>(blockIdx.y), count = schedule[0];

    for (int index = static_cast<int>(blockIdx.x); index < count; index += static_cast<int>(gridDim.x)) {
        const WorkItem item = work_item(schedule, index, T, NH, head);
        const int first_query = item.query + static_cast<int>(blockIdx.z) * ROWS;
        const int token = item.token, length = item.length;
        if (first_query >= length) continue;
        const int tiles = (min(first_query + ROWS, length) + KEYS - 1) / KEYS;
        const auto start_loading = [&](int tile) {
            start_loading_keys<THREADS>(s.k, s.v, tile, qkv, token, length, NH, head);
        };

        const int queries = length - first_query;
        load_tile<THREADS>(s.q, Packed<HS>::query(qkv, token + first_query, NH, head), Packed<HS>::token(NH), queries);
        load_tile<THREADS>(s.dout, head_of_token<HS>(dout, token + first_query, NH, head), static_cast<size_t>(NH) * HS,
                           queries);
        start_loading(0);
        QueryStatistic statistic[2] = {};
        for (int r = 0; r < 2; ++r) {
            const int row = warp_row + lane_index() / 4 + 8 * r;
            if (row < queries) statistic[r] = statistics[item.statistic + first_query + row];
        }
        copy_async_wait<0>();
        __syncthreads();

        float dq[HS / 8][4] = {};
        for (int tile = 0; tile < tiles; ++tile) {
            if (tile + 1 < tiles) start_loading(tile + 1);
            const int stage = tile % 2, own_offset = lane_offset<SharedTile<Real, ROWS, HS>>(warp_row);
            float p[KEYS / 8][4] = {}, ds[KEYS / 8][4] = {};
            multiply_transposed<UNROLLED_STEPS<Real>>(
                p, [&](int i) { return left_operand(s.q, own_offset, i); }, s.k[stage]);
            if (crosses_diagonal(first_query, tile * KEYS + KEYS - 1))
                mask_later_keys<false>(p, detached(first_query) + warp_row, tile * KEYS);
            multiply_transposed<UNROLLED_STEPS<Real>>(
                ds, [&](int i) { return left_operand(s.dout, own_offset, i); }, s.v[stage]);
            UNROLL
            for (int n = 0; n < KEYS / 8; ++n) {
                UNROLL
                for (int i = 0; i < 4; ++i) {
                    const float probability = exp2_fast(fmaf(p[n][i], scale * LOG2_E, -statistic[i / 2].lse));
                    ds[n][i] = probability * (ds[n][i] - statistic[i / 2].dot);
                }
            }
            multiply(dq, ds, s.k[stage]);
            copy_async_wait<0>();
            __syncthreads();  // the next tile is there, and this one may be overwritten
        }

        const float factor[2] = {scale, scale};
        store_rows(Packed<HS>::query(dqkv, token + first_query + warp_row, NH, head), Packed<HS>::token(detached(NH)),
                   length - first_query - warp_row, dq, factor, s.q, warp_row);
        __syncthreads();  // the queries' tile has been read
    }
}

template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, int B, int T, int NH, int HS, stream_t stream) {
    check_attention_shape("attention_backward", B, T, NH);
    auto* const statistics = static_cast<QueryStatistic*>(scratch);
    const float scale = 1.0f / sqrtf(static_cast<float>(HS));
    const bool known = with_head_size(HS, [&](auto head_size) {
        constexpr int SIZE = head_size.value;
        using Shape = AttentionBackward<Real, SIZE>;
        const size_t threads = static_cast<size_t>(B) * T * NH * statistics_lanes<SIZE>();
        const dim3 rows(static_cast<unsigned>((threads + STATISTICS_THREADS - 1) / STATISTICS_THREADS));
        LAUNCH((attention_statistics_kernel<Real, SIZE>), rows, dim3(STATISTICS_THREADS), 0, stream.cuda, statistics,
               dout, out, lse, B, T, NH);
        const dim3 grid = attention_grid(B, T, NH, ATTENTION_TILE / Shape::ROWS);
        const dim3 block(Shape::THREADS);
        constexpr size_t KEYS_BYTES = sizeof(typename Shape::KeysShared);
        if constexpr (SIZE <= 128) {
            LAUNCH((attention_backward_keys_kernel<Real, SIZE, KeyGradients::Both>), grid, block, KEYS_BYTES,
                   stream.cuda, dqkv, dout, qkv, statistics, schedule, T, NH, scale);
        } else {
            LAUNCH((attention_backward_keys_kernel<Real, SIZE, KeyGradients::Value>), grid, block, KEYS_BYTES,
                   stream.cuda, dqkv, dout, qkv, statistics, schedule, T, NH, scale);
            LAUNCH((attention_backward_keys_kernel<Real, SIZE, KeyGradients::Key>), grid, block, KEYS_BYTES,
                   stream.cuda, dqkv, dout, qkv, statistics, schedule, T, NH, scale);
        }
        LAUNCH((attention_backward_queries_kernel<Real, SIZE>), grid, block, sizeof(typename Shape::QueriesShared),
               stream.cuda, dqkv, dout, qkv, statistics, schedule, T, NH, scale);
    });
    ENSURE(known, "attention_backward: HS=%d: head sizes are %s", HS, HEAD_SIZES);
}

size_t attention_backward_scratch(int B, int T, int NH, int) {
    return static_cast<size_t>(B) * T * NH * sizeof(QueryStatistic);
}

}  // namespace gpu
