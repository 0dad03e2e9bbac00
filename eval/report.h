// report.h - from the results of single questions to accuracy, learned bits, baselines and intervals.
#pragma once
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "eval/bootstrap.h"      // defines: Interval
#include "eval/choices.h"        // defines: QuestionResult
#include "eval/hedged_bits.h"    // defines: HedgedBits, HedgedFigure
#include "eval/question_task.h"  // defines: QuestionTask
#include "eval/statistics.h"     // defines: statistics, Over
#include "eval/thresholds.h"     // defines: FrequencyThreshold, PopularityThreshold, PopularityRule
#include "util/options.h"        // defines: Count

// A ratio with what the bootstrap over entities says of it; NaN without.
struct Estimate {
    double value = 0;
    double standard_error = std::numeric_limits<double>::quiet_NaN();
    Interval interval{standard_error, standard_error};  // 95 %
};

// Questions with something in common. Empty names: not restricted.
struct Cell {
    std::string relation, attribute, template_text, kind, group;
    int64_t exposures_low = -1, exposures_high = -1;  // how often the facts were seen; -1: not restricted
    int64_t dose = -1;                                // of the entities; -1: not restricted
    int64_t entities = 0;
    std::array<int64_t, QUESTION_GROUPS> counts{};  // questions, by Over
    std::vector<Estimate> estimates = std::vector<Estimate>(statistics().size());

    int64_t questions(Over over = Over::All) const { return counts[static_cast<size_t>(over)]; }
    // By a statistic's name.
    const Estimate& operator[](const char* name) const { return estimates[statistic_number(name)]; }
};

// Learned bits of an attribute (Allen-Zhu & Li 2024, arXiv 2404.05405, for one attribute): the sum over entities of
// log2 |pool| - nll / ln 2, nll averaged over the questions of kind "seen" (the training templates), clipped to [0,
// most] after the sum. Of a sample: the mean over the entities asked about, times entities.
struct AttributeBits {
    std::string attribute;
    int64_t entities = 0, entities_asked = 0;
    double bits = 0, most = 0;  // most = entities * QuestionNames::bits: log2 |pool|; names: log2(|pool| / entities)
    Interval interval{};        // NaN without bootstrap
};

// One of the figures that are logged by name, and that --stop-at takes.
struct Metric {
    std::string name;  // val/<source>/{loss,bpb}, know/<set>/NAME; in a report NAME alone
    double value;
    bool headline;  // one of the few for the screen
};

struct KnowledgeReport {
    int64_t questions = 0;  // of the set; all.questions() is what was asked
    Cell all;
    std::vector<Cell> kinds, attributes, attribute_kinds, relation_kinds, templates, group_kinds, exposure_kinds,
        dose_kinds;  // cells with questions, in the set's order, of exposures and doses from few to many
    // Questions about the entities that --subsample kept; without it, and where none was asked, no cells.
    bool subsampled = false;
    int64_t entities = 0, entities_kept = 0;  // of the set
    Cell kept;
    std::vector<Cell> kept_kinds;
    std::vector<AttributeBits> attribute_bits;  // attributes with a known pool and questions of kind "seen" asked
    bool has_bits = false;                      // every attribute that has both in the set is among them
    double bits = 0, most_bits = 0;             // sums of the above
    Interval bits_interval{};
    double bits_per_param = 0, bits_per_nonembedding_param = 0;
    HedgedBits hedged;                            // the bound from below (hedged_bits.h)
    std::optional<HedgedFigure> above_control;    // where the control's set was asked in the same evaluation
    FrequencyThreshold threshold;                 // where a target was given and the set has weighted groups
    std::vector<PopularityThreshold> popularity;  // where a target was given and the set has popularities
    std::vector<Metric> metrics;                  // metric_names(), but for what the set cannot give
};

struct ReportOptions {
    int64_t parameters = 0, nonembedding_parameters = 0;  // of the model, unpadded
    Count resamples{0};                                   // of the bootstrap; 0: no intervals
    uint64_t seed = 0;
    // Of the frequency threshold (thresholds.h); NaN: not looked for.
    double target_accuracy = std::numeric_limits<double>::quiet_NaN();
    PopularityRule popularity = {};
    const KnowledgeReport* control = nullptr;  // of the set's control (control_of)
};

// `results`, and `exposures` and `doses` where they are known (exposures.h), are by question of the task's `chosen`.
// Relations get cells of their own where they differ from the attributes, groups where there are several.
KnowledgeReport summarize(const QuestionTask& task, const std::vector<QuestionResult>& results,
                          const ReportOptions& options, const std::vector<uint32_t>& exposures = {},
                          const std::vector<uint32_t>& doses = {});
