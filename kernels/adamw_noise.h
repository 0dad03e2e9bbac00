// adamw_noise.h - where the noise of stochastic rounding comes from, for both backends: the bf16 weight of element i is
// a function of its float master, of the seed, the step and i, the same on a GPU and on the CPU.
#pragma once
#include <cstdint>

#include "util/rng.h"

// The generator's stream for a step. Element i takes 16 bits of philox(seed, stream, i / 8): the (i % 8)-th, from the
// lower half of x[0] on.
inline uint64_t adamw_noise_stream(int step) {
    return hash_name("adamw: stochastic rounding") + static_cast<uint64_t>(step) * 0x9E3779B97F4A7C15ull;
}
