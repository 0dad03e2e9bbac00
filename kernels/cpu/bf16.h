// bf16.h - bfloat16 as the CPU stores it: the upper half of a float. Kernels load it as floats, compute, and round once
// when they store. The CUDA backend has a type of its own, __nv_bfloat16 (kernels/device.h).
#pragma once
#ifdef __AVX512F__
#include <immintrin.h>
#endif
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/simd.h"
#include "kernels/types.h"

namespace cpu {

struct bf16 {
    uint16_t bits;

    bf16() = default;
    inline explicit bf16(float x);
    inline bf16& operator=(float x);
    inline explicit operator float() const;
    static bf16 of_bits(uint16_t bits) {
        bf16 x;
        x.bits = bits;
        return x;
    }
};

inline float to_float(bf16 x) {
    const uint32_t wide = static_cast<uint32_t>(x.bits) << 16;
    float y;
    std::memcpy(&y, &wide, sizeof(y));
    return y;
}

// To the nearest, ties to even; beyond the largest number infinity. Every NaN becomes the quiet 0x7fff, as CUDA has it.
inline uint16_t bf16_bits(float x) {
    uint32_t wide;
    std::memcpy(&wide, &x, sizeof(wide));
    const uint32_t nearest = (wide + 0x7fffu + (wide >> 16 & 1u)) >> 16;
    return static_cast<uint16_t>(x == x ? nearest : 0x7fffu);
}
inline bf16 round_to_bf16(float x) { return bf16::of_bits(bf16_bits(x)); }

inline bf16::bf16(float x) : bits(bf16_bits(x)) {}
inline bf16& bf16::operator=(float x) {
    bits = bf16_bits(x);
    return *this;
}
inline bf16::operator float() const { return to_float(*this); }

// The halves that a Vector<float> comes from.
typedef uint16_t Halves __attribute__((vector_size(VECTOR_BYTES / 2)));
static_assert(sizeof(bf16) == 2 && sizeof(Halves) == sizeof(bf16) * LANES<float>, "no padding");

inline Bits<float> widened(Halves halves) {
#ifdef __AVX512F__
    return (Bits<float>)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)halves);  // else g++ 12 takes it apart
#else
    return __builtin_convertvector(halves, Bits<float>);
#endif
}
// The lower halves.
inline Halves narrowed(Bits<float> bits) {
#ifdef __AVX512F__
    return (Halves)_mm512_maskz_cvtepi32_epi16(0xffff, (__m512i)bits);
#else
    return __builtin_convertvector(bits, Halves);
#endif
}
inline Vector<float> to_float(Halves halves) { return (Vector<float>)(widened(halves) << 16); }
// The same rounding. Where the processor has it as one instruction, subnormal numbers become 0, as its products of bf16
// take them, and a NaN keeps its sign and payload.
inline Halves round_to_bf16(Vector<float> x) {
#ifdef __AVX512BF16__
    return (Halves)_mm512_cvtneps_pbh((__m512)x);
#else
    const Bits<float> wide = (Bits<float>)x, nearest = (wide + 0x7fffu + (wide >> 16 & 1u)) >> 16;
    return narrowed(x == x ? nearest : Bits<float>{} + 0x7fffu);
#endif
}

// a[i] in the lower half of element i, b[i] in the upper one.
inline Bits<float> round_to_pairs(Vector<float> a, Vector<float> b) {
    return widened(round_to_bf16(a)) | widened(round_to_bf16(b)) << 16;
}

inline Vector<float> load(const bf16* from) {
    Halves halves;
    std::memcpy(&halves, from, sizeof(halves));
    return to_float(halves);
}
inline void store(bf16* to, Vector<float> v) {
    const Halves halves = round_to_bf16(v);
    std::memcpy(static_cast<void*>(to), &halves, sizeof(halves));
}
// As simd.h's: the first n < LANES elements; `fill` is rounded to bf16.
inline Vector<float> load_some(const bf16* from, size_t n, float fill = 0) {
    Halves halves = Halves{} + round_to_bf16(fill).bits;
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    halves = (Halves)_mm256_mask_loadu_epi16((__m256i)halves, first_lanes(n), from);
#else
    std::memcpy(&halves, from, n * sizeof(bf16));
#endif
    return to_float(halves);
}
inline void store_some(bf16* to, Vector<float> v, size_t n) {
    const Halves halves = round_to_bf16(v);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    _mm256_mask_storeu_epi16(to, first_lanes(n), (__m256i)halves);
#else
    std::memcpy(static_cast<void*>(to), &halves, n * sizeof(bf16));
#endif
}

// x as an array of Real holds it.
inline Vector<float> stored_as(const bf16*, Vector<float> x) { return to_float(round_to_bf16(x)); }
template <class Real>
inline Vector<Real> stored_as(const Real*, Vector<Real> x) {
    return x;
}

}  // namespace cpu

template <>
struct StatOf<cpu::bf16> {
    using type = float;
};
