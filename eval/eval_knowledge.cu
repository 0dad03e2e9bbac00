// eval_knowledge.cu - what a checkpoint knows: questions answered, bits learned, loss on held-out text.
//
// One program, read top to bottom. The Evaluator is the trainer's own: on the checkpoint of step k, with the same
// questions and rows, it gives the bits that eval.jsonl has for step k. Everything is printed; --out and --per-question
// write it down.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iterator>
#include <new>
#include <string>

#include "eval/evaluator.cuh"  // defines: Evaluator
#include "eval/normalize.h"    // defines: lower_cases_unicode
#include "eval/results.h"      // defines: print_results, results_json, write_question_lines, write_continuations
#include "model/checkpoint.h"  // defines: read_model_config, read_trainer_state
#include "model/gpt.cuh"       // defines: Gpt
#include "model/state.cuh"     // defines: load_weights
#include "util/check.h"        // defines: die, Exit
#include "util/files.h"        // defines: write_file, sha256_file, path_join
#include "util/options.h"      // defines: OptionTable and the kinds of option
#include "util/system.h"       // defines: wait_politely

using backend::Machine;

struct EvalOptions {
    std::string checkpoint, tokenizer, precision = Machine::HAS_BF16 ? "bf16" : "fp32", out, per_question, generate;
    TextList questions;
    CountOrAll questions_per_set;
    NamedList val;
    Count val_tokens{Machine::IS_GPU ? 1000000 : 100000}, seq_len, bootstrap{1000}, generate_tokens{64};
    OnOff doc_mask;
    int64_t eot_id = -1, seed = 1;
    double target_accuracy = 0.8, popularity_target = 0.6;
    Count popularity_failures{5};
};

OptionTable option_table(EvalOptions& o) {
    // clang-format off
    return OptionTable(std::string("eval_knowledge") + Machine::SUFFIX, std::string("Asks a checkpoint what it knows. ") + Machine::BUILD + ".", {
        {"model", "checkpoint", &o.checkpoint, "DIR", "a checkpoint of train_gpt, or any Hugging Face directory"},
        {"model", "tokenizer", &o.tokenizer, "DIR|FILE", "the model's tokenizer.json, in place of the directory's"},
        {"model", "precision", &o.precision, "bf16|fp32", "bf16 needs a GPU"},
        {"questions", "questions", &o.questions, "PATH", "question set (PREFIX.questions.json); repeat for more"},
        {"questions", "questions-per-set", &o.questions_per_set, "N|all", "a seeded choice, stratified"},
        {"questions", "seed", &o.seed, "S", "of choice and bootstrap; default the trainer's --data-seed"},
        {"questions", "bootstrap", &o.bootstrap, "N", "resamples for the 95 % intervals; 0: none"},
        {"questions", "target-accuracy", &o.target_accuracy, "A", "of the frequency threshold, where groups are weighted"},
        {"questions", "popularity-target", &o.popularity_target, "A", "accuracy of the popularity threshold, where popularities are known"},
        {"questions", "popularity-failures", &o.popularity_failures, "N", "times that accuracy is missed, from popular facts to unpopular ones"},
        {"validation", "val", &o.val, "NAME=GLOB", "validation shards; repeat for more"},
        {"validation", "val-tokens", &o.val_tokens, "N", "the first N tokens of each"},
        {"validation", "seq-len", &o.seq_len, "T", "tokens a row; default the trainer's, else at most 2048"},
        {"validation", "doc-mask", &o.doc_mask, "on|off", "default the trainer's"},
        {"validation", "eot-id", &o.eot_id, "N", "end-of-text id, for shards without a sidecar"},
        {"results", "out", &o.out, "FILE", "results.json, shaped as lm-evaluation-harness writes it"},
        {"results", "generate", &o.generate, "FILE", "greedy continuations of the prompts, judged; one JSON object a question asked"},
        {"results", "generate-tokens", &o.generate_tokens, "N", "at most so many tokens of each"},
        {"results", "per-question", &o.per_question, "FILE", "one JSON object a question asked"},
    });
    // clang-format on
}

void check_options(const EvalOptions& o) {
    if (o.checkpoint.empty()) die(Exit::Usage, "which model? give --checkpoint DIR");
    if (o.questions.empty() && o.val.empty())
        die(Exit::Usage, "nothing to evaluate: give --questions PATH or --val NAME=GLOB");
    if (o.precision == "bf16" && !Machine::HAS_BF16)
        die(Exit::Usage, "--precision bf16: not in this build (CPU); give --precision fp32");
    if (o.bootstrap.n > 1000000)
        die(Exit::Usage, "--bootstrap %lld: expected at most 1M", static_cast<long long>(o.bootstrap.n));
    if (!(o.target_accuracy > 0 && o.target_accuracy <= 1))
        die(Exit::Usage, "--target-accuracy %g: expected a number above 0, up to 1", o.target_accuracy);
    if (!(o.popularity_target > 0 && o.popularity_target <= 1))
        die(Exit::Usage, "--popularity-target %g: expected a number above 0, up to 1", o.popularity_target);
    if (o.popularity_failures.n < 1)
        die(Exit::Usage, "--popularity-failures %lld: expected at least 1",
            static_cast<long long>(o.popularity_failures.n));
    for (const auto& [flag, file] : {std::pair("--per-question", o.per_question), std::pair("--generate", o.generate)})
        if (!file.empty() && o.questions.empty()) die(Exit::Usage, "%s needs --questions", flag);
    const std::string files[] = {o.out, o.per_question, o.generate};
    for (const std::string& file : files) {
        if (!file.empty() && std::count(std::begin(files), std::end(files), file) > 1)
            die(Exit::Usage, "%s: two results cannot be one file", file.c_str());
        if (directory_exists(file)) die(Exit::Usage, "%s: a directory; expected the name of a file", file.c_str());
    }
    if (o.generate_tokens.n < 1)
        die(Exit::Usage, "--generate-tokens %lld: expected at least 1", static_cast<long long>(o.generate_tokens.n));
}

// The tokenizer the model goes with: --tokenizer, else the directory's own; "" where there is none.
std::string find_tokenizer(const EvalOptions& o) {
    const std::string named = directory_exists(o.tokenizer) ? path_join(o.tokenizer, "tokenizer.json") : o.tokenizer;
    if (!named.empty()) return named;
    const std::string beside = path_join(o.checkpoint, "tokenizer.json");
    return file_exists(beside) ? beside : "";
}

// A line on the terminal, for as long as questions are scored and it takes some time.
class PercentLine {
  public:
    void update(size_t done, size_t all) {
        const auto now = std::chrono::steady_clock::now();
        if (!terminal_ || now - begin_ < std::chrono::seconds(2)) return;
        if (now - drawn_ < std::chrono::milliseconds(200)) return;
        drawn_ = now;
        fprintf(stderr, "\rquestions: %3.0f %%", 100 * static_cast<double>(done) / static_cast<double>(all));
        fflush(stderr);
    }
    void clear() {
        if (drawn_ > begin_) fprintf(stderr, "\r%20s\r", "");
    }

  private:
    const bool terminal_ = isatty(fileno(stderr)) == 1;
    const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    std::chrono::steady_clock::time_point drawn_{};
};

// Prompts with room for --generate-tokens behind them.
void check_room(const EvaluationPlan& plan, int64_t generate_tokens, int max_T) {
    for (const QuestionTask& task : plan.questions)
        for (const uint32_t number : task.chosen)
            if (const int prompt = task.set->length(number).prompt; prompt + generate_tokens > max_T)
                die(Exit::Usage,
                    "--generate-tokens %lld: the model's rows have %d tokens, the prompt of question %u takes %d of "
                    "them; at "
                    "most %d are left",
                    static_cast<long long>(generate_tokens), max_T, number, prompt, max_T - prompt);
}

// Says which sets have right answers that the continuations are too short for.
void warn_of_long_answers(const EvaluationPlan& plan, int64_t generate_tokens) {
    for (const QuestionTask& task : plan.questions) {
        int64_t cut = 0;
        int needed = 0;  // for one right answer of every question
        for (const uint32_t number : task.chosen) {
            const QuestionSet::Texts texts = task.set->texts(number);
            int shortest = task.set->length(number).answer;
            for (uint32_t text = 1 + texts.candidates; text < texts.all(); ++text)
                shortest = std::min(shortest, task.set->length(number, text).answer);
            cut += shortest > generate_tokens;
            needed = std::max(needed, shortest);
        }
        if (cut > 0)
            fprintf(stderr,
                    "warning: --generate-tokens %lld is less than any right answer of %lld questions of %s has; %d "
                    "would do\n",
                    static_cast<long long>(generate_tokens), static_cast<long long>(cut),
                    task.set->names().name.c_str(), needed);
    }
}

// Asks the checkpoint in one precision.
template <class Real>
Evaluation evaluate(const EvalOptions& o, const GptConfig& config, const EvaluationPlan& plan,
                    backend::stream_t stream) {
    const Evaluator<Real> evaluator(config, plan);
    Gpt<Real> gpt(config);
    load_weights(o.checkpoint, gpt, static_cast<AdamState<Real>*>(nullptr));
    const std::vector<Ledger> ledgers = Ledger::read_all(path_join(o.checkpoint, "exposures"));
    for (const QuestionTask& task : plan.questions) warn_of_other_entities(*task.set, ledgers);
    PercentLine line;
    Evaluation evaluation =
        evaluator.run(gpt, stream, ledgers, [&](size_t done, size_t all) { line.update(done, all); });
    line.clear();
    return evaluation;
}

int main(int argc, char** argv) {
    wait_politely(argv);

    // options -> model
    EvalOptions o;
    OptionTable table = option_table(o);
    table.parse(argc, argv);
    std::set_new_handler([] { die(Exit::Runtime, "out of memory; try fewer questions or a smaller --val-tokens"); });
    for (const std::string& file : {o.out, o.per_question, o.generate})  // before the work, not after it
        if (!file.empty()) make_directories(folder_of(file));
    check_options(o);
    if (!directory_exists(o.checkpoint))
        die(Exit::Data, "--checkpoint %s: there is no such directory", o.checkpoint.c_str());
    const GptConfig config = read_model_config(o.checkpoint);
    const TrainerChoices trainer = read_trainer_choices(o.checkpoint);
    if (!table.given("seed")) o.seed = trainer.data_seed;
    if (!table.given("doc-mask")) o.doc_mask.on = trainer.document_mask;
    if (!table.given("seq-len")) o.seq_len.n = trainer.seq_len > 0 ? trainer.seq_len : std::min(2048, config.max_T);
    const std::string tokenizer = find_tokenizer(o);
    if (tokenizer.empty())
        fprintf(stderr, "warning: %s has no tokenizer.json; whether the questions fit the model is not checked\n",
                o.checkpoint.c_str());
    if (!o.generate.empty() && tokenizer.empty())
        die(Exit::Usage, "--generate writes text: give --tokenizer, the checkpoint has none");
    if (!o.generate.empty() && !lower_cases_unicode())
        fprintf(stderr, "warning: there is no locale C.UTF-8 here; answers are compared with only A-Z lower-cased\n");

    // data, before the weights: it is what is most often wrong
    EvaluationOptions options;
    options.questions = o.questions;
    options.questions_per_set = o.questions_per_set.n;
    options.validation = o.val;
    options.val_tokens = o.val_tokens.n;
    options.T = narrow<int>(o.seq_len.n);
    options.document_mask = o.doc_mask.on;
    options.seed = static_cast<uint64_t>(o.seed);
    options.eot_id = o.eot_id;
    options.tokenizer_file = tokenizer;
    options.tokenizer_sha256 = tokenizer.empty() ? "" : sha256_file(tokenizer);
    options.resamples = static_cast<int>(o.bootstrap.n);
    options.target_accuracy = o.target_accuracy;
    options.popularity = {o.popularity_target, o.popularity_failures.n};
    if (!o.generate.empty()) options.generate_tokens = o.generate_tokens.n;
    options.subsampled = trainer.subsampled;
    options.data_seed = static_cast<uint64_t>(trainer.data_seed);
    const EvaluationPlan plan = plan_evaluation(options, config.V, config.max_T);
    if (!o.generate.empty()) {
        check_room(plan, o.generate_tokens.n, config.max_T);
        warn_of_long_answers(plan, o.generate_tokens.n);
    }

    // evaluation -> screen, files
    Machine machine;
    machine.check_model(config.C, config.F, config.HS);
    int64_t step = -1;  // not known of weights from elsewhere
    if (file_exists(path_join(o.checkpoint, "trainer_state.json"))) {
        const TrainerState state = read_trainer_state(o.checkpoint);
        machine.load_matmul_choices(state.matmul_json);  // the trainer's products, bit for bit
        step = state.step;
    }
    const auto begin = std::chrono::system_clock::now();
#ifdef KNAPSACK_CPU
    const Evaluation evaluation = evaluate<float>(o, config, plan, machine.stream());
#else
    const Evaluation evaluation = o.precision == "bf16" ? evaluate<bf16>(o, config, plan, machine.stream())
                                                        : evaluate<float>(o, config, plan, machine.stream());
#endif
    const auto end = std::chrono::system_clock::now();
    auto seconds = [](auto duration) { return std::chrono::duration<double>(duration).count(); };
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
    return 0;
}
