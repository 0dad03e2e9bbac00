// vmath.h - the transcendental functions of the kernels on whole vectors. float: polynomials, a few ulp; double: std::
// lane by lane, since it serves gradient checks, where digits count and speed does not.
#pragma once
#include <cmath>
#include <limits>

#include "kernels/cpu/simd.h"

namespace cpu {

// e^x, within 2 ulp. x = n ln 2 + r, |r| <= ln 2 / 2, e^r by Cephes' polynomial (Moshier). Below -87.3 (the last normal
// number) 0, above 88.72 inf; NaN stays.
inline Vector<float> exp(Vector<float> x) {
#ifdef __AVX512F__
    x = (Vector<float>)_mm512_maskz_min_ps(0xffff, _mm512_set1_ps(89), (__m512)x);  // e^89 is inf; a NaN stays
#endif
    constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low bits
    const Vector<float> shifted = x * 1.44269504088896341f + ROUND, n = shifted - ROUND;
    const Vector<float> r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    Vector<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
#ifdef __AVX512F__
    // p * 2^n in one instruction, which has inf and NaN right; 0 where x is too small
    return (Vector<float>)_mm512_maskz_scalef_ps(_mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-87.3f), _CMP_NLT_UQ),
                                                 (__m512)p, (__m512)n);
#else
    p = (Vector<float>)((Bits<float>)p + ((Bits<float>)shifted << 23));  // times 2^n; ROUND's own bits fall off the top
    p = x < -87.3f ? Vector<float>{} : p;
    p = x > 88.72f ? broadcast(std::numeric_limits<float>::infinity()) : p;
    return x == x ? p : x;
#endif
}
inline Vector<double> exp(Vector<double> x) {
    for (int i = 0; i < LANES<double>; ++i) x[i] = std::exp(x[i]);
    return x;
}

// The standard normal distribution at x: its density without 1/sqrt(2 pi), and its distribution function
// (1 + erf(x / sqrt 2)) / 2, from one exponential: erfc(z) = e^(-z^2) t P(t), t = 1/(1 + z/2);
// P is a minimax fit for 0 <= z <= 10, relative error 4.4e-8.
// Relative error of both: a few ulp for |x| < 3, growing as x^2/2 ulp with the rounding of e's argument.
template <class Real>
struct Normal {
    Vector<Real> bell, cdf;
};
inline Normal<float> normal(Vector<float> x) {
    const Vector<float> bell = exp(x * x * -0.5f);
    const Vector<float> z = (x < 0.0f ? -x : x) * 0.707106781186547524f, t = 1.0f / (1.0f + 0.5f * z);
    Vector<float> p = t * -0.0591933194f + 0.285182775f;
    p = p * t - 0.48846078f;
    p = p * t + 0.279512492f;
    p = p * t - 0.0276233717f;
    p = p * t + 0.2031099f;
    p = p * t + 0.242996619f;
    p = p * t + 0.282390067f;
    p = p * t + 0.282085575f;
    const Vector<float> tail = 0.5f * bell * (t * p);
    return {bell, x < 0.0f ? tail : 1.0f - tail};
}
// The same where the result is rounded to bf16: the short fit of kernels/gelu.cuh, so that both backends round the same
// numbers. Relative error of the cdf at -|x| 2.6e-5: one in a hundred numbers would be rounded to another side.
inline Normal<float> normal_for_bf16(Vector<float> x) {
    const Vector<float> bell = exp(x * x * -0.5f), t = 1.0f / (1.0f + 0.375f * (x < 0.0f ? -x : x));
    Vector<float> p = t * -0.0913456284f + 0.201844797f;
    p = p * t + 0.0823519856f;
    p = p * t + 0.158117218f;
    p = p * t + 0.149019868f;
    const Vector<float> tail = bell * (t * p);
    return {bell, x < 0.0f ? tail : 1.0f - tail};
}
inline Normal<double> normal(Vector<double> x) {
    Normal<double> result;
    for (int i = 0; i < LANES<double>; ++i) {
        result.bell[i] = std::exp(-0.5 * x[i] * x[i]);
        result.cdf[i] = 0.5 * std::erfc(-x[i] * 0.707106781186547524401);
    }
    return result;
}

}  // namespace cpu
