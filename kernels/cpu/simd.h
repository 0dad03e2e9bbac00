// simd.h - one vector register of the machine that the build is for, through the compiler's vector extensions.
//
// Kernels sum in vectors, then over the lanes in a fixed order: the bits of a sum depend on its length, never on the
// alignment of its data or on what an optimiser makes of a loop.
#pragma once
#include <cstdint>
#include <cstring>

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

// The first n < LANES elements; the others read as `fill`, and stay as they are in memory.
template <class Real>
inline Vector<Real> load_some(const Real* from, size_t n, Real fill = 0) {
    Vector<Real> v = broadcast(fill);
    std::memcpy(&v, from, n * sizeof(Real));
    return v;
}
template <class Real>
inline void store_some(Real* to, Vector<Real> v, size_t n) {
    std::memcpy(to, &v, n * sizeof(Real));
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

// Lanes in pairs, halves first: a fixed order.
template <class Real>
inline Real sum_lanes(Vector<Real> v) {
    Real lane[LANES<Real>];
    store(lane, v);
    for (int half = LANES<Real> / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lane[i] += lane[i + half];
    return lane[0];
}
template <class Real>
inline Real max_lanes(Vector<Real> v) {
    Real largest = v[0];
    for (int i = 1; i < LANES<Real>; ++i) largest = v[i] > largest ? v[i] : largest;
    return largest;
}

}  // namespace cpu
