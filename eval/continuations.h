// continuations.h - what a model said by itself (generate.cuh): as text, and whether it is right.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "eval/choices.h"    // defines: QuestionResult
#include "eval/questions.h"  // defines: QuestionSet
#include "util/tokenizer.h"  // defines: Tokenizer

std::string prompt_text(const QuestionSet& set, uint32_t number, const Tokenizer& tokenizer);

// Sets `normalized` of each result: whether the continuation begins with the question's answer or one of its aliases
// (normalize.h). All by question of `chosen`.
void judge_continuations(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                         const std::vector<std::vector<int>>& continuations, const Tokenizer& tokenizer,
                         std::vector<QuestionResult>* results);
