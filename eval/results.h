// results.h - an evaluation to read: a table for people, results.json and a line a question for programs; and the
// model's own continuations as text (continuations.cpp).
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "eval/evaluation.h"  // defines: EvaluationPlan, Evaluation

// What was evaluated with what, for results.json.
struct ResultsHeader {
    std::string checkpoint, precision, tokenizer_file, options_json;
    int64_t parameters = 0, nonembedding_parameters = 0;
    double unix_time = 0, seconds = 0;
};

// The tables: a question set's attributes by kind with intervals, bits, baselines; choices where there are candidates;
// groups where there are several; how often the facts were seen, where that is known; validation losses.
void print_results(FILE* out, const EvaluationPlan& plan, const Evaluation& evaluation);

// A sentence for each question set with scores that are not numbers; the caller prints them.
std::vector<std::string> score_warnings(const EvaluationPlan& plan, const Evaluation& evaluation);

// results.json (dev/formats.md, 8), shaped as lm-evaluation-harness writes it: `results` has a task for each question
// set, with a subtask for each attribute, and "acc,none" (exact match), "acc_stderr,none", "choice,none" (what its
// multiple-choice tasks call acc), "choice_norm,none", ... in it; next to it `metrics` (our slash names), `know` (every
// cell with its interval) and `val`.
std::string results_json(const EvaluationPlan& plan, const Evaluation& evaluation, const ResultsHeader& header);

// JSON lines, one object a question asked (dev/formats.md, 8), the same bytes from whoever evaluates. `step`: of the
// weights; -1: not known.
void write_question_lines(const std::string& path, const EvaluationPlan& plan, const Evaluation& evaluation,
                          int64_t step = -1);

// JSON lines, one object a question asked: its prompt and the model's continuation as text (generate.cuh), whether it
// ended by itself before the plan's generate_tokens, and whether it is right.
void write_continuations(const std::string& path, const EvaluationPlan& plan, const Evaluation& evaluation,
                         int64_t step = -1);

// Sets `normalized` of each result: whether the continuation begins with the question's answer or one of its aliases
// (normalize.h). All by question of `chosen`.
void judge_continuations(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                         const std::vector<std::vector<int>>& continuations, const Tokenizer& tokenizer,
                         std::vector<QuestionResult>* results);

std::string prompt_text(const QuestionSet& set, uint32_t number, const Tokenizer& tokenizer);
// A continuation as it goes on after its prompt: prompt_text + continuation_text is the text of both. Decoded by itself
// it would begin without its space where the tokenizer writes spaces as U+2581.
std::string continuation_text(const QuestionSet& set, uint32_t number, const std::vector<int>& continuation,
                              const Tokenizer& tokenizer);
