// simt.h - one source for the kernels, two compilers; the only header that knows which one is running.
//
// nvcc: what CUDA has no word for, LAUNCH and shared_memory<T>().
// g++:  the same two, and CUDA's own words (threadIdx, __syncthreads, __shfl_xor_sync, ...), which kernels/simt runs on
//       the CPU as fibers, one block at a time. It refuses there what a GPU leaves undefined; test/simt/README.md has
//       the list.
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "kernels/device.h"  // CUDA_CHECK

#ifdef __CUDACC__

// The shared memory of a kernel, one T (or the first element of an array of them); LAUNCH gives its size.
template <class T>
__device__ inline T& shared_memory() {
    extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];
    return *reinterpret_cast<T*>(dynamic_shared_memory);
}

// A kernel that uses more than 48 KiB of shared memory must be allowed to, once. `limit`: what it is allowed so far.
template <class Kernel>
void allow_shared_memory(Kernel* kernel, size_t bytes, size_t* limit) {
    if (bytes <= *limit) return;
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
    *limit = bytes;
}

// LAUNCH(kernel, grid, block, bytes of shared memory, cudaStream_t, arguments...). Template arguments are written out;
// with a comma among them the kernel is in parentheses.
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)              \
    do {                                                                    \
        static size_t launch_limit = 48 * 1024;                             \
        allow_shared_memory(kernel, (shared_bytes), &launch_limit);         \
        kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__); \
        CUDA_CHECK(cudaGetLastError());                                     \
    } while (0)

#else

#include "kernels/simt/device_functions.h"

template <class T>
T& shared_memory() {
    return *reinterpret_cast<T*>(simt::shared_bytes());
}

// A lambda around the kernel, so that its arguments are converted as those of a call are. It may run long after.
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    simt::launch(                                              \
        #kernel, (grid), (block), (shared_bytes), (stream), [=](auto... values) { kernel(values...); }, __VA_ARGS__)

#endif
