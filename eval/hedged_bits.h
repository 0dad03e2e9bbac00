// hedged_bits.h - learned bits as a bound from below: what a model's probabilities save in coding the values, where
// those of facts that it does not know may be confidently wrong.
//
// A fact's value is coded with the mixture l p + (1 - l) / |pool|. p is the model's probability of it, the geometric
// mean over the training templates, so that the values of a pool sum to 1 at most. l is one for all facts of an
// attribute, group and, with --subsample, of kept or of other entities. Its description is paid for: a bit says whether
// the facts of the cell are coded by the model at all, 4 more which of 16 values (sin^2 of even steps) l has. What
// remains of log2 |pool| per fact is on average at most the mutual information of values and weights. The plain sum of
// log2 |pool| + log2 p (learned bits, Allen-Zhu & Li 2024) is the case l = 1, which a few confident errors take to 0.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/bootstrap.h"      // defines: Interval
#include "eval/choices.h"        // defines: QuestionResult
#include "eval/question_task.h"  // defines: QuestionTask

struct HedgedCell {
    std::string attribute, group;
    int kept = -1;  // by --subsample: 1, 0; -1: there is none
    int64_t facts = 0, facts_asked = 0;
    double mixture = 0;         // l; 0: not coded by the model
    double bits = 0, most = 0;  // of all facts: those asked about, less the description, scaled; at most `most`
};

// Sums of cells, at least 0.
struct HedgedFigure {
    std::string name;  // of the attribute or group
    int64_t facts = 0;
    double bits = 0, most = 0;
    Interval interval{};  // 95 % over entities, for the mixtures found; NaN without resamples
};

struct HedgedBits {
    std::vector<HedgedCell> cells;  // with facts asked about, by attribute, group, kept; the others count as no bits
    HedgedFigure all;
    std::optional<HedgedFigure> kept;              // of kept entities; none without --subsample, or if none was asked
    std::vector<HedgedFigure> attributes, groups;  // groups: where there are several
};

// Of questions of kind "seen" about attributes with a known pool; without any: no cells. `results` are by question of
// the task's `chosen`.
HedgedBits hedged_bits(const QuestionTask& task, const std::vector<QuestionResult>& results, int resamples,
                       uint64_t seed);

// What `bits` has above a control's bits per fact of the same attributes (all of them; knapsack synbio --shuffled),
// at least 0. The interval adds both in quadrature, as those of independent figures.
HedgedFigure above_control(const HedgedBits& bits, const HedgedBits& control);
