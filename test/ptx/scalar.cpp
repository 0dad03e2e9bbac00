// Compiled with -frounding-math: what depends on the CPU's rounding mode is not computed beforehand.
#include "test/ptx/scalar.h"

#include <cfenv>

namespace ptx {
namespace {

// f() with the CPU rounding in another way. The volatile values keep the operation between the changes of mode.
template <class F>
auto rounded(Rounding rounding, F f) {
    const int usual = fegetround();
    fesetround(rounding == Rounding::rz ? FE_TOWARDZERO : rounding == Rounding::rm ? FE_DOWNWARD : FE_UPWARD);
    volatile auto result = f();
    fesetround(usual);
    return static_cast<decltype(f())>(result);
}

template <class T>
T add(T a, T b, Rounding rounding) {
    volatile T x = a, y = b;
    return rounded(rounding, [&] { return static_cast<T>(x + y); });
}
template <class T>
T multiply(T a, T b, Rounding rounding) {
    volatile T x = a, y = b;
    return rounded(rounding, [&] { return static_cast<T>(x * y); });
}
template <class T>
T multiply_add(T a, T b, T c, Rounding rounding) {
    volatile T x = a, y = b, z = c;
    return rounded(rounding, [&] { return std::fma(T{x}, T{y}, T{z}); });
}
template <class T>
T divide_rounded(T a, T b, Rounding rounding) {
    volatile T x = a, y = b;
    return rounded(rounding, [&] { return static_cast<T>(x / y); });
}
template <class T>
T square_root(T a, Rounding rounding) {
    volatile T x = a;
    return rounded(rounding, [&] { return std::sqrt(T{x}); });
}

}  // namespace

float directed_add(float a, float b, Rounding rounding) { return add(a, b, rounding); }
double directed_add(double a, double b, Rounding rounding) { return add(a, b, rounding); }
float directed_mul(float a, float b, Rounding rounding) { return multiply(a, b, rounding); }
double directed_mul(double a, double b, Rounding rounding) { return multiply(a, b, rounding); }
float directed_fma(float a, float b, float c, Rounding rounding) { return multiply_add(a, b, c, rounding); }
double directed_fma(double a, double b, double c, Rounding rounding) { return multiply_add(a, b, c, rounding); }
float directed_div(float a, float b, Rounding rounding) { return divide_rounded(a, b, rounding); }
double directed_div(double a, double b, Rounding rounding) { return divide_rounded(a, b, rounding); }
float directed_sqrt(float a, Rounding rounding) { return square_root(a, rounding); }
double directed_sqrt(double a, Rounding rounding) { return square_root(a, rounding); }

template <class To, class From>
To directed_convert(From from, Rounding rounding) {
    volatile From x = from;
    return rounded(rounding, [&] { return static_cast<To>(x); });
}
#define CONVERT(To, From) template To directed_convert<To>(From, Rounding);
CONVERT(float, double)
CONVERT(float, int8_t)
CONVERT(float, uint8_t)
CONVERT(float, int16_t)
CONVERT(float, uint16_t)
CONVERT(float, int32_t)
CONVERT(float, uint32_t)
CONVERT(float, int64_t)
CONVERT(float, uint64_t)
CONVERT(double, int8_t)
CONVERT(double, uint8_t)
CONVERT(double, int16_t)
CONVERT(double, uint16_t)
CONVERT(double, int32_t)
CONVERT(double, uint32_t)
CONVERT(double, int64_t)
CONVERT(double, uint64_t)

}  // namespace ptx
