// subsample.h - which entities or documents of a source --subsample keeps: a pure function, so that an evaluation knows
// it without the training data.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "util/rng.h"

inline uint64_t subsample_size(uint64_t documents, double rho) {
    return static_cast<uint64_t>(std::llround(rho * static_cast<double>(documents)));
}

// The first subsample_size() of this order of a source's documents are kept.
inline Permutation subsample_order(uint64_t documents, uint64_t data_seed, const std::string& source) {
    return {documents, data_seed, hash_name("subsample/" + source)};
}

// The entities kept of a knowledge source, in no particular order. `entities`: of all its shards, in their order.
inline std::vector<uint32_t> subsample_entities(uint64_t entities, double rho, uint64_t data_seed,
                                                const std::string& source) {
    const Permutation order = subsample_order(entities, data_seed, source);
    std::vector<uint32_t> kept(subsample_size(entities, rho));
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = static_cast<uint32_t>(order(i));
    return kept;
}
