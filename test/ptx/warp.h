// warp.h - what the C++ that translate.py writes calls besides scalar.h: memory, atomics, and what the lanes of a warp
// do together, on the fibers of kernels/simt. From the text of the PTX ISA 9.0.
#pragma once
#include "kernels/simt/runtime.h"
#include "test/ptx/launch.h"
#include "test/ptx/scalar.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace ptx {

using simt::Site;

// ---- memory ---------------------------------------------------------------------------------------------------------

[[noreturn, gnu::cold]] void refuse_address(uint64_t address, uint32_t bytes, const Site& site);
[[noreturn, gnu::cold]] void refuse_shared(uint32_t offset, uint32_t bytes, const Site& site);

template <class T, uint32_t COUNT>
inline T* memory(uint64_t address, const Site& site) {
    if (address % (sizeof(T) * COUNT)) refuse_address(address, sizeof(T) * COUNT, site);
    return reinterpret_cast<T*>(address);
}
template <class T>
inline T* at(const char* address) {
    return reinterpret_cast<T*>(const_cast<char*>(address));
}
inline uint64_t address_of(const void* object) { return reinterpret_cast<uint64_t>(object); }

// The shared memory of the block that runs: dynamic memory after static.
struct Shared {
    char* const base = simt::shared_bytes();
    const uint32_t bytes = shared_bytes_of_launch;

    template <class T, uint32_t COUNT>
    T* at(uint32_t offset, const Site& site) const {
        constexpr uint32_t BYTES = sizeof(T) == 1 ? COUNT : sizeof(T) * COUNT;
        if (offset % BYTES || uint64_t{offset} + BYTES > bytes) refuse_shared(offset, BYTES, site);
        return reinterpret_cast<T*>(base + offset);
    }
    uint64_t window() const { return address_of(base); }
};

inline uint32_t warp_index() { return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) / 32; }

// At the next wait BYTES land at `to`: the first `valid` from global memory, the others zero.
template <uint32_t BYTES>
inline void copy_async(char* to, uint64_t from, uint32_t valid, const Site& site) {
    if (valid > BYTES || (valid > 0 && from % BYTES)) refuse_address(from, BYTES, site);
    simt::async_copy(to, reinterpret_cast<const void*>(from), BYTES, static_cast<int>(valid));
}

// ---- atomics: relaxed, so that ThreadSanitizer sees who relies on more ----------------------------------------------

template <class T, class Change>
inline T atomic_change(T* to, Change change) {
    T old;
    __atomic_load(to, &old, __ATOMIC_RELAXED);
    for (T changed = change(old);
         !__atomic_compare_exchange(to, &old, &changed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);)
        changed = change(old);
    return old;
}
#define PTX_ATOMIC(name, expression)                                      \
    template <class T>                                                    \
    inline T atomic_##name(T* to, T value) {                              \
        return atomic_change(to, [=](T old) -> T { return expression; }); \
    }
PTX_ATOMIC(add, static_cast<T>(old + value))
PTX_ATOMIC(and, old& value)
PTX_ATOMIC(or, old | value)
PTX_ATOMIC(xor, old ^ value)
PTX_ATOMIC(exch, (static_cast<void>(old), value))
PTX_ATOMIC(min, old < value ? old : value)
PTX_ATOMIC(max, old > value ? old : value)
PTX_ATOMIC(inc, old >= value ? 0 : old + 1)
PTX_ATOMIC(dec, old == 0 || old > value ? value : old - 1)
#undef PTX_ATOMIC
template <class T>
inline T atomic_cas(T* to, T compare, T value) {
    return atomic_change(to, [=](T old) { return old == compare ? value : old; });
}

// ---- a warp together ------------------------------------------------------------------------------------------------

void sync_warp(uint32_t mask, const Site& site);

// Lane and clamp as PTX packs them: b the distance or lane, c the clamp and from bit 8 the mask of a segment.
enum class Shuffle { up, down, bfly, idx };
struct Shuffled {
    uint32_t value;
    bool in_range;
};
Shuffled shuffle(Shuffle mode, uint32_t value, uint32_t b, uint32_t c, uint32_t mask, const Site& site);

uint32_t ballot(bool predicate, uint32_t mask, const Site& site);
bool vote_uniform(bool predicate, uint32_t mask, const Site& site);
uint32_t match_any(uint64_t value, uint32_t mask, const Site& site);

uint32_t reduce_add(uint32_t value, uint32_t mask, const Site& site);
uint32_t reduce_and(uint32_t value, uint32_t mask, const Site& site);
uint32_t reduce_or(uint32_t value, uint32_t mask, const Site& site);
uint32_t reduce_xor(uint32_t value, uint32_t mask, const Site& site);
uint32_t reduce_min(uint32_t value, uint32_t mask, const Site& site);
uint32_t reduce_max(uint32_t value, uint32_t mask, const Site& site);
int32_t reduce_min(int32_t value, uint32_t mask, const Site& site);
int32_t reduce_max(int32_t value, uint32_t mask, const Site& site);
inline int32_t reduce_add(int32_t value, uint32_t mask, const Site& site) {
    return static_cast<int32_t>(reduce_add(static_cast<uint32_t>(value), mask, site));
}

// A lane's share of 1, 2 or 4 matrices of 8 x 8 16-bit elements: two of each. Lane l brings the offset of row l % 8 of
// matrix l / 8 in shared memory.
struct Fragments {
    uint32_t pair[4];
};
template <int MATRICES, bool TRANSPOSED>
Fragments load_matrices(const Shared& shared, uint32_t row, const Site& site);
template <int MATRICES, bool TRANSPOSED>
void store_matrices(const Shared& shared, uint32_t row, const Fragments& fragments, const Site& site);

// sum (16 x 8) += a (16 x K) b (K x 8), in float.
enum class Factor { bf16, tf32 };
template <int K, Factor FACTOR>
struct Product {
    static constexpr int PER_REGISTER = FACTOR == Factor::bf16 ? 2 : 1;
    float sum[4];
    uint32_t a[16 * K / 32 / PER_REGISTER], b[8 * K / 32 / PER_REGISTER];
};
template <int K, Factor FACTOR>
Product<K, FACTOR> multiply_add(Product<K, FACTOR> lane, const Site& site);

}  // namespace ptx
