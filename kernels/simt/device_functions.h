// device_functions.h - CUDA's words for device code, for g++: the qualifiers, the thread's place, barriers, shuffles,
// votes, atomics, and the intrinsics that kernels use. Their meaning is that of the CUDA C++ Programming Guide;
// fast-math intrinsics are as exact as the C library's functions.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/simt/runtime.h"

// CUDA's headers make attributes of these, which g++ does not know.
#undef __global__
#undef __device__
#undef __host__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __launch_bounds__(...)
#define __forceinline__ inline
#define __grid_constant__

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

using std::max;
using std::min;

// Where a kernel called one of these, for the messages.
#define SIMT_CALLER const char *file = __builtin_FILE(), int line = __builtin_LINE()

// ---- waiting --------------------------------------------------------------------------------------------------------

inline void __syncthreads(SIMT_CALLER) { simt::barrier({"__syncthreads", file, line}); }
inline void __syncwarp(unsigned mask = ~0u, SIMT_CALLER) {
    simt::collective([](simt::Group) {}, mask, nullptr, {"__syncwarp", file, line});
}

// ---- shuffles and votes ---------------------------------------------------------------------------------------------

namespace simt {

template <class T>
struct Shuffle {
    T value, result;
    int from;
};
template <class T>
T shuffle(unsigned mask, T value, int from, Site site) {
    Shuffle<T> mine{value, value, from};
    const Finish finish = [](Group group) {
        for_each_lane(group.members, [&](int lane) {
            auto& shuffle = *static_cast<Shuffle<T>*>(group.payload[lane]);
            if (!(group.members >> shuffle.from & 1))
                fail("lane " + std::to_string(lane) + " reads lane " + std::to_string(shuffle.from) +
                     ", which takes no part");
            shuffle.result = static_cast<Shuffle<T>*>(group.payload[shuffle.from])->value;
        });
    };
    collective(finish, mask, &mine, site);
    return mine.result;
}

// Of the lanes in a part of the warp of `width` lanes.
inline int first_of_part(int width) { return lane() & ~(width - 1); }
inline int last_of_part(int width) { return lane() | (width - 1); }

struct Vote {
    bool predicate;
    unsigned result;
};
inline unsigned vote(unsigned mask, bool predicate, Site site) {
    Vote mine{predicate, 0};
    const Finish finish = [](Group group) {
        unsigned ballot = 0;
        for_each_lane(group.members, [&](int lane) {
            ballot |= static_cast<unsigned>(static_cast<Vote*>(group.payload[lane])->predicate) << lane;
        });
        for_each_lane(group.members, [&](int lane) { static_cast<Vote*>(group.payload[lane])->result = ballot; });
    };
    collective(finish, mask, &mine, site);
    return mine.result;
}

}  // namespace simt

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, SIMT_CALLER) {
    return simt::shuffle(mask, value, simt::first_of_part(width) | (from & (width - 1)), {"__shfl_sync", file, line});
}
// A lane whose partner lies beyond its part of the warp keeps its own value, here and in the next two.
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SIMT_CALLER) {
    const int from = simt::lane() ^ bits;
    return simt::shuffle(mask, value, from <= simt::last_of_part(width) ? from : simt::lane(),
                         {"__shfl_xor_sync", file, line});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, SIMT_CALLER) {
    const int from = simt::lane() - static_cast<int>(distance);
    return simt::shuffle(mask, value, from >= simt::first_of_part(width) ? from : simt::lane(),
                         {"__shfl_up_sync", file, line});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, SIMT_CALLER) {
    const int from = simt::lane() + static_cast<int>(distance);
    return simt::shuffle(mask, value, from <= simt::last_of_part(width) ? from : simt::lane(),
                         {"__shfl_down_sync", file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_CALLER) {
    return simt::vote(mask, predicate != 0, {"__ballot_sync", file, line});
}
inline int __any_sync(unsigned mask, int predicate, SIMT_CALLER) {
    return simt::vote(mask, predicate != 0, {"__any_sync", file, line}) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_CALLER) {
    return simt::vote(mask, predicate == 0, {"__all_sync", file, line}) == 0;
}

// ---- atomics: relaxed, as CUDA's are, so that ThreadSanitizer sees who relies on more -------------------------------

inline int atomicAdd(int* at, int value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }
inline unsigned atomicAdd(unsigned* at, unsigned value) { return __atomic_fetch_add(at, value, __ATOMIC_RELAXED); }

namespace simt {
template <class T, class Choose>
T atomic_update(T* at, Choose choose) {
    T old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(at, &old, choose(old), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}
}  // namespace simt

inline int atomicMax(int* at, int value) {
    return simt::atomic_update(at, [&](int old) { return max(old, value); });
}
inline unsigned atomicMax(unsigned* at, unsigned value) {
    return simt::atomic_update(at, [&](unsigned old) { return max(old, value); });
}
inline int atomicMin(int* at, int value) {
    return simt::atomic_update(at, [&](int old) { return min(old, value); });
}
inline unsigned atomicMin(unsigned* at, unsigned value) {
    return simt::atomic_update(at, [&](unsigned old) { return min(old, value); });
}

// ---- loads and stores with a hint for the caches --------------------------------------------------------------------

template <class T>
T __ldg(const T* from) {
    return *from;
}
template <class T>
T __ldcg(const T* from) {
    return *from;
}
template <class T>
T __ldcs(const T* from) {
    return *from;
}
template <class T>
void __stcg(T* to, T value) {
    *to = value;
}
template <class T>
void __stcs(T* to, T value) {
    *to = value;
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------

inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fadd_rn(float x, float y) { return x + y; }  // never fused with a product
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1) << (31 - bit);
    return reversed;
}

namespace simt {
template <class To, class From>
To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
}  // namespace simt

inline unsigned __float_as_uint(float x) { return simt::same_bits<unsigned>(x); }
inline int __float_as_int(float x) { return simt::same_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return simt::same_bits<float>(x); }
inline float __int_as_float(int x) { return simt::same_bits<float>(x); }
