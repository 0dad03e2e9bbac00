// evaluator.cuh - the Evaluator that the trainer and eval_knowledge share: equal weights give equal numbers, bit for
// bit.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "eval/deal.cuh"        // defines: Deal
#include "eval/evaluation.h"    // defines: EvaluationOptions, EvaluationPlan, Evaluation, Metric
#include "eval/exposures.h"     // defines: question_exposures, question_doses, Ledger
#include "eval/generate.cuh"    // defines: generate
#include "eval/results.h"       // defines: judge_continuations
#include "eval/scorer.cuh"      // defines: score_questions, ScoreProgress
#include "eval/validation.cuh"  // defines: validation_loss

template <class Real>
class Evaluator {
  public:
    // For models of this shape; the plan (plan_evaluation) outlives the evaluator. Several processes all run it, on the
    // same weights, and have the same results.
    Evaluator(const GptConfig& config, const EvaluationPlan& plan, Deal deal = {})
        : config_(config), plan_(plan), deal_(deal) {}

    bool active() const { return plan_.options.active(); }

    // With the ledgers of the model's training, also how often each question's fact was seen, and its dose. `progress`
    // hears of each question set's texts.
    Evaluation run(const Gpt<Real>& gpt, backend::stream_t stream, const std::vector<Ledger>& ledgers = {},
                   const ScoreProgress& progress = nullptr) const {
        Evaluation evaluation;
        for (const ValidationRows& rows : plan_.validation) {
            const ValidationResult result = validation_loss(gpt, rows, stream, deal_);
            for (const ValidationMetric& metric : VALIDATION_METRICS)
                if (!metric.needs_bytes || rows.bytes > 0)
                    evaluation.metrics.push_back(
                        {"val/" + result.name + "/" + metric.name, metric.value(result), metric.headline});
            evaluation.validation.push_back(result);
        }
        ReportOptions options = plan_.options.report;
        options.parameters = static_cast<int64_t>(num_parameters(config_));
        options.nonembedding_parameters = static_cast<int64_t>(num_parameters(config_, false));
        options.seed = static_cast<uint64_t>(plan_.options.seed);
        for (const QuestionTask& task : plan_.questions) {
            const PackShape shape = pack_shape(task.set->longest(), config_.max_T);
            KnowledgeResult result;
            result.results =
                score_questions(gpt, *task.set, task.chosen, shape, stream, progress, SCORED_AT_ONCE, deal_);
            if (plan_.options.generate) {
                const int most = narrow<int>(plan_.options.generate_tokens.n);
                deal_.together([&] { result.continuations = generate(gpt, *task.set, task.chosen, most, stream); });
                judge_continuations(*task.set, task.chosen, result.continuations, plan_.tokenizer, &result.results);
            }
            result.exposures = question_exposures(*task.set, task.chosen, ledgers);
            result.doses = question_doses(*task.set, task.chosen, ledgers);
            evaluation.knowledge.push_back(std::move(result));
        }
        summarize_all(plan_, options, &evaluation);
        return evaluation;
    }

  private:
    GptConfig config_;
    const EvaluationPlan& plan_;
    Deal deal_;
};
