// popularity.h - the threshold popularity: how little known a subject may be and its facts still be answered (Gu et al.
// 2025, "Data Mixing Can Induce Phase Transitions in Knowledge Acquisition", arXiv 2505.18091, section 5.2).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "eval/choices.h"    // defines: QuestionResult
#include "eval/questions.h"  // defines: QuestionSet

struct PopularityRule {
    double target = 0;     // accuracy; 0: the threshold is not looked for (the trainer's)
    int64_t failures = 5;  // N_fail
};

// Their Algorithm 1 (appendix E.6). Items are walked from popular to unpopular, all of one popularity at once; after
// each such group the accuracy of everything so far is compared with the target, and being under it is a failure. The
// threshold is the popularity of the group with the N_fail-th failure. Failures are never taken back by a group that
// reaches the target again: the lines of the paper that would say so are lost, so this is our reading. An item is a
// question asked whose fact has a known popularity, so a fact asked by several templates is several items.
struct PopularityThreshold {
    std::string kind;                       // of the questions: seen, heldout, question
    bool normalized = false;                // right by the continuation (normalize.h) rather than by exact match
    bool reached = false;                   // false: less than N_fail failures
    uint32_t popularity = 0;                // where it was not reached: the smallest popularity
    double accuracy = 0;                    // of the items of at least this popularity
    int64_t items_at_least = 0, items = 0;  // so popular; all of them
};

// By kind, in the set's order, kinds without such items left out: by exact match and, where continuations were judged,
// by them. `results` are of the questions `chosen`.
std::vector<PopularityThreshold> popularity_thresholds(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                                       const std::vector<QuestionResult>& results,
                                                       const PopularityRule& rule);
