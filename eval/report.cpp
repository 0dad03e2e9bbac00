#include "eval/report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "eval/cell_sums.h"
#include "eval/exposures.h"
#include "eval/share_interval.h"
#include "util/check.h"

namespace {

// What people add to a ratio, and the ratio over all resamples of them.
class Resamples {
  public:
    Resamples(const CellSums& sums, const ReportOptions& options)
        : ratios_(sums.ratios()), count_(static_cast<size_t>(options.resamples.n)) {
        if (count_ == 0) return;
        values_ = bootstrap_ratios(sums.table(), ratios_, static_cast<int>(options.resamples.n), options.seed);
        people_.resize(ratios_);
        for (const RatioEntry& entry : sums.table().entries)
            people_[entry.statistic].emplace_back(entry.numerator, entry.denominator);
    }
    size_t count() const { return count_; }
    // By what they added: a share of right answers has few different ones.
    std::vector<PeopleAlike> people(uint32_t ratio) const {
        std::map<std::pair<float, float>, int64_t> alike;
        for (const std::pair<float, float>& person : people_[ratio]) ++alike[person];
        std::vector<PeopleAlike> people;
        for (const auto& [person, number] : alike)
            people.push_back({person.first, person.second, static_cast<double>(number)});
        return people;
    }
    std::vector<double> of(uint32_t ratio) const {
        std::vector<double> values(count_);
        for (size_t r = 0; r < count_; ++r) values[r] = values_[r * ratios_ + ratio];
        return values;
    }

  private:
    uint32_t ratios_;
    size_t count_;
    std::vector<double> values_;
    std::vector<std::vector<std::pair<float, float>>> people_;
};

// Near 0 and 1 resamples are nearly alike and say little of how far the truth may be from a share of right answers; far
// from them they know how people differ, which the beta-binomial distribution only supposes. Both count, at any share.
// Of another share that is 1, as where all ranks are 1, the interval is that of as many right answers.
Estimate estimate(const Statistic& statistic, double value, const Resamples& resamples, uint32_t ratio) {
    const std::vector<double> resampled = resamples.of(ratio);
    Estimate result{value, standard_deviation(resampled), percentile_interval(resampled)};
    if (std::isnan(result.interval.low)) return result;
    if (statistic.has(COUNT) || (statistic.has(SHARE) && value >= 1))
        result.interval = widest(result.interval, share_interval(resamples.people(ratio)));
    return result;
}

Cell make_cell(const CellSums& sums, const Resamples& resamples, size_t i) {
    const CellSum& sum = sums.cell(i);
    Cell cell;
    cell.entities = sum.entities;
    cell.counts = sum.questions;
    for (size_t s = 0; s < statistics().size(); ++s) {
        const Statistic& statistic = statistics()[s];
        if (statistic.over == Over::Report || cell.questions(statistic.over) == 0) continue;
        const double value = sum.statistics[s].numerator / sum.statistics[s].denominator;
        const uint32_t ratio = sums.ratio(s, i);
        cell.estimates[s].value = value;
        if (ratio == NOT_RESAMPLED) continue;
        cell.estimates[s] = estimate(statistic, value, resamples, ratio);
    }
    return cell;
}

double clip_bits(double bits_per_entity, double entities, double most) {
    return std::min(std::max(entities * bits_per_entity, 0.0), most);
}

void report_bits(KnowledgeReport* report, const QuestionSet& set, const CellSums& sums, const Resamples& resamples,
                 const ReportOptions& options) {
    const QuestionNames& names = set.names();
    std::vector<double> totals(resamples.count(), 0.0);
    bool complete = true;
    for (size_t a = 0; a < names.attributes.size(); ++a) {
        const int64_t entities = set.seen_entities(static_cast<uint32_t>(a)), asked = sums.bits(a).entities;
        if (names.pools[a] == 0 || entities == 0) continue;
        complete = complete && asked > 0;
        if (asked == 0) continue;
        AttributeBits b;
        b.attribute = names.attributes[a];
        b.entities = entities;
        b.entities_asked = asked;
        const double N = static_cast<double>(entities);
        b.most = N * names.bits[a];
        b.bits = clip_bits(sums.bits(a).bits / static_cast<double>(asked), N, b.most);
        std::vector<double> values = resamples.of(sums.bits_ratio(a));
        for (size_t r = 0; r < values.size(); ++r) {
            if (!std::isnan(values[r])) values[r] = clip_bits(values[r], N, b.most);
            totals[r] += values[r];
        }
        b.interval = percentile_interval(values);
        report->bits += b.bits;
        report->most_bits += b.most;
        report->attribute_bits.push_back(b);
    }
    report->has_bits = complete && !report->attribute_bits.empty();
    report->bits_interval = percentile_interval(totals);
    report->bits_per_param = report->bits / static_cast<double>(options.parameters);
    report->bits_per_nonembedding_param = report->bits / static_cast<double>(options.nonembedding_parameters);
}

// Of all questions or of those about kept entities, of all kinds or one of them; null where none was asked.
const Cell* find_cell(const KnowledgeReport& report, const std::string& kind, bool kept) {
    const Cell& whole = kept ? report.kept : report.all;
    if (kind.empty()) return whole.questions() > 0 ? &whole : nullptr;
    for (const Cell& cell : kept ? report.kept_kinds : report.kinds)
        if (cell.kind == kind) return &cell;
    return nullptr;
}

void add_metrics(KnowledgeReport* report) {
    for (const MetricName& metric : metric_names()) {
        const Statistic& statistic = statistics()[metric.statistic];
        const bool headline = statistic.has(HEADLINE) && metric.name == statistic.name;
        if (statistic.over == Over::Report) {
            if (const std::optional<double> figure = statistic.figure(*report))
                report->metrics.push_back({metric.name, *figure, headline});
            continue;
        }
        const Cell* cell = find_cell(*report, metric.kind, metric.kept);
        if (cell && cell->questions(statistic.over) > 0)
            report->metrics.push_back({metric.name, cell->estimates[metric.statistic].value, headline});
    }
}

// Bins up to the largest count; 0 where nothing is known.
uint32_t count_bins(const std::vector<uint32_t>& exposures) {
    uint32_t bins = 0;
    for (const uint32_t n : exposures)
        if (n != UNKNOWN_EXPOSURES) bins = std::max(bins, exposure_bin(n) + 1);
    return bins;
}

// Ascending, each once.
std::vector<uint32_t> distinct_doses(std::vector<uint32_t> doses) {
    std::sort(doses.begin(), doses.end());
    doses.erase(std::unique(doses.begin(), doses.end()), doses.end());
    if (!doses.empty() && doses.back() == UNKNOWN_EXPOSURES) doses.pop_back();
    return doses;
}

CellSums sum_cells(const QuestionTask& task, const std::vector<Grouping>& groupings,
                   const std::vector<QuestionResult>& results, const std::vector<uint32_t>& exposures,
                   const std::vector<uint32_t>& doses, const ReportOptions& options) {
    std::vector<uint32_t> order(task.chosen.size());
    std::iota(order.begin(), order.end(), 0u);
    auto entity = [&](uint32_t i) { return task.set->question(task.chosen[i]).entity; };
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return entity(a) < entity(b); });
    const bool judged =
        std::any_of(results.begin(), results.end(), [](const QuestionResult& r) { return is_over(r, Over::Judged); });
    CellSums sums(task, groupings, judged, options.resamples.n > 0);
    for (size_t i = 0; i < order.size(); ++i) {
        sums.add(order[i], results[order[i]], exposure_bin(exposures.empty() ? UNKNOWN_EXPOSURES : exposures[order[i]]),
                 doses.empty() ? UNKNOWN_EXPOSURES : doses[order[i]]);
        if (i + 1 == order.size() || entity(order[i + 1]) != entity(order[i])) sums.end_entity();
    }
    return sums;
}

}  // namespace

KnowledgeReport summarize(const QuestionTask& task, const std::vector<QuestionResult>& results,
                          const ReportOptions& options, const std::vector<uint32_t>& exposures,
                          const std::vector<uint32_t>& doses) {
    const QuestionNames& names = task.set->names();
    ENSURE(!task.chosen.empty() && task.chosen.size() == results.size(), "report: %u results for %u questions",
           results.size(), task.chosen.size());
    ENSURE(task.kept.empty() || task.kept.size() == static_cast<size_t>(names.entities),
           "report: %u entities kept or not, of %d", task.kept.size(), names.entities);
    ENSURE(exposures.empty() || exposures.size() == task.chosen.size(), "report: exposures of %u questions, of %u",
           exposures.size(), task.chosen.size());
    ENSURE(doses.empty() || doses.size() == task.chosen.size(), "report: doses of %u questions, of %u", doses.size(),
           task.chosen.size());
    const std::vector<Grouping> groupings =
        groupings_of(names, count_bins(exposures), distinct_doses(doses), !task.kept.empty());
    const CellSums sums = sum_cells(task, groupings, results, exposures, doses, options);
    const Resamples resamples(sums, options);

    KnowledgeReport report;
    report.questions = task.set->size();
    report.subsampled = !task.kept.empty();
    report.entities = names.entities;
    report.entities_kept = std::count(task.kept.begin(), task.kept.end(), true);
    size_t number = 0;
    for (const Grouping& grouping : groupings)
        for (size_t i = 0; i < grouping.size; ++i, ++number)
            if (sums.cell(number).entities > 0) grouping.store(&report, make_cell(sums, resamples, number), i);
    report_bits(&report, *task.set, sums, resamples, options);
    const int drawn = static_cast<int>(options.resamples.n);
    report.hedged = hedged_bits(task, results, drawn, options.seed);
    if (options.control) report.above_control = above_control(report.hedged, options.control->hedged);
    if (options.target_accuracy > 0)
        report.threshold =
            frequency_threshold(task, results, exposures, {options.target_accuracy, drawn, options.seed});
    if (options.popularity.target > 0)
        report.popularity = popularity_thresholds(task, results, options.popularity, drawn, options.seed);
    add_metrics(&report);
    return report;
}
