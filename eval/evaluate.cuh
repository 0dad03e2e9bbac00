// evaluate.cuh - the Evaluator that the trainer and eval_knowledge share: equal weights give equal numbers, bit for
// bit.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "eval/evaluation.h"    // defines: EvaluationOptions, EvaluationPlan, Evaluation, Metric
#include "eval/scorer.cuh"      // defines: score_questions
#include "eval/validation.cuh"  // defines: validation_loss

template <class Real>
class Evaluator {
  public:
    // Opens question sets and validation sources for models of this shape; refusals as plan_evaluation.
    Evaluator(const GptConfig& config, const EvaluationOptions& options)
        : config_(config), plan_(plan_evaluation(options, config.V, config.max_T)) {}

    bool active() const { return !plan_.questions.empty() || !plan_.validation.empty(); }
    const EvaluationPlan& plan() const { return plan_; }

    // Bytes of activations that run() takes while it runs.
    size_t bytes() const {
        size_t most = 0;
        for (const ValidationRows& rows : plan_.validation) {
            const int B = validation_rows_per_pass(rows);
            most = std::max(most, ActivationMemory<Real>::bytes(config_, B, rows.T, false));
        }
        for (const QuestionTask& task : plan_.questions) {
            const PackShape shape = pack_shape(task.set->longest(), config_.max_T);
            most = std::max(most, ActivationMemory<Real>::bytes(config_, shape.B, shape.T, false));
        }
        return most;
    }

    std::vector<Metric> evaluate(const Gpt<Real>& gpt) const { return run(gpt).metrics; }

    // The metrics with all that lies behind them.
    Evaluation run(const Gpt<Real>& gpt) const {
        const backend::stream_t stream{};
        Evaluation evaluation;
        for (const ValidationRows& rows : plan_.validation) {
            const ValidationResult result = validation_loss(gpt, rows, stream);
            evaluation.metrics.push_back({"val/" + result.name + "/loss", result.loss, true});
            if (rows.bytes_per_token > 0)
                evaluation.metrics.push_back({"val/" + result.name + "/bpb", result.bits_per_byte, false});
            evaluation.validation.push_back(result);
        }
        ReportOptions options{static_cast<int64_t>(num_parameters(config_)),
                              static_cast<int64_t>(num_parameters(config_, false)), plan_.resamples, plan_.seed};
        for (const QuestionTask& task : plan_.questions) {
            const PackShape shape = pack_shape(task.set->longest(), config_.max_T);
            KnowledgeResult result;
            result.results = score_questions(gpt, *task.set, task.chosen, shape, stream);
            options.kept = task.kept;
            result.report = summarize(*task.set, task.chosen, result.results, options);
            for (const auto& [name, value] : result.report.metrics)
                evaluation.metrics.push_back({"know/" + task.set->names().name + "/" + name, value,
                                              name == "accuracy" || name == "bits" || name == "loss"});
            evaluation.knowledge.push_back(std::move(result));
        }
        return evaluation;
    }

  private:
    GptConfig config_;
    EvaluationPlan plan_;
};
