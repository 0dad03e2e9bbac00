// doses.h - --exposures NAME=random:LO:HI: a randomised experiment inside one run. Every entity of the source has a
// dose of its own, a number of exposures that was drawn without regard to what the entity is, so that what a model
// knows at a dose is what the dose does. Pure functions of data seed, source and grid.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "util/rng.h"

constexpr int64_t MOST_DOSE = 1000000000;  // of an entity: a ledger counts in 32 bits

// Whether the value of --exposures asks for doses.
bool asks_for_doses(const std::string& text);

// The doses of "random:LO:HI", ascending: LO * 2^(i/2), rounded to whole numbers and each of them once, i = 0, 1, ...
// as long as it is at most HI. Dies with Exit::Usage on anything else; `name` is the source's.
std::vector<int64_t> dose_grid(const std::string& name, const std::string& text);

// A draw of the source (after --subsample) at place p of this order has dose number p * doses / draws: every dose has
// the floor or the ceiling of draws / doses of them.
inline Permutation dose_order(uint64_t draws, uint64_t data_seed, const std::string& source) {
    return {draws, data_seed, hash_name("doses/" + source)};
}
inline size_t dose_number(uint64_t place, uint64_t draws, size_t doses) {
    return static_cast<size_t>(static_cast<unsigned __int128>(place) * doses / draws);
}
