#include "eval/cell_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "eval/exposures.h"

namespace {

constexpr double NONE = std::numeric_limits<double>::quiet_NaN();
constexpr size_t NOWHERE = SIZE_MAX;  // no cell
constexpr double LN2 = 0.693147180559945309417;

}  // namespace

std::vector<Grouping> groupings_of(const QuestionNames& n, uint32_t exposure_bins, const std::vector<uint32_t>& doses,
                                   bool subsampled) {
    using Asked = const AskedQuestion&;
    using Report = KnowledgeReport*;
    const size_t K = n.kinds.size(), A = n.attributes.size(), G = n.groups.size();
    const size_t R = n.relations == n.attributes ? 0 : n.relations.size();
    return {
        {1, [](Asked) { return 0; }, [](Report r, Cell c, size_t) { r->all = std::move(c); }},
        {K, [](Asked q) { return q.columns.kind; },
         [&n](Report r, Cell c, size_t i) { c.kind = n.kinds[i], r->kinds.push_back(std::move(c)); }},
        {A, [](Asked q) { return q.columns.attribute; },
         [&n](Report r, Cell c, size_t i) { c.attribute = n.attributes[i], r->attributes.push_back(std::move(c)); }},
        {A * K, [K](Asked q) { return q.columns.attribute * K + q.columns.kind; },
         [&n, K](Report r, Cell c, size_t i) {
             c.attribute = n.attributes[i / K], c.kind = n.kinds[i % K];
             r->attribute_kinds.push_back(std::move(c));
         }},
        {R * K, [K](Asked q) { return q.columns.relation * K + q.columns.kind; },
         [&n, K](Report r, Cell c, size_t i) {
             c.relation = n.relations[i / K], c.kind = n.kinds[i % K];
             r->relation_kinds.push_back(std::move(c));
         }},
        {n.templates.size(), [](Asked q) { return q.columns.template_index; },
         [&n](Report r, Cell c, size_t i) { c.template_text = n.templates[i], r->templates.push_back(std::move(c)); }},
        {G > 1 ? G * K : 0, [K](Asked q) { return q.columns.group * K + q.columns.kind; },
         [&n, K](Report r, Cell c, size_t i) {
             c.group = n.groups[i / K], c.kind = n.kinds[i % K];
             r->group_kinds.push_back(std::move(c));
         }},
        {exposure_bins * K, [K](Asked q) { return q.exposure_bin * K + q.columns.kind; },
         [&n, K](Report r, Cell c, size_t i) {
             const ExposureRange range = exposure_range(static_cast<uint32_t>(i / K));
             c.exposures_low = range.low, c.exposures_high = range.high, c.kind = n.kinds[i % K];
             r->exposure_kinds.push_back(std::move(c));
         }},
        {doses.size() * K,
         [K, doses](Asked q) {
             const auto found = std::lower_bound(doses.begin(), doses.end(), q.dose);
             if (found == doses.end() || *found != q.dose) return NOWHERE;
             return static_cast<size_t>(found - doses.begin()) * K + q.columns.kind;
         },
         [&n, K, doses](Report r, Cell c, size_t i) {
             c.dose = doses[i / K], c.kind = n.kinds[i % K];
             r->dose_kinds.push_back(std::move(c));
         }},
        {subsampled ? 1u : 0u, [](Asked q) { return q.kept ? 0 : NOWHERE; },
         [](Report r, Cell c, size_t) { r->kept = std::move(c); }},
        {subsampled ? K : 0, [](Asked q) { return q.kept ? q.columns.kind : NOWHERE; },
         [&n](Report r, Cell c, size_t i) { c.kind = n.kinds[i], r->kept_kinds.push_back(std::move(c)); }},
    };
}

CellSums::CellSums(const QuestionTask& task, const std::vector<Grouping>& groupings, bool has_judged,
                   bool keep_entities)
    : task_(task),
      groupings_(groupings),
      keep_entities_(keep_entities),
      bits_(task.set->names().attributes.size()),
      question_(statistics().size()) {
    CellSum empty;
    empty.statistics = empty.statistics_in_entity = question_;
    for (const Grouping& grouping : groupings) cells_.resize(cells_.size() + grouping.size, empty);
    for (const Statistic& s : statistics()) {
        const bool given = can_give(s.over, has_judged, task.set->has_candidates());
        const size_t cells = !given ? 0 : s.has(INTERVAL) ? cells_.size() : s.has(OVERALL_INTERVAL) ? 1 : 0;
        first_ratio_.push_back(cells > 0 ? bits_ratio_ : NOT_RESAMPLED);
        bits_ratio_ += static_cast<uint32_t>(cells);
    }
}

uint32_t CellSums::ratio(size_t s, size_t cell) const {
    if (first_ratio_[s] == NOT_RESAMPLED || (!statistics()[s].has(INTERVAL) && cell > 0)) return NOT_RESAMPLED;
    return first_ratio_[s] + static_cast<uint32_t>(cell);
}

void CellSums::add(size_t i, const QuestionResult& result, uint32_t exposure_bin, uint32_t dose) {
    const QuestionSet& set = *task_.set;
    const Question q = set.question(task_.chosen[i]);
    const int64_t pool = set.names().pools[q.attribute];
    const Scored scored{result, pool > 0 ? 1.0 / static_cast<double>(pool) : NONE,
                        task_.majority.answer[q.attribute * set.names().kinds.size() + q.kind],
                        result.choices > 0 ? task_.majority.choice[i] : 0.0};
    for (size_t s = 0; s < question_.size(); ++s) {
        const Statistic& statistic = statistics()[s];
        question_[s] = is_over(result, statistic.over)
                           ? Ratio{statistic.numerator(scored), statistic.denominator(scored)}
                           : Ratio{};
    }
    const AskedQuestion asked{q, exposure_bin, dose, !task_.kept.empty() && task_.kept[q.entity]};
    size_t first = 0;  // cell of the grouping
    for (const Grouping& grouping : groupings_) {
        if (const size_t cell = grouping.cell_of(asked); cell < grouping.size) add_question(first + cell, result);
        first += grouping.size;
    }
    if (pool > 0 && set.names().kinds[q.kind] == "seen") {
        BitSum& b = bits_[q.attribute];
        if (b.questions_in_entity++ == 0) touched_attributes_.push_back(q.attribute);
        b.nll_in_entity += result.nll;
    }
}

void CellSums::add_question(size_t cell, const QuestionResult& result) {
    CellSum& sum = cells_[cell];
    if (sum.in_entity++ == 0) touched_cells_.push_back(cell);
    for (size_t over = 0; over < QUESTION_GROUPS; ++over)
        sum.questions[over] += is_over(result, static_cast<Over>(over));
    for (size_t s = 0; s < question_.size(); ++s)
        for (Ratio* to : {&sum.statistics[s], &sum.statistics_in_entity[s]}) {
            to->numerator += question_[s].numerator;
            to->denominator += question_[s].denominator;
        }
}

void CellSums::end_entity() {
    for (const size_t cell : touched_cells_) {
        CellSum& sum = cells_[cell];
        for (size_t s = 0; s < question_.size(); ++s) {
            Ratio& own = sum.statistics_in_entity[s];
            if (own.denominator > 0) keep(ratio(s, cell), own.numerator, own.denominator);
            own = {};
        }
        ++sum.entities;
        sum.in_entity = 0;
    }
    for (const size_t a : touched_attributes_) {
        BitSum& b = bits_[a];
        const double value = std::log2(static_cast<double>(task_.set->names().pools[a])) -
                             b.nll_in_entity / static_cast<double>(b.questions_in_entity) / LN2;
        keep(bits_ratio(a), value, 1.0);
        b.bits += value;
        ++b.entities;
        b.nll_in_entity = 0, b.questions_in_entity = 0;
    }
    if (keep_entities_) table_.first.push_back(table_.entries.size());
    touched_cells_.clear(), touched_attributes_.clear();
}

void CellSums::keep(uint32_t ratio, double numerator, double denominator) {
    if (keep_entities_ && ratio != NOT_RESAMPLED)
        table_.entries.push_back({ratio, static_cast<float>(numerator), static_cast<float>(denominator)});
}
