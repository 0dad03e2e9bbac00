// test_vmath.cpp - the CPU kernels' exponential and normal distribution, digit by digit.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/vmath.h"
#include "test/catch.h"

TEST_CASE("vmath is accurate to a few ulp", "[kernels]") {
    constexpr int n = cpu::LANES<float>;
    auto ulps = [](float got, double want) {
        const float rounded = static_cast<float>(want);
        return std::abs(got - want) /
               (std::nextafter(std::abs(rounded), std::numeric_limits<float>::infinity()) - std::abs(rounded));
    };
    double exp_error = 0, cdf_error = 0, bell_error = 0;
    for (double at = -87; at < 88.7; at += n * 1e-3) {
        float x[n], y[n], cdf[n], bell[n];
        for (int i = 0; i < n; ++i) x[i] = static_cast<float>(at + i * 1e-3);
        cpu::store(y, cpu::exp(cpu::load(x)));
        for (int i = 0; i < n; ++i) exp_error = std::max(exp_error, ulps(y[i], std::exp(double(x[i]))));
        for (float& v : x) v /= 25;
        cpu::store(cdf, cpu::normal(cpu::load(x)).cdf);
        cpu::store(bell, cpu::normal(cpu::load(x)).bell);
        for (int i = 0; i < n; ++i) {
            cdf_error = std::max(cdf_error, ulps(cdf[i], 0.5 * std::erfc(-x[i] / std::sqrt(2.0))));
            bell_error = std::max(bell_error, ulps(bell[i], std::exp(-0.5 * x[i] * x[i])));
        }
    }
    CHECK(exp_error < 2);
    CHECK(cdf_error < 12);  // at |x| = 3.5; half an ulp of the exponential's argument is 6 of the result
    CHECK(bell_error < 8);
    const float inf = std::numeric_limits<float>::infinity();
    float special[n] = {inf, -inf, 200, -200};
    cpu::store(special, cpu::exp(cpu::load(special)));
    CHECK(special[0] == inf);
    CHECK(special[1] == 0);
    CHECK(special[2] == inf);
    CHECK(special[3] == 0);
    CHECK(std::isnan(cpu::exp(cpu::broadcast(std::numeric_limits<float>::quiet_NaN()))[0]));
}
