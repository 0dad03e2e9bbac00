// global_norm.cuh - the sum of squares of a run of gradients, in double: chunks of a fixed size, then the chunks' sums
// in one block. The chunks depend on n alone, so the bits do not depend on the GPU. Then the sum over the runs.
#pragma once
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int NORM_THREADS = 256;
constexpr size_t NORM_CHUNK = 16384;  // 64 elements a thread; 70M parameters make 4300 blocks

// partial[chunk] = sum of x[i]^2 over NORM_CHUNK elements        i < n
// A thread takes every NORM_THREADS-th pack of 4 and adds in ascending order, then the block in the order of block_sum.
// 4 n bytes: for n = 70.4M 66 us.
__global__ void __launch_bounds__(NORM_THREADS) norm_partial_kernel(double* partial, const float* x, size_t n) {
    constexpr int SIZE = Pack<float>::SIZE;
    double* reduction = &shared_memory<double>();
    const size_t begin = blockIdx.x * NORM_CHUNK, end = min(begin + NORM_CHUNK, n);
    double sum = 0;
#pragma unroll 4
    for (size_t i = begin + threadIdx.x * SIZE; i + SIZE <= end; i += NORM_THREADS * SIZE) {
        const Pack<float> pack = load_pack(x + i);
        for (int j = 0; j < SIZE; ++j) sum += static_cast<double>(pack[j]) * static_cast<double>(pack[j]);
    }
    const size_t tail = end - end % SIZE + threadIdx.x;  // chunks begin at multiples of SIZE
    if (tail < end) sum += static_cast<double>(x[tail]) * static_cast<double>(x[tail]);
    sum = block_sum(sum, reduction);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// *sum = sum over `count` partial sums. One block; a thread adds every NORM_THREADS-th in ascending order, then the
// block in the order of block_sum. 8 bytes a chunk.
__global__ void __launch_bounds__(NORM_THREADS) norm_total_kernel(double* sum, const double* partial, size_t count) {
    double* reduction = &shared_memory<double>();
    double total = 0;
    for (size_t i = threadIdx.x; i < count; i += NORM_THREADS) total += partial[i];
    total = block_sum(total, reduction);
    if (threadIdx.x == 0) *sum = total;
}

// *sum = ((terms[0] + terms[1]) + terms[2]) + ...        n terms
// One thread: the terms are the blocks of a model's parameters, two more than it has layers.
__global__ void add_in_order_kernel(double* sum, const double* terms, int n) {
    double total = 0;
    for (int i = 0; i < n; ++i) total += terms[i];
    *sum = total;
}

inline size_t norm_chunks(size_t n) { return (n + NORM_CHUNK - 1) / NORM_CHUNK; }

size_t global_norm_scratch(size_t n) { return norm_chunks(n) * sizeof(double); }

template <class Real>
void global_norm_squared(double* sum, void* scratch, const Real* x, size_t n, stream_t stream) {
    ENSURE(n > 0, "global_norm: no elements");
    const size_t chunks = norm_chunks(n), shared = 32 * sizeof(double);
    double* partial = static_cast<double*>(scratch);
    LAUNCH(norm_partial_kernel, static_cast<unsigned>(chunks), NORM_THREADS, shared, stream.cuda, partial, x, n);
    LAUNCH(norm_total_kernel, 1, NORM_THREADS, shared, stream.cuda, sum, partial, chunks);
}

void add_in_order(double* sum, const double* terms, int n, stream_t stream) {
    LAUNCH(add_in_order_kernel, 1, 1, 0, stream.cuda, sum, terms, n);
}

}  // namespace gpu
