// pack.cuh - 16 bytes of a tensor as one thread moves them: 8 elements of bf16 or 4 floats, in one instruction.
#pragma once
#include "kernels/gpu.h"
#include "kernels/simt.h"

namespace gpu {

template <class T>
struct alignas(16) Pack {
    static constexpr int SIZE = 16 / sizeof(T);
    T element[SIZE];
    __device__ T& operator[](int i) { return element[i]; }
    __device__ const T& operator[](int i) const { return element[i]; }
};

// `from` and `to` lie on 16 bytes.
template <class T>
__device__ inline Pack<T> load_pack(const T* from) {
    return *reinterpret_cast<const Pack<T>*>(from);
}
template <class T>
__device__ inline void store_pack(T* to, const Pack<T>& pack) {
    *reinterpret_cast<Pack<T>*>(to) = pack;
}

// The same for what nobody will read again soon: it leaves the caches first.
template <class T>
__device__ inline Pack<T> load_pack_streaming(const T* from) {
    Pack<T> pack;
    *reinterpret_cast<int4*>(&pack) = __ldcs(reinterpret_cast<const int4*>(from));
    return pack;
}
template <class T>
__device__ inline void store_pack_streaming(T* to, const Pack<T>& pack) {
    __stcs(reinterpret_cast<int4*>(to), *reinterpret_cast<const int4*>(&pack));
}

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }

// Rounds to the nearest T, ties to even.
template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
    return x;
}
template <>
__device__ inline bf16 from_float<bf16>(float x) {
    return __float2bfloat16_rn(x);
}

}  // namespace gpu
