#include "eval/exposures.h"

#include <algorithm>

namespace {

// The shard that a set asks about: a ledger's entities first .. first + entities of the set - 1.
struct Shard {
    const Ledger* ledger = nullptr;
    uint64_t first = 0;
};

Shard shard_of(const QuestionNames& names, const std::vector<Ledger>& ledgers) {
    for (const Ledger& ledger : ledgers) {
        uint64_t first = 0;
        for (const LedgerShard& shard : ledger.shards()) {
            if (shard.name == names.source && shard.entities == static_cast<uint64_t>(names.entities))
                return {&ledger, first};
            first += shard.entities;
        }
    }
    return {};
}

// -1: there is none of this name.
int64_t slot_named(const Ledger& ledger, const std::string& name) {
    const auto slot = std::find(ledger.slot_names().begin(), ledger.slot_names().end(), name);
    return slot == ledger.slot_names().end() ? -1 : slot - ledger.slot_names().begin();
}

std::vector<int64_t> slots_named(const Ledger& ledger, const std::vector<std::string>& names) {
    std::vector<int64_t> slots;
    for (const std::string& name : names) slots.push_back(slot_named(ledger, name));
    return slots;
}

}  // namespace

std::vector<uint32_t> question_exposures(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                         const std::vector<Ledger>& ledgers) {
    const QuestionNames& names = set.names();
    const Shard shard = shard_of(names, ledgers);
    if (!shard.ledger) return {};
    const std::vector<int64_t> attributes = slots_named(*shard.ledger, names.attributes),
                               relations = slots_named(*shard.ledger, names.relations);
    std::vector<uint32_t> exposures;
    bool any = false;
    for (const uint32_t number : chosen) {
        const Question q = set.question(number);
        const int64_t slot = attributes[q.attribute] >= 0 ? attributes[q.attribute] : relations[q.relation];
        any = any || slot >= 0;
        exposures.push_back(slot < 0 ? UNKNOWN_EXPOSURES
                                     : shard.ledger->at(shard.first + q.entity, static_cast<uint32_t>(slot)).count);
    }
    if (!any) exposures.clear();
    return exposures;
}

uint32_t exposure_bin(uint32_t exposures) {
    uint32_t bin = 0;
    for (; exposures > 0; exposures /= 2) ++bin;
    return bin;
}

ExposureRange exposure_range(uint32_t bin) {
    if (bin == 0) return {0, 0};
    return {int64_t{1} << (bin - 1), (int64_t{1} << bin) - 1};
}
