// scalar.h - what PTX instructions do to the values of one thread, from the text of the PTX ISA 9.0 (not from
// kernels/ptx.cuh: the two agree because both are right). The rows of instructions.py call these names.
//
// A NaN stays one, with whatever bits the CPU gives it; PTX's own is 0x7fffffff.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ptx {

template <class To, class From>
inline To as(From from) {
    static_assert(sizeof(To) == sizeof(From));
    return __builtin_bit_cast(To, from);
}
template <class T>
constexpr uint32_t BITS = 8 * sizeof(T);
template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
inline Unsigned<T> to_unsigned(T x) {
    return static_cast<Unsigned<T>>(x);
}

// ---- integers -------------------------------------------------------------------------------------------------------

__extension__ using Int128 = __int128;
__extension__ using Uint128 = unsigned __int128;

template <class T>
using Wide = std::conditional_t<std::is_signed_v<T>, std::conditional_t<sizeof(T) == 2, int32_t, int64_t>,
                                std::conditional_t<sizeof(T) == 2, uint32_t, uint64_t>>;

template <class T>
inline T mul_lo(T a, T b) {
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
template <class T>
inline T mul_hi(T a, T b) {
    if constexpr (sizeof(T) == 8)
        return static_cast<T>((static_cast<std::conditional_t<std::is_signed_v<T>, Int128, Uint128>>(a) * b) >> 64);
    else
        return static_cast<T>((static_cast<Wide<T>>(a) * static_cast<Wide<T>>(b)) >> BITS<T>);
}
template <class T>
inline Wide<T> mul_wide(T a, T b) {
    return static_cast<Wide<T>>(a) * static_cast<Wide<T>>(b);
}
template <class T>
inline T low_24(T x) {
    return std::is_signed_v<T> ? static_cast<T>(x << 8) >> 8 : x & 0xffffff;
}
// By zero: "unspecified"; all ones here.
template <class T>
inline T divide(T a, T b) {
    if (b == 0) return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return static_cast<T>(-to_unsigned(a));
    return static_cast<T>(a / b);
}
template <class T>
inline T remainder(T a, T b) {
    if (b == 0) return static_cast<T>(-1);
    if (std::is_signed_v<T> && b == static_cast<T>(-1)) return 0;
    return static_cast<T>(a % b);
}
template <class T>
inline T negate(T x) {
    return static_cast<T>(-to_unsigned(x));
}
template <class T>
inline Unsigned<T> distance(T a, T b) {
    return static_cast<Unsigned<T>>(a < b ? to_unsigned(b) - to_unsigned(a) : to_unsigned(a) - to_unsigned(b));
}
template <class T>
inline T add_carry(T a, T b, uint32_t carry_in, uint32_t* carry_out) {
    const Uint128 sum = static_cast<Uint128>(a) + b + carry_in;
    if (carry_out) *carry_out = static_cast<uint32_t>(sum >> BITS<T>);
    return static_cast<T>(sum);
}
template <class T>
inline T subtract_borrow(T a, T b, uint32_t borrow_in, uint32_t* borrow_out) {
    if (borrow_out) *borrow_out = static_cast<Uint128>(b) + borrow_in > a;
    return static_cast<T>(a - b - borrow_in);
}
template <class To, class From>
inline To clamp_to(From x) {
    constexpr Int128 LEAST = std::is_signed_v<To> ? -(Int128{1} << (BITS<To> - 1)) : 0;
    constexpr Int128 MOST = (Int128{1} << (BITS<To> - (std::is_signed_v<To> ? 1 : 0))) - 1;
    const Int128 value = x;
    return static_cast<To>(value < LEAST ? LEAST : value > MOST ? MOST : value);
}

// ---- bits -----------------------------------------------------------------------------------------------------------

// A shift by more than the width is one by the width.
template <class T>
inline T shift_left(T x, uint32_t n) {
    return n >= BITS<T> ? T{0} : static_cast<T>(x << n);
}
template <class T>
inline T shift_right(T x, uint32_t n) {
    if (n >= BITS<T>) return x < 0 ? static_cast<T>(-1) : T{0};
    return static_cast<T>(x >> n);
}
inline uint32_t funnel_wrap(uint32_t n) { return n & 31; }
inline uint32_t funnel_clamp(uint32_t n) { return n < 32 ? n : 32; }
inline uint32_t funnel_shift_l(uint32_t a, uint32_t b, uint32_t n) {
    return static_cast<uint32_t>((static_cast<uint64_t>(b) << 32 | a) << n >> 32);
}
inline uint32_t funnel_shift_r(uint32_t a, uint32_t b, uint32_t n) {
    return static_cast<uint32_t>((static_cast<uint64_t>(b) << 32 | a) >> n);
}
template <class T>
inline uint32_t count_ones(T x) {
    return static_cast<uint32_t>(__builtin_popcountll(x));
}
template <class T>
inline uint32_t leading_zeros(T x) {
    return x == 0 ? BITS<T> : static_cast<uint32_t>(__builtin_clzll(x)) - (64 - BITS<T>);
}
template <class T>
inline T reverse(T x) {
    T reversed = 0;
    for (uint32_t bit = 0; bit < BITS<T>; ++bit) reversed |= (x >> bit & 1) << (BITS<T> - 1 - bit);
    return reversed;
}
// Position of the most significant bit that is not a sign bit; all ones where there is none.
template <class T>
inline uint32_t find_first(T x) {
    const Unsigned<T> bits = to_unsigned(x < 0 ? static_cast<T>(~x) : x);
    return bits == 0 ? ~0u : BITS<T> - 1 - leading_zeros(bits);
}
template <class T>
inline T extract_bits(T a, uint32_t b, uint32_t c) {
    const uint32_t position = b & 255, length = c & 255, msb = BITS<T> - 1;
    const Unsigned<T> from = to_unsigned(a);
    const uint32_t last = position + length - 1 < msb ? position + length - 1 : msb;
    const bool sign = std::is_signed_v<T> && length > 0 && (from >> last & 1);
    Unsigned<T> result = 0;
    for (uint32_t i = 0; i <= msb; ++i) {
        const bool bit = i < length && position + i <= msb ? from >> (position + i) & 1 : sign;
        result |= static_cast<Unsigned<T>>(bit) << i;
    }
    return static_cast<T>(result);
}
template <class T>
inline T insert_bits(T a, T b, uint32_t c, uint32_t d) {
    const uint32_t position = c & 255, length = d & 255;
    if (position >= BITS<T> || length == 0) return b;
    const T ones = length >= BITS<T> ? static_cast<T>(~T{0}) : static_cast<T>((T{1} << length) - 1);
    return static_cast<T>((b & ~(ones << position)) | ((a & ones) << position));
}
inline uint32_t permute(uint32_t a, uint32_t b, uint32_t selection) {
    const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
        const uint32_t choice = selection >> (4 * i) & 15;
        uint32_t byte = static_cast<uint32_t>(bytes >> (8 * (choice & 7))) & 255;
        if (choice & 8) byte = byte & 128 ? 255 : 0;  // its sign, eight times
        result |= byte << (8 * i);
    }
    return result;
}
inline uint32_t look_up(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint32_t result = 0;
    for (uint32_t i = 0; i < 8; ++i)
        if (table >> i & 1) result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
    return result;
}

// ---- floats ---------------------------------------------------------------------------------------------------------

template <class T>
inline T flush(T x) {
    constexpr T LEAST = std::is_same_v<T, float> ? static_cast<T>(0x1p-126) : static_cast<T>(0x1p-1022);
    return std::fabs(x) < LEAST ? std::copysign(T{0}, x) : x;
}
template <class T>
inline T saturate(T x) {
    return x >= 0 ? x > 1 ? T{1} : x + 0 : T{0};  // NaN and -0 become +0
}
// The lesser of +0 and -0 is -0; of a NaN and a number, the number.
template <class T>
inline T minimum(T a, T b) {
    if (a == b) return std::signbit(a) ? a : b;
    return a < b || b != b ? a : b;
}
template <class T>
inline T maximum(T a, T b) {
    if (a == b) return std::signbit(a) ? b : a;
    return a > b || b != b ? a : b;
}
inline float minimum_nan(float a, float b) { return a != a ? a : b != b ? b : minimum(a, b); }
inline float maximum_nan(float a, float b) { return a != a ? a : b != b ? b : maximum(a, b); }
// "for 2^126 < |b| < 2^128, if a is infinity, div.approx.f32 returns NaN, otherwise it returns 0"
inline float divide_approximately(float a, float b) {
    const float size = std::fabs(b);
    if (size > 0x1p126f && size < INFINITY) return std::isinf(a) || a != a ? NAN : std::copysign(0.0f, a) * b;
    return a / b;
}
inline double upper_half(double x) { return as<double>(as<uint64_t>(x) & 0xffffffff00000000u); }

inline float of_bf16(uint16_t x) { return as<float>(static_cast<uint32_t>(x) << 16); }
inline uint16_t to_bf16(float x) {
    const uint32_t bits = as<uint32_t>(x);
    return x != x ? 0x7fff : static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline uint16_t to_bf16_truncated(float x) { return x != x ? 0x7fff : static_cast<uint16_t>(as<uint32_t>(x) >> 16); }
inline uint32_t pair_of(uint16_t low, uint16_t high) { return static_cast<uint32_t>(high) << 16 | low; }
template <class T>
inline T relu_bf16(T x) {
    if constexpr (sizeof(T) == 4)
        return pair_of(relu_bf16(static_cast<uint16_t>(x)), relu_bf16(static_cast<uint16_t>(x >> 16)));
    return of_bf16(static_cast<uint16_t>(x)) < 0 || x == 0x8000 ? T{0} : x;
}

// Rounding other than to the nearest. scalar.cpp changes the CPU's mode, for which compilers need to be warned.
enum class Rounding { rz, rm, rp, rni, rzi, rmi, rpi };
float directed_add(float a, float b, Rounding rounding);
double directed_add(double a, double b, Rounding rounding);
float directed_mul(float a, float b, Rounding rounding);
double directed_mul(double a, double b, Rounding rounding);
float directed_fma(float a, float b, float c, Rounding rounding);
double directed_fma(double a, double b, double c, Rounding rounding);
float directed_div(float a, float b, Rounding rounding);
double directed_div(double a, double b, Rounding rounding);
float directed_sqrt(float a, Rounding rounding);
double directed_sqrt(double a, Rounding rounding);
template <class To, class From>
To directed_convert(From from, Rounding rounding);

template <class T>
inline T whole(T x, Rounding rounding) {
    switch (rounding) {
        case Rounding::rni:
            return std::nearbyint(x);
        case Rounding::rzi:
            return std::trunc(x);
        case Rounding::rmi:
            return std::floor(x);
        default:
            return std::ceil(x);
    }
}
// Of a whole number: clamped to the range of To. NaN becomes 0 between types of less than 64 bits, else the highest
// bit.
template <class To, class From>
inline To to_integer(From x) {
    if (x != x) return BITS<To> < 64 && BITS<From> < 64 ? To{0} : static_cast<To>(Unsigned<To>{1} << (BITS<To> - 1));
    constexpr From PAST =
        static_cast<From>(std::is_signed_v<To> ? To{1} << (BITS<To> - 2) : To{1} << (BITS<To> - 1)) * 2;
    if (x >= PAST)
        return static_cast<To>(std::is_signed_v<To> ? ~(Unsigned<To>{1} << (BITS<To> - 1)) : ~Unsigned<To>{0});
    if (x < (std::is_signed_v<To> ? -PAST : From{0}))
        return std::is_signed_v<To> ? static_cast<To>(Unsigned<To>{1} << (BITS<To> - 1)) : To{0};
    return static_cast<To>(x);
}

}  // namespace ptx
