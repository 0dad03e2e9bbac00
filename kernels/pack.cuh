// pack.cuh - 16 bytes of a tensor as one thread moves them: 8 elements of bf16 or 4 floats, in one instruction.
#pragma once
#include <cstring>

#include "kernels/device.h"
#include "kernels/ptx.cuh"
#include "kernels/simt.h"

namespace gpu {

template <class Real>
struct alignas(16) Pack {
    static constexpr int SIZE = 16 / sizeof(Real);
    Real element[SIZE];
    __device__ Real& operator[](int i) { return element[i]; }
    __device__ const Real& operator[](int i) const { return element[i]; }
};

// `from` and `to` lie on 16 bytes.
template <class Real>
__device__ inline Pack<Real> load_pack(const Real* from) {
    return *reinterpret_cast<const Pack<Real>*>(from);
}
template <class Real>
__device__ inline void store_pack(Real* to, const Pack<Real>& pack) {
    store_16_bytes(to, &pack);
}

// The same for what nobody will read again soon: it leaves the caches first.
template <class Real>
__device__ inline void store_pack_streaming(Real* to, const Pack<Real>& pack) {
    __stcs(reinterpret_cast<int4*>(to), *reinterpret_cast<const int4*>(&pack));
}

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }

// All of a pack as floats: an instruction an element, where the compiler takes two for every second bf16.
__device__ inline void to_floats(float* x, const Pack<float>& pack) {
    for (int i = 0; i < 4; ++i) x[i] = pack[i];
}
__device__ inline void to_floats(float* x, const Pack<bf16>& pack) {
    uint32_t pair[4];
    std::memcpy(pair, &pack, 16);
    for (int i = 0; i < 4; ++i) {
        x[2 * i] = __uint_as_float(pair[i] << 16);
        x[2 * i + 1] = __uint_as_float(pair[i] & 0xffff0000u);
    }
}

// Rounds to the nearest Real, ties to even.
template <class Real>
__device__ inline Real from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
    return x;
}
template <>
__device__ inline bf16 from_float<bf16>(float x) {
    return __float2bfloat16_rn(x);
}

}  // namespace gpu
