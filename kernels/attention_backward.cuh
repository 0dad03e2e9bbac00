// attention_backward.cuh - the gradient of causal attention. Probabilities are recomputed from lse, tile by tile.
//
// Two kernels, one that owns keys (dK, dV) and one that owns queries (dQ), each sums in registers and writes once. S
// and dP (operations.h) are computed in both: 7 products where one kernel would need 5. In return there are no atomics,
// no second pass over a float dQ in memory and no order between blocks: deterministic, and parallel over tiles at any
// batch size. dK and dV of a key/value head are one block's, whatever the number of query heads that share it: NH/KV
// times fewer blocks than the other kernel has, each with as many times the work.
#pragma once
#include <cmath>
#include <type_traits>

#include "kernels/attention_backward_keys.cuh"
#include "kernels/attention_backward_queries.cuh"
#include "kernels/attention_backward_statistics.cuh"
#include "kernels/attention_blocks.h"
#include "kernels/operations.h"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, AttentionBlocks blocks, int B, int T, int NH, int KV,
                        int HS, stream_t stream) {
    check_attention_shape("attention_backward", B, T, NH, KV);
    auto* const statistics = static_cast<QueryStatistic*>(scratch);
    const float scale = 1.0f / sqrtf(static_cast<float>(HS));
    const bool known = with_head_size(HS, [&](auto head_size) {
        constexpr int SIZE = head_size.value;
        const size_t threads = static_cast<size_t>(B) * T * NH * statistics_lanes<SIZE>();
        const dim3 rows(static_cast<unsigned>((threads + STATISTICS_THREADS - 1) / STATISTICS_THREADS));
        LAUNCH((attention_statistics_kernel<Real, SIZE>), rows, dim3(STATISTICS_THREADS), 0, stream.cuda, statistics,
               dout, out, lse, B, T, NH);
        const auto launch_keys = [&](auto block, auto gradients) {
            constexpr int ROWS = decltype(block)::value;
            using Shape = AttentionBackwardKeys<Real, SIZE, ROWS>;
            LAUNCH((attention_backward_keys_kernel<Real, SIZE, ROWS, decltype(gradients)::value>),
                   attention_grid(B, T, 1, KV, Shape::PARTS), dim3(Shape::THREADS), sizeof(typename Shape::Shared),
                   stream.cuda, dqkv, dout, qkv, statistics, schedule, T, NH, KV, NH / KV, scale);
        };
        const auto launch_queries = [&](auto block) {
            constexpr int ROWS = decltype(block)::value;
            using Shape = AttentionBackwardQueries<Real, SIZE, ROWS>;
            LAUNCH((attention_backward_queries_kernel<Real, SIZE, ROWS>),
                   attention_grid(B, T, NH / KV, KV, Shape::PARTS), dim3(Shape::THREADS),
                   sizeof(typename Shape::Shared), stream.cuda, dqkv, dout, qkv, statistics, schedule, T, NH, KV,
                   scale);
        };
        constexpr std::integral_constant<int, LONG_BLOCK> LONG;
        constexpr std::integral_constant<int, SHORT_BACKWARD_BLOCK<Real, SIZE>> SHORT;
        constexpr std::integral_constant<KeyGradients, KeyGradients::Both> BOTH;
        if constexpr (SIZE > 128) {
            launch_keys(SHORT, std::integral_constant<KeyGradients, KeyGradients::Value>{});
            launch_keys(SHORT, std::integral_constant<KeyGradients, KeyGradients::Key>{});
        } else if constexpr (HAS_LONG_BLOCKS_OF_KEYS<Real, SIZE>) {
            constexpr bool HAS_GROUPS = AttentionBackwardKeys<Real, SIZE, LONG_BLOCK>::HAS_GROUPS;
            const bool long_keys = blocks == AttentionBlocks::Long && (HAS_GROUPS || KV == NH);
            long_keys ? launch_keys(LONG, BOTH) : launch_keys(SHORT, BOTH);
        } else {
            launch_keys(SHORT, BOTH);
        }
        if constexpr (HAS_LONG_BLOCKS<Real, SIZE>)
            blocks == AttentionBlocks::Long ? launch_queries(LONG) : launch_queries(SHORT);
        else
            launch_queries(SHORT);
    });
    ENSURE(known, "attention_backward: HS=%d: head sizes are %s", HS, HEAD_SIZES);
}

template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, int B, int T, int NH, int KV, int HS, stream_t stream) {
    run_faster_blocks<Real>("attention_backward", B, T, NH, KV, HS, stream, [&](AttentionBlocks blocks) {
        attention_backward<Real>(dqkv, scratch, dout, out, lse, qkv, schedule, blocks, B, T, NH, KV, HS, stream);
    });
}

size_t attention_backward_scratch(int B, int T, int NH, int /*KV*/, int /*HS*/) {
    return static_cast<size_t>(B) * T * NH * sizeof(QueryStatistic);
}

template <class Real>
size_t attention_backward_workspaces(int, int, int, int) {
    return 0;
}

}  // namespace gpu
