// embedding.cuh - token and position embedding. Forward is a gather. Backward adds rows that share a token, often
// thousands of them, without atomics: rows are sorted by token (token_sort.cuh), so that each token's rows are one run,
// and the sorted rows are cut into chunks of RUN_CHUNK. A run belongs to the chunk where it begins, which adds its part
// to the gradient; the part of a run that lies in later chunks, one partial row each, is added to it by a second
// kernel.
#pragma once
#include "kernels/column_sum.cuh"
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "kernels/token_sort.cuh"
#include "util/check.h"

namespace gpu {

constexpr int EMBEDDING_THREADS = 256;
constexpr int RUN_CHUNK = 64;
constexpr int RUN_BATCH = 8;  // rows whose loads are under way together
using CarryTile = ColumnTile<32>;

inline int run_chunks(int N) { return (N - 1) / RUN_CHUNK + 1; }

// embedding_forward. A thread has 16 bytes of out. 2 N C sizeof(Real) bytes where a token is rarely met twice, half of
// it where the table stays in the caches: bf16 N=65536, C=512 31 us.
template <class Real>
__global__ void __launch_bounds__(EMBEDDING_THREADS)
    embedding_forward_kernel(Real* out, const int* tokens, const int* positions, const Real* wte, const Real* wpe,
                             int N, int C) {
    constexpr int SIZE = Pack<Real>::SIZE;
    const unsigned packs = static_cast<unsigned>(C / SIZE), i = blockIdx.x * EMBEDDING_THREADS + threadIdx.x;
    const unsigned n = i / packs, c = i % packs * SIZE;
    if (n >= static_cast<unsigned>(N)) return;
    const size_t stride = static_cast<size_t>(C);
    Pack<Real> x = load_pack(wte + static_cast<size_t>(tokens[n]) * stride + c);
    if (wpe) {
        const Pack<Real> y = load_pack(wpe + static_cast<size_t>(positions[n]) * stride + c);
        for (int k = 0; k < SIZE; ++k) x[k] = from_float<Real>(to_float(x[k]) + to_float(y[k]));
    }
    store_pack(out + n * stride + c, x);
}

// to[k] = (add ? to[k] : 0) + sum[k]        k < SIZE, a multiple of 4
template <int SIZE>
__device__ inline void put_sums(float* to, const float (&sum)[SIZE], bool add) {
    for (int k = 0; k < SIZE; k += Pack<float>::SIZE) {
        Pack<float> x{};
        if (add) x = load_pack(to + k);
        for (int j = 0; j < Pack<float>::SIZE; ++j) x[j] += sum[k + j];
        store_pack(to + k, x);
    }
}

// For the runs that begin in chunk p: dtable[id,c] += sum of dout[row,c] over the entries of (id, row) in the chunk
// For the run that goes on from the chunk before: partial[p,c] = that sum        p < P, c < C
// dtable (Vp, C); partial (P, C), of which other rows are not written; dout (N, C); sorted (N). A thread has a chunk
// and 16 bytes of its columns, and adds in the order of the entries, ascending n. N C sizeof(Real) bytes, 8 C for each
// token met, 4 C for each row of partial: bf16 N=65536, C=512 with 12,000 different tokens 27 us.
template <class Real>
__global__ void __launch_bounds__(EMBEDDING_THREADS)
    embedding_backward_kernel(float* dtable, float* partial, const Real* dout, const TokenRow* sorted, int N, int C) {
    constexpr int SIZE = Pack<Real>::SIZE;
    const unsigned packs = static_cast<unsigned>(C / SIZE), thread = blockIdx.x * EMBEDDING_THREADS + threadIdx.x;
    const unsigned chunk = thread / packs, c = thread % packs * SIZE;
    const size_t stride = static_cast<size_t>(C);
    if (chunk >= (static_cast<unsigned>(N) - 1) / RUN_CHUNK + 1) return;
    const int begin = static_cast<int>(chunk) * RUN_CHUNK, end = min(begin + RUN_CHUNK, N);
    int id = sorted[begin].id;
    bool continued = begin > 0 && sorted[begin - 1].id == id;
    float sum[SIZE] = {};
    const auto finish_run = [&] {
        if (continued)
            put_sums(partial + chunk * stride + c, sum, false);
        else
            put_sums(dtable + static_cast<size_t>(id) * stride + c, sum, true);
    };
    for (int first = begin; first < end; first += RUN_BATCH) {
        int ids[RUN_BATCH];
        Pack<Real> x[RUN_BATCH];
        for (int j = 0; j < RUN_BATCH; ++j)
            if (first + j < end) {
                const TokenRow entry = sorted[first + j];
                ids[j] = entry.id;
                x[j] = load_pack(dout + static_cast<size_t>(entry.row) * stride + c);
            }
        for (int j = 0; j < RUN_BATCH; ++j)
            if (first + j < end) {
                if (ids[j] != id) {
                    finish_run();
                    continued = false;
                    id = ids[j];
                    for (int k = 0; k < SIZE; ++k) sum[k] = 0;
                }
                for (int k = 0; k < SIZE; ++k) sum[k] += to_float(x[j][k]);
            }
    }
    finish_run();
}

// dtable[id,c] += sum of partial[p,c] over the chunks p that the run of `id` goes on into        c < C
// dtable (Vp, C); partial (P, C); sorted as above. A block has chunk blockIdx.x < P and 128 columns, and leaves at once
// unless a run begins in its chunk and goes on after it; order of sums as in column_sum. 4 C bytes for each row of
// partial that was written, and the time of a launch.
template <class Tile>
__global__ void __launch_bounds__(COLUMN_THREADS)
    embedding_carry_kernel(float* dtable, const float* partial, const TokenRow* sorted, int C) {
    const int chunk = static_cast<int>(blockIdx.x), P = static_cast<int>(gridDim.x);
    if (chunk + 1 == P) return;  // the whole block, here and below
    const int begin = chunk * RUN_CHUNK, next = begin + RUN_CHUNK, id = sorted[next - 1].id;
    if (sorted[next].id != id) return;
    if (begin > 0 && sorted[begin - 1].id == id) return;  // it began earlier
    // Ids ascend, so the chunks whose first entry is of this run come before those where it is not.
    int last = chunk + 1, beyond = P;
    while (beyond - last > 1) {
        const int middle = (last + beyond) / 2;
        if (sorted[middle * RUN_CHUNK].id == id)
            last = middle;
        else
            beyond = middle;
    }
    const int first = static_cast<int>(blockIdx.y) * Tile::template COLUMNS<float>;
    const size_t stride = static_cast<size_t>(C);
    const float sum =
        column_sum<Tile>(partial + (chunk + 1) * stride, last - chunk, first, C, stride, &shared_memory<float>());
    const int c = first + static_cast<int>(threadIdx.x);
    if (threadIdx.x < Tile::template COLUMNS<float> && c < C) dtable[static_cast<size_t>(id) * stride + c] += sum;
}

// Blocks that give one thread to each pack of `rows` rows.
template <class Real>
unsigned embedding_blocks(int rows, int C) {
    const size_t packs = static_cast<size_t>(rows) * static_cast<size_t>(C / Pack<Real>::SIZE);
    ENSURE(packs <= UINT32_MAX - EMBEDDING_THREADS, "embedding: %d rows of C=%d: more than 2^32 times 16 bytes", rows,
           C);
    return static_cast<unsigned>((packs + EMBEDDING_THREADS - 1) / EMBEDDING_THREADS);
}

template <class Real>
void embedding_forward(Real* out, const int* tokens, const int* positions, const Real* wte, const Real* wpe, int N,
                       int C, stream_t stream) {
    ENSURE(N > 0 && C > 0 && C % 8 == 0, "embedding: N=%d C=%d: C is a multiple of 8", N, C);
    ENSURE(!wpe || positions, "embedding: learned positions, but which position a row has is not given");
    LAUNCH(embedding_forward_kernel<Real>, embedding_blocks<Real>(N, C), EMBEDDING_THREADS, 0, stream.cuda, out, tokens,
           positions, wte, wpe, N, C);
}

// dtable[ids[n],c] += dout[n,c]        ids < num_ids
template <class Real>
void table_backward(float* dtable, void* scratch, const Real* dout, const int* ids, int N, int C, int num_ids,
                    stream_t stream) {
    const int chunks = run_chunks(N);
    const TokenRow* sorted = sort_tokens(scratch, ids, N, num_ids, stream.cuda);
    float* partial = reinterpret_cast<float*>(static_cast<char*>(scratch) + token_sort_scratch(N));
    LAUNCH(embedding_backward_kernel<Real>, embedding_blocks<Real>(chunks, C), EMBEDDING_THREADS, 0, stream.cuda,
           dtable, partial, dout, sorted, N, C);
    constexpr int COLUMNS = CarryTile::COLUMNS<float>;
    const dim3 grid(static_cast<unsigned>(chunks), static_cast<unsigned>((C + COLUMNS - 1) / COLUMNS));
    LAUNCH(embedding_carry_kernel<CarryTile>, grid, COLUMN_THREADS, CarryTile::SHARED<float>, stream.cuda, dtable,
           partial, sorted, C);
}

template <class Real>
void embedding_backward(Stat<Real>* dwte, Stat<Real>* dwpe, void* scratch, const Real* dout, const int* tokens,
                        const int* positions, int N, int C, int Vp, int max_T, stream_t stream) {
    ENSURE(N > 0 && C > 0 && C % 8 == 0 && Vp > 0, "embedding: N=%d C=%d Vp=%d: C is a multiple of 8", N, C, Vp);
    ENSURE(!dwpe || (positions && max_T > 0), "embedding: learned positions need max_T=%d above 0 and a position a row",
           max_T);
    table_backward(dwte, scratch, dout, tokens, N, C, Vp, stream);
    if (dwpe) table_backward(dwpe, scratch, dout, positions, N, C, max_T, stream);
}

size_t embedding_backward_scratch(int N, int C) {
    return token_sort_scratch(N) + sizeof(float) * static_cast<size_t>(run_chunks(N)) * static_cast<size_t>(C);
}

}  // namespace gpu
