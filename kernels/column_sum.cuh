// column_sum.cuh - sums over the rows of a matrix, for the gradients of biases and of what scales a row. The rows are
// cut into chunks, a block sums a chunk's columns into a row of partial sums, and a second kernel adds these rows.
// Where the chunks lie follows from the shape alone, so the bits do not depend on the GPU.
#pragma once
#include "kernels/device.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int COLUMN_THREADS = 256;
constexpr int ROW_CHUNK_UNIT = 16;  // chunks begin at multiples of it

// Rows of a chunk and number of chunks, where N rows make at most max_chunks of them.
inline int chunk_rows(int N, int max_chunks) {
    const int rows = (N - 1) / max_chunks + 1;
    return (rows + ROW_CHUNK_UNIT - 1) / ROW_CHUNK_UNIT * ROW_CHUNK_UNIT;
}
inline int row_chunks(int N, int max_chunks) { return (N - 1) / chunk_rows(N, max_chunks) + 1; }

// Of a bias: enough to keep a large GPU busy when there is one tile of columns, few enough that the partial sums stay a
// few percent of what is read.
constexpr int BIAS_CHUNKS = 512;

// A block of COLUMN_THREADS is WIDTH packs of columns by GROUPS rows.
template <int WIDTH>
struct ColumnTile {
    static constexpr int GROUPS = COLUMN_THREADS / WIDTH;
    template <class Real>
    static constexpr int COLUMNS = Pack<Real>::SIZE* WIDTH;
    template <class Real>
    static constexpr size_t SHARED = sizeof(float) * COLUMNS<Real>* GROUPS;
};
using BiasTile = ColumnTile<16>;   // 256 bytes of a row: bf16 rows of 128 fill it
using FinishTile = ColumnTile<8>;  // narrow, because there are few columns to make blocks of

// The sum over the block's groups of what each has of the tile's columns, in order. Thread t of those below COLUMNS
// gets that of column t. All threads of the block take part, once a launch: `scratch` is not guarded against a second
// use.
template <class Tile, class Real>
__device__ inline float add_groups(const float (&sum)[Pack<Real>::SIZE], float* scratch) {
    constexpr int SIZE = Pack<Real>::SIZE, COLUMNS = Tile::template COLUMNS<Real>, WIDTH = COLUMNS / SIZE;
    const int group = static_cast<int>(threadIdx.x) / WIDTH, at = static_cast<int>(threadIdx.x) % WIDTH * SIZE;
    for (int k = 0; k < SIZE; ++k) scratch[group * COLUMNS + at + k] = sum[k];
    __syncthreads();
    float total = 0;
    if (threadIdx.x < COLUMNS)
        for (int g = 0; g < Tile::GROUPS; ++g) total += scratch[g * COLUMNS + static_cast<int>(threadIdx.x)];
    return total;
}

// sum_{i < rows} x[i * stride + c] for the columns of the block's tile that begins at `first`. Thread t of those below
// COLUMNS gets that of column first + t. A group takes every GROUPS-th row in ascending order, then the groups are
// added in order.
template <class Tile, class Real>
__device__ inline float column_sum(const Real* x, int rows, int first, int C, size_t stride, float* scratch) {
    constexpr int SIZE = Pack<Real>::SIZE, WIDTH = Tile::template COLUMNS<Real> / SIZE;
    const int group = static_cast<int>(threadIdx.x) / WIDTH, at = static_cast<int>(threadIdx.x) % WIDTH * SIZE;
    float sum[SIZE] = {};
    if (first + at < C)
        for (int i = group; i < rows; i += Tile::GROUPS) {
            const Pack<Real> pack = load_pack(x + i * stride + first + at);
            for (int k = 0; k < SIZE; ++k) sum[k] += to_float(pack[k]);
        }
    return add_groups<Tile, Real>(sum, scratch);
}

// partial[p,c] = sum_n x[n,c] over the rows n of chunk p        p < P, c < C
// partial (P, C); x (N, C). A block has a chunk and 256 bytes of its columns; order as in column_sum. N C sizeof(Real)
// bytes, and 4 P C written: bf16 N=65536, C=2048 63 us.
template <class Real>
__global__ void __launch_bounds__(COLUMN_THREADS)
    column_partial_kernel(float* partial, const Real* x, int rows, int N, int C) {
    const int first = static_cast<int>(blockIdx.y) * BiasTile::COLUMNS<Real>;
    const int begin = static_cast<int>(blockIdx.x) * rows;
    const size_t stride = static_cast<size_t>(C);
    const float sum =
        column_sum<BiasTile>(x + begin * stride, min(rows, N - begin), first, C, stride, &shared_memory<float>());
    const int c = first + static_cast<int>(threadIdx.x);
    if (threadIdx.x < BiasTile::COLUMNS<Real> && c < C) partial[blockIdx.x * stride + c] = sum;
}

// M = 2: first[c] += sum_p partial[p,0,c], second[c] += sum_p partial[p,1,c]        p < P, m < M, c < C
// M = 1: both += sum_p partial[p,0,c]; second may be null
// partial (P, M, C), M the height of the grid. A block has 32 columns of one m; order as in column_sum. 4 P M C bytes,
// most of them still in the second-level cache: P=512, C=512 is 1 MB and the time of a launch.
template <class Tile>
__global__ void __launch_bounds__(COLUMN_THREADS)
    column_finish_kernel(float* first, float* second, const float* partial, int P, int C) {
    const int column = static_cast<int>(blockIdx.x) * Tile::template COLUMNS<float>;
    const size_t width = static_cast<size_t>(C), m = blockIdx.y;
    const float sum = column_sum<Tile>(partial + m * width, P, column, C, gridDim.y * width, &shared_memory<float>());
    const int c = column + static_cast<int>(threadIdx.x);
    if (threadIdx.x >= Tile::template COLUMNS<float> || c >= C) return;
    const bool both = gridDim.y == 1;
    if (m == 0) first[c] += sum;
    if (m == 1 || (both && second)) second[c] += sum;
}

// Of M = 1 or 2 matrices of partial sums.
inline void finish_columns(float* first, float* second, const float* partial, int P, int M, int C,
                           cudaStream_t stream) {
    constexpr int COLUMNS = FinishTile::COLUMNS<float>;
    const dim3 grid(static_cast<unsigned>((C + COLUMNS - 1) / COLUMNS), static_cast<unsigned>(M));
    LAUNCH(column_finish_kernel<FinishTile>, grid, COLUMN_THREADS, FinishTile::SHARED<float>, stream, first, second,
           partial, P, C);
}
// first[c] += sum_p partial[p,0,c], second[c] += sum_p partial[p,1,c]; second null: partial is (P, C).
inline void add_column_sums(float* first, float* second, const float* partial, int P, int C, cudaStream_t stream) {
    finish_columns(first, second, partial, P, second ? 2 : 1, C, stream);
}

// dbias[o] += sum_n dout[n,o], also[o] += the same (null: skipped)        n < N, o < OC
// scratch: bias_backward_scratch(N, OC) bytes
template <class Real>
void add_bias_gradient(float* dbias, float* also, float* scratch, const Real* dout, int N, int OC,
                       cudaStream_t stream) {
    ENSURE(N > 0 && OC > 0 && OC % 8 == 0, "bias_backward: N=%d OC=%d: OC is a multiple of 8", N, OC);
    constexpr int COLUMNS = BiasTile::COLUMNS<Real>;
    const int chunks = row_chunks(N, BIAS_CHUNKS), rows = chunk_rows(N, BIAS_CHUNKS);
    const dim3 grid(static_cast<unsigned>(chunks), static_cast<unsigned>((OC + COLUMNS - 1) / COLUMNS));
    LAUNCH(column_partial_kernel<Real>, grid, COLUMN_THREADS, BiasTile::SHARED<Real>, stream, scratch, dout, rows, N,
           OC);
    finish_columns(dbias, also, scratch, chunks, 1, OC, stream);
}

}  // namespace gpu
