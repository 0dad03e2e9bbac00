// question_task.h - a question set and the questions of it that are asked, every time the same.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eval/majority.h"   // defines: MajorityBaselines
#include "eval/questions.h"  // defines: QuestionSet

struct QuestionTask {
    // Opens a set and asks `questions` of it (QuestionSet::choose; 0: all).
    QuestionTask(const std::string& path, int vocab, int max_T, uint64_t questions = 0, uint64_t seed = 1)
        : set(std::make_unique<QuestionSet>(path, vocab, max_T)) {
        ask(set->choose(questions, seed));
    }
    void ask(std::vector<uint32_t> numbers) {
        chosen = std::move(numbers);
        majority = majority_baselines(*set, chosen);
    }

    std::unique_ptr<QuestionSet> set;
    std::vector<uint32_t> chosen;  // numbers of questions
    MajorityBaselines majority;
    std::vector<bool> kept;  // by entity: whether --subsample of the set's source kept it; empty: no --subsample
};
