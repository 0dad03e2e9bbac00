// evaluation.h - what is evaluated and what comes of it: the same for the trainer and for eval_knowledge.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/validation.h"  // defines: ValidationRows
#include "eval/questions.h"         // defines: QuestionSet
#include "eval/report.h"            // defines: KnowledgeReport, QuestionResult, PopularityRule
#include "util/tokenizer.h"         // defines: Tokenizer

// A knowledge source that was trained with --subsample, as the trainer was told.
struct SubsampledSource {
    std::string name, glob;
    double rho;
};

struct EvaluationOptions {
    std::vector<std::string> questions;                           // --questions
    int64_t questions_per_set = -1;                               // -1: all
    std::vector<std::pair<std::string, std::string>> validation;  // --val: name, glob
    int64_t val_tokens = 100000;
    int T = 0;                     // of validation rows
    bool document_mask = false;    // of validation rows; questions always stand alone
    uint64_t seed = 1;             // which questions, and the bootstrap
    int64_t eot_id = -1;           // for validation shards without a sidecar
    std::string tokenizer_sha256;  // the model's; "": not known, not compared
    std::string tokenizer_file;    // for messages
    int resamples = 0;             // of the bootstrap; 0: no intervals (the trainer's)
    double target_accuracy = 0;    // of the frequency threshold (threshold.h); 0: not looked for (the trainer's)
    PopularityRule popularity;     // of the popularity threshold
    // Of the continuations (generate.cuh), which tokenizer_file decodes; 0: none (the trainer's).
    int64_t generate_tokens = 0;
    std::vector<SubsampledSource> subsampled;
    uint64_t data_seed = 1;  // the trainer's: which entities were kept
};

// What the trainer that wrote a checkpoint was run with, for evaluating it alike; the values here where `directory` has
// no trainer_state.json. Dies with Exit::Data on a broken one.
struct TrainerChoices {
    int64_t seq_len = -1, data_seed = 1;  // -1: not known
    bool document_mask = false;
    std::vector<SubsampledSource> subsampled;
};
TrainerChoices read_trainer_choices(const std::string& directory);

// A question set and the questions of it that are asked, every time the same.
struct QuestionTask {
    std::unique_ptr<QuestionSet> set;
    std::vector<uint32_t> chosen;
    std::vector<bool> kept;  // by entity: whether --subsample of the set's source kept it; empty: no --subsample
};

struct EvaluationPlan {
    std::vector<QuestionTask> questions;
    std::vector<ValidationRows> validation;
    int resamples = 0;
    uint64_t seed = 0;
    double target_accuracy = 0;
    PopularityRule popularity;
    int64_t generate_tokens = 0;
    Tokenizer tokenizer;  // where there are continuations to judge
};

// Opens everything. Dies with Exit::Usage on impossible options, with Exit::Data on bad files, when two question sets
// have one name, and when a set or a shard was made with another tokenizer than the model.
EvaluationPlan plan_evaluation(const EvaluationOptions& options, int vocab, int max_T);

struct Metric {
    std::string name;  // val/<source>/{loss,bpb}, know/<set>/{accuracy,accuracy_seen,...}
    double value;
    bool headline;  // one of the few for the screen
};

struct ValidationResult {
    std::string name;
    int64_t tokens = 0;                                               // targets
    double loss = 0;                                                  // nats per target
    double bits_per_byte = std::numeric_limits<double>::quiet_NaN();  // NaN where the source's bytes are not known
};

struct KnowledgeResult {
    std::vector<QuestionResult> results;  // of the task's `chosen`, in that order
    std::vector<uint32_t> exposures;      // of their facts (exposures.h); empty: not known
    KnowledgeReport report;
    std::vector<std::vector<int>> continuations = {};  // the model's own words behind each prompt; empty: not asked for
};

struct Evaluation {
    std::vector<Metric> metrics;               // in the plan's order
    std::vector<ValidationResult> validation;  // by source
    std::vector<KnowledgeResult> knowledge;    // by question task
};
