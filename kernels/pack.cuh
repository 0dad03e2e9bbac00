// pack.cuh - 16 bytes of a tensor as one thread moves them: 8 elements of bf16 or 4 floats, in one instruction.
#pragma once
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
