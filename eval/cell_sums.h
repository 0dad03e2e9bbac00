// cell_sums.h - the sums behind a report's cells, and each entity's part of them for the bootstrap.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "eval/bootstrap.h"  // defines: RatioTable
#include "eval/choices.h"    // defines: QuestionResult
#include "eval/questions.h"  // defines: QuestionSet, Question

// Every table of cells lies in one array, one table behind the other; a question belongs to at most one cell of each.
struct CellIndex {
    // exposure_bins: 0 where exposures are not known.
    CellIndex(const QuestionNames& names, uint32_t exposure_bins, bool subsampled);

    // Numbers of the first cells. A table ends where the next begins; one that the set cannot fill has none.
    size_t K;  // kinds
    size_t all, kinds, attributes, attribute_kinds, relation_kinds, templates, group_kinds, exposure_kinds, kept,
        kept_kinds, size;

    template <class Visit>
    void visit(const Question& q, uint32_t exposure_bin, bool is_kept, Visit visit) const {
        visit(all), visit(kinds + q.kind), visit(attributes + q.attribute),
            visit(attribute_kinds + q.attribute * K + q.kind);
        if (relation_kinds < templates) visit(relation_kinds + q.relation * K + q.kind);
        visit(templates + q.wording);
        if (group_kinds < exposure_kinds) visit(group_kinds + q.group * K + q.kind);
        const size_t at_exposures = exposure_kinds + exposure_bin * K + q.kind;
        if (at_exposures < kept) visit(at_exposures);
        if (is_kept) visit(kept), visit(kept_kinds + q.kind);
    }
};

struct Sums {
    int64_t questions = 0, entities = 0, correct = 0, tokens = 0;
    double nll = 0, rank = 0, reciprocal_rank = 0, chance = 0, majority = 0;
    // of the questions with candidates
    int64_t choice_questions = 0;
    double choice = 0, choice_norm = 0, choice_chance = 0, choice_majority = 0, choice_rank = 0;
    // of the questions whose continuation was judged
    int64_t judged = 0, normalized = 0;
    // of the entity at hand
    int64_t in_entity = 0, correct_in_entity = 0, choices_in_entity = 0, judged_in_entity = 0, normalized_in_entity = 0;
    double choice_in_entity = 0, choice_norm_in_entity = 0;
};

struct BitSums {
    int64_t people = 0;
    double bits = 0;  // over people
    double nll_in_entity = 0;
    int64_t questions_in_entity = 0;
};

// Takes the questions entity by entity: add() for each question, end_entity() behind an entity's last.
class CellSums {
  public:
    // has_judged: some continuations were judged. keep_entities: for the bootstrap. `set` outlives this.
    CellSums(const QuestionSet& set, const CellIndex& index, bool has_judged, bool keep_entities);

    // exposure_bin: at least the index's number of bins where it is not known.
    void add(uint32_t number, const QuestionResult& result, uint32_t exposure_bin, bool is_kept);
    void end_entity();

    const Sums& cell(size_t i) const { return cells_[i]; }
    const BitSums& bits(size_t attribute) const { return bits_[attribute]; }

    // Statistics of the bootstrap: accuracy of every cell; choice and choice_norm of every cell where the set has
    // candidates; accuracy after normalisation of every cell where continuations were judged; the loss; bits per person
    // of every attribute.
    uint32_t accuracy_statistic(size_t cell) const { return static_cast<uint32_t>(cell); }
    uint32_t choice_statistic(size_t cell) const { return static_cast<uint32_t>(cells_.size() + cell); }
    uint32_t choice_norm_statistic(size_t cell) const { return static_cast<uint32_t>(2 * cells_.size() + cell); }
    uint32_t normalized_statistic(size_t cell) const {
        return static_cast<uint32_t>((has_choices_ ? 3 : 1) * cells_.size() + cell);
    }
    uint32_t loss_statistic() const { return normalized_statistic(has_judged_ ? cells_.size() : 0); }
    uint32_t bits_statistic(size_t attribute) const { return loss_statistic() + 1 + static_cast<uint32_t>(attribute); }
    uint32_t statistics() const { return bits_statistic(bits_.size()); }
    const RatioTable& table() const { return table_; }

  private:
    void keep(uint32_t statistic, double numerator, double denominator);

    const QuestionSet& set_;
    const CellIndex& index_;
    bool keep_entities_, has_choices_, has_judged_;
    std::vector<Sums> cells_;
    std::vector<BitSums> bits_;
    RatioTable table_;
    std::vector<size_t> touched_cells_, touched_attributes_;  // of the entity at hand
    double nll_in_entity_ = 0, tokens_in_entity_ = 0;
};
