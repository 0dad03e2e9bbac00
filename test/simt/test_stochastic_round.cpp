// test_stochastic_round.cpp - the rounding of bf16 weights, number by number.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/adamw.cuh"
#include "test/catch.h"

namespace {

float rounded(float x, uint32_t noise16) { return __bfloat162float(gpu::stochastic_round(x, noise16)); }

float with_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

}  // namespace

TEST_CASE("a number goes to the upper neighbour for as many of the 65536 noises as it lies above the lower one",
          "[stochastic_round]") {
    // bits of: about 1, -1, a subnormal number, the last below a power of two
    for (const uint32_t upper : {0x3F800000u, 0xBF800000u, 0x00010000u, 0x3FFF0000u})
        for (const uint32_t fraction : {0u, 1u, 0x1234u, 0x8000u, 0xFFFFu}) {
            const float x = with_bits(upper | fraction), below = with_bits(upper), above = with_bits(upper + 0x10000u);
            uint32_t ups = 0, others = 0;
            for (uint32_t noise = 0; noise < 65536; ++noise) {
                const float y = rounded(x, noise);
                ups += y == above;
                others += y != above && y != below;
            }
            CHECK(ups == fraction);
            CHECK(others == 0);
        }
}

TEST_CASE("infinities and NaN come through rounding whatever the noise", "[stochastic_round]") {
    constexpr float INF = std::numeric_limits<float>::infinity();
    for (const uint32_t noise : {0u, 1u, 0x8000u, 0xFFFFu}) {
        CHECK(rounded(INF, noise) == INF);
        CHECK(rounded(-INF, noise) == -INF);
        for (const uint32_t nan : {0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 0xFF80FFFFu, 0xFFFFFFFFu})
            CHECK(std::isnan(rounded(with_bits(nan), noise)));
    }
}

TEST_CASE("steps have noise of their own", "[stochastic_round]") {
    for (int step = 1; step < 100; ++step) CHECK(adamw_noise_stream(step) != adamw_noise_stream(step + 1));
}
