// cell_sums.h - the cells that a set's questions fall into, their sums, and each entity's part of the sums for the
// bootstrap.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "eval/bootstrap.h"  // defines: RatioTable
#include "eval/report.h"     // defines: Cell, KnowledgeReport, QuestionTask, statistics, Over

struct AskedQuestion {
    Question columns;
    uint32_t exposure_bin;  // at least the number of bins where it is not known
    uint32_t dose;          // of its entity; one that is none of the doses where it is not known
    bool kept;              // its entity, by --subsample
};

// One way to divide the questions into cells; a question belongs to at most one of them.
struct Grouping {
    size_t size;                                                // cells; 0: the set cannot fill them
    std::function<size_t(const AskedQuestion&)> cell_of;        // `size` or more: none
    std::function<void(KnowledgeReport*, Cell, size_t)> store;  // the cell with its names, where the report has it
};

// The first has one cell, of all questions. exposure_bins: 0 where exposures are not known; doses: ascending, none
// where there are none. `names` outlives them.
std::vector<Grouping> groupings_of(const QuestionNames& names, uint32_t exposure_bins,
                                   const std::vector<uint32_t>& doses, bool subsampled);

struct Ratio {
    double numerator = 0, denominator = 0;
};

struct CellSum {
    int64_t entities = 0;
    std::array<int64_t, QUESTION_GROUPS> questions{};  // by Over
    std::vector<Ratio> statistics;
    // of the entity at hand
    int64_t in_entity = 0;  // questions
    std::vector<Ratio> statistics_in_entity;
};

struct BitSum {
    int64_t entities = 0;
    double bits = 0;  // over entities
    double nll_in_entity = 0;
    int64_t questions_in_entity = 0;
};

constexpr uint32_t NOT_RESAMPLED = UINT32_MAX;

// Takes the questions entity by entity: add() for each question, end_entity() after an entity's last.
class CellSums {
  public:
    // Cells are numbered grouping by grouping. has_judged: some continuations were judged. keep_entities: for the
    // bootstrap. `task` and `groupings` outlive this.
    CellSums(const QuestionTask& task, const std::vector<Grouping>& groupings, bool has_judged, bool keep_entities);

    // The result of question `chosen[i]` of the task.
    void add(size_t i, const QuestionResult& result, uint32_t exposure_bin, uint32_t dose);
    void end_entity();

    const CellSum& cell(size_t number) const { return cells_[number]; }
    const BitSum& bits(size_t attribute) const { return bits_[attribute]; }

    // Ratios of the bootstrap: of the statistics with intervals, in every cell or over all; bits per entity of every
    // attribute.
    uint32_t ratio(size_t statistic, size_t cell) const;
    uint32_t bits_ratio(size_t attribute) const { return bits_ratio_ + static_cast<uint32_t>(attribute); }
    uint32_t ratios() const { return bits_ratio(bits_.size()); }
    const RatioTable& table() const { return table_; }

  private:
    void add_question(size_t cell, const QuestionResult& result);
    void keep(uint32_t ratio, double numerator, double denominator);

    const QuestionTask& task_;
    const std::vector<Grouping>& groupings_;
    bool keep_entities_;
    std::vector<CellSum> cells_;
    std::vector<BitSum> bits_;
    std::vector<uint32_t> first_ratio_;  // by statistic: of its first cell; NOT_RESAMPLED
    uint32_t bits_ratio_ = 0;
    RatioTable table_;
    std::vector<Ratio> question_;                             // what the question at hand adds, by statistic
    std::vector<size_t> touched_cells_, touched_attributes_;  // of the entity at hand
};
