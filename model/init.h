// init.h - initial weights as published, the same bits on every backend: drawn on the host by a counter-based
// generator, in table order.
#pragma once
#include <cmath>
#include <cstdint>

#include "model/tensors.h"
#include "util/rng.h"

// Standard deviation of a tensor's normal initialisation.
// GPT-2 (Radford et al. 2019, section 2.3): 0.02, layers that write to the residual stream divided by sqrt(2L).
// NeoX (Black et al. 2022, section 2.1.2): small_init sqrt(2 / (5C)) (Nguyen & Salazar 2019), wang_init 2 / (L sqrt(C))
// for those layers.
inline double init_deviation(const GptConfig& c, Init init) {
    const double C = c.C, L = c.L;
    if (init == Init::Normal) return c.family == Family::Gpt2 ? 0.02 : std::sqrt(2.0 / (5.0 * C));
    if (init == Init::Residual) return c.family == Family::Gpt2 ? 0.02 / std::sqrt(2.0 * L) : 2.0 / (L * std::sqrt(C));
    return 0;
}

// Fills host memory of place_parameters' layout. Padded vocabulary rows stay zero.
template <class Real>
void initialise_parameters(const GptConfig& c, uint64_t seed, Real* memory) {
    uint64_t tensor = 0;
    for (const TensorSpec& t : tensor_table(c)) {
        const double deviation = init_deviation(c, t.init);
        const uint64_t stream = hash_name("initial weights") + tensor++;
        const size_t drawn =
            t.vocabulary_rows ? static_cast<size_t>(t.layers) * static_cast<size_t>(c.V) * static_cast<size_t>(t.cols)
                              : t.size();
#pragma omp parallel for
        for (size_t i = 0; i < t.size(); ++i) {
            double value = t.init == Init::One ? 1.0 : 0.0;
            if (deviation > 0 && i < drawn) value = deviation * random_normal(seed, stream, i);
            memory[i] = static_cast<Real>(static_cast<float>(value));
        }
        memory += t.size();
    }
}
