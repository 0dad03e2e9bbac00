// init.h - initial weights as published, the same bits on every backend: drawn on the host by a counter-based
// generator.
#pragma once
#include <cmath>
#include <cstdint>

#include "model/tensors.h"
#include "util/rng.h"

// Standard deviation of a tensor's normal initialisation; model/README.md has what was published of each preset.
// Scaled, GPT-2 (Radford et al. 2019, section 2.3): the configuration's deviation, .02, divided by sqrt(2L) for layers
// that write to the residual stream. SmolLM2 likewise, with 1 / sqrt(C) in place of .02.
// SmallWang, NeoX (Black et al. 2022, section 2.1.2): small_init sqrt(2 / (5C)) (Nguyen & Salazar 2019), wang_init
// 2 / (L sqrt(C)) for those layers.
// Equal: .02 for all, the initializer_range of the configurations published with Llama 3.2, Qwen2.5 and Qwen3; their
// reports name no other, and OLMo 2 (2501.00656) chose it for stability.
inline double init_deviation(const GptConfig& c, Init init) {
    const double C = c.C, L = c.L;
    if (init != Init::Normal && init != Init::Residual) return 0;
    const bool residual = init == Init::Residual;
    switch (c.deviations) {
        case Deviations::Scaled:
            return residual ? c.deviation / std::sqrt(2.0 * L) : c.deviation;
        case Deviations::SmallWang:
            return residual ? 2.0 / (L * std::sqrt(C)) : std::sqrt(2.0 / (5.0 * C));
        case Deviations::Equal:
            break;
    }
    return c.deviation;
}

// Fills the memory of all parameters (tensors.h), on the host. A row of the table has its stream of random numbers, an
// element its index in the row, the layers' copies counted one after another: so the values do not depend on the order
// of memory. Padded vocabulary rows stay zero.
template <class Real>
void initialise_parameters(const GptConfig& c, uint64_t seed, Real* memory) {
    uint64_t row = 0;
    for (const TensorSpec& t : tensor_table(c)) {
        const double deviation = init_deviation(c, t.init);
        const uint64_t stream = hash_name("initial weights") + row++;
        const size_t drawn = static_cast<size_t>(t.stored_rows(c)) * static_cast<size_t>(t.cols);
        for (int l = 0; l < t.copies; ++l) {
            Real* const copy = memory + t.offset(l);
            const size_t before = static_cast<size_t>(l) * t.copy_size();
#pragma omp parallel for
            for (size_t i = 0; i < t.copy_size(); ++i) {
                double value = t.init == Init::One ? 1.0 : 0.0;
                if (deviation > 0 && i < drawn) value = deviation * random_normal(seed, stream, before + i);
                copy[i] = static_cast<Real>(static_cast<float>(value));
            }
        }
    }
}
