// thresholds.h - from where on facts are known: by how often they were in the training data (the threshold frequency),
// and by how well known their subject is (the threshold popularity). Both from Gu et al. 2025, "Data Mixing Can Induce
// Phase Transitions in Knowledge Acquisition", arXiv 2505.18091, sections 5.1 and 5.2.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "eval/choices.h"        // defines: QuestionResult
#include "eval/dose_response.h"  // defines: DoseCurve
#include "eval/question_task.h"  // defines: QuestionTask
#include "util/options.h"        // defines: Count

// Two estimates: the curve of accuracy against the frequency, and the paper's rule. By the rule, groups are walked in
// the order of their entities' frequency, from often to seldom; the first whose accuracy is under the target is the
// threshold, which is a step of the groups or more below where the curve crosses the target, and has no interval.
struct FrequencyThreshold {
    double target = 0;     // 0: not looked for, or the set has no weighted groups
    bool reached = false;  // false: no group asked about is under the target, and only groups_above counts
    std::string group;     // the first under it
    double frequency = 0;  // of one of its entities: the share of the source's documents that are about it
    double accuracy = 0;   // over its questions of kind "seen"; over all of them where the set has none of that kind
    double exposures = std::numeric_limits<double>::quiet_NaN();  // mean over its facts asked about; NaN: not known
    int64_t groups_above = 0;                                     // groups asked about that are more frequent
    // Of the same questions; the dose is the frequency, 0 of entities that --subsample left out.
    DoseCurve curve = {};
};

struct FrequencyRule {
    double target = 0;  // accuracy
    int resamples = 0;  // for the curve's intervals
    uint64_t seed = 1;
};

// `results` and `exposures` (exposures.h; empty: not known) are by question of the task's `chosen`.
FrequencyThreshold frequency_threshold(const QuestionTask& task, const std::vector<QuestionResult>& results,
                                       const std::vector<uint32_t>& exposures, const FrequencyRule& rule);

struct PopularityRule {
    double target = std::numeric_limits<double>::quiet_NaN();  // accuracy; NaN: the threshold is not looked for
    Count failures{5};                                         // N_fail
    Count items{100};  // of an accuracy that counts: of fewer the first wrong answers would end the walk
};

// Their Algorithm 1 (appendix E.6). Items are walked from popular to unpopular, all of one popularity at once; after
// each such group the accuracy of everything so far, of at least so many items, is compared with the target, and being
// under it is a failure. The threshold is the popularity of the group with the N_fail-th failure. Failures are never
// taken back by a group that reaches the target again: the lines of the paper that would say so are lost, so this is
// our reading. An item is a question asked whose fact has a known popularity, so a fact asked by several templates is
// several items.
struct PopularityThreshold {
    std::string kind;                       // of the questions: seen, heldout, question
    bool normalized = false;                // right by the continuation (normalize.h) rather than by exact match
    bool reached = false;                   // false: less than N_fail failures
    uint32_t popularity = 0;                // where it was not reached: the smallest popularity
    double accuracy = 0;                    // of the items of at least this popularity
    int64_t items_at_least = 0, items = 0;  // so popular; all of them
    DoseCurve curve = {};                   // of the same items against their popularity, 0 taken as 1
};

// By kind, in the set's order, kinds without such items left out: by exact match and, where continuations were judged,
// by them. `results` are by question of the task's `chosen`.
std::vector<PopularityThreshold> popularity_thresholds(const QuestionTask& task,
                                                       const std::vector<QuestionResult>& results,
                                                       const PopularityRule& rule, int resamples = 0,
                                                       uint64_t seed = 1);
