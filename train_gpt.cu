// train_gpt.cu - trains a GPT on an exact mixture of sources and keeps account of what it saw.
//
// One program, read top to bottom: options, setup, the state of a run, one step, checkpoints, evaluation, the loop,
// main. nvcc compiles this file against the CUDA kernels, g++ compiles the same file against the CPU backend
// (train_gpt_cpu); kernels/backend.h decides.
//
// A step takes one batch from the loader (rows of T tokens in an order that is a pure function of seed, sources and
// options), runs forward and backward over its micro-batches, clips the gradient and updates the weights; the batch's
// exposures are booked in the ledgers. All of this is queued on the device and not waited for: the loss is read, and a
// line goes to metrics.jsonl, when the next step is queued already. Steps count from 0; a checkpoint or an evaluation
// "at step k" is made of the weights after k updates.
//
// A run writes into --out: config.json first, metrics.jsonl and eval.jsonl a line at a time, exposures/ and
// checkpoints/ under temporary names that are renamed when complete, DONE or FAILED last. --resume goes on from the
// newest complete checkpoint; everything after it is byte-identical to the run that was not interrupted, but for times
// and speeds. dev/formats.md has every file.

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "dataloader/loader.h"      // defines: MixtureOptions, Plan, Loader, Batch, Ledger, RunAccount
#include "dataloader/placement.h"   // defines: place_windows
#include "dataloader/validation.h"  // defines: overlap_warnings
#include "eval/evaluator.cuh"       // defines: Evaluator (the same code as eval_knowledge's)
#include "eval/results.h"           // defines: write_question_lines
#include "eval/stop_rule.h"         // defines: StopRule, parse_stop_rules, check_stop_rules, rule_that_holds
#include "model/checkpoint.h"       // defines: read_model_config, checkpoint_begin/finish/latest/prune
#include "model/gpt.cuh"            // defines: Gpt, Gradients, AdamState, gpt_forward, ..., gpt_update
#include "model/init.h"             // defines: initialise_parameters
#include "model/state.cuh"          // defines: load_weights, load_training_state, save_training_state
#include "train/device_batch.cuh"   // defines: DeviceBatch
#include "train/evaluation_data.h"  // defines: evaluation_identities, check_evaluation_data
#include "train/log.h"              // defines: Log, StepReport
#include "train/memory.cuh"         // defines: RunShape, memory_of, largest_micro_batch, byte_text
#include "train/run_directory.h"    // defines: RunDirectory
#include "train/schedule.h"         // defines: Schedule, learning_rate
#include "train/when.h"             // defines: When
#include "util/build_info.h"        // defines: build_commit, build_compiler, build_flags
#include "util/check.h"             // defines: die, Exit, format_text
#include "util/files.h"             // defines: path_join, make_directories, read_file, write_file, check_output_directory
#include "util/json_text.h"         // defines: JsonLine, json_quote, integer_member, text_member
#include "util/mapped_file.h"       // defines: die_of_bus_errors
#include "util/numbers.h"           // defines: parse_count, parse_number
#include "util/options.h"           // defines: OptionTable, the kinds of option, ranges
#include "util/stop.h"              // defines: hear_signals, on_signals_exit, signal_received, Stopped
#include "util/system.h"            // defines: wait_politely, num_threads

using backend::Machine;

// ---------------------------------------------------------------------------------------------------------------------
// options: a field with its default here; its flag, its line of --help and its values in the table below

struct TrainOptions {
    std::string model, init, branch, tokenizer, out, manifest;
    int64_t eot_id = -1, seed = 1, data_seed = 1;
    Switch resume = false, plan = false;
    NamedList source, ratio, exposures, window, placement, subsample, max_epochs;
    std::string budget = "replace", eval_at = "log", checkpoint_at = "end", schedule = "wsd",
                precision = Machine::HAS_BF16 ? "bf16" : "fp32";
    Count tokens, steps, seq_len, micro_batch, batch_tokens, warmup, keep{2}, print_order;
    TextList stop_at;
    EvaluationOptions evaluation;
    OnOff doc_mask, recompute, per_question;
    double lr = 1e-3, cooldown = 0.1, final_lr = NAN, weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8,
           grad_clip = 1.0;
    int64_t zero = 0;

    TrainOptions() {
        evaluation.questions_per_set.n = 10000;
        evaluation.val_tokens.n = Machine::IS_GPU ? 1000000 : 100000;
    }
};

OptionTable option_table(TrainOptions& o) {
    const char* const batch_help =
        Machine::IS_GPU ? "tokens a step; default 1048576, in whole rows" : "tokens a step; default 16 rows";
    const std::string program = std::string("train_gpt") + Machine::SUFFIX,
                      what = std::string("Trains a GPT on an exact mixture of token shards. ") + Machine::BUILD + ".";
    const std::vector<Option> rows = {
        {"model", "model", &o.model, "NAME|FAMILY:Lx:Cy:Hz",
         "a preset (gpt2-124m, pythia-70m, ...) or a size: gpt2:L4:C128:H4"},
        {"model", "init", &o.init, "DIR", "start from the weights of a Hugging Face directory"},
        {"model", "branch", &o.branch, "DIR",
         "go on from a checkpoint (weights, optimizer, data position) with a new horizon"},
        {"model", "tokenizer", &o.tokenizer, "DIR|FILE", "tokenizer.json, for shards without a sidecar"},
        {"model", "eot-id", &o.eot_id, "N", "end-of-text id, for shards without a sidecar"},
        {"model", "seed", &o.seed, "S", "initial weights"},
        {"run", "out", &o.out, "DIR", "run directory; none: trains and prints, saves nothing"},
        {"run", "resume", &o.resume, "", "go on with the run in --out"},
        {"data", "source", &o.source, "NAME=GLOB",
         "token shards (.bin, .ds) of one source, in name order; repeat for more"},
        {"data", "ratio", &o.ratio, "NAME=R", "share of the run's tokens, 0 < R < 1"},
        {"data", "exposures", &o.exposures, "NAME=F", "every entity of a knowledge source exactly F times"},
        {"data", "budget", &o.budget, "replace|append", "exposures within --tokens, or on top of them"},
        {"data", "window", &o.window, "NAME=a:b", "the source appears only there, fractions of the run"},
        {"data", "placement", &o.placement, "NAME=WHERE",
         "within its windows: uniform, front:F, back:F, burst:C:F, periodic:N:F"},
        {"data", "subsample", &o.subsample, "NAME=rho", "keep a seeded fraction of the entities or documents"},
        {"data", "max-epochs", &o.max_epochs, "NAME=E", "refuse a plan that repeats a source more often"},
        {"data", "data-seed", &o.data_seed, "S", "order and renderings"},
        {"evaluation", "val", &o.evaluation.validation, "NAME=GLOB", "validation shards; repeat for more"},
        {"evaluation", "val-tokens", &o.evaluation.val_tokens, "N", "the first N tokens of each"},
        {"evaluation", "questions", &o.evaluation.questions, "PATH",
         "question set (PREFIX.questions.json); repeat for more"},
        {"evaluation", "questions-per-set", &o.evaluation.questions_per_set, "N|all", "seeded, stratified choice"},
        {"evaluation", "eval-at", &o.eval_at, "WHEN,...",
         "log (steps 0, 1, 2, 4, ... and the end), windows (where one opens, closes, and 1, 2, 4, ... steps after it "
         "closed), every:N, at:N, end"},
        {"evaluation", "per-question", &o.per_question, "on|off", "a line a question at every evaluation, in answers/"},
        {"evaluation", "stop-at", &o.stop_at, "'METRIC>=X'",
         "stop with a checkpoint at the first evaluation where it holds (also <=)"},
        {"length and batch", "tokens", &o.tokens, "N", "length of the run, rounded down to whole steps", at_least(1)},
        {"length and batch", "steps", &o.steps, "N", "the same in steps", at_least(1)},
        {"length and batch", "seq-len", &o.seq_len, "T", "tokens a row; default the preset's context, at most 2048",
         at_least(2)},
        {"length and batch", "micro-batch", &o.micro_batch, "B", "rows at a time; default the largest that fits",
         at_least(1)},
        {"length and batch", "batch-tokens", &o.batch_tokens, "N", batch_help},
        {"length and batch", "doc-mask", &o.doc_mask, "on|off", "attention and positions restart at each document"},
        {"optimizer", "lr", &o.lr, "X", "peak learning rate", above(0)},
        {"optimizer", "schedule", &o.schedule, "wsd|cosine|linear|constant", "after the warm-up"},
        {"optimizer", "warmup", &o.warmup, "STEPS", "linear; default min(160, 10 % of the steps)"},
        {"optimizer", "cooldown", &o.cooldown, "FRACTION", "of the run, the last part of wsd", from_to(0, 1)},
        {"optimizer", "final-lr", &o.final_lr, "FRACTION", "of the peak; default 0, cosine 0.1", from_to(0, 1)},
        {"optimizer", "weight-decay", &o.weight_decay, "X", "on matrices and embeddings", at_least(0)},
        {"optimizer", "beta1", &o.beta1, "X", "AdamW", from_below(0, 1)},
        {"optimizer", "beta2", &o.beta2, "X", "AdamW", from_below(0, 1)},
        {"optimizer", "eps", &o.eps, "X", "AdamW", above(0)},
        {"optimizer", "grad-clip", &o.grad_clip, "X", "largest L2 norm of the gradient", above(0)},
        {"checkpoints", "checkpoint-at", &o.checkpoint_at, "WHEN,...", "as --eval-at"},
        {"checkpoints", "keep", &o.keep, "K", "newest checkpoints to keep; 0: all"},
        {"device", "precision", &o.precision, "bf16|fp32", "of weights and activations; bf16 needs a GPU"},
        {"device", "recompute", &o.recompute, "on|off",
         "keep only the layers' outputs and compute the rest again: less memory, a third more work"},
        {"device", "zero", &o.zero, "0|1", "multi-process builds only"},
        {"look", "plan", &o.plan, "", "print what the run would take and cost, and leave"},
        {"look", "print-order", &o.print_order, "STEP", "print the pieces of a step, and leave"},
        {"look", "manifest", &o.manifest, "DIR", "write what the whole run places where, and leave"},
    };
    return OptionTable(program, what, rows);
}

// The options as config.json and checkpoints have them.
std::string options_json(TrainOptions o) { return option_table(o).json(); }

// Nothing is trained.
bool only_looks(const TrainOptions& o) { return o.plan || o.print_order.n >= 0 || !o.manifest.empty(); }

// What no single row of the table can say.
void check_options(const TrainOptions& o) {
    if (o.precision == "bf16" && !Machine::HAS_BF16)
        die(Exit::Usage, "--precision bf16: not in this build (CPU); give --precision fp32");
    for (const char* name : {"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
        const char* ranks = getenv(name);
        if (ranks && atoll(ranks) > 1)
            die(Exit::Usage, "%s=%s: several processes: not in this build; start one", name, ranks);
    }
    if (o.zero != 0) die(Exit::Usage, "--zero %d: not in this build (one process)", o.zero);
    const int starts = !o.model.empty() + !o.init.empty() + !o.branch.empty();
    if (starts != 1)
        die(Exit::Usage, "give one of --model, --init and --branch (found %d of them)%s", starts,
            o.resume ? "; to resume, repeat the command that started the run and add --resume" : "");
    if (o.source.empty()) die(Exit::Usage, "no data: give --source NAME=GLOB, such as --source web=data/web.bin");
    if ((o.tokens.n >= 0) == (o.steps.n >= 0))
        die(Exit::Usage, "give the length of the run by one of --tokens and --steps");
    if (o.budget == "append" && o.exposures.empty())
        die(Exit::Usage, "--budget append: of what? give --exposures NAME=F");
    if (!o.manifest.empty()) check_output_directory("--manifest", o.manifest);
    if (o.resume && o.out.empty()) die(Exit::Usage, "--resume: which run? give its directory with --out");
    for (const std::string& when : {o.eval_at, o.checkpoint_at})
        if (("," + when + ",").find(",windows,") != std::string::npos && o.window.empty() && o.placement.empty())
            die(Exit::Usage, "--eval-at and --checkpoint-at %s: no source has a --window or --placement", when);
    if (o.per_question.on && (o.evaluation.questions.empty() || (o.out.empty() && !only_looks(o))))
        die(Exit::Usage, "--per-question on needs --questions and --out");
    if (!o.stop_at.empty() && !o.evaluation.active())
        die(Exit::Usage, "--stop-at needs an evaluation: give --val or --questions");
}

// ---------------------------------------------------------------------------------------------------------------------
// setup: one function for each thing that the loop needs; what the options leave open is decided here

// The model's shape and the length of its rows, which depend on each other. A resumed run has its own checkpoint to
// read the shape from: the directory that it once started from may be gone.
RunShape setup_shape(const TrainOptions& o, const std::string& resumed) {
    const std::string start = !o.init.empty() ? o.init : o.branch,
                      from = start.empty() || resumed.empty() ? start : resumed;
    GptConfig c = from.empty() ? config_from_name(o.model) : read_model_config(from);
    const int64_t T = o.seq_len.n < 0 ? std::min(2048, c.max_T) : o.seq_len.n;
    const bool is_size = from.empty() && o.model.find(':') != std::string::npos;
    if (is_size && T <= 1 << 20)  // FAMILY:Lx:Cy:Hz takes the context that it is trained with
        c.max_T = static_cast<int>(c.positions == Positions::Learned ? T : std::max<int64_t>(c.max_T, T));
    if (T > c.max_T) die(Exit::Usage, "--seq-len %d: this model takes rows of at most %d tokens", T, c.max_T);
    return {o.precision, c, static_cast<int>(T), o.recompute.on ? Keep::Inputs : Keep::All, o.evaluation.active()};
}

// A checkpoint's own config.json is not read where --model says the same; it must say the same.
void check_resumed_shape(const GptConfig& c, const std::string& resumed) {
    const GptConfig there = read_model_config(resumed);
    if (there.family != c.family || there.L != c.L || there.C != c.C || there.NH != c.NH || (c.V > 0 && there.V != c.V))
        die(Exit::Usage, "--resume: %s is of a model with L=%d C=%d NH=%d V=%d, not of --model's L=%d C=%d NH=%d V=%d",
            resumed, there.L, there.C, there.NH, there.V, c.L, c.C, c.NH, c.V);
}

// Tokens of a step: a whole number of rows; with --micro-batch, of micro-batches.
int64_t setup_batch(const TrainOptions& o, int64_t T) {
    if (o.micro_batch.n > INT32_MAX / T)
        die(Exit::Usage, "--micro-batch %d: expected 1 to %d rows", o.micro_batch.n, INT32_MAX / T);
    const int64_t unit = T * std::max<int64_t>(o.micro_batch.n, 1),
                  standard = Machine::IS_GPU ? std::max<int64_t>((1 << 20) / T, 1) * T : 16 * T,
                  tokens = o.batch_tokens.n < 0 ? standard : o.batch_tokens.n;
    if (tokens < unit || tokens % unit != 0) {
        const int64_t below = std::max(tokens / unit * unit, unit);
        die(Exit::Usage,
            "--batch-tokens %d: expected a multiple of %d (--seq-len %d x --micro-batch %d); the nearest are %d and %d",
            tokens, unit, T, unit / T, below, below + unit);
    }
    return tokens;
}

// "NAME=VALUE" rows of one option, applied to the source they name.
template <class Apply>
void for_sources(MixtureOptions& m, const char* flag, const NamedList& list, Apply apply) {
    std::vector<std::string> seen;
    for (const auto& item : list) {
        const std::string &name = item.first, &value = item.second;
        auto source =
            std::find_if(m.sources.begin(), m.sources.end(), [&](const SourceOptions& s) { return s.name == name; });
        if (source == m.sources.end()) die(Exit::Usage, "--%s %s=%s: there is no --source %s", flag, name, value, name);
        if (std::find(seen.begin(), seen.end(), name) != seen.end() && std::string(flag) != "window")
            die(Exit::Usage, "--%s: given twice for %s", flag, name);
        seen.push_back(name);
        const std::string what = format_text("--%s %s", flag, name);  // for messages
        apply(*source, what, value);
    }
}

MixtureOptions setup_mixture(const TrainOptions& o, const RunShape& shape) {
    MixtureOptions m;
    for (const auto& [name, glob] : o.source) {
        SourceOptions s;
        s.name = name;
        s.glob = glob;
        m.sources.push_back(s);
    }
    for_sources(m, "ratio", o.ratio, [](auto& s, auto& what, auto& v) { s.ratio = parse_number(what, v); });
    for_sources(m, "exposures", o.exposures, [](auto& s, auto& what, auto& v) { s.exposures = parse_count(what, v); });
    for_sources(m, "subsample", o.subsample, [](auto& s, auto& what, auto& v) { s.subsample = parse_number(what, v); });
    for_sources(m, "max-epochs", o.max_epochs, [](auto& s, auto& what, auto& v) {
        s.max_epochs = parse_number(what, v);
        if (!(s.max_epochs > 0)) die(Exit::Usage, "%s=%s: expected more than 0", what, v);
    });
    for_sources(m, "window", o.window, [](auto& s, auto& what, auto& v) {
        const size_t colon = v.find(':');
        if (colon == std::string::npos)
            die(Exit::Usage, "%s: expected NAME=a:b, fractions of the run, found '%s'", what, v);
        s.windows.emplace_back(parse_number(what, v.substr(0, colon)), parse_number(what, v.substr(colon + 1)));
    });
    for_sources(m, "placement", o.placement,
                [](auto& s, auto&, auto& v) { s.windows = place_windows(s.name, v, s.windows); });
    m.append = o.budget == "append";
    m.data_seed = static_cast<uint64_t>(o.data_seed);
    m.T = shape.T;
    m.batch_tokens = setup_batch(o, shape.T);
    m.tokens = o.tokens.n;
    if (o.steps.n > 0 && __builtin_mul_overflow(o.steps.n, m.batch_tokens, &m.tokens))
        die(Exit::Usage, "--steps %d: more tokens than can be counted", o.steps.n);
    m.eot_id = o.eot_id;
    m.vocab = shape.config.V;
    m.tokenizer = o.tokenizer;
    return m;
}

// A model goes on with the ids it was trained on: the tokenizer of --init or --branch is the shards', where both are
// known.
void check_start_tokenizer(const std::string& directory, const Plan& plan) {
    const std::string file = path_join(directory, "tokenizer.json");
    if (directory.empty() || plan.tokenizer_sha256.empty() || !file_exists(file)) return;
    if (sha256_file(file) != plan.tokenizer_sha256)
        die(Exit::Data,
            "tokenizers differ: %s is not the one the shards were made with (%s); tokenize the text again with it",
            file, plan.tokenizer_file);
}

Schedule setup_schedule(const TrainOptions& o, int64_t steps) {
    const int64_t warmup = o.warmup.n < 0 ? std::min<int64_t>(160, steps / 10) : o.warmup.n;
    const double final_lr = !std::isnan(o.final_lr) ? o.final_lr : o.schedule == "cosine" ? 0.1 : 0.0;
    return make_schedule(o.schedule, o.lr, steps, warmup, o.cooldown, final_lr);
}

// The same code as eval_knowledge, equal numbers.
EvaluationOptions setup_evaluation(const TrainOptions& o, const RunShape& shape, const Plan& plan) {
    EvaluationOptions e = o.evaluation;
    e.seq_len.n = shape.T;
    e.doc_mask = o.doc_mask;
    e.eot_id = plan.eot_id;
    e.seed = o.data_seed;
    e.tokenizer_sha256 = plan.tokenizer_sha256;
    e.tokenizer_file = plan.tokenizer_file;
    e.data_seed = static_cast<uint64_t>(o.data_seed);
    for (const auto& [name, rho] : o.subsample)
        for (size_t i = 0; i < plan.sources.size(); ++i)
            if (plan.sources[i].name == name && plan.sources[i].knowledge)
                e.subsampled.push_back({name, o.source[i].second, parse_number("--subsample " + name, rho)});
    return e;
}

// A resumed run keeps the micro-batch that was chosen for its memory then, not for this moment's.
int64_t setup_micro_batch(const TrainOptions& o, const RunShape& shape, const Plan& plan, const std::string& resumed,
                          const Machine& machine) {
    if (o.micro_batch.n > 0) return o.micro_batch.n;
    if (resumed.empty()) return largest_micro_batch(shape, plan.batch_tokens / shape.T, machine.available_memory());
    return integer_member(resumed + "/trainer_state.json", read_trainer_state(resumed).options_json, "micro-batch");
}

// The options that the run goes by and that config.json has: what was given, and what model, data and machine decided.
TrainOptions resolve(const TrainOptions& given, const RunShape& shape, const Plan& plan, const Schedule& schedule,
                     int64_t micro_batch) {
    TrainOptions o = given;
    o.seq_len.n = shape.T;
    o.batch_tokens.n = plan.batch_tokens;
    o.micro_batch.n = micro_batch;
    o.warmup.n = schedule.warmup;
    o.final_lr = schedule.final_fraction;
    return o;
}

// A resumed run is the run that was started, but for where it and its data lie, when checkpoints are made and kept, how
// many rows fit into memory, and what is evaluated besides. Data are compared by content: by the loader, and here.
void check_resumed_options(const TrainOptions& o, const EvaluationPlan& evaluation, const std::string& options_there,
                           const std::string& facts_there) {
    std::vector<std::string> may_differ = {"out",      "resume", "keep",          "plan",        "print-order",
                                           "manifest", "source", "checkpoint-at", "micro-batch", "tokenizer"};
    if (check_evaluation_data(facts_there, evaluation_identities(evaluation)))
        may_differ.insert(may_differ.end(), {"val", "questions"});
    std::string text;
    for (const std::string& line : options_difference(options_json(o), options_there, may_differ))
        text += "\n  " + line;
    if (!text.empty())
        die(Exit::Usage, "--resume: options differ from the checkpoint's; give the ones the run was started with:%s",
            text);
}

// A run whose options are resolved: what remains is to train it in one precision.
struct Run {
    TrainOptions o;
    RunShape shape;
    Machine& machine;
    Loader loader;
    RunDirectory directory;
    Log log;
    Schedule schedule;
    When eval_when, checkpoint_when;
    EvaluationPlan evaluation;
    std::vector<std::pair<std::string, std::string>> evaluation_data;  // what it is known by
    std::vector<StopRule> stop_rules;
    std::string resumed;     // the checkpoint that --resume found, "" for none
    std::string start_from;  // that, or --branch's
    double flops_rate;       // of the machine's matrix products, per second

    const Plan& plan() const { return loader.plan(); }
    double flops_a_token() const { return flops_per_token(shape.config, shape.T); }
};

void print_run(Run& r) {
    const GptConfig& c = r.shape.config;
    const Plan& plan = r.plan();
    const auto millions = [&](bool embeddings) { return static_cast<double>(num_parameters(c, embeddings)) / 1e6; };
    r.log.print("model: %s, %.2fM parameters (%.2fM without embeddings), L=%d C=%d NH=%d V=%d T=%d\n",
                r.o.model.empty() ? "from a directory" : r.o.model, millions(true), millions(false), c.L, c.C, c.NH,
                c.V, r.shape.T);
    r.log.print("run: %d steps of %d tokens = %d tokens\n\n", plan.steps, plan.batch_tokens, plan.tokens);
    print_plan(r.log.screen(), plan);
    const double flops = r.flops_a_token() * static_cast<double>(plan.tokens);
    r.log.print("\ncompute: %.3g FLOPs; at this machine's matmul rate of %.0f GFLOP/s no less than %.0f s\n", flops,
                r.flops_rate / 1e9, flops / r.flops_rate);
    const RunMemory memory = memory_of(r.shape, static_cast<int>(r.o.micro_batch.n));
    r.log.print(
        "memory: %s of weights, gradients and optimizer, %s of activations (micro-batch %d), %s while evaluating\n",
        byte_text(memory.parameters), byte_text(memory.activations), r.o.micro_batch.n, byte_text(memory.evaluation));
    // weights, two moments; masters where the weights are bf16
    r.log.print("disk: %s a checkpoint\n", byte_text((r.o.precision == "bf16" ? 14 : 12) * num_parameters(c)));
}

// ---------------------------------------------------------------------------------------------------------------------
// the state of a run: all that a step changes

template <class Real>
struct Trainer {
    explicit Trainer(const Run& r)
        : stream(r.machine.stream()),
          gpt(r.shape.config),
          gradients(r.shape.config),
          adam(r.shape.config, static_cast<float>(r.o.weight_decay)),
          activations(r.shape.config, static_cast<int>(r.o.micro_batch.n), r.shape.T, r.shape.keep, stream),
          batch(static_cast<size_t>(r.plan().batch_tokens), r.o.doc_mask.on),
          loss_sums(r.plan().sources.size()),
          evaluator(r.shape.config, r.evaluation),
          ledgers(r.loader.make_ledgers()),
          source_tokens(r.plan().sources.size()) {
        for (Arrival& a : arrivals) a.numbers = PinnedArray<double>(source_tokens.size() + 1);
    }
    backend::stream_t stream;
    Gpt<Real> gpt;
    Gradients<Real> gradients;
    AdamState<Real> adam;
    ActivationMemory<Real> activations;
    DeviceBatch batch;
    DeviceArray<double> loss_sums;  // of the step, per source
    // What the host reads of a step, in turns: loss sums, then the squared norm of the gradient.
    struct Arrival {
        PinnedArray<double> numbers;
        StreamMark mark;
    };
    std::array<Arrival, 2> arrivals;
    Evaluator<Real> evaluator;

    std::vector<Ledger> ledgers;
    std::vector<int64_t> source_tokens;  // targets seen, per source
    int64_t step = 0;                    // updates queued
    std::string loader_state;            // after them
    bool evaluation_owed = false;        // that of `step` was cut short by a signal
};

// ---------------------------------------------------------------------------------------------------------------------
// one step

// Queues a step; nothing is waited for. What the report says of its outcome comes with finish_step.
template <class Real>
StepReport queue_step(const Run& r, Trainer<Real>& t, const Batch& batch) {
    const NvtxRange range("step");
    const size_t sources = t.source_tokens.size(), targets = batch.targets.size(),
                 N = static_cast<size_t>(t.activations.B) * static_cast<size_t>(t.activations.T);
    t.batch.load(batch, t.stream);
    device_zero(t.loss_sums.get(), sources, t.stream);
    for (size_t at = 0; at < targets; at += N) {
        const GptInput in = t.batch.input(at);
        gpt_forward(t.gpt, t.activations, in, t.stream);
        gpt_losses(t.gpt, t.activations, &t.gradients, t.batch.targets(at),
                   static_cast<Stat<Real>>(1.0 / static_cast<double>(targets)), t.stream);
        gpt_backward(t.gpt, t.activations, t.gradients, in, t.stream);
        backend::loss_sums(t.loss_sums.get(), t.activations.a.losses, t.batch.source(at), static_cast<int>(N),
                           static_cast<int>(sources), t.stream);
    }
    gpt_gradient_norm(t.gradients, t.stream);
    const double lr = learning_rate(r.schedule, t.step);
    gpt_update(t.gpt, t.adam, t.gradients,
               {static_cast<float>(lr), static_cast<float>(r.o.beta1), static_cast<float>(r.o.beta2),
                static_cast<float>(r.o.eps), static_cast<float>(r.o.grad_clip), static_cast<int>(t.step + 1),
                static_cast<uint64_t>(r.o.seed)},
               t.stream);
    auto& arrival = t.arrivals[static_cast<size_t>(t.step % 2)];
    download(arrival.numbers.get(), t.loss_sums.get(), sources, t.stream);
    download(arrival.numbers.get() + sources, t.gradients.norm_squared.get(), 1, t.stream);
    arrival.mark.set(t.stream);

    StepReport report;
    report.step = t.step;
    report.lr = lr;
    report.source_targets.resize(sources);
    for (const uint16_t source : batch.source) ++report.source_targets[source];
    for (size_t i = 0; i < sources; ++i) t.source_tokens[i] += report.source_targets[i];
    report.source_tokens = t.source_tokens;
    for (const Exposure& e : batch.exposures) t.ledgers[e.source].book(e, t.step);
    t.loader_state = batch.state;
    ++t.step;
    return report;
}

// Waits for a queued step. Dies with Exit::Diverged; a checkpoint is never made of a step that was not waited for.
template <class Real>
void finish_step(Trainer<Real>& t, StepReport& report) {
    auto& arrival = t.arrivals[static_cast<size_t>(report.step % 2)];
    arrival.mark.wait();
    const size_t sources = report.source_targets.size();
    report.source_loss.assign(arrival.numbers.get(), arrival.numbers.get() + sources);
    report.grad_norm = std::sqrt(arrival.numbers.get()[sources]);
    int64_t targets = 0;
    for (size_t i = 0; i < sources; ++i) report.loss += report.source_loss[i], targets += report.source_targets[i];
    report.loss /= static_cast<double>(targets);
    if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm))
        die(Exit::Diverged,
            "step %d: loss %g, gradient norm %g: the run diverged; try a lower --lr or a longer --warmup. Checkpoints "
            "stay as they are",
            report.step, report.loss, report.grad_norm);
}

// ---------------------------------------------------------------------------------------------------------------------
// checkpoints

void save_ledgers(const std::vector<Ledger>& ledgers, const std::string& directory) {
    const std::string folder = path_join(directory, "exposures");
    for (const Ledger& ledger : ledgers) {
        if (ledger.empty()) continue;
        make_directories(folder);
        ledger.write(folder);
    }
}

// `stopped`: the stop rule that ended the run, "" for none.
template <class Real>
void save_checkpoint(Run& r, const Trainer<Real>& t, const std::string& stopped) {
    r.log.sync();
    const std::string directory = checkpoint_begin(r.directory.path(), t.step);
    const Temporary unfinished(directory);  // on a full disk it makes room for FAILED
    save_training_state(directory, t.gpt, t.adam, r.plan().tokenizer_file);
    write_file(path_join(directory, "loader_state.json"), t.loader_state);
    save_ledgers(t.ledgers, directory);
    JsonLine facts;
    facts.add("metrics_bytes", r.log.metrics_bytes());
    facts.add("eval_bytes", r.log.eval_bytes());
    facts.add("stopped", stopped);
    facts.add("seconds", format_text("%.3f", r.log.seconds()));
    if (t.evaluation_owed) facts.add("evaluation", "owed");
    for (const auto& [name, checksum] : r.evaluation_data) facts.add(name, checksum);
    for (size_t i = 0; i < t.source_tokens.size(); ++i)
        facts.add("tokens/" + r.plan().sources[i].name, t.source_tokens[i]);
    TrainerState state;
    state.step = t.step;
    state.tokens = t.step * r.plan().batch_tokens;
    state.options_json = options_json(r.o);
    state.metrics_json = facts.json();
    state.matmul_json = r.machine.matmul_choices();
    write_trainer_state(directory, state);
    checkpoint_finish(directory);
    save_ledgers(t.ledgers, r.directory.path());
    checkpoint_prune(r.directory.path(), static_cast<int>(r.o.keep.n));
}

// The data stream's place in a checkpoint.
std::string read_loader_state(const std::string& checkpoint) {
    checkpoint_verify_file(checkpoint, "loader_state.json");
    const std::string path = path_join(checkpoint, "loader_state.json"), state = read_file(path);
    if (state.empty()) die(Exit::Data, "%s: empty; take another checkpoint", path);
    return state;
}

// Weights, moments, ledgers and counters of the checkpoint that the run goes on from.
template <class Real>
void load_checkpoint(const Run& r, Trainer<Real>& t) {
    const std::string& directory = r.start_from;
    load_training_state(directory, t.gpt, t.adam);
    const TrainerState state = read_trainer_state(directory);
    t.step = state.step;
    if (state.tokens != r.loader.step() * r.plan().batch_tokens)
        die(Exit::Data, "%s/trainer_state.json: %d tokens, loader_state.json is after %d; take another checkpoint",
            directory, state.tokens, r.loader.step() * r.plan().batch_tokens);
    if (!r.resumed.empty() && state.step != r.loader.step())
        die(Exit::Data, "%s/trainer_state.json: step %d, loader_state.json is after step %d; take another checkpoint",
            directory, state.step, r.loader.step());
    for (Ledger& ledger : t.ledgers)
        if (!ledger.empty()) ledger.read(path_join(directory, "exposures"));
    for (size_t i = 0; i < t.source_tokens.size(); ++i)
        t.source_tokens[i] =
            integer_member(directory + "/trainer_state.json", state.metrics_json, "tokens/" + r.plan().sources[i].name);
    r.machine.load_matmul_choices(state.matmul_json);
}

// Where the run begins: a checkpoint, another model's weights, or weights of its own.
template <class Real>
void begin_training(Run& r, Trainer<Real>& t) {
    if (!r.start_from.empty()) {
        checkpoint_verify(r.start_from);
        t.loader_state = read_loader_state(r.start_from);
    }
    r.loader.start(t.loader_state, r.resumed.empty());
    if (!r.start_from.empty())
        load_checkpoint(r, t);
    else if (!r.o.init.empty())
        load_weights(r.o.init, t.gpt, &t.adam);
    else
        fill_weights(t.gpt, &t.adam, [&](float* weights) {
            initialise_parameters(r.shape.config, static_cast<uint64_t>(r.o.seed), weights);
        });
    if (t.step > r.plan().steps)
        die(Exit::Usage, "%s is of step %d, the run ends at step %d; give a longer --tokens", r.start_from, t.step,
            r.plan().steps);
}

// config.json, and the logs cut to where the run goes on. Returns the stop rule that ended the run already ("": none)
// and says whether the checkpoint's evaluation is still to be made.
template <class Real>
std::string open_directory(Run& r, Trainer<Real>& t) {
    r.directory.create();
    if (!r.directory.active()) return "";
    r.directory.mark_failures();
    const std::string where = r.resumed + "/trainer_state.json",
                      facts = r.resumed.empty() ? R"({"metrics_bytes":0,"eval_bytes":0})"
                                                : read_trainer_state(r.resumed).metrics_json;
    const GptConfig& c = r.shape.config;
    r.directory.write_config(options_json(r.o), {{"parameters", std::to_string(num_parameters(c))},
                                                 {"parameters_non_embedding", std::to_string(num_parameters(c, false))},
                                                 {"steps", std::to_string(r.plan().steps)},
                                                 {"tokens", std::to_string(r.plan().tokens)},
                                                 {"plan", plan_json(r.plan())},
                                                 {"commit", json_quote(build_commit())},
                                                 {"compiler", json_quote(build_compiler())},
                                                 {"flags", json_quote(build_flags())},
                                                 {"device", json_quote(r.machine.name())},
                                                 {"matmul", json_quote(r.machine.matmul_library())},
                                                 {"threads", std::to_string(num_threads())},
                                                 {"matmul_gflops", std::to_string(r.flops_rate / 1e9)}});
    t.evaluation_owed = text_member(where, facts, "evaluation") == "owed";
    r.log.open(r.directory, integer_member(where, facts, "metrics_bytes"), integer_member(where, facts, "eval_bytes"),
               t.step, strtod(text_member(where, facts, "seconds").c_str(), nullptr));
    r.directory.remove_results_after(r.resumed.empty() ? -1 : t.step);
    if (!r.resumed.empty()) save_ledgers(t.ledgers, r.directory.path());
    return text_member(where, facts, "stopped");
}

// ---------------------------------------------------------------------------------------------------------------------
// evaluation

// Evaluates, logs, writes the answers where wanted, and returns the stop rule that holds now ("" for none). Cut short
// by a signal it leaves nothing but the note that it is owed.
template <class Real>
std::string evaluate_and_log(Run& r, Trainer<Real>& t) {
    const NvtxRange range("evaluation");
    t.evaluation_owed = true;
    Evaluation evaluation;
    try {
        evaluation = t.evaluator.run(t.gpt, t.stream, t.ledgers);
    } catch (const Stopped&) {
        return "";
    }
    t.evaluation_owed = false;
    if (r.o.per_question.on) {
        make_directories(r.directory.file("answers"));
        write_question_lines(r.directory.answers(t.step), r.evaluation, evaluation, t.step);
    }
    std::vector<std::pair<std::string, double>> numbers;
    std::string screen = format_text("step %d: ", t.step);
    for (const Metric& m : evaluation.metrics) {
        numbers.emplace_back(m.name, m.value);
        if (m.headline) screen += format_text("  %s %.4g", m.name, m.value);
    }
    r.log.print("%s\n", screen);
    r.log.evaluation(t.step, numbers);
    return rule_that_holds(r.stop_rules, evaluation.metrics);
}

// ---------------------------------------------------------------------------------------------------------------------
// the loop

template <class Real>
int train(Run& r) {
    const Plan& plan = r.plan();
    Trainer<Real> t(r);
    for (const QuestionTask& task : r.evaluation.questions) warn_of_other_entities(*task.set, t.ledgers);
    begin_training(r, t);
    const int64_t first_step = t.step;
    std::string stopped = open_directory(r, t);  // the stop rule that ended the run
    print_run(r);
    r.log.print("\n");
    r.log.begin(plan, first_step, r.flops_a_token(), r.flops_rate);

    StepReport queued;  // not waited for yet, while `waiting`
    bool waiting = false;
    auto clock = std::chrono::steady_clock::now();
    const auto settle = [&] {
        if (!waiting) return;
        finish_step(t, queued);
        const auto now = std::chrono::steady_clock::now();
        r.log.step(queued, std::chrono::duration<double>(now - clock).count());
        clock = now;
        waiting = false;
    };
    on_signals_exit(0);  // from here on there is something to save
    for (;;) {
        // not what the checkpoint's own run did already
        const bool fresh = r.resumed.empty() || t.step > first_step || t.evaluation_owed;
        if (fresh && t.evaluator.active() && r.eval_when.due(t.step, plan.steps)) {
            settle();
            stopped = evaluate_and_log(r, t);
            clock = std::chrono::steady_clock::now();
        }
        const bool last = (t.step == plan.steps || !stopped.empty()) && !t.evaluation_owed;
        int signal_now = signal_received();  // read once: what is saved and what is said are of the same moment
        const bool save = last || signal_now || (t.step > first_step && r.checkpoint_when.due(t.step, plan.steps));
        if (save) settle();
        if (r.directory.active() && fresh && save) {
            save_checkpoint(r, t, stopped);
            clock = std::chrono::steady_clock::now();
            signal_now = signal_received();  // also one that came while this was being saved
        }
        if (last) break;
        if (signal_now) {
            r.log.clear();
            if (!r.directory.active())
                die(Exit::Runtime, "stopped by signal %d at step %d: no --out, nothing saved", signal_now, t.step);
            r.log.print("stopped by signal %d at step %d; checkpoint saved, go on with --resume\n", signal_now, t.step);
            return static_cast<int>(Exit::Requeue);
        }

        StepReport next = queue_step(r, t, r.loader.next());
        settle();  // the step before, while the device is at this one
        queued = std::move(next);
        waiting = true;
        if (!Machine::IS_GPU) settle();  // it is over: the time until now is its own
    }
    r.log.end();
    const RunAccount account = r.loader.account(t.ledgers, t.source_tokens, t.step);
    print_account(r.log.screen(), account);
    if (r.directory.active()) write_file(r.directory.file("mixture.json"), account_json(account));
    r.directory.mark_done(stopped.empty() ? "finished" : "stopped: " + stopped);
    r.log.print("%s after %d steps, %d tokens%s%s\n", stopped.empty() ? "finished" : "stopped", t.step,
                t.step * plan.batch_tokens, stopped.empty() ? "" : ": ", stopped);
    return 0;
}

// ---------------------------------------------------------------------------------------------------------------------
// main

int main(int argc, char** argv) {
    std::set_new_handler(
        [] { die(Exit::Runtime, "out of memory; try a smaller --micro-batch, --batch-tokens or --model"); });
    wait_politely(argv);
    hear_signals();
    die_of_bus_errors();
    setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // what is printed is in the log file, whatever comes

    // options
    TrainOptions given;
    option_table(given).parse(argc, argv);
    check_options(given);
    on_signals_exit(static_cast<int>(given.out.empty() || only_looks(given) ? Exit::Runtime : Exit::Requeue));
    When eval_when("--eval-at", given.eval_at), checkpoint_when("--checkpoint-at", given.checkpoint_at);
    const std::vector<StopRule> stop_rules = parse_stop_rules(given.stop_at);

    // where the run lies, and what is there already
    Log log;
    RunDirectory directory;
    if (!given.out.empty() && !only_looks(given)) directory = RunDirectory(given.out, given.resume);
    const std::string resumed = given.resume ? checkpoint_latest(given.out) : "",
                      start_from = resumed.empty() ? given.branch : resumed;

    // shape -> data -> plan
    RunShape shape = setup_shape(given, resumed);
    if (!resumed.empty()) check_resumed_shape(shape.config, resumed);
    const MixtureOptions mixture = setup_mixture(given, shape);
    Loader loader(mixture, {given.doc_mask.on});
    const Plan& plan = loader.plan();
    if (shape.config.V == 0) shape.config.V = static_cast<int>(plan.vocab);
    shape.config.eot_id = static_cast<int>(plan.eot_id);
    validate_config(shape.config);
    check_start_tokenizer(!given.init.empty() ? given.init : given.branch, plan);
    const Schedule schedule = setup_schedule(given, plan.steps);
    for (When* when : {&eval_when, &checkpoint_when}) {
        for (const SourceOptions& source : mixture.sources) when->add_windows(source.windows, plan.steps);
        when->check(plan.steps);
    }

    if (given.print_order.n >= 0) {
        const std::string nearest = given.out.empty() ? "" : checkpoint_latest(given.out, given.print_order.n);
        loader.print_order(given.print_order.n,
                           nearest.empty() ? "" : read_file(path_join(nearest, "loader_state.json")), log.screen());
        return 0;
    }
    for (const std::string& warning : overlap_warnings(given.evaluation.validation, given.source)) log.warn(warning);
    for (const std::string& warning : plan.warnings) log.warn(warning);
    if (!given.manifest.empty()) {
        print_account(log.screen(), loader.write_manifest(given.manifest));
        return 0;
    }

    // the machine, and what it decides
    Machine machine;
    machine.check_model(shape.config.C, shape.config.F, shape.config.HS);
    if (given.resume && resumed.empty() && !directory.done())
        log.print("%s: no complete checkpoint; starting anew\n", given.out);
    if (!resumed.empty() && !directory.done()) log.print("resuming from %s\n", resumed);
    const int64_t micro_batch = setup_micro_batch(given, shape, plan, resumed, machine);
    const TrainOptions o = resolve(given, shape, plan, schedule, micro_batch);
    EvaluationPlan evaluation = plan_evaluation(setup_evaluation(o, shape, plan), shape.config.V, shape.config.max_T);
    const auto evaluation_data = evaluation_identities(evaluation);
    check_stop_rules(stop_rules, evaluation);
    if (!resumed.empty() && !o.plan) {
        const TrainerState state = read_trainer_state(resumed);
        check_resumed_options(o, evaluation, state.options_json, state.metrics_json);
    }
    if (directory.done()) {  // of this very run?
        if (!resumed.empty())
            loader.check_state(read_loader_state(resumed));
        else
            check_resumed_options(o, evaluation, directory.options(), "{}");
        log.print("%s: already DONE; nothing to do\n", given.out);
        return 0;
    }

    const double flops_rate = machine.flops_rate(o.precision == "bf16");
    Run r{o,        shape,      machine,         std::move(loader),     directory,       std::move(log),
          schedule, eval_when,  checkpoint_when, std::move(evaluation), evaluation_data, stop_rules,
          resumed,  start_from, flops_rate};
    if (o.plan) {
        print_run(r);
        return 0;
    }
    return with_precision(o.precision, [&](auto real) { return train<decltype(real)>(r); });
}
