#include "eval/cell_sums.h"

#include <cmath>
#include <limits>

namespace {

constexpr double NONE = std::numeric_limits<double>::quiet_NaN();
constexpr double LN2 = 0.693147180559945309417;

}  // namespace

CellIndex::CellIndex(const QuestionNames& n, uint32_t exposure_bins, bool subsampled) : K(n.kinds.size()), size(0) {
    auto next = [this](size_t cells) {
        size += cells;
        return size - cells;
    };
    all = next(1);
    kinds = next(K);
    attributes = next(n.attributes.size());
    attribute_kinds = next(n.attributes.size() * K);
    relation_kinds = next(n.relations == n.attributes ? 0 : n.relations.size() * K);
    templates = next(n.templates.size());
    group_kinds = next(n.groups.size() > 1 ? n.groups.size() * K : 0);
    exposure_kinds = next(exposure_bins * K);
    kept = next(subsampled ? 1 : 0);
    kept_kinds = next(subsampled ? K : 0);
}

CellSums::CellSums(const QuestionSet& set, const CellIndex& index, bool has_judged, bool keep_entities)
    : set_(set),
      index_(index),
      keep_entities_(keep_entities),
      has_choices_(set.has_candidates()),
      has_judged_(has_judged),
      cells_(index.size),
      bits_(set.names().attributes.size()) {}

void CellSums::add(uint32_t number, const QuestionResult& result, uint32_t exposure_bin, bool is_kept) {
    const Question q = set_.question(number);
    const int64_t pool = set_.names().pools[q.attribute];
    index_.visit(q, exposure_bin, is_kept, [&](size_t cell) {
        Sums& s = cells_[cell];
        ++s.questions;
        s.correct += result.correct;
        s.tokens += result.tokens;
        s.nll += result.nll;
        s.rank += result.rank;
        s.reciprocal_rank += 1.0 / result.rank;
        s.chance += pool > 0 ? 1.0 / static_cast<double>(pool) : NONE;
        s.majority += set_.majority(q.attribute, q.kind);
        if (s.in_entity++ == 0) touched_cells_.push_back(cell);
        s.correct_in_entity += result.correct;
        if (result.normalized >= 0) {
            ++s.judged, ++s.judged_in_entity;
            s.normalized += result.normalized, s.normalized_in_entity += result.normalized;
        }
        if (result.choices == 0) return;
        ++s.choice_questions;
        s.choice += result.choice;
        s.choice_norm += result.choice_norm;
        s.choice_chance += 1.0 / result.choices;
        s.choice_majority += set_.choice_majority(number);
        s.choice_rank += result.choice_rank;
        ++s.choices_in_entity;
        s.choice_in_entity += result.choice;
        s.choice_norm_in_entity += result.choice_norm;
    });
    nll_in_entity_ += result.nll;
    tokens_in_entity_ += result.tokens;
    if (pool > 0 && set_.names().kinds[q.kind] == "seen") {
        BitSums& b = bits_[q.attribute];
        if (b.questions_in_entity++ == 0) touched_attributes_.push_back(q.attribute);
        b.nll_in_entity += result.nll;
    }
}

void CellSums::end_entity() {
    for (const size_t cell : touched_cells_) {
        Sums& s = cells_[cell];
        keep(accuracy_statistic(cell), static_cast<double>(s.correct_in_entity), static_cast<double>(s.in_entity));
        if (s.choices_in_entity > 0) {
            const double choices = static_cast<double>(s.choices_in_entity);
            keep(choice_statistic(cell), s.choice_in_entity, choices);
            keep(choice_norm_statistic(cell), s.choice_norm_in_entity, choices);
        }
        if (s.judged_in_entity > 0)
            keep(normalized_statistic(cell), static_cast<double>(s.normalized_in_entity),
                 static_cast<double>(s.judged_in_entity));
        ++s.entities;
        s.in_entity = s.correct_in_entity = s.choices_in_entity = s.judged_in_entity = s.normalized_in_entity = 0;
        s.choice_in_entity = s.choice_norm_in_entity = 0;
    }
    for (const size_t a : touched_attributes_) {
        BitSums& b = bits_[a];
        const double value = std::log2(static_cast<double>(set_.names().pools[a])) -
                             b.nll_in_entity / static_cast<double>(b.questions_in_entity) / LN2;
        keep(bits_statistic(a), value, 1.0);
        b.bits += value;
        ++b.people;
        b.nll_in_entity = 0, b.questions_in_entity = 0;
    }
    keep(loss_statistic(), nll_in_entity_, tokens_in_entity_);
    if (keep_entities_) table_.first.push_back(table_.entries.size());
    touched_cells_.clear(), touched_attributes_.clear();
    nll_in_entity_ = tokens_in_entity_ = 0;
}

void CellSums::keep(uint32_t statistic, double numerator, double denominator) {
    if (keep_entities_)
        table_.entries.push_back({statistic, static_cast<float>(numerator), static_cast<float>(denominator)});
}
