#include "eval/statistics.h"

#include "eval/report.h"
#include "util/check.h"

namespace {

using Q = const Scored&;

using Report = const KnowledgeReport&;

double one(Q) { return 1; }

std::optional<double> given(bool is_given, double value) {
    return is_given ? std::optional<double>(value) : std::nullopt;
}
std::optional<double> bits_of(Report report, const std::optional<HedgedFigure>& figure) {
    return given(report.has_bits && figure, figure ? figure->bits : 0);
}

std::vector<MetricName> make_metric_names() {
    std::vector<MetricName> names;
    for (size_t s = 0; s < statistics().size(); ++s) {
        const Statistic& statistic = statistics()[s];
        if (!statistic.has(METRIC)) continue;
        auto add = [&](const std::string& suffix, const std::string& kind, bool kept) {
            names.push_back({statistic.name + suffix, s, kind, kept});
        };
        add("", "", false);
        if (!statistic.has(SCOPES)) continue;
        for (const char* kind : KINDS) add(std::string("_") + kind, kind, false);
        add("_kept", "", true);
        add("_seen_kept", "seen", true);
    }
    return names;
}

}  // namespace

const std::vector<Statistic>& statistics() {
    // clang-format off
    // In the order of the log. Name, questions it is over, numerator, denominator; flags; key of tasks, column.
    static const std::vector<Statistic> table = {
        {"accuracy", Over::All, [](Q q) -> double { return q.result.correct; }, one,
         INTERVAL | SHARE | COUNT | METRIC | SCOPES | HEADLINE | HIGHER, "acc"},
        {"accuracy_normalized", Over::Judged, [](Q q) -> double { return q.result.normalized; }, one,
         INTERVAL | SHARE | COUNT | METRIC | HIGHER, nullptr, Column::Percent, "normalized"},
        {"bits", Over::Report, nullptr, nullptr,
         METRIC | HEADLINE | HIGHER, "bits", Column::None, "", [](Report r) { return given(r.has_bits, r.bits); }},
        {"bits_per_param", Over::Report, nullptr, nullptr,
         METRIC, nullptr, Column::None, "", [](Report r) { return given(r.has_bits, r.bits_per_param); }},
        {"bits_hedged", Over::Report, nullptr, nullptr,
         METRIC | HIGHER, nullptr, Column::None, "", [](Report r) { return given(r.has_bits, r.hedged.all.bits); }},
        {"bits_hedged_kept", Over::Report, nullptr, nullptr,
         METRIC, nullptr, Column::None, "", [](Report r) { return bits_of(r, r.hedged.kept); }},
        {"bits_above_control", Over::Report, nullptr, nullptr,
         METRIC, nullptr, Column::None, "", [](Report r) { return bits_of(r, r.above_control); }},
        {"loss", Over::All, [](Q q) { return q.result.nll; }, [](Q q) -> double { return q.result.tokens; },
         OVERALL_INTERVAL | METRIC | HEADLINE | LOWER, "loss", Column::Decimal, "loss"},
        {"rank", Over::All, [](Q q) -> double { return q.result.rank; }, one,
         METRIC | LOWER, "rank", Column::Rank, "rank"},
        {"reciprocal_rank", Over::All, [](Q q) { return 1.0 / q.result.rank; }, one,
         INTERVAL | SHARE | METRIC | HIGHER, nullptr, Column::Decimal, "1/rank"},
        {"chance", Over::All, [](Q q) { return q.chance; }, one,
         0, nullptr, Column::Baseline, "chance"},
        {"majority", Over::All, [](Q q) { return q.majority; }, one,
         0, nullptr, Column::Baseline, "majority"},
        {"choice", Over::Choices, [](Q q) { return q.result.choice; }, one,
         INTERVAL | SHARE | COUNT | METRIC | HIGHER, "choice"},
        {"choice_norm", Over::Choices, [](Q q) { return q.result.choice_norm; }, one,
         INTERVAL | SHARE | COUNT | METRIC | HIGHER, "choice_norm", Column::Percent, "per token"},
        {"choice_chance", Over::Choices, [](Q q) { return 1.0 / q.result.choices; }, one,
         0, nullptr, Column::Baseline, "chance"},
        {"choice_majority", Over::Choices, [](Q q) { return q.choice_majority; }, one,
         0, nullptr, Column::Baseline, "majority"},
        {"choice_rank", Over::Choices, [](Q q) { return q.result.choice_rank; }, one,
         0, nullptr, Column::Rank, "rank"},
    };
    // clang-format on
    return table;
}

size_t statistic_number(const std::string& name) {
    size_t s = 0;
    while (s < statistics().size() && statistics()[s].name != name) ++s;
    ENSURE(s < statistics().size(), "there is no statistic %s", name);
    return s;
}

const std::vector<MetricName>& metric_names() {
    static const std::vector<MetricName> names = make_metric_names();
    return names;
}

bool is_over(const QuestionResult& result, Over over) {
    switch (over) {
        case Over::All:
            return true;
        case Over::Judged:
            return result.normalized >= 0;
        case Over::Choices:
            return result.choices > 0;
        case Over::Report:
            return false;
    }
    return false;
}
