// evaluation.h - what is evaluated and what comes of it: the same for the trainer and for eval_knowledge.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "dataloader/validation.h"  // defines: ValidationRows
#include "eval/question_task.h"     // defines: QuestionTask
#include "eval/report.h"            // defines: KnowledgeReport, ReportOptions, Metric
#include "eval/trainer_choices.h"   // defines: SubsampledSource
#include "util/options.h"           // defines: TextList, NamedList, Count, CountOrAll
#include "util/tokenizer.h"         // defines: Tokenizer

// Those with a flag are fields in the option table of eval_knowledge, the first four in the trainer's. The defaults are
// the trainer's: no intervals, no thresholds, no continuations.
struct EvaluationOptions {
    TextList questions;            // --questions
    CountOrAll questions_per_set;  // --questions-per-set
    NamedList validation;          // --val
    Count val_tokens{100000};      // --val-tokens
    ReportOptions report;          // --bootstrap, --target-accuracy, --popularity-target, -failures, -items
    Count generate_tokens{64};     // --generate-tokens
    int64_t seed = 1;              // --seed: which questions, and the bootstrap
    Count seq_len;                 // --seq-len, of validation rows
    OnOff doc_mask;                // --doc-mask, of validation rows; questions are always alone in their segment
    int64_t eot_id = -1;           // --eot-id, for validation shards without a sidecar
    bool generate = false;         // continuations (generate.cuh), which the tokenizer decodes
    TokenizerId tokenizer;         // the model's; without sha256: not known, not compared
    std::vector<SubsampledSource> subsampled;
    uint64_t data_seed = 1;  // the trainer's: which entities were kept

    bool active() const { return !questions.empty() || !validation.empty(); }
};

struct EvaluationPlan {
    EvaluationOptions options;
    std::vector<QuestionTask> questions;
    std::vector<ValidationRows> validation;
    Tokenizer tokenizer;  // where there are continuations to judge
    std::vector<std::string> warnings;
};

// Opens everything. Dies with Exit::Usage on impossible options, with Exit::Data on bad files, when two question sets
// have one name, and when a set or a shard was made with another tokenizer than the model.
EvaluationPlan plan_evaluation(const EvaluationOptions& options, int vocab, int max_T);

// The task whose set is the control of set `task`: shuffled, about other people (else the model may know their
// facts), with the same attributes and pools; the first of several. Null where there is none, and of a control.
const QuestionTask* control_of(const EvaluationPlan& plan, const QuestionTask& task);

struct ValidationResult {
    std::string name;
    int64_t tokens = 0;                                               // targets
    double loss = 0;                                                  // nats per target
    double bits_per_byte = std::numeric_limits<double>::quiet_NaN();  // NaN where the source's bytes are not known
};

// The metrics val/<source>/NAME.
struct ValidationMetric {
    const char* name;
    double (*value)(const ValidationResult&);
    bool needs_bytes, headline;
};
inline const ValidationMetric VALIDATION_METRICS[] = {
    {"loss", [](const ValidationResult& v) { return v.loss; }, false, true},
    {"bpb", [](const ValidationResult& v) { return v.bits_per_byte; }, true, false}};

struct KnowledgeResult {
    std::vector<QuestionResult> results;  // of the task's `chosen`, in that order
    std::vector<uint32_t> exposures;      // of their facts (exposures.h); empty: not known
    KnowledgeReport report;
    std::vector<std::vector<int>> continuations = {};  // the model's own words after each prompt; empty: not asked for
    std::vector<uint32_t> doses = {};                  // of their entities (exposures.h); empty: they have none
};

struct Evaluation {
    std::vector<Metric> metrics;               // in the plan's order
    std::vector<ValidationResult> validation;  // by source
    std::vector<KnowledgeResult> knowledge;    // by question task
};

// Makes the reports of all question tasks from their results, controls first, and adds their metrics in the plan's
// order.
void summarize_all(const EvaluationPlan& plan, ReportOptions options, Evaluation* evaluation);
