// exposures.h - how often the fact that a question asks about was seen, and which dose its entity was given, from the
// trainer's ledgers.
#pragma once
#include <cstdint>
#include <vector>

#include "dataloader/ledger.h"  // defines: Ledger
#include "eval/questions.h"     // defines: QuestionSet

// Of a question whose fact is in no slot of the source.
constexpr uint32_t UNKNOWN_EXPOSURES = UINT32_MAX;

// By question of `chosen`. A set belongs to the ledgers one of whose shards is named like the set's `source`, has as
// many entities as the set and, where checksums of both are known, states the same facts; their counts add up. A
// fact's slot is the one named like the question's attribute, else like its relation. A source whose only slot has the
// name of neither an attribute nor a relation states one fact of each entity; where the set asks one attribute of
// each, that is the fact asked for. (Facts of Wikidata are entities with a slot "object"; what their set calls
// attributes are the relations.)
// Empty: no ledger has the set's facts.
std::vector<uint32_t> question_exposures(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                         const std::vector<Ledger>& ledgers);

// The same for doses, by question: what --exposures NAME=random:LO:HI gave the entity, summed over the ledgers with
// doses; UNKNOWN_EXPOSURES where none of them states the fact, 0 where --subsample left its entity out.
// Empty: no ledger with doses has the set's facts.
std::vector<uint32_t> question_doses(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                     const std::vector<Ledger>& ledgers);

// Bins of exposure counts: 0, 1, 2-3, 4-7, 8-15, ...
uint32_t exposure_bin(uint32_t exposures);
struct ExposureRange {
    int64_t low, high;  // both in it
};
ExposureRange exposure_range(uint32_t bin);

// Says on stderr where a set's source is among the ledgers by name, but nowhere with as many entities or the same
// facts: other data.
void warn_of_other_entities(const QuestionSet& set, const std::vector<Ledger>& ledgers);
