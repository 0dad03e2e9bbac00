// threshold.h - the threshold frequency: how rare a fact may be and still be learned (Gu et al. 2025, "Data Mixing Can
// Induce Phase Transitions in Knowledge Acquisition", section 5.1).
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "eval/choices.h"    // defines: QuestionResult
#include "eval/questions.h"  // defines: QuestionSet

// Groups in the order of their entities' frequency, from often to seldom: the first whose accuracy is under the target.
struct FrequencyThreshold {
    double target = 0;     // 0: not looked for, or the set has no weighted groups
    bool reached = false;  // false: no group asked about is under the target, and only groups_above counts
    std::string group;     // the first under it
    double frequency = 0;  // of one of its entities: the share of the source's documents that are about it
    double accuracy = 0;   // over its questions of kind "seen"; over all of them where the set has none of that kind
    double exposures = std::numeric_limits<double>::quiet_NaN();  // mean over its facts asked about; NaN: not known
    int64_t groups_above = 0;                                     // groups asked about that are more frequent
};

// `results` and `exposures` (exposures.h; empty: not known) are by question of `chosen`.
FrequencyThreshold frequency_threshold(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                       const std::vector<QuestionResult>& results,
                                       const std::vector<uint32_t>& exposures, double target);
