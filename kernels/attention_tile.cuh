// attention_tile.cuh - what the three kernels of attention share: head and tile sizes, tiles in shared memory, products
// of tiles, and where a work item's rows lie in memory.
//
// A block owns some rows (queries, or keys for dK and dV), 16 to a warp, and walks over tiles of the other side. All
// positions are counted from the segment's first token: a segment's bits do not depend on where in a row it is.
#pragma once
#include <algorithm>
#include <type_traits>

#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/ptx.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int ATTENTION_TILE = 64;  // queries of a work item (gpu.h)

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

// Own rows of a block, 16 to a warp: the whole work item, 4 warps, while two own tiles of 64 rows fit next to the
// others. Rows of 1 KiB (float, HS = 256) leave room for 32 (one own tile: forward) or 16 (two: backward); the item is
// then cut.
template <class Real, int HS>
constexpr int forward_rows() {
    return HS * sizeof(Real) <= 512 ? ATTENTION_TILE : 32;
}
template <class Real, int HS>
constexpr int backward_rows() {
    return HS * sizeof(Real) <= 512 ? ATTENTION_TILE : 16;
}
// Keys of a tile in the forward pass: 64 scores a row are 32 registers next to HS / 2 of the output, and 4 tiles (K and
// V, twice) of 64 rows of 256 bytes are 64 KiB. Longer rows: what fits. HS = 80: 32, or there would be registers for
// two blocks on an SM instead of three.
template <class Real, int HS>
constexpr int forward_keys() {
    return HS * sizeof(Real) <= 256 && HS != 80 ? 64 : HS * sizeof(Real) <= 512 ? 32 : 16;
}
// Rows of the other side in the backward pass, where scores and their gradients are alive at once, and for dK and dV
// two outputs of HS / 2 registers each: 64 up to HS = 64, 32 up to HS = 128; 16 is what fits from 512 bytes a row on.
template <class Real, int HS>
constexpr int backward_columns() {
    return HS * sizeof(Real) <= 128 ? 64 : HS * sizeof(Real) <= 320 ? 32 : 16;
}

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

// Where a head's elements of a token are in out and dout, (B, T, NH, HS). Computed anew at each use (`detached`):
// pointers kept over a loop are registers that the sums need.
template <int HS, class Real>
__device__ __forceinline__ Real* head_of_token(Real* out, int token, int NH, int head) {
    return out + (static_cast<size_t>(detached(token)) * NH + head) * HS;
}
// The same in qkv and dqkv, (B, T, 3, NH, HS): the head's query, and how far its key lies from it, its value from the
// key, and the next token's from each. What the packed layout is, is said here alone.
template <int HS>
struct Packed {
    template <class Real>
    __device__ __forceinline__ static Real* query(Real* qkv, int token, int NH, int head) {
        return qkv + (static_cast<size_t>(detached(token)) * 3 * NH + head) * HS;
    }
    __device__ __forceinline__ static size_t part(int NH) { return static_cast<size_t>(NH) * HS; }
    __device__ __forceinline__ static size_t token(int NH) { return 3 * part(NH); }
};

// Enough blocks for every tile without a document mask; with one the host cannot know their number, and the blocks walk
// on in strides of the grid.
inline dim3 attention_grid(int B, int T, int NH, int blocks_to_item) {
    return dim3(static_cast<unsigned>(B * ((T + ATTENTION_TILE - 1) / ATTENTION_TILE)), static_cast<unsigned>(NH),
                static_cast<unsigned>(blocks_to_item));
}

inline void check_attention_shape(const char* what, int B, int T, int NH) {
    ENSURE(
        B >= 1 && T >= 1 && NH >= 1 && NH <= 65535 && static_cast<size_t>(B) * T < (size_t(1) << 31) - 64 * size_t(B),
        "%s: B=%d T=%d NH=%d: at least 1 each, fewer than 2^31 tokens, at most 65535 heads", what, B, T, NH);
}

// ---- tiles in shared memory -----------------------------------------------------------------------------------------
// ROWS x COLUMNS elements, row after row. Units of 8 elements change places within a row by the bits of the row's
// number, so that the 8 rows of a matrix lie in different banks; a unit stays among SPAN neighbours, the largest power
// of two that divides the row.
template <class Real, int ROWS, int COLUMNS>
struct SharedTile {
    static constexpr int UNITS = COLUMNS / 8;
    static constexpr int SPAN = (UNITS & -UNITS) < 8 ? (UNITS & -UNITS) : 8;
    alignas(128) Real data[ROWS * COLUMNS];

    __device__ static int offset(int row, int unit) { return row * COLUMNS + (unit ^ (row / (8 / SPAN) % SPAN)) * 8; }
    // The offset of unit `unit` + `further` out of that of `unit` < 2: `further` even and known to the compiler, and so
    // `unit` and it have no bit in common.
    __device__ static int offset_further(int offset, int further) {
        return (offset ^ (further % SPAN * 8)) + further / SPAN * SPAN * 8;
    }
    __device__ Real* unit(int row, int unit) { return data + offset(row, unit); }
    __device__ const Real* unit(int row, int unit) const { return data + offset(row, unit); }
};

// Threads that share a row of PIECES pieces: a power of two, so that a thread keeps its column.
__host__ __device__ constexpr int threads_to_row(int pieces, int threads) {
    int n = 1;
    while (n < pieces && n < threads) n *= 2;
    return n;
}

// Starts copying rows 0 .. ROWS of `from` (`stride` elements apart); those from `rows` on become zeros.
template <int THREADS, class Real, int ROWS, int COLUMNS>
__device__ __forceinline__ void load_tile(SharedTile<Real, ROWS, COLUMNS>& tile, const Real* from, size_t stride,
                                          int rows) {
    constexpr int PIECE = 16 / sizeof(Real), PIECES = COLUMNS / PIECE;
    constexpr int SHARERS = threads_to_row(PIECES, THREADS), STEP = THREADS / SHARERS;
    static_assert(ROWS % STEP == 0);
    const int first = static_cast<int>(threadIdx.x) / SHARERS, own = static_cast<int>(threadIdx.x) % SHARERS;
    from = detached(from + first * stride + own * PIECE);
    UNROLL
    for (int row = 0; row < ROWS; row += STEP) {
        UNROLL
        for (int piece = 0; piece < PIECES; piece += SHARERS) {
            const int column = (piece + own) * PIECE;
            if (PIECES % SHARERS == 0 || column < COLUMNS)
                copy_async<16>(tile.unit(first + row, column / 8) + column % 8, from + piece * PIECE,
                               first + row < rows);
        }
        from = detached(from + STEP * stride);
    }
}

// Starts copying tile number `tile` of the keys and values of a segment of `length` tokens from `token` on.
template <int THREADS, class Real, int KEYS, int HS>
__device__ __forceinline__ void start_loading_keys(SharedTile<Real, KEYS, HS> (&k)[2],
                                                   SharedTile<Real, KEYS, HS> (&v)[2], int tile, const Real* qkv,
                                                   int token, int length, int NH, int head) {
    const int first = tile * KEYS, heads = detached(NH);
    const size_t part = Packed<HS>::part(heads), stride = Packed<HS>::token(heads);
    const Real* const keys = Packed<HS>::query(qkv, token + first, NH, head) + part;
    load_tile<THREADS>(k[tile % 2], keys, stride, length - first);
    load_tile<THREADS>(v[tile % 2], keys + part, stride, length - first);
    copy_async_commit();
}

// Which row and unit a lane names when a warp loads 16 x 16 elements: matrices in the order of a left operand (and of a
// right one by TRANSPOSED loading), or in that of a right operand whose columns are the tile's rows.
template <class Tile>
__device__ __forceinline__ int lane_offset(int row) {
    return detached(Tile::offset(row + lane_index() % 16, lane_index() / 16));
}
template <class Tile>
__device__ __forceinline__ int lane_offset_right() {
    const int lane = lane_index();
    return detached(Tile::offset(lane / 16 * 8 + lane % 8, lane / 8 % 2));
}

// The 16 x 16 elements at (row, 16 k) as a left operand, out of lane_offset(row).
template <class Real, int ROWS, int COLUMNS>
__device__ __forceinline__ Matrices<Real> left_operand(const SharedTile<Real, ROWS, COLUMNS>& tile, int offset, int k) {
    Matrices<Real> m;
    load_matrices<false>(m, tile.data + tile.offset_further(offset, 2 * k));
    return m;
}

// Turns of a product's loop over k to be unrolled where no register is indexed by k: enough for addresses to be
// constants; more would be loads too early and registers too many. Of float's product on the CUDA cores one is long
// enough.
template <class Real>
constexpr int UNROLLED_STEPS = std::is_same_v<Real, float> ? 1 : 4;

// sum (16 x N) += left * right^T over all columns; left(k) gives the 16 x 16 operand of columns 16 k to 16 k + 15.
template <int STEPS, class Real, int N, int COLUMNS, class Left>
__device__ __forceinline__ void multiply_transposed(float (&sum)[N / 8][4], Left left,
                                                    const SharedTile<Real, N, COLUMNS>& right) {
    const int offset = lane_offset_right<SharedTile<Real, N, COLUMNS>>();
    UNROLL_BY(STEPS)
    for (int k = 0; k < COLUMNS / 16; ++k) {
        const Matrices<Real> a = left(k);
        UNROLL
        for (int n = 0; n < N / 16; ++n) {
            Matrices<Real> b;
            load_matrices<false>(b, right.data + right.offset_further(offset, 2 * k) + n * 16 * COLUMNS);
            multiply_add(sum[2 * n], a, b, 0);
            multiply_add(sum[2 * n + 1], a, b, 1);
        }
    }
}

// sum (16 x COLUMNS) += left * right, left being the sums of an earlier product, rounded to Real.
template <class Real, int N, int COLUMNS>
__device__ __forceinline__ void multiply(float (&sum)[COLUMNS / 8][4], const float (&left)[N / 8][4],
                                         const SharedTile<Real, N, COLUMNS>& right) {
    const int offset = lane_offset<SharedTile<Real, N, COLUMNS>>(0);
    UNROLL
    for (int k = 0; k < N / 16; ++k) {
        const Matrices<Real> a = left_operand<Real>(left[2 * k], left[2 * k + 1]);
        UNROLL
        for (int n = 0; n < COLUMNS / 16; ++n) {
            Matrices<Real> b;
            load_matrices<true>(b, right.data + right.offset_further(offset, 2 * n) + k * 16 * COLUMNS);
            multiply_add(sum[2 * n], a, b, 0);
            multiply_add(sum[2 * n + 1], a, b, 1);
        }
    }
}

__device__ inline void store_pair(bf16* to, float a, float b) {
    *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(a, b);
}
__device__ inline void store_pair(float* to, float a, float b) { *reinterpret_cast<float2*>(to) = make_float2(a, b); }

// Writes a warp's 16 rows to `to` (`stride` elements apart), as many as are < rows, times factor[0] (rows 0 to 7) and
// factor[1]. They pass through the warp's own rows of `tile`, which nobody else reads, so that whole 16-byte pieces
// reach memory.
template <class Real, int ROWS, int COLUMNS>
__device__ __forceinline__ void store_rows(Real* to, size_t stride, int rows, const float (&sum)[COLUMNS / 8][4],
                                           const float (&factor)[2], SharedTile<Real, ROWS, COLUMNS>& tile, int first) {
    const int lane = lane_index(), g = lane / 4, t = 2 * (lane % 4);
    __syncwarp();  // the warp has read its rows for the last time
    UNROLL
    for (int n = 0; n < COLUMNS / 8; ++n) {
        UNROLL
        for (int r = 0; r < 2; ++r)
            store_pair(tile.unit(first + g + r * 8, n) + t, sum[n][2 * r] * factor[r], sum[n][2 * r + 1] * factor[r]);
    }
    __syncwarp();
    constexpr int PIECE = 16 / sizeof(Real), PIECES = COLUMNS / PIECE;
    static_assert(16 * PIECES % 32 == 0);
    UNROLL
    for (int pass = 0; pass < 16 * PIECES / 32; ++pass) {
        const int i = pass * 32 + lane;
        const int row = i / PIECES, column = i % PIECES * PIECE;
        if (row < rows)
            store_pack(to + row * stride + column, load_pack(tile.unit(first + row, column / 8) + column % 8));
    }
}

}  // namespace gpu
