#include "eval/exposures.h"

#include <algorithm>

#include "util/check.h"

namespace {

// A shard that a set asks about: a ledger's entities first .. first + entities of the set - 1.
struct Shard {
    const Ledger* ledger;
    uint64_t first;
};

// One in each ledger that has it: two sources may show the same facts.
std::vector<Shard> shards_of(const QuestionSet& set, const std::vector<Ledger>& ledgers) {
    const QuestionNames& names = set.names();
    std::vector<Shard> shards;
    for (const Ledger& ledger : ledgers) {
        uint64_t first = 0;
        for (const LedgerShard& shard : ledger.shards()) {
            if (shard.name == names.source && shard.entities == static_cast<uint64_t>(names.entities) &&
                may_be_same(shard.facts, set.facts())) {
                shards.push_back({&ledger, first});
                break;
            }
            first += shard.entities;
        }
    }
    return shards;
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

bool none_named(const std::vector<int64_t>& slots) {
    return std::all_of(slots.begin(), slots.end(), [](int64_t slot) { return slot < 0; });
}

// Whether all questions about an entity have the same attribute.
bool one_attribute_each(const QuestionSet& set) {
    constexpr uint32_t NOT_ASKED = UINT32_MAX;
    std::vector<uint32_t> attribute(static_cast<size_t>(set.names().entities), NOT_ASKED);
    for (uint32_t i = 0; i < set.size(); ++i) {
        const Question q = set.question(i);
        if (attribute[q.entity] == NOT_ASKED) attribute[q.entity] = q.attribute;
        if (attribute[q.entity] != q.attribute) return false;
    }
    return true;
}

// By question: the sum of what value(ledger, entity, slot) says of its fact over the ledgers that `takes`.
template <class Takes, class Value>
std::vector<uint32_t> sum_over_ledgers(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                       const std::vector<Ledger>& ledgers, Takes takes, Value value) {
    const QuestionNames& names = set.names();
    std::vector<uint32_t> sums(chosen.size(), UNKNOWN_EXPOSURES);
    bool any = false;
    for (const Shard& shard : shards_of(set, ledgers)) {
        if (!takes(*shard.ledger)) continue;
        std::vector<int64_t> attributes = slots_named(*shard.ledger, names.attributes);
        const std::vector<int64_t> relations = slots_named(*shard.ledger, names.relations);
        const bool one_fact = shard.ledger->slot_names().size() == 1 && none_named(attributes) &&
                              none_named(relations) && one_attribute_each(set);
        if (one_fact) std::fill(attributes.begin(), attributes.end(), 0);
        for (size_t i = 0; i < chosen.size(); ++i) {
            const Question q = set.question(chosen[i]);
            const int64_t slot = attributes[q.attribute] >= 0 ? attributes[q.attribute] : relations[q.relation];
            if (slot < 0) continue;
            const uint32_t n = value(*shard.ledger, shard.first + q.entity, static_cast<uint32_t>(slot));
            sums[i] = sums[i] == UNKNOWN_EXPOSURES ? n : sums[i] + n;
            any = true;
        }
    }
    if (!any) sums.clear();
    return sums;
}

}  // namespace

void warn_of_other_entities(const QuestionSet& set, const std::vector<Ledger>& ledgers) {
    const QuestionNames& names = set.names();
    if (!shards_of(set, ledgers).empty()) return;
    for (const Ledger& ledger : ledgers)
        for (const LedgerShard& shard : ledger.shards())
            if (shard.name == names.source && shard.entities == static_cast<uint64_t>(names.entities))
                print(stderr,
                      "warning: question set %s asks about other facts than %s had when the model was trained (%s "
                      "differ): how often its facts were seen is not known\n",
                      set.prefix(), shard.name,
                      may_be_same({shard.facts.names, ""}, set.facts()) ? "the values" : "the names");
            else if (shard.name == names.source)
                print(stderr,
                      "warning: question set %s asks about %d entities of %s, which has %u here: not the same "
                      "data, and how often its facts were seen is not known\n",
                      names.name, names.entities, shard.name, shard.entities);
}

std::vector<uint32_t> question_exposures(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                         const std::vector<Ledger>& ledgers) {
    return sum_over_ledgers(
        set, chosen, ledgers, [](const Ledger&) { return true; },
        [](const Ledger& ledger, uint64_t entity, uint32_t slot) { return ledger.at(entity, slot).count; });
}

std::vector<uint32_t> question_doses(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                     const std::vector<Ledger>& ledgers) {
    return sum_over_ledgers(
        set, chosen, ledgers, [](const Ledger& ledger) { return !ledger.doses().empty(); },
        [](const Ledger& ledger, uint64_t entity, uint32_t) { return ledger.doses()[entity]; });
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
