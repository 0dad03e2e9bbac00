// token_sort.cuh - rows brought together by their id: a stable radix sort of (id, row), 8 bits a pass from the lowest
// up, as few passes as the number of ids needs. A pass is three launches: every tile counts its digits; for every digit
// the counts are summed over the tiles before; every tile scatters its entries to where they belong.
//
// Stable means: among equal ids the rows ascend. That fixes the order of the sums that are made over the sorted rows.
#pragma once
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS;
constexpr int SORT_THREADS = DIGITS, SORT_WARPS = SORT_THREADS / 32;
constexpr int SORT_ITEMS = 4;  // entries of a thread: small tiles, because 65,536 rows make only 64 of them
constexpr int SORT_TILE = SORT_THREADS * SORT_ITEMS;

struct alignas(8) TokenRow {
    int id, row;
};

inline int sort_tiles(int N) { return (N - 1) / SORT_TILE + 1; }

// Entry i of a pass. The first pass has no entries yet and makes them from the ids.
__device__ inline TokenRow sort_entry(const TokenRow* from, const int* ids, int i) {
    return from ? from[i] : TokenRow{ids[i], i};
}
__device__ inline int digit_of(int id, int shift) { return id >> shift & (DIGITS - 1); }

// The sum of `x` over the lanes up to this one.
__device__ inline int warp_running_sum(int x) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int d = 1; d < 32; d *= 2) {
        const int below = __shfl_up_sync(0xffffffffu, x, d);
        if (lane >= d) x += below;
    }
    return x;
}

// counts[d,tile] = #{entries of the tile with digit d}        d < DIGITS
// counts (DIGITS, tiles). A block has a tile; counting is by integer atomics in shared memory, whose order does not
// show. 4 or 8 bytes an entry: for N=65536, which fits the second-level cache, the time of a launch.
__global__ void __launch_bounds__(SORT_THREADS)
    sort_count_kernel(int* counts, const TokenRow* from, const int* ids, int shift, int N) {
    int* count = &shared_memory<int>();  // (DIGITS)
    const int t = static_cast<int>(threadIdx.x), tile = static_cast<int>(blockIdx.x);
    count[t] = 0;
    __syncthreads();
    for (int j = 0; j < SORT_ITEMS; ++j) {
        const int i = tile * SORT_TILE + j * SORT_THREADS + t;
        if (i < N) atomicAdd(&count[digit_of(sort_entry(from, ids, i).id, shift)], 1);
    }
    __syncthreads();
    counts[static_cast<size_t>(t) * gridDim.x + blockIdx.x] = count[t];
}

// counts[d,tile] <- sum of counts[d,k] over k < tile;  totals[d] = sum over all tiles
// counts (DIGITS, tiles), totals (DIGITS). A warp has a digit and goes over its tiles 32 at a time. 2 KB a tile.
__global__ void __launch_bounds__(SORT_THREADS) sort_scan_kernel(int* counts, int* totals, int tiles) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int digit = static_cast<int>(blockIdx.x) * SORT_WARPS + static_cast<int>(threadIdx.x) / 32;
    int* row = counts + static_cast<size_t>(digit) * static_cast<size_t>(tiles);
    int before = 0;
    for (int first = 0; first < tiles; first += 32) {
        const int tile = first + lane, count = tile < tiles ? row[tile] : 0, sum = warp_running_sum(count);
        if (tile < tiles) row[tile] = before + sum - count;
        before += __shfl_sync(0xffffffffu, sum, 31);
    }
    if (lane == 0) totals[digit] = before;
}

struct SortShared {
    int place[SORT_WARPS][DIGITS];  // first the entries of a digit that the warp has met, then where its first one goes
    int warp_total[SORT_WARPS];
};

// to[place] = entry, place = #{entries of a smaller digit} + #{entries of the same digit before it}
// A block has a tile, a warp SORT_ITEMS * 32 consecutive entries of it, 32 at a time; before (DIGITS, tiles) and totals
// (DIGITS) are sort_scan_kernel's. Lanes with the same digit find each other by one ballot a bit. 16 bytes an entry.
__global__ void __launch_bounds__(SORT_THREADS)
    sort_scatter_kernel(TokenRow* to, const int* before, const int* totals, const TokenRow* from, const int* ids,
                        int shift, int N) {
    SortShared& shared = shared_memory<SortShared>();
    const int t = static_cast<int>(threadIdx.x), warp = t / 32, lane = t % 32;
    for (int w = 0; w < SORT_WARPS; ++w) shared.place[w][t] = 0;
    __syncthreads();

    // Rank of each entry among the warp's entries of its digit
    TokenRow entry[SORT_ITEMS];
    int rank[SORT_ITEMS];
    const int first = static_cast<int>(blockIdx.x) * SORT_TILE + warp * SORT_ITEMS * 32 + lane;
    for (int j = 0; j < SORT_ITEMS; ++j) {
        const int i = first + j * 32;
        entry[j] = i < N ? sort_entry(from, ids, i) : TokenRow{0, 0};
        const int digit = digit_of(entry[j].id, shift);
        unsigned peers = __ballot_sync(0xffffffffu, i < N);
        for (int bit = 0; bit < DIGIT_BITS; ++bit) {
            const unsigned ones = __ballot_sync(0xffffffffu, digit >> bit & 1);
            peers &= digit >> bit & 1 ? ones : ~ones;
        }
        const unsigned below = peers & ((1u << lane) - 1);
        rank[j] = shared.place[warp][digit] + __popc(below);
        __syncwarp();  // the count is read by every peer before one of them raises it
        if (i < N && below == 0) shared.place[warp][digit] += __popc(peers);
        __syncwarp();
    }

    // Where the first entry of each digit goes, for each warp: thread t has digit t
    const int total = totals[t], sum = warp_running_sum(total);
    if (lane == 31) shared.warp_total[warp] = sum;
    __syncthreads();
    int place = sum - total + before[static_cast<size_t>(t) * gridDim.x + blockIdx.x];
    for (int w = 0; w < warp; ++w) place += shared.warp_total[w];
    for (int w = 0; w < SORT_WARPS; ++w) {
        const int count = shared.place[w][t];
        shared.place[w][t] = place;
        place += count;
    }
    __syncthreads();

    for (int j = 0; j < SORT_ITEMS; ++j)
        if (first + j * 32 < N) to[shared.place[warp][digit_of(entry[j].id, shift)] + rank[j]] = entry[j];
}

// Two ping-pong buffers of entries, the counts of the tiles and the totals.
inline size_t sort_entries(int N) { return (static_cast<size_t>(N) + 1) / 2 * 2; }  // whole 16 bytes
inline size_t token_sort_scratch(int N) {
    return 2 * sort_entries(N) * sizeof(TokenRow) + (static_cast<size_t>(sort_tiles(N)) + 1) * DIGITS * sizeof(int);
}

// (ids[n], n) for n < N, sorted, somewhere in the scratch of token_sort_scratch(N) bytes.        0 <= ids < num_ids
inline const TokenRow* sort_tokens(void* scratch, const int* ids, int N, int num_ids, cudaStream_t stream) {
    const int tiles = sort_tiles(N);
    TokenRow* const buffers = static_cast<TokenRow*>(scratch);
    int* const totals = reinterpret_cast<int*>(buffers + 2 * sort_entries(N));
    int* const counts = totals + DIGITS;
    const TokenRow* from = nullptr;
    for (int shift = 0; shift == 0 || (shift < 31 && (num_ids - 1) >> shift > 0); shift += DIGIT_BITS) {
        TokenRow* const to = from == buffers ? buffers + sort_entries(N) : buffers;
        LAUNCH(sort_count_kernel, tiles, SORT_THREADS, DIGITS * sizeof(int), stream, counts, from, ids, shift, N);
        LAUNCH(sort_scan_kernel, DIGITS / SORT_WARPS, SORT_THREADS, 0, stream, counts, totals, tiles);
        LAUNCH(sort_scatter_kernel, tiles, SORT_THREADS, sizeof(SortShared), stream, to, counts, totals, from, ids,
               shift, N);
        from = to;
    }
    return from;
}

}  // namespace gpu
