// attention_schedule.cuh - the list of tiles that attention has to do, made on the device without the host's knowing
// how many there are.
//
// A tile begins at every position whose distance from its segment's first is a multiple of 128. That multiple is the
// tile's level: how far its work reaches back. The list goes by groups of rows, in a group by falling level, then by
// row, then by position: the longest work of a group starts first and short work fills the end, with or without a mask.
// A group is small enough for its keys and values to stay in the L2 cache from level to level, and large enough to keep
// a GPU's blocks busy.
// (The backward pass gives the entry of a segment's last tile to its first tile of keys, whose work is the longest.)
#pragma once
#include "kernels/attention_shape.cuh"
#include "kernels/operations.h"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int SCHEDULE_WARPS = 4, SCAN_THREADS = 1024;
// Of a group of rows: K and V of one head are 8 MiB of bf16 at HS = 64, in 256 tiles.
constexpr int GROUP_TOKENS = 32768;

__host__ __device__ inline int attention_levels(int T) { return (T + ATTENTION_TILE - 1) / ATTENTION_TILE; }

// Number `index` of the (group, level, row) in the list's order: its level and its row.
struct LevelOfRow {
    int level, row;
};
__device__ inline LevelOfRow level_of_row(int index, int B, int T) {
    const int levels = attention_levels(T), group_rows = max(GROUP_TOKENS / T, 1);
    const int first_row = index / levels / group_rows * group_rows, rows = min(group_rows, B - first_row);
    const int place = index - first_row * levels;
    return {levels - 1 - place / rows, first_row + place % rows};
}

// Calls tile(position, rank) for the tiles of one level in one row, in ascending position; rank counts from 0. Returns
// their number. One warp, 32 positions at a time.
template <class F>
__device__ inline int for_each_tile(const int* segment_start, int row, int level, int T, F tile) {
    const int lane = lane_index();
    int found = 0;
    for (int base = level * ATTENTION_TILE; base < T; base += 32) {  // no tile of the level begins earlier
        const int t = base + lane;
        const int first = segment_start && t < T ? segment_start[static_cast<size_t>(row) * T + t] : 0;
        const bool begins = t < T && t - first == level * ATTENTION_TILE;
        const unsigned votes = __ballot_sync(~0u, begins);
        if (begins) tile(t, found + __popc(votes & ((1u << lane) - 1)));
        found += __popc(votes);
    }
    return found;
}

// counts[i] = tiles of the level and row of number i.        i < levels * B
// segment_start (B, T) or null; one warp per (level, row). Reads B T^2 / 256 ints, from L2 but for the first B T.
__global__ void attention_schedule_count_kernel(int* counts, const int* segment_start, int B, int T) {
    const int index = static_cast<int>(blockIdx.x) * SCHEDULE_WARPS + static_cast<int>(threadIdx.x) / 32;
    if (index >= attention_levels(T) * B) return;  // a whole warp; there is no barrier
    const LevelOfRow at = level_of_row(index, B, T);
    const int found = for_each_tile(segment_start, at.row, at.level, T, [](int /*position*/, int /*rank*/) {});
    if (lane_index() == 0) counts[index] = found;
}

// offsets[i] = sum of counts[j], j < i, in place;  *total = sum of all.        i < n
// One block; 1024 counts at a time: prefix sums in a warp, then over the warps, then the carry. Moves 8 n bytes.
__global__ void __launch_bounds__(SCAN_THREADS) attention_schedule_scan_kernel(int* total, int* counts, int n) {
    int* warp_sums = &shared_memory<int>();  // 32
    const int lane = lane_index(), warp = static_cast<int>(threadIdx.x) / 32;
    int carry = 0;
    for (int base = 0; base < n; base += SCAN_THREADS) {
        const int i = base + static_cast<int>(threadIdx.x);
        const int count = i < n ? counts[i] : 0;
        int up_to = count;  // inclusive
        for (int d = 1; d < 32; d *= 2) {
            const int before = __shfl_up_sync(~0u, up_to, d);
            if (lane >= d) up_to += before;
        }
        if (lane == 31) warp_sums[warp] = up_to;
        __syncthreads();
        int warps_up_to = warp_sums[lane];
        for (int d = 1; d < 32; d *= 2) {
            const int before = __shfl_up_sync(~0u, warps_up_to, d);
            if (lane >= d) warps_up_to += before;
        }
        const int warps_before = __shfl_sync(~0u, warps_up_to, warp) - __shfl_sync(~0u, up_to, 31);
        if (i < n) counts[i] = carry + warps_before + up_to - count;
        carry += __shfl_sync(~0u, warps_up_to, 31);
        __syncthreads();  // warp_sums has been read
    }
    if (threadIdx.x == 0) *total = carry;
}

// entries[offsets[i] + rank] = (row, first position of the segment, its length, first query of the tile)
// One warp per (level, row), as in the count. The end of a segment is found by bisection: starts ascend along a row.
__global__ void attention_schedule_write_kernel(int* entries, const int* offsets, const int* segment_start, int B,
                                                int T) {
    const int index = static_cast<int>(blockIdx.x) * SCHEDULE_WARPS + static_cast<int>(threadIdx.x) / 32;
    if (index >= attention_levels(T) * B) return;  // a whole warp; there is no barrier
    const LevelOfRow at = level_of_row(index, B, T);
    for_each_tile(segment_start, at.row, at.level, T, [&](int position, int rank) {
        const int first = position - at.level * ATTENTION_TILE;
        int inside = position, end = T;  // the last position known to be of the segment, the first known not to be
        if (!segment_start) inside = T - 1;
        while (end - inside > 1) {
            const int middle = inside + (end - inside) / 2;
            (segment_start[static_cast<size_t>(at.row) * T + middle] > first ? end : inside) = middle;
        }
        int* entry = entries + 4 * (static_cast<size_t>(offsets[index]) + rank);
        entry[0] = at.row;
        entry[1] = first;
        entry[2] = end - first;
        entry[3] = at.level * ATTENTION_TILE;
    });
}

void attention_schedule(int* schedule, const int* segment_start, int B, int T, stream_t stream) {
    ENSURE(B >= 1 && T >= 1, "attention_schedule: B=%d T=%d: both must be at least 1", B, T);
    int* counts = schedule + 1 + 4 * static_cast<size_t>(B) * T;
    const int n = attention_levels(T) * B;
    const dim3 grid((n + SCHEDULE_WARPS - 1) / SCHEDULE_WARPS), block(SCHEDULE_WARPS * 32);
    LAUNCH(attention_schedule_count_kernel, grid, block, 0, stream.cuda, counts, segment_start, B, T);
    LAUNCH(attention_schedule_scan_kernel, dim3(1), dim3(SCAN_THREADS), 32 * sizeof(int), stream.cuda, schedule, counts,
           n);
    LAUNCH(attention_schedule_write_kernel, grid, block, 0, stream.cuda, schedule + 1, counts, segment_start, B, T);
}

// The count, an entry for every token (each may be a segment of its own), and the counts per level and row.
size_t attention_schedule_size(int B, int T) {
    return 1 + static_cast<size_t>(B) * (4 * static_cast<size_t>(T) + attention_levels(T));
}

}  // namespace gpu
