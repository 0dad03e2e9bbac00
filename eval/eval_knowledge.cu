// eval_knowledge.cu - what a checkpoint knows: questions answered, bits learned, loss on held-out text.
//
// One program, read top to bottom. The Evaluator is the trainer's own: on the checkpoint of step k, with the same
// questions and rows, it gives the bits that eval.jsonl has for step k. Everything is printed; --out and --per-question
// write it down. Several processes share the work, with the same numbers; process 0 prints and writes.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "eval/evaluator.cuh"       // defines: Evaluator
#include "eval/normalize.h"         // defines: lower_cases_unicode
#include "eval/program_files.h"     // defines: check_inputs, check_outputs, files_of_prefix
#include "eval/results.h"           // defines: print_results, results_json, score_warnings, write_question_lines
#include "kernels/backend.h"        // defines: Machine, with_precision
#include "model/checkpoint.h"       // defines: read_model_config, read_trainer_state
#include "model/gpt.cuh"            // defines: Gpt
#include "model/state.cuh"          // defines: load_weights
#include "train/agreement.h"        // defines: agree_on_start, agree_on_data
#include "train/evaluation_data.h"  // defines: evaluation_identities
#include "util/check.h"             // defines: die, Exit
#include "util/files.h"             // defines: write_file, sha256_file, path_join
#include "util/mapped_file.h"       // defines: die_of_bus_errors
#include "util/options.h"           // defines: OptionTable and the kinds of option
#include "util/peers.h"             // defines: Peers, find_rank
#include "util/progress.h"          // defines: PercentLine
#include "util/system.h"            // defines: wait_politely

using backend::Machine;

struct EvalOptions {
    std::string checkpoint, tokenizer, precision = Machine::IS_GPU ? "bf16" : "fp32", out, per_question, generate;
    EvaluationOptions evaluation;

    EvalOptions() {
        evaluation.val_tokens.n = Machine::IS_GPU ? 1000000 : 100000;
        evaluation.report.resamples.n = 1000;
        evaluation.report.target_accuracy = 0.8;
        evaluation.report.popularity.target = 0.6;
    }
};

OptionTable option_table(EvalOptions& o) {
    EvaluationOptions& e = o.evaluation;
    const std::string program = std::string("eval_knowledge") + Machine::SUFFIX,
                      what = std::string("Asks a checkpoint what it knows. ") + Machine::BUILD + ".";
    const std::vector<Option> rows = {
        {"model", "checkpoint", &o.checkpoint, "DIR", "a checkpoint of train_gpt, or any Hugging Face directory"},
        {"model", "tokenizer", &o.tokenizer, "DIR|FILE", "the model's tokenizer.json, in place of the directory's"},
        {"model", "precision", &o.precision, "bf16|fp32", "of weights and activations"},
        {"questions", "questions", &e.questions, "PATH", "question set (PREFIX.questions.json); repeat for more"},
        {"questions", "questions-per-set", &e.questions_per_set, "N|all", "a seeded choice, stratified"},
        {"questions", "seed", &e.seed, "S", "of choice and bootstrap; default the trainer's --data-seed"},
        {"questions", "bootstrap", &e.report.resamples, "N", "resamples for the 95 % intervals; 0: none"},
        {"questions", "target-accuracy", &e.report.target_accuracy, "A",
         "of the frequency threshold, where groups are weighted"},
        {"questions", "popularity-target", &e.report.popularity.target, "A",
         "accuracy of the popularity threshold, where popularities are known"},
        {"questions", "popularity-failures", &e.report.popularity.failures, "N",
         "times that accuracy is missed, from popular facts to unpopular ones"},
        {"questions", "popularity-items", &e.report.popularity.items, "N",
         "the least items of an accuracy that counts"},
        {"validation", "val", &e.validation, "NAME=GLOB", "validation shards; repeat for more"},
        {"validation", "val-tokens", &e.val_tokens, "N", "the first N tokens of each"},
        {"validation", "seq-len", &e.seq_len, "T", "tokens a row; default the trainer's, else at most 2048"},
        {"validation", "doc-mask", &e.doc_mask, "on|off", "default the trainer's"},
        {"validation", "eot-id", &e.eot_id, "N", "end-of-text id, for shards without a sidecar"},
        {"results", "out", &o.out, "FILE", "results.json, shaped as lm-evaluation-harness writes it"},
        {"results", "generate", &o.generate, "FILE",
         "greedy continuations of the prompts, judged; one JSON object a question asked"},
        {"results", "generate-tokens", &e.generate_tokens, "N", "at most so many tokens of each"},
        {"results", "per-question", &o.per_question, "FILE", "one JSON object a question asked"},
    };
    return OptionTable(program, what, rows);
}

// What the evaluation itself checks (plan_evaluation) is left to it.
void check_options(const EvalOptions& o) {
    if (o.checkpoint.empty()) die(Exit::Usage, "which model? give --checkpoint DIR");
    if (!o.evaluation.active()) die(Exit::Usage, "nothing to evaluate: give --questions PATH or --val NAME=GLOB");
    for (const auto& [flag, file] : {std::pair("--per-question", o.per_question), std::pair("--generate", o.generate)})
        if (!file.empty() && o.evaluation.questions.empty()) die(Exit::Usage, "%s needs --questions", flag);
}

// What is read, as far as the options say: the checkpoint, the tokenizer, question sets, shards.
std::vector<std::string> input_files(const EvalOptions& o) {
    std::vector<std::string> files;
    for (const std::string& folder : {o.checkpoint, path_join(o.checkpoint, "exposures")})
        if (directory_exists(folder))
            for (const std::string& name : list_directory(folder)) files.push_back(path_join(folder, name));
    for (const std::string& file : {o.tokenizer, path_join(o.tokenizer, "tokenizer.json")})
        if (!o.tokenizer.empty()) files.push_back(file);
    std::vector<std::string> prefixes;
    for (const std::string& path : o.evaluation.questions) prefixes.push_back(question_set_prefix(path));
    for (const auto& [name, glob] : o.evaluation.validation)
        for (const std::string& path : glob_files(glob)) {
            files.push_back(path);
            if (is_shard(path)) prefixes.push_back(shard_prefix(path));
        }
    for (const std::string& prefix : prefixes)
        for (const std::string& file : files_of_prefix(prefix)) files.push_back(file);
    return files;
}

// The tokenizer the model goes with: --tokenizer, else the directory's own; "" where there is none.
std::string find_tokenizer(const EvalOptions& o) {
    const std::string named = directory_exists(o.tokenizer) ? path_join(o.tokenizer, "tokenizer.json") : o.tokenizer;
    if (!named.empty()) return named;
    const std::string own = path_join(o.checkpoint, "tokenizer.json");
    return file_exists(own) ? own : "";
}

// Dies where a prompt leaves no room for --generate-tokens.
void check_room(const EvaluationPlan& plan, int max_T) {
    const int64_t tokens = plan.options.generate_tokens.n;
    for (const QuestionTask& task : plan.questions)
        for (const uint32_t number : task.chosen)
            if (const int prompt = task.set->length(number).prompt; prompt + tokens > max_T)
                die(Exit::Usage,
                    "--generate-tokens %d: the model's rows have %d tokens, the prompt of question %u takes %d of "
                    "them; at most %d are left",
                    tokens, max_T, number, prompt, max_T - prompt);
}

// Says which sets have right answers that the continuations are too short for.
void warn_of_long_answers(const EvaluationPlan& plan) {
    const int64_t tokens = plan.options.generate_tokens.n;
    for (const QuestionTask& task : plan.questions) {
        int64_t cut = 0;
        int needed = 0;  // for one right answer of every question
        for (const uint32_t number : task.chosen) {
            const QuestionSet::Texts texts = task.set->texts(number);
            int shortest = task.set->length(number).answer;
            for (uint32_t text = 1 + texts.candidates; text < texts.all(); ++text)
                shortest = std::min(shortest, task.set->length(number, text).answer);
            cut += shortest > tokens;
            needed = std::max(needed, shortest);
        }
        if (cut > 0)
            print(stderr,
                  "warning: --generate-tokens %d is less than any right answer of %d questions of %s has; %d "
                  "would do\n",
                  tokens, cut, task.set->names().name, needed);
    }
}

// Asks the checkpoint in one precision.
template <class Real>
Evaluation evaluate(const EvalOptions& o, const GptConfig& config, const EvaluationPlan& plan, backend::stream_t stream,
                    backend::Communicator& communicator) {
    const bool first = communicator.rank() == 0;
    const Evaluator<Real> evaluator(config, plan, communicator);
    Gpt<Real> gpt(config);
    load_weights(o.checkpoint, gpt, static_cast<AdamState<Real>*>(nullptr));
    const std::vector<Ledger> ledgers = Ledger::read_all(path_join(o.checkpoint, "exposures"));
    for (const QuestionTask& task : plan.questions)
        if (first) warn_of_other_entities(*task.set, ledgers);
    PercentLine line("questions");
    Evaluation evaluation = evaluator.run(gpt, stream, ledgers, [&](size_t done, size_t all) {
        if (first) line.update(done, all);
    });
    line.clear();
    for (const std::string& warning : score_warnings(plan, evaluation))
        if (first) print(stderr, "warning: %s\n", warning);
    return evaluation;
}

int main(int argc, char** argv) {
    std::set_new_handler([] { die(Exit::Runtime, "out of memory; try fewer questions or a smaller --val-tokens"); });
    wait_politely(argv);
    die_of_bus_errors();
    const Rank rank = find_rank();
    backend::Communicator::check(rank);
    const Peers peers(rank);

    // options -> model
    EvalOptions o;
    OptionTable table = option_table(o);
    table.parse(argc, argv);
    agree_on_start(peers, table.json(), Machine::BUILD);
    check_options(o);
    if (!directory_exists(o.checkpoint)) die(Exit::Data, "--checkpoint %s: there is no such directory", o.checkpoint);
    std::vector<std::string> inputs = input_files(o);
    if (!table.config_file().empty()) inputs.push_back(table.config_file());
    check_inputs(inputs);
    if (peers.first())
        check_outputs({{"--out", &o.out}, {"--per-question", &o.per_question}, {"--generate", &o.generate}}, inputs);
    const GptConfig config = read_model_config(o.checkpoint);
    const TrainerChoices trainer = read_trainer_choices(o.checkpoint);
    EvaluationOptions& options = o.evaluation;
    if (!table.given("seed")) options.seed = trainer.data_seed;
    if (!table.given("doc-mask")) options.doc_mask.on = trainer.document_mask;
    if (!table.given("seq-len"))
        options.seq_len.n = trainer.seq_len > 0 ? trainer.seq_len : std::min(2048, config.max_T);
    const std::string tokenizer = find_tokenizer(o);
    if (tokenizer.empty() && peers.first())
        print(stderr, "warning: %s has no tokenizer.json; whether the questions fit the model is not checked\n",
              o.checkpoint);
    if (!o.generate.empty() && tokenizer.empty())
        die(Exit::Usage, "--generate writes text: give --tokenizer, the checkpoint has none");
    if (!o.generate.empty() && !lower_cases_unicode() && peers.first())
        print(stderr, "warning: there is no locale C.UTF-8 here; answers are compared with only A-Z lower-cased\n");

    // data, before the weights: it is what is most often wrong
    if (!tokenizer.empty()) options.tokenizer = tokenizer_id(tokenizer);
    options.generate = !o.generate.empty();
    options.subsampled = trainer.subsampled;
    options.data_seed = static_cast<uint64_t>(trainer.data_seed);
    const EvaluationPlan plan = plan_evaluation(options, config.V, config.max_T);
    for (const std::string& warning : plan.warnings)
        if (peers.first()) print(stderr, "warning: %s\n", warning);
    if (options.generate) {
        check_room(plan, config.max_T);
        if (peers.first()) warn_of_long_answers(plan);
    }

    // evaluation -> screen, files
    Machine machine(peers.local());
    backend::Communicator communicator(peers);
    machine.check_model(config.C, config.F, config.HS);
    machine.choose_by_rule();  // what no checkpoint has chosen
    agree_on_data(peers, "{}", evaluation_identities(plan), start_identity(peers, o.checkpoint),
                  machine.matmul_library(o.precision == "bf16"));
    int64_t step = -1;  // not known of weights from elsewhere
    if (file_exists(path_join(o.checkpoint, "trainer_state.json"))) {
        const TrainerState state = read_trainer_state(o.checkpoint);
        machine.load_choices(state.choices_json);  // as the trainer computed, bit for bit
        step = state.step;
    }
    const auto begin = std::chrono::system_clock::now();
    const Evaluation evaluation = with_precision(o.precision, [&](auto real) {
        return evaluate<decltype(real)>(o, config, plan, machine.stream(), communicator);
    });
    const auto end = std::chrono::system_clock::now();
    auto seconds = [](auto duration) { return std::chrono::duration<double>(duration).count(); };
    if (!peers.first()) {
        peers.barrier();  // nobody leaves while process 0 still writes
        return 0;
    }
    print_results(stdout, plan, evaluation);
    if (!o.per_question.empty()) write_question_lines(o.per_question, plan, evaluation, step);
    if (!o.generate.empty()) write_continuations(o.generate, plan, evaluation, step);
    ResultsHeader header{o.checkpoint,
                         o.precision,
                         tokenizer,
                         table.json(),
                         static_cast<int64_t>(num_parameters(config)),
                         static_cast<int64_t>(num_parameters(config, false)),
                         seconds(begin.time_since_epoch()),
                         seconds(end - begin)};
    if (!o.out.empty()) write_file(o.out, results_json(plan, evaluation, header));
    peers.barrier();
    return 0;
}
