#include "dataloader/account.h"

#include <nlohmann/json.hpp>

using ll = long long;
using nlohmann::ordered_json;

void print_account(FILE* out, const RunAccount& account) {
    fprintf(out, "%-14s %16s %16s %9s %9s %12s %22s\n", "source", "tokens planned", "realised", "share", "realised",
            "exposures", "realised (least, most)");
    for (const SourceAccount& s : account.sources) {
        fprintf(out, "%-14.14s %16lld %16lld %9.6f %9.6f", s.name.c_str(), static_cast<ll>(s.planned_tokens),
                static_cast<ll>(s.tokens), s.planned_share, s.share);
        if (s.knowledge)
            fprintf(out, " %12.2f %10.2f (%lld, %lld)", s.planned_exposures, s.exposures, static_cast<ll>(s.least),
                    static_cast<ll>(s.most));
        fprintf(out, "\n");
    }
    if (account.steps < account.planned_steps)
        fprintf(out, "stopped after %lld of %lld steps: planned is for all of them\n", static_cast<ll>(account.steps),
                static_cast<ll>(account.planned_steps));
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
        sources.push_back({{"name", s.name}, {"planned", planned}, {"realised", realised}});
    }
    const ordered_json root = {{"format_version", 1},
                               {"planned", {{"steps", account.planned_steps}, {"tokens", account.planned_tokens}}},
                               {"realised", {{"steps", account.steps}, {"tokens", account.tokens}}},
                               {"sources", sources}};
    return root.dump(2) + "\n";
}
