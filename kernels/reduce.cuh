// reduce.cuh - sums and maxima over a warp and over a block, the same bits every time: lanes are combined by halving
// distances (16, 8, 4, 2, 1), then warps in ascending order. Every thread calls, and every thread gets the result.
#pragma once
#include "kernels/simt.h"

namespace gpu {

template <class T, class Combine>
__device__ inline T warp_reduce(T x, Combine combine) {
    for (int distance = 16; distance > 0; distance /= 2) x = combine(x, __shfl_xor_sync(~0u, x, distance));
    return x;
}

// For blocks of one dimension and whole warps. scratch: shared memory, 32 elements, which nobody is using when the
// first thread calls; when the call returns it is free again, for the next one or for anything else.
template <class T, class Combine>
__device__ inline T block_reduce(T x, T* scratch, Combine combine) {
    const int warps = static_cast<int>(blockDim.x / 32);
    x = warp_reduce(x, combine);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    T result = scratch[0];
    for (int warp = 1; warp < warps; ++warp) result = combine(result, scratch[warp]);
    __syncthreads();  // all have read: scratch is free
    return result;
}

struct Sum {
    template <class T>
    __device__ T operator()(T x, T y) const {
        return x + y;
    }
};
struct Max {  // a NaN loses against a number
    __device__ float operator()(float x, float y) const { return fmaxf(x, y); }
    __device__ int operator()(int x, int y) const { return max(x, y); }
};

template <class T>
__device__ inline T warp_sum(T x) {
    return warp_reduce(x, Sum());
}
template <class T>
__device__ inline T block_sum(T x, T* scratch) {
    return block_reduce(x, scratch, Sum());
}
template <class T>
__device__ inline T block_max(T x, T* scratch) {
    return block_reduce(x, scratch, Max());
}

}  // namespace gpu
