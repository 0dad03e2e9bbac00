// majority.h - baselines that know how often each answer occurs in a question set, and nothing of the question.
#pragma once
#include <cstdint>
#include <vector>

#include "eval/questions.h"  // defines: QuestionSet

struct MajorityBaselines {
    // (attributes, kinds): accuracy of always giving the most frequent answer of attribute and kind.
    std::vector<double> answer;
    // By question of `chosen`: accuracy of choosing, among its answer and candidates, the text that is the answer of
    // most entities, asked for the same attribute; 1/n where n are that often. The question's own entity does not
    // count: in a small set most wrong answers are nobody's, and having one's own would give the right one away. 0
    // without candidates; empty where no question of the set has any.
    std::vector<double> choice;
};

// Texts are the same where their token ids are. Counted over the whole set, whatever is asked of it.
MajorityBaselines majority_baselines(const QuestionSet& set, const std::vector<uint32_t>& chosen);
