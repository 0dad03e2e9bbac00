// add_tree.cpp - the sum over lanes as a fixed binary tree: bound by memory, one pass, (n + 1) count sizeof(T) bytes.
#include "kernels/operations.h"

#include <algorithm>

#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {

namespace {

// Elements that a tree is added up for at a time. What waits on the way up, at most five blocks, stays in the L1 cache;
// a term is read in runs of 2 KiB, which prefetching sees.
constexpr size_t BLOCK = 512;

// The left half's sum is added up in `to` itself, which may be x_0: it is written when x_0 and x_1 have been read.
template <class T>
void add_block(T* to, const T* terms, size_t stride, int n, size_t count) {
    if (n == 1) {
        std::copy_n(terms, count, to);
        return;
    }
    T right_sum[BLOCK];
    const T *left = terms, *right = terms + stride;
    if (n > 2) {
        add_block(to, terms, stride, n / 2, count);
        add_block(right_sum, terms + static_cast<size_t>(n / 2) * stride, stride, n / 2, count);
        left = to, right = right_sum;
    }
#pragma omp simd
    for (size_t i = 0; i < count; ++i) to[i] = left[i] + right[i];
}

}  // namespace

template <class T>
void add_tree(T* to, const T* terms, size_t stride, int n, size_t count, stream_t) {
    ENSURE(n > 0 && n <= MAX_LANES && (n & (n - 1)) == 0, "add_tree: %d terms: a power of two up to %d", n, MAX_LANES);
    if (n == 1 && to == terms) return;
    const size_t elements = static_cast<size_t>(n + 1) * count;
    // an element's sum depends on nothing around it: which thread has it, and in which block, leaves no trace
#pragma omp parallel for schedule(static) if (worth_sharing(elements))
    for (size_t i = 0; i < count; i += BLOCK) add_block(to + i, terms + i, stride, n, std::min(BLOCK, count - i));
}

template void add_tree(float*, const float*, size_t, int, size_t, stream_t);
template void add_tree(double*, const double*, size_t, int, size_t, stream_t);

}  // namespace cpu
