// pages.h - where the CPU backend's memory comes from.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "util/check.h"

namespace cpu {

// As many bytes of zeros, aligned to a cache line, for std::free. Dies with Exit::Runtime where there is not enough
// memory. Large arrays in pages of 2 MiB, where Linux has them to give: a walk through the table of small ones costs up
// to a tenth of a matrix product.
inline void* allocate_zeros(size_t size) {
    constexpr size_t HUGE_PAGE = size_t{1} << 21;
    const size_t page = size >= 4 * HUGE_PAGE ? HUGE_PAGE : 64;
    const size_t bytes = (size + page - 1) / page * page;
    void* const data = std::aligned_alloc(page, bytes);
    if (!data)
        die(Exit::Runtime, "out of memory: %.1f MiB asked for; try a smaller --micro-batch or --model",
            static_cast<double>(bytes) / 1048576.0);
#ifdef MADV_HUGEPAGE
    if (page == HUGE_PAGE) madvise(data, bytes, MADV_HUGEPAGE);  // a wish: what it answers does not matter
#endif
    std::memset(data, 0, bytes);
    return data;
}

}  // namespace cpu
