// majority.h - baselines that know how often each answer occurs in a question set, and nothing of the question.
#pragma once
#include <vector>

class QuestionSet;

struct MajorityBaselines {
    // (attributes, kinds): accuracy of always giving the most frequent answer of attribute and kind.
    std::vector<double> answer;
    // By question: accuracy of choosing, among its answer and candidates, the text that is most often an answer of this
    // attribute and kind; 1/n where n are that often. 0 without candidates; empty where no question has any.
    std::vector<double> choice;
};

// Texts are the same where their token ids are. Over the whole set, whatever is asked of it.
MajorityBaselines majority_baselines(const QuestionSet& set);
