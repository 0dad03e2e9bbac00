// subsample.h - which entities or documents of a source --subsample keeps: a pure function of the data seed (NAME=rho),
// or a list (NAME=file:PATH). An evaluation knows them without the training data.
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

// Whether the value of --subsample names a list: file:PATH.
bool asks_for_list(const std::string& text);

// The list of "file:PATH", ascending: numbers of entities (documents of text) over all files of the source, one a line,
// or u32 in a .npy. Dies with Exit::Data where there is no such file, no number in it, one twice, or anything else.
// `what` is for messages.
std::vector<uint32_t> read_subsample_list(const std::string& what, const std::string& text);

// What a list is known by, wherever its file lies.
uint64_t hash_of_list(const std::vector<uint32_t>& list);
