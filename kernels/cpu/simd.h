// simd.h - one vector register of the machine that the build is for, through the compiler's vector extensions.
//
// Kernels sum in vectors, then over the lanes in a fixed order: the bits of a sum depend on its length, never on the
// alignment of its data or on what an optimiser makes of a loop.
#pragma once
#ifdef __AVX512F__
#include <immintrin.h>
#endif
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

namespace cpu {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

template <class Real>
struct Simd;
template <>
struct Simd<float> {
    typedef float Vector __attribute__((vector_size(VECTOR_BYTES)));
    typedef uint32_t Bits __attribute__((vector_size(VECTOR_BYTES)));
};
template <>
struct Simd<double> {
    typedef double Vector __attribute__((vector_size(VECTOR_BYTES)));
    typedef uint64_t Bits __attribute__((vector_size(VECTOR_BYTES)));
};
template <class Real>
using Vector = typename Simd<Real>::Vector;
template <class Real>
using Bits = typename Simd<Real>::Bits;
template <class Real>
constexpr int LANES = VECTOR_BYTES / sizeof(Real);

template <class Real>
inline Vector<Real> load(const Real* from) {
    Vector<Real> v;
    std::memcpy(&v, from, sizeof(v));
    return v;
}
template <class Real>
inline void store(Real* to, Vector<Real> v) {
    std::memcpy(to, &v, sizeof(v));
}
template <class Real>
inline Vector<Real> broadcast(Real x) {
    return x - Vector<Real>{};  // x - 0 keeps x == -0; a compiler sees one broadcast
}

// The first n < LANES elements; the others read as `fill`, and stay as they are in memory. Of floats in 512 bits by
// masks, else by a copy, whose size a compiler does not know.
#ifdef __AVX512F__
inline __mmask16 first_lanes(size_t n) { return static_cast<__mmask16>((1u << n) - 1); }
#endif
template <class Real>
inline Vector<Real> load_some(const Real* from, size_t n, Real fill = 0) {
    Vector<Real> v = broadcast(fill);
#ifdef __AVX512F__
    if constexpr (std::is_same_v<Real, float>)
        return (Vector<Real>)_mm512_mask_loadu_ps((__m512)v, first_lanes(n), from);
#endif
    std::memcpy(&v, from, n * sizeof(Real));
    return v;
}
template <class Real>
inline void store_some(Real* to, Vector<Real> v, size_t n) {
#ifdef __AVX512F__
    if constexpr (std::is_same_v<Real, float>) return _mm512_mask_storeu_ps(to, first_lanes(n), (__m512)v);
#endif
    std::memcpy(to, &v, n * sizeof(Real));
}

// v with zeros from lane n on.
template <class Real>
inline Vector<Real> first_of(Vector<Real> v, size_t n) {
    for (size_t i = n; i < LANES<Real>; ++i) v[i] = 0;
    return v;
}

// Walks [0, n) in vectors, the last one partial (padded with zeros): f(get, put), where get(p) reads p[i..] and put(p,
// v) writes it. p: to Real, or to bf16 (bf16.h) where Real is float.
template <class Real, class F>
inline void for_vectors(size_t n, F f) {
    size_t i = 0;
    for (; i + LANES<Real> <= n; i += LANES<Real>)
        f([i](const auto* p) { return load(p + i); }, [i](auto* p, Vector<Real> v) { store(p + i, v); });
    if (const size_t rest = n - i; rest > 0)
        f([i, rest](const auto* p) { return load_some(p + i, rest); },
          [i, rest](auto* p, Vector<Real> v) { store_some(p + i, v, rest); });
}

// x, in a register of its own: a product that a compiler cannot fuse with what is added to it. Whether it would depends
// on the code around it, which differs between the instances of a kernel: a row's bits would hang on its company.
template <class V>
inline V finished(V x) {
#if defined(__x86_64__)
    asm("" : "+v"(x));
#else
    asm("" : "+m"(x));
#endif
    return x;
}

// The larger one; where one is a NaN, b.
template <class V>
inline V larger(V a, V b) {
#if defined(__AVX512F__)
    if constexpr (std::is_same_v<V, Vector<float>>) return (V)_mm512_maskz_max_ps(0xffff, (__m512)a, (__m512)b);
#endif
    return a > b ? a : b;
}

template <size_t FROM, class V, size_t... I>
inline auto some_lanes(V v, std::index_sequence<I...>) {
    return __builtin_shufflevector(v, v, (FROM + I)...);
}
// Halves of the N lanes, joined by f until one is left: a fixed order.
template <size_t N, class V, class F>
inline auto fold_lanes(V v, F f) {
    if constexpr (N == 2) {
        return f(v[0], v[1]);
    } else {
        constexpr auto half = std::make_index_sequence<N / 2>{};
        return fold_lanes<N / 2>(f(some_lanes<0>(v, half), some_lanes<N / 2>(v, half)), f);
    }
}
template <class Real>
inline Real sum_lanes(Vector<Real> v) {
    return fold_lanes<LANES<Real>>(v, [](auto a, auto b) { return a + b; });
}
template <class Real>
inline Real max_lanes(Vector<Real> v) {
    return fold_lanes<LANES<Real>>(v, [](auto a, auto b) { return larger(a, b); });
}

}  // namespace cpu
