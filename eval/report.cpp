#include "eval/report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/cell_sums.h"
#include "eval/exposures.h"
#include "util/check.h"

namespace {

// The ratios of one statistic over all resamples.
class Resamples {
  public:
    Resamples(const CellSums& sums, const ReportOptions& options)
        : statistics_(sums.statistics()), count_(static_cast<size_t>(options.resamples)) {
        if (count_ > 0) ratios_ = bootstrap_ratios(sums.table(), statistics_, options.resamples, options.seed);
    }
    size_t count() const { return count_; }
    double ratio(size_t resample, uint32_t statistic) const { return ratios_[resample * statistics_ + statistic]; }
    std::vector<double> of(uint32_t statistic) const {
        std::vector<double> values(count_);
        for (size_t r = 0; r < count_; ++r) values[r] = ratio(r, statistic);
        return values;
    }

  private:
    uint32_t statistics_;
    size_t count_;
    std::vector<double> ratios_;
};

Estimate estimate(double value, const Resamples& resamples, uint32_t statistic) {
    const std::vector<double> values = resamples.of(statistic);
    return {value, standard_deviation(values), percentile_interval(values)};
}

// The same for a share of right answers. Where all are right, or none, every resample is alike and says nothing of how
// far the truth may be from it: then the exact bound for that many entities stands there (Clopper & Pearson 1934).
Estimate share_estimate(double value, int64_t entities, const Resamples& resamples, uint32_t statistic) {
    Estimate result = estimate(value, resamples, statistic);
    if (std::isnan(result.interval.low)) return result;
    const double bound = std::pow(0.025, 1.0 / static_cast<double>(entities));
    if (value <= 0) result.interval = {0, 1 - bound};
    if (value >= 1) result.interval = {bound, 1};
    return result;
}

Cell make_cell(const CellSums& sums, const Resamples& resamples, size_t i) {
    const Sums& s = sums.cell(i);
    const double n = static_cast<double>(s.questions);
    Cell cell;
    cell.questions = s.questions;
    cell.entities = s.entities;
    const Estimate accuracy =
        share_estimate(static_cast<double>(s.correct) / n, s.entities, resamples, sums.accuracy_statistic(i));
    cell.accuracy = accuracy.value;
    cell.standard_error = accuracy.standard_error;
    cell.interval = accuracy.interval;
    cell.loss = s.nll / static_cast<double>(s.tokens);
    cell.rank = s.rank / n;
    cell.reciprocal_rank = s.reciprocal_rank / n;
    cell.chance = s.chance / n;
    cell.majority = s.majority / n;
    cell.judged = s.judged;
    if (s.judged > 0) {
        const double share = static_cast<double>(s.normalized) / static_cast<double>(s.judged);
        cell.normalized =
            share_estimate(share, std::min(s.entities, s.judged), resamples, sums.normalized_statistic(i));
    }
    if (s.choice_questions == 0) return cell;
    const double m = static_cast<double>(s.choice_questions);
    const int64_t askers = std::min(s.entities, s.choice_questions);  // no more entities have questions with candidates
    cell.choice.questions = s.choice_questions;
    cell.choice.accuracy = share_estimate(s.choice / m, askers, resamples, sums.choice_statistic(i));
    cell.choice.norm = share_estimate(s.choice_norm / m, askers, resamples, sums.choice_norm_statistic(i));
    cell.choice.chance = s.choice_chance / m;
    cell.choice.majority = s.choice_majority / m;
    cell.choice.rank = s.choice_rank / m;
    return cell;
}

double clip_bits(double bits_per_person, double people, double most) {
    return std::min(std::max(people * bits_per_person, 0.0), most);
}

void report_bits(KnowledgeReport* report, const QuestionSet& set, const CellSums& sums, const Resamples& resamples,
                 const ReportOptions& options) {
    const QuestionNames& names = set.names();
    std::vector<double> totals(resamples.count(), 0.0);
    bool complete = true;
    for (size_t a = 0; a < names.attributes.size(); ++a) {
        const int64_t people = set.people(static_cast<uint32_t>(a)), asked = sums.bits(a).people;
        if (names.pools[a] == 0 || people == 0) continue;
        complete = complete && asked > 0;
        if (asked == 0) continue;
        AttributeBits b;
        b.attribute = names.attributes[a];
        b.people = people;
        b.people_asked = asked;
        const double N = static_cast<double>(people);
        b.most = N * names.bits[a];
        b.bits = clip_bits(sums.bits(a).bits / static_cast<double>(asked), N, b.most);
        std::vector<double> values = resamples.of(sums.bits_statistic(a));
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

void name_metrics(KnowledgeReport* report) {
    auto add = [&](const std::string& name, double value) { report->metrics.emplace_back(name, value); };
    add("accuracy", report->all.accuracy);
    for (const char* kind : {"seen", "heldout", "question"})
        for (const Cell& cell : report->kinds)
            if (cell.kind == kind) add("accuracy_" + cell.kind, cell.accuracy);
    if (report->kept.questions > 0) add("accuracy_kept", report->kept.accuracy);
    for (const Cell& cell : report->kept_kinds)
        if (cell.kind == "seen") add("accuracy_seen_kept", cell.accuracy);
    if (report->all.judged > 0) add("accuracy_normalized", report->all.normalized.value);
    if (report->has_bits) {
        add("bits", report->bits);
        add("bits_per_param", report->bits_per_param);
    }
    add("loss", report->all.loss);
    add("rank", report->all.rank);
    if (report->all.choice.questions == 0) return;
    add("choice", report->all.choice.accuracy.value);
    add("choice_norm", report->all.choice.norm.value);
}

// Bins up to the largest count; 0 where nothing is known.
uint32_t count_bins(const std::vector<uint32_t>& exposures) {
    uint32_t bins = 0;
    for (const uint32_t n : exposures)
        if (n != UNKNOWN_EXPOSURES) bins = std::max(bins, exposure_bin(n) + 1);
    return bins;
}

void check_options(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                   const std::vector<QuestionResult>& results, const ReportOptions& options) {
    const size_t entities = static_cast<size_t>(set.names().entities);
    ENSURE(!chosen.empty() && chosen.size() == results.size(), "metrics: %zu results for %zu questions", results.size(),
           chosen.size());
    ENSURE(options.kept.empty() || options.kept.size() == entities, "metrics: %zu entities kept or not, of %zu",
           options.kept.size(), entities);
    ENSURE(options.exposures.empty() || options.exposures.size() == chosen.size(),
           "metrics: exposures of %zu questions, of %zu", options.exposures.size(), chosen.size());
}

CellSums sum_cells(const QuestionSet& set, const CellIndex& index, const std::vector<uint32_t>& chosen,
                   const std::vector<QuestionResult>& results, const ReportOptions& options) {
    std::vector<uint32_t> order(chosen.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return set.question(chosen[a]).entity < set.question(chosen[b]).entity;
    });
    const bool judged =
        std::any_of(results.begin(), results.end(), [](const QuestionResult& r) { return r.normalized >= 0; });
    CellSums sums(set, index, judged, options.resamples > 0);
    for (size_t i = 0; i < order.size(); ++i) {
        const uint32_t number = chosen[order[i]], entity = set.question(number).entity;
        const uint32_t exposures = options.exposures.empty() ? UNKNOWN_EXPOSURES : options.exposures[order[i]];
        sums.add(number, results[order[i]], exposure_bin(exposures), !options.kept.empty() && options.kept[entity]);
        if (i + 1 == order.size() || set.question(chosen[order[i + 1]]).entity != entity) sums.end_entity();
    }
    return sums;
}

}  // namespace

KnowledgeReport summarize(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                          const std::vector<QuestionResult>& results, const ReportOptions& options) {
    check_options(set, chosen, results, options);
    const QuestionNames& names = set.names();
    const CellIndex index(names, count_bins(options.exposures), !options.kept.empty());
    const CellSums sums = sum_cells(set, index, chosen, results, options);
    const Resamples resamples(sums, options);

    KnowledgeReport report;
    report.questions = set.size();
    auto table = [&](std::vector<Cell>* cells, size_t begin, size_t end, auto name_cell) {
        for (size_t i = begin; i < end; ++i) {
            if (sums.cell(i).questions == 0) continue;
            cells->push_back(make_cell(sums, resamples, i));
            name_cell(&cells->back(), i - begin);
        }
    };
    const size_t K = index.K;
    report.all = make_cell(sums, resamples, index.all);
    table(&report.kinds, index.kinds, index.attributes, [&](Cell* c, size_t i) { c->kind = names.kinds[i]; });
    table(&report.attributes, index.attributes, index.attribute_kinds,
          [&](Cell* c, size_t i) { c->attribute = names.attributes[i]; });
    table(&report.attribute_kinds, index.attribute_kinds, index.relation_kinds,
          [&](Cell* c, size_t i) { c->attribute = names.attributes[i / K], c->kind = names.kinds[i % K]; });
    table(&report.relation_kinds, index.relation_kinds, index.templates,
          [&](Cell* c, size_t i) { c->relation = names.relations[i / K], c->kind = names.kinds[i % K]; });
    table(&report.templates, index.templates, index.group_kinds,
          [&](Cell* c, size_t i) { c->wording = names.templates[i]; });
    table(&report.group_kinds, index.group_kinds, index.exposure_kinds,
          [&](Cell* c, size_t i) { c->group = names.groups[i / K], c->kind = names.kinds[i % K]; });
    table(&report.exposure_kinds, index.exposure_kinds, index.kept, [&](Cell* c, size_t i) {
        const ExposureRange range = exposure_range(static_cast<uint32_t>(i / K));
        c->exposures_low = range.low, c->exposures_high = range.high, c->kind = names.kinds[i % K];
    });
    report.subsampled = !options.kept.empty();
    report.entities = names.entities;
    report.entities_kept = std::count(options.kept.begin(), options.kept.end(), true);
    if (report.subsampled && sums.cell(index.kept).questions > 0) report.kept = make_cell(sums, resamples, index.kept);
    table(&report.kept_kinds, index.kept_kinds, index.size, [&](Cell* c, size_t i) { c->kind = names.kinds[i]; });
    report.loss_interval = percentile_interval(resamples.of(sums.loss_statistic()));
    report_bits(&report, set, sums, resamples, options);
    if (options.target_accuracy > 0)
        report.threshold = frequency_threshold(set, chosen, results, options.exposures, options.target_accuracy);
    if (options.popularity.target > 0)
        report.popularity = popularity_thresholds(set, chosen, results, options.popularity);
    name_metrics(&report);
    return report;
}
