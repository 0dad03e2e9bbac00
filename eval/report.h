// report.h - from the results of single questions to accuracy, learned bits, baselines and intervals.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "eval/bootstrap.h"   // defines: Interval
#include "eval/choices.h"     // defines: QuestionResult
#include "eval/popularity.h"  // defines: PopularityThreshold, PopularityRule
#include "eval/questions.h"   // defines: QuestionSet
#include "eval/threshold.h"   // defines: FrequencyThreshold

// A mean with what the bootstrap over entities says of it; NaN without.
struct Estimate {
    double value = 0, standard_error = 0;
    Interval interval{};  // 95 %
};

// Choices among candidates (choices.h), over the questions that have candidates.
struct ChoiceCell {
    int64_t questions = 0;    // 0: none has, and nothing below counts
    Estimate accuracy, norm;  // mean of `choice` and of `choice_norm`
    double chance = 0;        // mean of 1 / choices
    double majority = 0;      // accuracy of choosing what is most often an answer (majority.h)
    double rank = 0;          // mean of `choice_rank`
};

// Questions with something in common. Empty names: not restricted.
struct Cell {
    std::string relation, attribute, wording, kind, group;
    int64_t exposures_low = -1, exposures_high = -1;  // how often the facts were seen; -1: not restricted
    int64_t questions = 0, entities = 0;
    double accuracy = 0;
    double loss = 0;             // nats per answer token: sum of nll / sum of tokens
    double rank = 0;             // mean of the questions' ranks
    double reciprocal_rank = 0;  // mean of 1 / rank
    double chance = 0;           // accuracy of a uniform draw from the pool, 1 / |pool|; NaN where a size is not known
    double majority = 0;         // accuracy of the most frequent answer of attribute and kind in the whole set
    double standard_error = 0;   // of the accuracy, by bootstrap over entities; NaN without
    Interval interval{};         // of the accuracy, 95 %; the same
    ChoiceCell choice;
    int64_t judged = 0;   // questions whose continuation was judged (normalize.h); 0: the next does not count
    Estimate normalized;  // accuracy of the continuations
};

// Learned bits of an attribute (Allen-Zhu & Li 2024, arXiv 2404.05405, for one attribute): the sum over people of log2
// |pool| - nll / ln 2, nll averaged over the questions of kind "seen" (the training templates), clipped to [0, most]
// after the sum. Of a sample: the mean over the people asked, times people.
struct AttributeBits {
    std::string attribute;
    int64_t people = 0, people_asked = 0;
    double bits = 0, most = 0;  // most = people * QuestionNames::bits: log2 |pool|, for names log2(|pool| / people)
    Interval interval{};        // NaN without bootstrap
};

struct KnowledgeReport {
    int64_t questions = 0;  // of the set; all.questions is what was asked
    Cell all;
    std::vector<Cell> kinds, attributes, attribute_kinds, relation_kinds, templates, group_kinds,
        exposure_kinds;  // cells with questions, in the set's order, of exposures from few to many
    // Questions about the entities that --subsample kept; without it, and where none was asked, no cells.
    bool subsampled = false;
    int64_t entities = 0, entities_kept = 0;  // of the set
    Cell kept;
    std::vector<Cell> kept_kinds;
    Interval loss_interval{};
    std::vector<AttributeBits> attribute_bits;  // attributes with a known pool and questions of kind "seen" asked
    bool has_bits = false;                      // every attribute that has both in the set is among them
    double bits = 0, most_bits = 0;             // sums of the above
    Interval bits_interval{};
    double bits_per_param = 0, bits_per_nonembedding_param = 0;
    FrequencyThreshold threshold;                 // where a target was given and the set has weighted groups
    std::vector<PopularityThreshold> popularity;  // where a target was given and the set has popularities
    // accuracy, accuracy_seen, accuracy_heldout, accuracy_question, accuracy_kept, accuracy_seen_kept,
    // accuracy_normalized, bits, bits_per_param, loss, rank, choice, choice_norm, in this order, but for what the set
    // cannot give
    std::vector<std::pair<std::string, double>> metrics;
};

struct ReportOptions {
    int64_t parameters = 0, nonembedding_parameters = 0;  // unpadded
    int resamples = 0;                                    // of the bootstrap; 0: no intervals
    uint64_t seed = 0;
    std::vector<bool> kept = {};           // by entity of the set: whether --subsample kept it; empty: no --subsample
    std::vector<uint32_t> exposures = {};  // by question of `chosen` (exposures.h); empty: not known
    double target_accuracy = 0;            // of the frequency threshold; 0: not looked for
    PopularityRule popularity = {};
};

// `results[i]` is of question chosen[i] of the set. Relations get cells of their own where they differ from the
// attributes, groups where there are several.
KnowledgeReport summarize(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                          const std::vector<QuestionResult>& results, const ReportOptions& options);
