// attention_tile.cuh - what the three kernels of attention share: tiles in shared memory, and products of tiles.
//
// A block owns some rows (queries, or keys for dK and dV), one or two bands of 16 to a warp, and walks over tiles of
// the other side. All positions are counted from the segment's first token: a segment's bits do not depend on where in
// a row it is.
#pragma once
#include <type_traits>

#include "kernels/attention_shape.cuh"
#include "kernels/pack.cuh"
#include "kernels/ptx.cuh"
#include "kernels/simt.h"

namespace gpu {

// ---- tiles in shared memory -----------------------------------------------------------------------------------------
// ROWS x COLUMNS elements, row after row. Units of 8 elements change places within a row by the bits of the row's
// number, so that the 8 rows of a matrix lie in different banks; a unit stays among SPAN neighbours, the largest power
// of two that divides the row.
template <class Real, int ROWS, int COLUMNS>
struct SharedTile {
    static constexpr int UNITS = COLUMNS / 8;
    static constexpr int SPAN = (UNITS & -UNITS) < 8 ? (UNITS & -UNITS) : 8;
    static constexpr int PERIOD = 8;  // rows after which places repeat
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

// Starts copying rows 0 .. ROWS of `from` (`stride` elements apart); those from `rows` on become zeros. Block: the
// kernel's shape. A thread's place in the tile stays in registers from tile to tile if it KEEPS_PLACES.
template <class Block, class Real, int ROWS, int COLUMNS>
__device__ __forceinline__ void load_tile(SharedTile<Real, ROWS, COLUMNS>& tile, const Real* from, size_t stride,
                                          int rows) {
    using Tile = SharedTile<Real, ROWS, COLUMNS>;
    constexpr int PIECE = 16 / sizeof(Real), PIECES = COLUMNS / PIECE;
    constexpr int SHARERS = threads_to_row(PIECES, Block::THREADS), STEP = Block::THREADS / SHARERS;
    static_assert(ROWS % STEP == 0);
    int thread = static_cast<int>(threadIdx.x);
    if constexpr (!Block::KEEPS_PLACES) thread = detached(thread);
    const int first = thread / SHARERS, own = thread % SHARERS;
    from = detached(from + first * stride + own * PIECE);
    UNROLL
    for (int row = 0; row < ROWS; row += STEP) {
        UNROLL
        for (int piece = 0; piece < PIECES; piece += SHARERS) {
            const int column = (piece + own) * PIECE;
            // rows that are a whole period apart have their units in the same places: one address and constants
            const int offset = STEP % Tile::PERIOD == 0 ? Tile::offset(first, column / 8) + row * COLUMNS
                                                        : Tile::offset(first + row, column / 8);
            if (PIECES % SHARERS == 0 || column < COLUMNS)
                copy_async<16>(tile.data + offset + column % 8, from + piece * PIECE, first + row < rows);
        }
        from = detached(from + STEP * stride);
    }
}

// Starts copying tile number `tile` of the keys and values of a segment of `length` tokens from `token` on, of the
// block's key/value head.
template <class Block, class Real, int KEYS, int HS>
__device__ __forceinline__ void start_loading_keys(SharedTile<Real, KEYS, HS> (&k)[2],
                                                   SharedTile<Real, KEYS, HS> (&v)[2], int tile, const Real* qkv,
                                                   int token, int length, int NH, int KV) {
    const int first = tile * KEYS, heads = detached(NH), kv_heads = detached(KV);
    const size_t stride = Packed<HS>::token(heads, kv_heads);
    const Real* const keys = Packed<HS>::key(qkv, token + first, heads, kv_heads, key_head());
    load_tile<Block>(k[tile % 2], keys, stride, length - first);
    load_tile<Block>(v[tile % 2], keys + Packed<HS>::value(kv_heads), stride, length - first);
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

// A warp's own rows, 16 BANDS of them from `row` of a tile on, as left operands. KEPT: loaded once, into HS BANDS / 4
// registers of bf16; otherwise at each use.
template <bool KEPT, class Real, int BANDS, int HS>
struct OwnRows {
    Matrices<Real> kept[KEPT ? BANDS : 1][KEPT ? HS / 16 : 1];

    template <int ROWS>
    __device__ __forceinline__ void load(const SharedTile<Real, ROWS, HS>& tile, int row) {
        if constexpr (KEPT) {
            const int offset = lane_offset<SharedTile<Real, ROWS, HS>>(row);
            UNROLL
            for (int band = 0; band < BANDS; ++band) {
                UNROLL
                for (int k = 0; k < HS / 16; ++k) kept[band][k] = from_tile(tile, offset, band, k);
            }
        }
    }
    // operand(offset): what gives the 16 x 16 elements of a band's columns 16 k to 16 k + 15, offset = lane_offset(row)
    template <int ROWS>
    __device__ __forceinline__ auto operand(const SharedTile<Real, ROWS, HS>& tile, int offset) const {
        return [this, &tile, offset](int band, int k) {
            if constexpr (KEPT)
                return kept[band][k];
            else
                return from_tile(tile, offset, band, k);
        };
    }

  private:
    template <int ROWS>
    __device__ __forceinline__ static Matrices<Real> from_tile(const SharedTile<Real, ROWS, HS>& tile, int offset,
                                                               int band, int k) {
        Matrices<Real> m;
        load_matrices<false>(m, tile.data + tile.offset_further(offset, 2 * k) + band * 16 * HS);
        return m;
    }
};

// Turns of a product's loop over k to be unrolled where no register is indexed by k: enough for addresses to be
// constants; more would be loads too early and registers too many. Of float's product on the CUDA cores one is long
// enough.
template <class Real>
constexpr int UNROLLED_STEPS = std::is_same_v<Real, float> ? 1 : 4;

// sum (16 BANDS x N) += left * right^T over all columns; left(band, k) gives the 16 x 16 operand of a band's columns
// 16 k to 16 k + 15. What is loaded of `right` serves all bands.
template <int STEPS, class Real, int BANDS, int N, int COLUMNS, class Left>
__device__ __forceinline__ void multiply_transposed(float (&sum)[BANDS][N / 8][4], Left left,
                                                    const SharedTile<Real, N, COLUMNS>& right) {
    const int offset = lane_offset_right<SharedTile<Real, N, COLUMNS>>();
    UNROLL_BY(STEPS)
    for (int k = 0; k < COLUMNS / 16; ++k) {
        Matrices<Real> a[BANDS];
        UNROLL
        for (int band = 0; band < BANDS; ++band) a[band] = left(band, k);
        UNROLL
        for (int n = 0; n < N / 16; ++n) {
            Matrices<Real> b;
            load_matrices<false>(b, right.data + right.offset_further(offset, 2 * k) + n * 16 * COLUMNS);
            UNROLL
            for (int band = 0; band < BANDS; ++band) {
                multiply_add(sum[band][2 * n], a[band], b, 0);
                multiply_add(sum[band][2 * n + 1], a[band], b, 1);
            }
        }
    }
}

// sum (16 BANDS x COLUMNS) += left * right, left being the sums of an earlier product, rounded to Real.
template <class Real, int BANDS, int N, int COLUMNS>
__device__ __forceinline__ void multiply(float (&sum)[BANDS][COLUMNS / 8][4], const float (&left)[BANDS][N / 8][4],
                                         const SharedTile<Real, N, COLUMNS>& right) {
    const int offset = lane_offset<SharedTile<Real, N, COLUMNS>>(0);
    UNROLL
    for (int k = 0; k < N / 16; ++k) {
        Matrices<Real> a[BANDS];
        UNROLL
        for (int band = 0; band < BANDS; ++band) a[band] = left_operand<Real>(left[band][2 * k], left[band][2 * k + 1]);
        UNROLL
        for (int n = 0; n < COLUMNS / 16; ++n) {
            Matrices<Real> b;
            load_matrices<true>(b, right.data + right.offset_further(offset, 2 * n) + k * 16 * COLUMNS);
            UNROLL
            for (int band = 0; band < BANDS; ++band) {
                multiply_add(sum[band][2 * n], a[band], b, 0);
                multiply_add(sum[band][2 * n + 1], a[band], b, 1);
            }
        }
    }
}

__device__ inline void store_pair(bf16* to, float a, float b) {
    *reinterpret_cast<__nv_bfloat162*>(to) = __floats2bfloat162_rn(a, b);
}
__device__ inline void store_pair(float* to, float a, float b) { *reinterpret_cast<float2*>(to) = make_float2(a, b); }

// Writes a warp's rows to `to` (`stride` elements apart), as many as are < rows, times factor[band][0] (rows 0 to 7 of
// the band) and factor[band][1]. They pass through the warp's own rows of `tile`, which nobody else reads, so that
// whole 16-byte pieces reach memory.
template <class Real, int ROWS, int COLUMNS, int BANDS>
__device__ __forceinline__ void store_rows(Real* to, size_t stride, int rows, const float (&sum)[BANDS][COLUMNS / 8][4],
                                           const float (&factor)[BANDS][2], SharedTile<Real, ROWS, COLUMNS>& tile,
                                           int first) {
    const int lane = detached(lane_index()), g = lane / 4, t = 2 * (lane % 4);
    __syncwarp();  // the warp has read its rows for the last time
    UNROLL
    for (int band = 0; band < BANDS; ++band) {
        UNROLL
        for (int n = 0; n < COLUMNS / 8; ++n) {
            UNROLL
            for (int r = 0; r < 2; ++r)
                store_pair(tile.unit(first + band * 16 + g + r * 8, n) + t, sum[band][n][2 * r] * factor[band][r],
                           sum[band][n][2 * r + 1] * factor[band][r]);
        }
    }
    __syncwarp();
    constexpr int PIECE = 16 / sizeof(Real), PIECES = COLUMNS / PIECE;
    static_assert(16 * PIECES % 32 == 0);
    UNROLL
    for (int pass = 0; pass < BANDS * 16 * PIECES / 32; ++pass) {
        const int i = pass * 32 + lane;
        const int row = i / PIECES, column = i % PIECES * PIECE;
        if (row < rows)
            store_pack(to + row * stride + column, load_pack(tile.unit(first + row, column / 8) + column % 8));
    }
}

}  // namespace gpu
