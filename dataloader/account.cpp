#include "dataloader/account.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "dataloader/data_set.h"
#include "dataloader/ledger.h"
#include "util/check.h"

using nlohmann::ordered_json;

namespace {

// Exposures of the facts of the entities that are drawn.
void count_exposures(const Source& source, const Ledger& ledger, SourceAccount* row) {
    uint64_t sum = 0, facts = 0;
    uint32_t least = UINT32_MAX, most = 0, first = UINT32_MAX, last = 0;
    for (uint64_t i = 0; i < source.draws(); ++i)
        for (uint32_t slot = 0; slot < ledger.slots(); ++slot, ++facts) {
            const Ledger::Entry& entry = ledger.at(source.entity(i), slot);
            sum += entry.count;
            row->cut += entry.cut;
            least = std::min(least, entry.count);
            most = std::max(most, entry.count);
            if (entry.count == 0) continue;
            first = std::min(first, entry.first_step);
            last = std::max(last, entry.last_step);
        }
    row->exposures = static_cast<double>(sum) / static_cast<double>(facts);
    row->least = least;
    row->most = most;
    if (most == 0) return;
    row->first_step = first;
    row->last_step = last;
}

// What came of each dose.
void count_doses(const Source& source, const Ledger& ledger, const std::vector<Dose>& planned, SourceAccount* row) {
    for (size_t g = 0; g < planned.size(); ++g) {
        DoseAccount dose{planned[g].exposures, planned[g].entities, 0, UINT32_MAX, 0};
        int64_t sum = 0;
        for (const uint64_t index : source.groups()[g].members)
            for (uint32_t slot = 0; slot < ledger.slots(); ++slot) {
                const int64_t count = ledger.at(source.entity(index), slot).count;
                sum += count;
                dose.least = std::min(dose.least, count);
                dose.most = std::max(dose.most, count);
            }
        dose.mean = static_cast<double>(sum) / static_cast<double>(dose.entities * ledger.slots());
        row->doses.push_back(dose);
    }
}

}  // namespace

RunAccount take_account(const DataSet& data, const std::vector<Ledger>& ledgers,
                        const std::vector<int64_t>& source_tokens, int64_t steps) {
    const Plan& plan = data.plan;
    RunAccount account{plan.steps, steps, plan.tokens, steps * plan.batch_tokens, {}};
    for (size_t s = 0; s < plan.sources.size(); ++s) {
        const SourcePlan& planned = plan.sources[s];
        SourceAccount row;
        row.name = planned.name;
        row.knowledge = planned.knowledge;
        row.planned_tokens = std::llround(planned.tokens);
        row.planned_share = planned.share;
        row.tokens = source_tokens[s];
        if (account.tokens > 0) row.share = static_cast<double>(row.tokens) / static_cast<double>(account.tokens);
        row.planned_exposures = planned.exposures;
        row.planned_least = planned.min_exposures;
        row.planned_most = planned.max_exposures;
        if (row.knowledge) count_exposures(data.sources[s], ledgers[s], &row);
        count_doses(data.sources[s], ledgers[s], planned.doses, &row);
        account.sources.push_back(row);
    }
    return account;
}

void print_account(FILE* out, const RunAccount& account) {
    print(out, "%-14s %16s %16s %9s %9s %12s %22s\n", "source", "tokens planned", "realised", "share", "realised",
          "exposures", "realised (least, most)");
    for (const SourceAccount& s : account.sources) {
        print(out, "%-14.14s %16d %16d %9.6f %9.6f", s.name, s.planned_tokens, s.tokens, s.planned_share, s.share);
        if (s.knowledge) print(out, " %12.2f %10.2f (%d, %d)", s.planned_exposures, s.exposures, s.least, s.most);
        print(out, "\n");
    }
    if (account.steps < account.planned_steps)
        print(out, "stopped after %d of %d steps: planned is for all of them\n", account.steps, account.planned_steps);
}

std::string account_json(const RunAccount& account) {
    const auto step = [](int64_t at) { return at < 0 ? ordered_json() : ordered_json(at); };
    ordered_json sources = ordered_json::array();
    for (const SourceAccount& s : account.sources) {
        ordered_json planned = {{"tokens", s.planned_tokens}, {"share", s.planned_share}},
                     realised = {{"tokens", s.tokens}, {"share", s.share}};
        if (s.knowledge) {
            planned["exposures"] = {
                {"mean", s.planned_exposures}, {"least", s.planned_least}, {"most", s.planned_most}};
            realised["exposures"] = {{"mean", s.exposures}, {"least", s.least}, {"most", s.most}};
            realised["cut"] = s.cut;
            realised["first_step"] = step(s.first_step);
            realised["last_step"] = step(s.last_step);
        }
        for (const DoseAccount& dose : s.doses) {
            planned["doses"].push_back({{"exposures", dose.exposures}, {"entities", dose.entities}});
            realised["doses"].push_back({{"mean", dose.mean}, {"least", dose.least}, {"most", dose.most}});
        }
        sources.push_back({{"name", s.name}, {"planned", planned}, {"realised", realised}});
    }
    const ordered_json root = {{"format_version", 1},
                               {"planned", {{"steps", account.planned_steps}, {"tokens", account.planned_tokens}}},
                               {"realised", {{"steps", account.steps}, {"tokens", account.tokens}}},
                               {"sources", sources}};
    return root.dump(2) + "\n";
}
