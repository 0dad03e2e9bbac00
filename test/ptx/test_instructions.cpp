// The translation of single instructions (test/ptx/samples) does what the text of the PTX ISA says.
#include <cmath>
#include <limits>

#include "test/ptx/samples.h"

namespace {

constexpr float NaN = std::numeric_limits<float>::quiet_NaN(), INF = std::numeric_limits<float>::infinity();
constexpr uint64_t ONES = ~uint64_t{0};

void check(const std::string& name, const Bits& in, const Bits& want) {
    const Bits got = results_of(name, in, want.size());
    for (size_t i = 0; i < want.size(); ++i) {
        INFO(name << ", result " << i << std::hex << ": 0x" << got[i] << ", not 0x" << want[i]);
        CHECK(got[i] == want[i]);
    }
}
bool is_nan(uint64_t bits) { return (bits & 0x7fffffff) > 0x7f800000; }
// Where a NaN is wanted any will do.
void check_floats(const std::string& name, const std::vector<float>& in, const std::vector<float>& want) {
    Bits words;
    for (const float x : in) words.push_back(bits(x));
    const Bits got = results_of(name, words, want.size());
    for (size_t i = 0; i < want.size(); ++i) {
        INFO(name << ", result " << i << ": bits 0x" << std::hex << got[i] << ", not 0x" << bits(want[i]));
        CHECK((std::isnan(want[i]) ? is_nan(got[i]) : got[i] == bits(want[i])));
    }
}

}  // namespace

TEST_CASE("ptx: products, sums with carry, quotients", "[ptx]") {
    const uint64_t minus_2 = ONES - 1;
    check("multiply", {minus_2, 3, 10},
          {0xffffffff, 2, 0xfffffffffffffffa, 0x2fffffffa, ONES, 2, 4, 12, 0xfffffffa, 15, 0xfffffffffffffffa});
    check("mad_wide", {0xfffffffe, 3, 7, 0x100000000}, {0xfffffffa, 0x3fffffffa, 1, 0x30001});
    check("divide", {0xfffffff9, 2, 0x80000000},  // -7, 2, the least
          {0xfffffffd, 0xffffffff, 0x7ffffffc, 1, 7, 7, 0xfffffff9, 2, 0x80000000});
    check("divide", {0x80000000, 0xffffffff, 0xffffffff},
          {0x80000000, 0, 0, 0x80000000, 0x80000000, 0x80000000, 0x80000000, 0x80000000, 0x80000000});
    // the borrow of 1 - 0xffffffff is one, and so is that of 0 - 0 - 1
    check("carry", {0xffffffff, 2, 1}, {1, 1, 2, 0xffffffff, 1, 0xfffffffd, 2});
}

TEST_CASE("ptx: shifts by more than the width", "[ptx]") {
    const uint64_t a = 0xffffffff80000001, b = 0x12345678;
    check("shifts", {a, b, 4},
          {0x10, 0x08000000, 0xf8000000, 0xfffffff800000010, 0x0ffffffff8000000, 0xfffffffff8000000, 0x23456788,
           0x23456788, 0x88000000, 0x88000000});
    check("shifts", {a, b, 36},  // to wrap is to shift by 4, to clamp by 32
          {0, 0, 0xffffffff, 0x0000001000000000, 0x000000000fffffff, 0xffffffffffffffff, 0x23456788, 0x80000001,
           0x88000000, b});
    check("shifts", {a, b, 64}, {0, 0, 0xffffffff, 0, 0, ONES, b, 0x80000001, 0x80000001, b});
    check("shifts", {a, b, 0}, {0x80000001, 0x80000001, 0x80000001, a, a, a, b, b, 0x80000001, 0x80000001});
}

TEST_CASE("ptx: fields of bits", "[ptx]") {
    check("fields", {0x12345678, 8, 8}, {0x56, 0x56, 0x12347878});
    check("fields", {0xf0, 4, 4}, {0xf, 0xffffffff, 0x12345608});
    check("fields", {0x80000000, 28, 8}, {8, 0xfffffff8, 0x02345678});  // past the end: the sign
    check("fields", {0xffffffff, 5, 0}, {0, 0, 0x12345678});
    check("fields", {0xffffffff, 0, 32}, {0xffffffff, 0xffffffff, 0xffffffff});
    check("fields", {0x80000000, 40, 4}, {0, 0xffffffff, 0x12345678});
    check("fields", {0xabcd, 0x108, 0x108}, {0xab, 0xffffffab, 0x1234cd78});  // of both the low 8 bits count

    const auto permuted = [](uint64_t a, uint64_t b, uint64_t c) { return results_of("bits", {a, b, c}, 1)[0]; };
    CHECK(permuted(0x03020100, 0x07060504, 0x7531) == 0x07050301);
    CHECK(permuted(0x00008001, 0, 0x0098) == 0x0101ff00);
    check("bits", {0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa},
          {permuted(0xf0f0f0f0, 0xcccccccc, 0xaaaaaaaa), 0x96969696, 0xe8e8e8e8, 0x0d0d0d0d, 16, 0, 32, 0x0f0f0f0f, 31,
           27, 0});
    const Bits of_zero = results_of("bits", {0, 0, 0}, 11), of_minus_1 = results_of("bits", {ONES, 0, 0}, 11);
    CHECK(Bits(of_zero.begin() + 4, of_zero.end()) == Bits{0, 32, 64, 0, 0xffffffff, 0xffffffff, 1});
    CHECK(Bits(of_minus_1.begin() + 4, of_minus_1.end()) == Bits{32, 0, 0, 0xffffffff, 31, 0xffffffff, 0});
}

TEST_CASE("ptx: NaN and signed zeros", "[ptx]") {
    check_floats("extremes", {1, 2}, {1, 2, 1, 2});
    check_floats("extremes", {NaN, 2}, {2, 2, NaN, NaN});
    check_floats("extremes", {-1, NaN}, {-1, -1, NaN, NaN});
    check_floats("extremes", {NaN, NaN}, {NaN, NaN, NaN, NaN});
    check_floats("extremes", {0.0f, -0.0f}, {-0.0f, 0.0f, -0.0f, 0.0f});
    check_floats("extremes", {-0.0f, 0.0f}, {-0.0f, 0.0f, -0.0f, 0.0f});

    const auto compared = [](float a, float b) { return results_of("comparisons", {bits(a), bits(b)}, 14); };
    //                            eq ne lt le gt ge equ neu ltu leu gtu geu num nan
    CHECK(compared(1, 2) == Bits{0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0});
    CHECK(compared(2, 1) == Bits{0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0});
    CHECK(compared(-0.0f, 0) == Bits{1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0});
    CHECK(compared(NaN, 1) == Bits{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1});
    CHECK(compared(NaN, NaN) == Bits{0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1});

    // q = x < y; p|q = y > x and q, not (y > x) and q; then x < y or not q
    CHECK(results_of("combined", {bits(1.0f), bits(2.0f)}, 3) == Bits{1, 0, 1});
    CHECK(results_of("combined", {bits(2.0f), bits(1.0f)}, 3) == Bits{0, 0, 1});
}

TEST_CASE("ptx: rounding, subnormals, saturation", "[ptx]") {
    const float next = std::nextafter(1.0f, 2.0f), before = std::nextafter(1.0f, 0.0f), tiny = 0x1p-30f;
    const float third = 1.0f / 3, below = std::nextafter(third, 0.0f);
    const Bits got = results_of("directed", {bits(1.0f), bits(tiny), bits(1.0f)}, 16);
    CHECK(got == Bits{bits(1.0f), bits(1.0f), bits(1.0f), bits(next), bits(1.0f), bits(before), bits(before),
                      bits(1.0f), bits(tiny), bits(tiny), bits(tiny), bits(tiny), bits(1.0f), bits(1.0f), bits(1.0f),
                      bits(next)});
    const Bits negative = results_of("directed", {bits(-1.0f), bits(tiny), bits(-1.0f)}, 16);
    CHECK(negative == Bits{bits(-1.0f), bits(-before), bits(-1.0f), bits(-before), bits(-1.0f), bits(-1.0f),
                           bits(-next), bits(-1.0f), bits(-tiny), bits(-tiny), bits(-tiny), bits(-tiny), bits(-1.0f),
                           bits(-1.0f), bits(-next), bits(-1.0f)});
    const Bits quotients = results_of("directed", {bits(1.0f), bits(3.0f), bits(0.0f)}, 20);
    CHECK(third * 3.0 > 1);  // so that the quotient rounded down is the one below
    CHECK(Bits(quotients.begin() + 16, quotients.end()) == Bits{bits(third), bits(below), bits(below), bits(third)});

    // 2^-130, then the same flushed; the sum of two subnormals; 2^-140 with and without; 1 / subnormal
    check_floats("subnormal", {0x1p-100f, 0x1p-30f, 0x1p-127f}, {0x1p-130f, 0, 0, 0x1p-140f, 0, INF});
    check_floats("saturated", {2, 1, 0}, {1, 1, 1});
    check_floats("saturated", {NaN, 1, 0}, {0, 0, 0});
    check_floats("saturated", {-1, 0.5f, 0.75f}, {0, 0, 0.25f});
    check_floats("saturated", {-0.0f, -0.0f, 0}, {0, 0, 0});
    check_floats("approximate", {6, 3, 0}, {2, INF, 2});
    check_floats("approximate", {6, -0x1p127f, 0}, {-0.0f, NaN, -6 * 0x1p-127f});
    CHECK(results_of("approximate", {bits(3.0f), bits(-1.0f), 0, bits(3.0)}, 5)[3] ==
          (bits(1 / 3.0) & 0xffffffff00000000));
    CHECK(results_of("approximate", {bits(3.0f), bits(-1.0f), 0, bits(3.0)}, 5)[4] == bits(1.0f));  // -1 with 3's sign
}

TEST_CASE("ptx: conversions", "[ptx]") {
    const auto integers = [](float x, double y) { return results_of("to_integers", {bits(x), 0, 0, bits(y)}, 10); };
    CHECK(integers(2.5f, 3.5) == Bits{2, 2, 2, 3, 2, 2, 2, 4, bits(2.0f), bits(2.0f)});
    CHECK(integers(-2.5f, -2.5) ==
          Bits{0xfffffffe, 0xfffffffe, 0xfffffffd, 0xfffffffe, 0, 0, ONES - 1, 0xfffffffe, bits(-2.0f), bits(-2.0f)});
    CHECK(integers(3e9f, 3e9) == Bits{0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff, 3000000000, 255, 3000000000,
                                      0x7fffffff, bits(3e9f), bits(3e9f)});
    CHECK(integers(-1e19f, -1e19) == Bits{0x80000000, 0x80000000, 0x80000000, 0x80000000, 0, 0, uint64_t{1} << 63,
                                          0x80000000, bits(-1e19f), bits(-1e19f)});
    const Bits of_nan = integers(NaN, std::numeric_limits<double>::quiet_NaN());
    CHECK(Bits(of_nan.begin(), of_nan.begin() + 8) == Bits{0, 0, 0, 0, 0, 0, uint64_t{1} << 63, 0x80000000});

    const float even = 16777216, up = 16777218;
    check("of_integers", {16777217, 0xffffffff},
          {bits(even), bits(even), bits(even), bits(up), bits(4294967296.0f), bits(16777217.0)});
    check("of_integers", {0xfeffffff, 1},
          {bits(-even), bits(-even), bits(-up), bits(-even), bits(1.0f), bits(-16777217.0)});

    check("integers_of_integers", {300}, {255, 127, 44, 44, 300, 300, 300, 300});
    check("integers_of_integers", {0xffffff80},
          {0, 0xffffff80, 0x80, 0xffffff80, 0xffffffffffffff80, 0xffffff80, 0xffffff80, 0});
    const float next = std::nextafter(1.0f, 2.0f);
    const auto narrowed = [](double u, uint64_t x, uint64_t y) {
        return results_of("narrowed", {x, y, 0, bits(u), 0xc000}, 9);
    };
    CHECK(narrowed(1 + 0x1p-30, 0x3f808000, 0xbf818000) ==  // ties go to the even one; x is the upper half
          Bits{bits(1.0f), bits(1.0f), bits(1.0f), bits(next), 0x3f80, 0x3f80, 0x3f80bf82, 0x3f800000, bits(-2.0f)});
    CHECK(narrowed(-1 - 0x1p-30, bits(NaN), 0x3f808001) == Bits{bits(-1.0f), bits(-1.0f), bits(-next), bits(-1.0f),
                                                                0x7fff, 0x7fff, 0x7fff3f81, 0x7fff3f81, bits(-2.0f)});
    CHECK(narrowed(1, 0x7f7fffff, 0x3f81ffff)[4] == 0x7f80);  // what is rounded up past the largest is infinite
}

// ---- a warp ---------------------------------------------------------------------------------------------------------

TEST_CASE("ptx: shuffles in segments of 8 lanes", "[ptx]") {
    Bits out(32 * 8);
    run_sample("shuffles", {bytes_of(out.data())}, 32);
    for (uint64_t lane = 0; lane < 32; ++lane) {
        INFO("lane " << lane);
        const uint64_t first = lane / 8 * 8;
        const bool up = lane - first >= 3, down = lane - first + 3 < 8, across = (lane ^ 12) < first + 8;
        CHECK(out[lane * 8 + 0] == 100 + (up ? lane - 3 : lane));
        CHECK(out[lane * 8 + 1] == 100 + (down ? lane + 3 : lane));
        CHECK(out[lane * 8 + 2] == 100 + (across ? lane ^ 12 : lane));
        CHECK(out[lane * 8 + 3] == 100 + (first | (13 & 7)));
        CHECK(Bits(&out[lane * 8 + 4], &out[lane * 8 + 8]) == Bits{up, down, across, 1});
    }
}

TEST_CASE("ptx: votes and reductions", "[ptx]") {
    Bits out(32 * 8);
    run_sample("votes", {bytes_of(out.data())}, 32);
    for (uint64_t lane = 0; lane < 32; ++lane) {
        INFO("lane " << lane);
        const Bits want{
            0x22222222,       1, uint64_t{0x11111111} << lane % 4, 0xfffffffb, 0xffffffff, 31 * 16 - 5 * 32, 0,
            (1u << lane) - 1u};
        CHECK(Bits(&out[lane * 8], &out[lane * 8 + 8]) == want);
    }
}

TEST_CASE("ptx: matrices out of shared memory and back", "[ptx]") {
    Bits out(32 * 16);
    run_sample("matrices", {bytes_of(out.data())}, 32, 512);
    const auto pair = [](uint64_t low, uint64_t high) { return high << 16 | low; };
    for (uint64_t lane = 0; lane < 32; ++lane) {
        INFO("lane " << lane);
        const uint64_t row = lane / 4, t = lane % 4;
        for (uint64_t m = 0; m < 4; ++m) {
            CHECK(out[lane * 16 + m] == pair(64 * m + 8 * row + 2 * t, 64 * m + 8 * row + 2 * t + 1));
            CHECK(out[lane * 16 + 4 + m] == pair(64 * m + 8 * (2 * t) + row, 64 * m + 8 * (2 * t + 1) + row));
        }
        CHECK(out[lane * 16 + 8] == pair(64 + 8 * row + 2 * t, 64 + 8 * row + 2 * t + 1));
        // stored transposed: row r of a matrix now holds its column r
        const uint64_t first = 64 * (lane / 8) + lane % 8;
        CHECK(out[lane * 16 + 9] == pair(first, first + 8));
        CHECK(out[lane * 16 + 10] == pair(first + 16, first + 24));
    }
}

// Element i of a lane's operand lies, by the ISA's figures, in this row and column. g = lane / 4, t = lane % 4.
TEST_CASE("ptx: mma by the ISA's layouts", "[ptx]") {
    struct Shape {
        const char* name;
        int K, per_register;
    };
    for (const Shape& s : {Shape{"product_bf16_k16", 16, 2}, {"product_bf16_k8", 8, 2}, {"product_tf32_k8", 8, 1}}) {
        INFO(s.name);
        const auto a = [](int row, int k) { return static_cast<float>(row - 2 * k + 3); };
        const auto b = [](int k, int column) { return static_cast<float>(k * column % 7 - 2); };
        const auto c = [](int row, int column) { return static_cast<float>(10 * row + column); };
        std::vector<uint32_t> in(32 * 16);
        std::vector<float> out(32 * 16);
        for (int lane = 0; lane < 32; ++lane) {
            const int g = lane / 4, t = lane % 4;
            const auto put = [&](int number, int i, float value) {
                const uint32_t word = static_cast<uint32_t>(bits(value));
                uint32_t& to = in[static_cast<size_t>(lane * 16 + number + i / s.per_register)];
                if (s.per_register == 1) to = word;
                if (s.per_register == 2) to |= word >> 16 << (16 * (i % 2));
            };
            for (int i = 0; i < 16 * s.K / 32; ++i) {
                const bool lower = s.per_register == 2 ? i / 2 % 2 : i % 2;
                const int k = s.per_register == 2 ? t * 2 + i % 2 + (i >= 4 ? 8 : 0) : t + (i >= 2 ? 4 : 0);
                put(0, i, a(g + (lower ? 8 : 0), k));
            }
            for (int i = 0; i < 8 * s.K / 32; ++i) {
                const int k = s.per_register == 2 ? t * 2 + i % 2 + (i >= 2 ? 8 : 0) : t + (i >= 1 ? 4 : 0);
                put(4, i, b(k, g));
            }
            for (int i = 0; i < 4; ++i)
                in[static_cast<size_t>(lane * 16 + 6 + i)] =
                    static_cast<uint32_t>(bits(c(g + (i >= 2 ? 8 : 0), t * 2 + i % 2)));
        }
        run_sample(s.name, {bytes_of(out.data()), bytes_of(in.data())}, 32);
        for (int lane = 0; lane < 32; ++lane)
            for (int i = 0; i < 4; ++i) {
                const int row = lane / 4 + (i >= 2 ? 8 : 0), column = lane % 4 * 2 + i % 2;
                float want = c(row, column);
                for (int k = 0; k < s.K; ++k) want += a(row, k) * b(k, column);
                CHECK(out[static_cast<size_t>(lane * 16 + i)] == want);
            }
    }
}

// ---- memory ---------------------------------------------------------------------------------------------------------

TEST_CASE("ptx: parameters and state spaces", "[ptx]") {
    Bits out(8);
    struct Block {
        uint32_t a, b, c;
    };
    run_sample("parameters", {bytes_of(out.data()), bytes_of(int8_t{-3}), bytes_of(2.5), bytes_of(uint16_t{0xbeef}),
                              bytes_of(Block{1, 2, 77})});
    CHECK(Bits(&out[0], &out[4]) == Bits{0xfffffffd, bits(2.5), 0xbeef, 77});
    out.assign(8, 0);
    run_sample("spaces", {bytes_of(out.data())}, 1, 64);
    CHECK(Bits(&out[0], &out[6]) == Bits{60, 32, 60, 0, uint64_t{30} << 32 | 60, 30});
}

TEST_CASE("ptx: atomics", "[ptx]") {
    Bits out{0, 5, 9, 0, 0, 0, 0, 0};
    run_sample("atomics", {bytes_of(out.data())}, 32);
    CHECK(out == Bits{496, 31, 0, 32 % 5, 1, bits(16.0f), 7, 31});
}

TEST_CASE("ptx: asynchronous copies land when they are waited for", "[ptx]") {
    alignas(16) const uint32_t in[4] = {1, 2, 3, 4};
    Bits out(6);
    run_sample("copies", {bytes_of(out.data()), bytes_of(&in[0])}, 1, 64);
    CHECK(out == Bits{1, 2, 0, 0, 0xffffffff, 3});
}
