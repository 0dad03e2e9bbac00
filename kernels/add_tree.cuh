// add_tree.cuh - the sum over lanes as a fixed binary tree, ((x_0 + x_1) + (x_2 + x_3)) + ...: whoever computed a lane,
// and whoever adds, the bits are the same.
#pragma once
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int TREE_THREADS = 256;

// The tree over N terms of what lies at terms + k * stride. The recursion is over the template's argument, so that what
// waits on the way up is log2(N) registers (of a pack: four times as many), not an array.
template <class T, int N>
__device__ inline T tree_sum(const T* terms, size_t stride) {
    if constexpr (N == 1)
        return *terms;
    else
        return tree_sum<T, N / 2>(terms, stride) + tree_sum<T, N / 2>(terms + N / 2 * stride, stride);
}
template <class T, int N>
__device__ inline Pack<T> tree_sum_of_packs(const T* terms, size_t stride) {
    if constexpr (N == 1) {
        return load_pack(terms);
    } else {
        Pack<T> sum = tree_sum_of_packs<T, N / 2>(terms, stride);
        const Pack<T> right = tree_sum_of_packs<T, N / 2>(terms + N / 2 * stride, stride);
        for (int i = 0; i < Pack<T>::SIZE; ++i) sum[i] += right[i];
        return sum;
    }
}

// to[i] = ((x_0[i] + x_1[i]) + (x_2[i] + x_3[i])) + ...,  x_k = terms + k * stride;  i < count, k < N
// A thread has 16 bytes of the sum, the last one what is left; element by element where the terms do not all lie on 16
// bytes (packed false). It reads its part of every term before it writes, so that to may be x_0.
// (N + 1) count sizeof(T) bytes: 8 lanes of 70.4M floats 0.79 ms at 3.2 TB/s.
template <class T, int N>
__global__ void __launch_bounds__(TREE_THREADS)
    add_tree_kernel(T* to, const T* terms, size_t stride, size_t count, bool packed) {
    constexpr size_t SIZE = Pack<T>::SIZE;
    const size_t first = (static_cast<size_t>(blockIdx.x) * TREE_THREADS + threadIdx.x) * SIZE;
    if (packed && first + SIZE <= count)
        store_pack(to + first, tree_sum_of_packs<T, N>(terms + first, stride));
    else
        for (size_t i = first; i < min(first + SIZE, count); ++i) to[i] = tree_sum<T, N>(terms + i, stride);
}

template <class T, int N = 1>
void launch_add_tree(T* to, const T* terms, size_t stride, int n, size_t count, stream_t stream) {
    if constexpr (N < MAX_LANES)
        if (n != N) return launch_add_tree<T, 2 * N>(to, terms, stride, n, count, stream);
    constexpr size_t BLOCK = TREE_THREADS * Pack<T>::SIZE;
    const bool packed = stride % Pack<T>::SIZE == 0 || N == 1;
    LAUNCH((add_tree_kernel<T, N>), static_cast<unsigned>((count + BLOCK - 1) / BLOCK), TREE_THREADS, 0, stream.cuda,
           to, terms, stride, count, packed);
}

template <class T>
void add_tree(T* to, const T* terms, size_t stride, int n, size_t count, stream_t stream) {
    ENSURE(n > 0 && n <= MAX_LANES && (n & (n - 1)) == 0, "add_tree: %d terms: a power of two up to %d", n, MAX_LANES);
    if (count == 0 || (n == 1 && to == terms)) return;
    launch_add_tree(to, terms, stride, n, count, stream);
}

}  // namespace gpu
