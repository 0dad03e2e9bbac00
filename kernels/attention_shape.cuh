// attention_shape.cuh - head sizes, the rows of a block and of the tiles it walks over, and where a work item's rows
// lie in memory.
#pragma once
#include <algorithm>
#include <type_traits>

#include "kernels/attention_blocks.h"
#include "kernels/choices.h"
#include "kernels/operations.h"
#include "kernels/ptx.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

// Calls f(std::integral_constant<int, HS>) for a head size that the kernels are built for; false for any other.
template <class F>
bool with_head_size(int HS, F f) {
    switch (HS) {
        case 16:
            return f(std::integral_constant<int, 16>{}), true;
        case 32:
            return f(std::integral_constant<int, 32>{}), true;
        case 64:
            return f(std::integral_constant<int, 64>{}), true;
        case 80:
            return f(std::integral_constant<int, 80>{}), true;
        case 128:
            return f(std::integral_constant<int, 128>{}), true;
        case 256:
            return f(std::integral_constant<int, 256>{}), true;
        default:
            return false;
    }
}
constexpr const char* HEAD_SIZES = "16, 32, 64, 80, 128, 256";

// ---- tile sizes -----------------------------------------------------------------------------------------------------
// Shared memory of a block: 99 KiB is what sm_86 and sm_89 give (sm_80: 163, sm_90: 227), so that one set of sizes runs
// on all. Every tile of the other side is there twice, one being computed and one on its way.
constexpr size_t SHARED_MEMORY_LIMIT = 99 * 1024;

constexpr int ATTENTION_TILE = 128;  // queries of a work item

// Own rows of a block (attention_blocks.h): 128, two bands of 16 to each of 4 warps, or 64, one band. What a warp loads
// of the other side then feeds two products in place of one. Loads bound the kernels: at HS = 64 shared memory allows
// some 340 TFLOP/s on an H100 with one band, 610 to 790 with two (1.7 GHz, 128 bytes a cycle). Float has no long
// blocks: its products are not the tensor cores'.
template <class Real, int HS>
constexpr bool HAS_LONG_BLOCKS = (HS >= 32 && HS <= 128) && std::is_same_v<Real, bf16>;
// dV and dK of two bands of HS = 128 would be 256 registers a thread.
template <class Real, int HS>
constexpr bool HAS_LONG_BLOCKS_OF_KEYS = HS <= 80 && HAS_LONG_BLOCKS<Real, HS>;
constexpr int LONG_BLOCK = 128;
// The short ones have 64 rows, but rows of 1 KiB (float, HS = 256) leave room for 32 (one own tile: forward) or 16
// (two: backward).
template <class Real, int HS>
constexpr int SHORT_FORWARD_BLOCK = HS * sizeof(Real) <= 512 ? 64 : 32;
template <class Real, int HS>
constexpr int SHORT_BACKWARD_BLOCK = HS * sizeof(Real) <= 512 ? 64 : 16;

// Queues run(blocks), which overwrites its outputs, with the faster blocks for this shape (choices.h). The mask is not
// part of the shape: it is another one in every batch, and the bits do not hang on the choice.
template <class Real, class Run>
void run_faster_blocks(const char* operation, int B, int T, int NH, int KV, int HS, stream_t stream, Run run) {
    bool has_long = false;
    with_head_size(HS, [&](auto size) { has_long = HAS_LONG_BLOCKS<Real, decltype(size)::value>; });
    const AttentionBlocks rule = attention_blocks(T);
    if (!has_long || !stream.choices) return run(rule);
    const bool short_first = rule == AttentionBlocks::Short;
    const auto run_way = [&](int way) {
        run((way == 0) == short_first ? AttentionBlocks::Short : AttentionBlocks::Long);
    };
    const auto key = format_text("%s %s B=%d T=%d NH=%d%s HS=%d", operation, STORAGE_NAME<Real>, B, T, NH,
                                 KV == NH ? "" : format_text(" KV=%d", KV), HS);
    const char *const rows64 = "rows64", *const rows128 = "rows128";
    run_way(stream.choices->choose(key, {short_first ? rows64 : rows128, short_first ? rows128 : rows64}, run_way,
                                   stream.cuda));
}

// A block of ROWS own rows, and how many of them make up a work item.
template <int ROWS>
struct OwnBlock {
    static constexpr int BANDS = ROWS == LONG_BLOCK ? 2 : 1, WARP_ROWS = 16 * BANDS, THREADS = ROWS / WARP_ROWS * 32;
    static constexpr int PARTS = ATTENTION_TILE / ROWS;
};

// Keys of a tile in the forward pass, whose scores are N / 2 registers a band next to HS / 2 of the output: 64 up to
// HS = 64, then 32, of float's longest rows 16. A row's bits depend on it: the softmax goes tile by tile.
template <class Real, int HS>
constexpr int FORWARD_KEYS = HS <= 64                   ? 64
                             : HS * sizeof(Real) <= 512 ? 32
                                                        : 16;

// Rows of a tile of the other side in the backward pass, short blocks: there scores and their gradients are alive at
// once, and for dK and dV two outputs of HS / 2 registers each. Bits do not depend on it.
template <class Real, int HS>
constexpr int SHORT_BACKWARD_COLUMNS = HS * sizeof(Real) <= 128   ? 64
                                       : HS * sizeof(Real) <= 320 ? 32
                                                                  : 16;

// ---- work items -----------------------------------------------------------------------------------------------------
// One entry of the schedule: a tile of queries of a segment.
struct WorkItem {
    int token;         // the segment's first, a row of (B * T)
    int length;        // of the segment
    int query;         // first query of the tile, from the segment's first token on
    size_t statistic;  // the segment's first token in (B, NH, T), of this head
};

__device__ inline WorkItem work_item(const int* schedule, int index, int T, int NH, int head) {
    const int* entry = schedule + 1 + 4 * static_cast<size_t>(index);
    return {entry[0] * T + entry[1], entry[2], entry[3],
            (static_cast<size_t>(entry[0]) * NH + head) * T + static_cast<size_t>(entry[1])};
}

// Where a query head's elements of a token are in out and dout, (B, T, NH, HS). Computed anew at each use (`detached`):
// pointers kept over a loop are registers that the sums need.
template <int HS, class Real>
__device__ __forceinline__ Real* head_of_token(Real* out, int token, int NH, int head) {
    return out + (static_cast<size_t>(detached(token)) * NH + head) * HS;
}
// The same in qkv and dqkv, (B, T, NH+2KV, HS): of a query head, of a key/value head its key, how far its value lies
// from that, and the next token's from each. What the packed layout is, is said here alone.
template <int HS>
struct Packed {
    template <class Real>
    __device__ __forceinline__ static Real* query(Real* qkv, int token, int NH, int KV, int head) {
        return qkv + (static_cast<size_t>(detached(token)) * (NH + 2 * KV) + head) * HS;
    }
    template <class Real>
    __device__ __forceinline__ static Real* key(Real* qkv, int token, int NH, int KV, int kv) {
        return query(qkv, token, NH, KV, NH + kv);
    }
    __device__ __forceinline__ static size_t value(int KV) { return static_cast<size_t>(KV) * HS; }
    __device__ __forceinline__ static size_t token(int NH, int KV) { return static_cast<size_t>(NH + 2 * KV) * HS; }
};

// ---- the grid -------------------------------------------------------------------------------------------------------
// (query head of a group, part of a work item, key/value head). Blocks start in this order, the first fastest: heads of
// a group walk over the same keys and values next to each other, so that one of them reads a tile from HBM and the
// others from L2. The kernel that owns keys does all heads of the group in one block: there the group is 1.
// Enough blocks for every tile without a document mask, up to what a grid may have; with a mask the host cannot know
// their number. The blocks walk on in strides of the grid. The parts of an item follow each other.
inline dim3 attention_grid(int B, int T, int group, int KV, int parts) {
    const int items = B * ((T + ATTENTION_TILE - 1) / ATTENTION_TILE);
    return dim3(static_cast<unsigned>(group), static_cast<unsigned>(std::min(items, 65535 / parts) * parts),
                static_cast<unsigned>(KV));
}
// What a block makes of its place in it.
__device__ inline int query_head() { return static_cast<int>(blockIdx.z * gridDim.x + blockIdx.x); }
__device__ inline int key_head() { return static_cast<int>(blockIdx.z); }
template <int PARTS>
__device__ inline int first_item() {
    return static_cast<int>(blockIdx.y) / PARTS;
}
template <int PARTS>
__device__ inline int item_stride() {
    return static_cast<int>(gridDim.y) / PARTS;
}
template <int PARTS>
__device__ inline int part_of_item() {
    return static_cast<int>(blockIdx.y) % PARTS;
}

inline void check_attention_shape(const char* what, int B, int T, int NH, int KV) {
    ENSURE(B >= 1 && T >= 1 && KV >= 1 && NH <= 65535 &&
               static_cast<size_t>(B) * T < (size_t(1) << 31) - ATTENTION_TILE * size_t(B),
           "%s: B=%d T=%d NH=%d KV=%d: at least 1 each, fewer than 2^31 tokens, at most 65535 heads", what, B, T, NH,
           KV);
    ENSURE(NH >= KV && NH % KV == 0, "%s: NH=%d KV=%d: NH is a multiple of KV", what, NH, KV);
}

}  // namespace gpu
