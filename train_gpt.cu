// train_gpt.cu - trains a GPT on an exact mixture of sources and keeps account of what it saw.
//
// One program, read top to bottom: options, setup, evaluation and checkpoints, then main with the step loop. nvcc
// compiles this file against the CUDA kernels, g++ compiles the same file against the CPU backend (train_gpt_cpu);
// kernels/backend.h decides.
//
// A step takes one batch from the loader (rows of T tokens in an order that is a pure function of seed, manifest and
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
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "dataloader/account.h"    // defines: RunAccount, print_account, account_json
#include "dataloader/loader.h"     // defines: MixtureOptions, Plan, Loader, Batch, read_validation
#include "dataloader/placement.h"  // defines: place_windows
#include "eval/evaluator.cuh"      // defines: Evaluator (the same code as eval_knowledge's)
#include "eval/results.h"          // defines: write_question_lines
#include "eval/stop_rule.h"        // defines: StopRule, parse_stop_rules, check_stop_rules, rule_that_holds
#include "model/checkpoint.h"      // defines: read_model_config, checkpoint_begin/finish/latest/prune
#include "model/gpt.cuh"    // defines: Gpt, Gradients, AdamState, gpt_forward/losses/backward/update
#include "model/init.h"     // defines: initialise_parameters
#include "model/state.cuh"  // defines: load_weights, load_training_state, save_training_state
#include "train/device_batch.cuh"  // defines: DeviceBatch
#include "train/metrics_log.h"     // defines: MetricsLine, MetricsFile
#include "train/run_directory.h"   // defines: RunDirectory
#include "train/schedule.h"        // defines: Schedule, learning_rate
#include "train/tensorboard.h"     // defines: TensorBoard
#include "train/when.h"            // defines: When
#include "util/build_info.h"       // defines: build_commit, build_compiler, build_flags
#include "util/check.h"            // defines: die, Exit
#include "util/files.h"            // defines: path_join, make_directories
#include "util/options.h"          // defines: OptionTable and the kinds of option
#include "util/progress.h"         // defines: Progress
#include "util/system.h"           // defines: wait_politely, num_threads

using backend::Machine;

// ---------------------------------------------------------------------------------------------------------------------------------
// options: the field with its default here, its flag and its line of --help in the table below

struct TrainOptions {
    std::string model, init, branch, tokenizer, out, manifest;
    int64_t eot_id = -1, seed = 1, data_seed = 1;
    Switch resume = false, plan = false;
    NamedList source, ratio, exposures, window, placement, subsample, max_epochs, val;
    std::string budget = "replace", eval_at = "log", checkpoint_at = "end", schedule = "wsd",
                precision = Machine::HAS_BF16 ? "bf16" : "fp32";
    Count val_tokens{Machine::IS_GPU ? 1000000 : 100000}, tokens, steps, seq_len, micro_batch, batch_tokens, warmup,
        keep{2}, print_order;
    TextList questions, stop_at;
    CountOrAll questions_per_set{10000};
    OnOff doc_mask, recompute, per_question;
    double lr = 1e-3, cooldown = 0.1, final_lr = NAN, weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8,
           grad_clip = 1.0;
    int64_t zero = 0;
};

OptionTable option_table(TrainOptions& o) {
    // clang-format off
    return OptionTable(std::string("train_gpt") + Machine::SUFFIX, std::string("Trains a GPT on an exact mixture of token shards. ") + Machine::BUILD + ".", {
        {"model", "model", &o.model, "NAME|FAMILY:Lx:Cy:Hz", "a preset (gpt2-124m, pythia-70m, ...) or a size: gpt2:L4:C128:H4"},
        {"model", "init", &o.init, "DIR", "start from the weights of a Hugging Face directory"},
        {"model", "branch", &o.branch, "DIR", "go on from a checkpoint (weights, optimizer, data position) with a new horizon"},
        {"model", "tokenizer", &o.tokenizer, "DIR|FILE", "tokenizer.json, for shards without a sidecar"},
        {"model", "eot-id", &o.eot_id, "N", "end-of-text id, for shards without a sidecar"},
        {"model", "seed", &o.seed, "S", "initial weights"},
        {"run", "out", &o.out, "DIR", "run directory; none: trains and prints, saves nothing"},
        {"run", "resume", &o.resume, "", "go on with the run in --out"},
        {"data", "source", &o.source, "NAME=GLOB", "token shards (.bin, .ds) of one source, in name order; repeat for more"},
        {"data", "ratio", &o.ratio, "NAME=R", "share of the run's tokens, 0 < R < 1"},
        {"data", "exposures", &o.exposures, "NAME=F", "every entity of a knowledge source exactly F times"},
        {"data", "budget", &o.budget, "replace|append", "exposures within --tokens, or on top of them"},
        {"data", "window", &o.window, "NAME=a:b", "the source appears only there, fractions of the run"},
        {"data", "placement", &o.placement, "NAME=WHERE", "within its windows: uniform, front:F, back:F, burst:C:F, periodic:N:F"},
        {"data", "subsample", &o.subsample, "NAME=rho", "keep a seeded fraction of the entities or documents"},
        {"data", "max-epochs", &o.max_epochs, "NAME=E", "refuse a plan that repeats a source more often"},
        {"data", "data-seed", &o.data_seed, "S", "order and renderings"},
        {"evaluation", "val", &o.val, "NAME=GLOB", "validation shards; repeat for more"},
        {"evaluation", "val-tokens", &o.val_tokens, "N", "the first N tokens of each"},
        {"evaluation", "questions", &o.questions, "PATH", "question set (PREFIX.questions.json); repeat for more"},
        {"evaluation", "questions-per-set", &o.questions_per_set, "N|all", "seeded, stratified choice"},
        {"evaluation", "eval-at", &o.eval_at, "WHEN,...", "log (steps 0, 1, 2, 4, ... and the end), windows (where one opens, closes, and 1, 2, 4, ... steps after it closed), every:N, at:N, end"},
        {"evaluation", "per-question", &o.per_question, "on|off", "a line a question at every evaluation, in answers/"},
        {"evaluation", "stop-at", &o.stop_at, "'METRIC>=X'", "stop with a checkpoint at the first evaluation where it holds (also <=)"},
        {"length and batch", "tokens", &o.tokens, "N", "length of the run, rounded down to whole steps"},
        {"length and batch", "steps", &o.steps, "N", "the same in steps"},
        {"length and batch", "seq-len", &o.seq_len, "T", "tokens a row; default the preset's context, at most 2048"},
        {"length and batch", "micro-batch", &o.micro_batch, "B", "rows at a time; default the largest that fits"},
        {"length and batch", "batch-tokens", &o.batch_tokens, "N", Machine::IS_GPU ? "tokens a step; default 1048576, in whole rows" : "tokens a step; default 16 rows"},
        {"length and batch", "doc-mask", &o.doc_mask, "on|off", "attention and positions restart at each document"},
        {"optimizer", "lr", &o.lr, "X", "peak learning rate"},
        {"optimizer", "schedule", &o.schedule, "wsd|cosine|linear|constant", "after the warm-up"},
        {"optimizer", "warmup", &o.warmup, "STEPS", "linear; default min(160, 10 % of the steps)"},
        {"optimizer", "cooldown", &o.cooldown, "FRACTION", "of the run, the last part of wsd"},
        {"optimizer", "final-lr", &o.final_lr, "FRACTION", "of the peak; default 0, cosine 0.1"},
        {"optimizer", "weight-decay", &o.weight_decay, "X", "on matrices and embeddings"},
        {"optimizer", "beta1", &o.beta1, "X", "AdamW"},
        {"optimizer", "beta2", &o.beta2, "X", "AdamW"},
        {"optimizer", "eps", &o.eps, "X", "AdamW"},
        {"optimizer", "grad-clip", &o.grad_clip, "X", "largest L2 norm of the gradient"},
        {"checkpoints", "checkpoint-at", &o.checkpoint_at, "WHEN,...", "as --eval-at"},
        {"checkpoints", "keep", &o.keep, "K", "newest checkpoints to keep; 0: all"},
        {"device", "precision", &o.precision, "bf16|fp32", "of weights and activations; bf16 needs a GPU"},
        {"device", "recompute", &o.recompute, "on|off", "keep only the layers' outputs and compute the rest again: less memory, a third more work"},
        {"device", "zero", &o.zero, "0|1", "multi-process builds only"},
        {"look", "plan", &o.plan, "", "print what the run would take and cost, and leave"},
        {"look", "print-order", &o.print_order, "STEP", "print the pieces of a step, and leave"},
        {"look", "manifest", &o.manifest, "DIR", "write what the whole run places where, and leave"},
    });
    // clang-format on
}

// Nothing is trained.
bool only_looks(const TrainOptions& o) { return o.plan || o.print_order.n >= 0 || !o.manifest.empty(); }

void check_options(const TrainOptions& o) {
    if (o.precision == "bf16" && !Machine::HAS_BF16)
        die(Exit::Usage, "--precision bf16: not in this build (CPU); give --precision fp32");
    for (const char* name : {"WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}) {
        const char* ranks = getenv(name);
        if (ranks && atoll(ranks) > 1)
            die(Exit::Usage, "%s=%s: several processes: not in this build; start one", name, ranks);
    }
    if (o.zero != 0) die(Exit::Usage, "--zero %lld: not in this build (one process)", static_cast<long long>(o.zero));
    const int starts = !o.model.empty() + !o.init.empty() + !o.branch.empty();
    if (starts != 1)
        die(Exit::Usage, "give one of --model, --init and --branch (found %d of them)%s", starts,
            o.resume ? "; to resume, repeat the command that started the run and add --resume" : "");
    if (o.source.empty()) die(Exit::Usage, "no data: give --source NAME=GLOB, such as --source web=data/web.bin");
    if ((o.tokens.n >= 0) == (o.steps.n >= 0))
        die(Exit::Usage, "give the length of the run by one of --tokens and --steps");
    if (o.tokens.n == 0 || o.steps.n == 0) die(Exit::Usage, "a run of no tokens: give --tokens or --steps above 0");
    if (o.budget == "append" && o.exposures.empty())
        die(Exit::Usage, "--budget append: of what? give --exposures NAME=F");
    if (o.resume && o.out.empty()) die(Exit::Usage, "--resume: which run? give its directory with --out");
    if (!(o.lr > 0)) die(Exit::Usage, "--lr %g: expected a number above 0", o.lr);
    if (!(o.cooldown >= 0 && o.cooldown <= 1))
        die(Exit::Usage, "--cooldown %g: expected a fraction from 0 to 1", o.cooldown);
    if (!(o.beta1 >= 0 && o.beta1 < 1)) die(Exit::Usage, "--beta1 %g: expected 0 <= beta1 < 1", o.beta1);
    if (!(o.beta2 >= 0 && o.beta2 < 1)) die(Exit::Usage, "--beta2 %g: expected 0 <= beta2 < 1", o.beta2);
    if (!(o.eps > 0)) die(Exit::Usage, "--eps %g: expected a number above 0", o.eps);
    if (!(o.grad_clip > 0)) die(Exit::Usage, "--grad-clip %g: expected a number above 0", o.grad_clip);
    if (!(o.weight_decay >= 0)) die(Exit::Usage, "--weight-decay %g: expected 0 or more", o.weight_decay);
    if (!std::isnan(o.final_lr) && !(o.final_lr >= 0 && o.final_lr <= 1))
        die(Exit::Usage, "--final-lr %g: expected a fraction from 0 to 1", o.final_lr);
    for (const std::string& when : {o.eval_at, o.checkpoint_at})
        if (("," + when + ",").find(",windows,") != std::string::npos && o.window.empty() && o.placement.empty())
            die(Exit::Usage, "--eval-at and --checkpoint-at %s: no source has a --window or --placement", when.c_str());
    if (o.per_question.on && (o.questions.empty() || (o.out.empty() && !only_looks(o))))
        die(Exit::Usage, "--per-question on needs --questions and --out");
    if (!o.stop_at.empty() && o.val.empty() && o.questions.empty())
        die(Exit::Usage, "--stop-at needs an evaluation: give --val or --questions");
}

// ---------------------------------------------------------------------------------------------------------------------------------
// setup: one function for each thing the loop needs

// The model's shape; fills in --seq-len, which it depends on and which depends on it. A resumed run has its own
// checkpoint to read it from: the directory that it once started from may be gone.
GptConfig setup_config(TrainOptions& o, const std::string& resumed) {
    const std::string start = !o.init.empty() ? o.init : o.branch,
                      from = start.empty() || resumed.empty() ? start : resumed;
    GptConfig c = from.empty() ? config_from_name(o.model) : read_model_config(from);
    if (o.seq_len.n < 0) o.seq_len.n = std::min(2048, c.max_T);
    if (o.seq_len.n < 2) die(Exit::Usage, "--seq-len %lld: expected at least 2", static_cast<long long>(o.seq_len.n));
    const bool own_size = from.empty() && o.model.find(':') != std::string::npos;
    if (own_size && o.seq_len.n <= 1 << 20)  // a size of one's own takes the context that it is trained with
        c.max_T =
            static_cast<int>(c.positions == Positions::Learned ? o.seq_len.n : std::max<int64_t>(c.max_T, o.seq_len.n));
    if (o.seq_len.n > c.max_T)
        die(Exit::Usage, "--seq-len %lld: this model takes rows of at most %d tokens",
            static_cast<long long>(o.seq_len.n), c.max_T);
    return c;
}

// "NAME=VALUE" rows of one option, applied to the source they name.
template <class Apply>
void for_sources(MixtureOptions& m, const char* flag, const NamedList& list, Apply apply) {
    std::vector<std::string> seen;
    for (const auto& item : list) {
        const std::string &name = item.first, &value = item.second;
        auto source =
            std::find_if(m.sources.begin(), m.sources.end(), [&](const SourceOptions& s) { return s.name == name; });
        if (source == m.sources.end())
            die(Exit::Usage, "--%s %s=%s: there is no --source %s", flag, name.c_str(), value.c_str(), name.c_str());
        if (std::find(seen.begin(), seen.end(), name) != seen.end() && strcmp(flag, "window") != 0)
            die(Exit::Usage, "--%s: given twice for %s", flag, name.c_str());
        seen.push_back(name);
        apply(*source, format_text("--%s %s", flag, name.c_str()), value);
    }
}

MixtureOptions setup_mixture(const TrainOptions& o, const GptConfig& config) {
    MixtureOptions m;
    for (const auto& [name, glob] : o.source) {
        SourceOptions s;
        s.name = name;
        s.glob = glob;
        m.sources.push_back(s);
    }
    for_sources(m, "ratio", o.ratio, [](SourceOptions& s, const std::string& what, const std::string& v) {
        s.ratio = parse_number(what, v);
    });
    for_sources(m, "exposures", o.exposures, [](SourceOptions& s, const std::string& what, const std::string& v) {
        s.exposures = parse_count(what, v);
    });
    for_sources(m, "subsample", o.subsample, [](SourceOptions& s, const std::string& what, const std::string& v) {
        s.subsample = parse_number(what, v);
    });
    for_sources(m, "max-epochs", o.max_epochs, [](SourceOptions& s, const std::string& what, const std::string& v) {
        s.max_epochs = parse_number(what, v);
        if (!(s.max_epochs > 0)) die(Exit::Usage, "%s=%s: expected more than 0", what.c_str(), v.c_str());
    });
    for_sources(m, "window", o.window, [](SourceOptions& s, const std::string& what, const std::string& v) {
        const size_t colon = v.find(':');
        if (colon == std::string::npos)
            die(Exit::Usage, "%s: expected NAME=a:b, fractions of the run, found '%s'", what.c_str(), v.c_str());
        s.windows.emplace_back(parse_number(what, v.substr(0, colon)), parse_number(what, v.substr(colon + 1)));
    });
    for_sources(m, "placement", o.placement, [](SourceOptions& s, const std::string&, const std::string& v) {
        s.windows = place_windows(s.name, v, s.windows);
    });
    m.append = o.budget == "append";
    m.data_seed = static_cast<uint64_t>(o.data_seed);
    m.T = static_cast<int>(o.seq_len.n);
    m.batch_tokens = o.batch_tokens.n;
    m.tokens = o.tokens.n;
    if (o.steps.n > 0 && __builtin_mul_overflow(o.steps.n, o.batch_tokens.n, &m.tokens))
        die(Exit::Usage, "--steps %lld: more tokens than can be counted", static_cast<long long>(o.steps.n));
    m.eot_id = o.eot_id;
    m.vocab = config.V;
    m.tokenizer = o.tokenizer;
    return m;
}

// --batch-tokens: a whole number of rows; with --micro-batch, of micro-batches.
void setup_batch(TrainOptions& o) {
    const int64_t T = o.seq_len.n;
    if (o.micro_batch.n == 0 || o.micro_batch.n > INT32_MAX / T)
        die(Exit::Usage, "--micro-batch %lld: expected 1 to %lld rows", static_cast<long long>(o.micro_batch.n),
            static_cast<long long>(INT32_MAX / T));
    if (o.batch_tokens.n < 0) o.batch_tokens.n = Machine::IS_GPU ? std::max<int64_t>((1 << 20) / T, 1) * T : 16 * T;
    const int64_t unit = T * std::max<int64_t>(o.micro_batch.n, 1);
    if (o.batch_tokens.n < unit || o.batch_tokens.n % unit != 0) {
        const int64_t below = std::max(o.batch_tokens.n / unit * unit, unit);
        die(Exit::Usage,
            "--batch-tokens %lld: expected a multiple of %lld (--seq-len %lld x --micro-batch %lld); the nearest are "
            "%lld and %lld",
            static_cast<long long>(o.batch_tokens.n), static_cast<long long>(unit), static_cast<long long>(T),
            static_cast<long long>(unit / T), static_cast<long long>(below), static_cast<long long>(below + unit));
    }
}

// "1.85 GiB", "320 KiB"
std::string byte_text(size_t bytes) {
    const double b = static_cast<double>(bytes);
    return b >= 1 << 30   ? format_text("%.2f GiB", b / (1 << 30))
           : b >= 1 << 20 ? format_text("%.1f MiB", b / (1 << 20))
                          : format_text("%.0f KiB", b / 1024);
}

// Bytes that a run takes on the device.
struct RunMemory {
    size_t parameters, activations, evaluation;  // weights, gradients, optimizer; of one micro-batch; while evaluating
};

template <class Real>
RunMemory memory_of(const GptConfig& c, int micro_batch, const TrainOptions& o) {
    const int T = static_cast<int>(o.seq_len.n);
    const Keep keep = o.recompute.on ? Keep::Inputs : Keep::All;
    const bool evaluates = !o.val.empty() || !o.questions.empty();
    // on a GPU also the gradient of the largest matrix once more, while its product's algorithms are measured
    const size_t largest = static_cast<size_t>(std::max({c.Vp(), c.qkv_width(), c.F})) * static_cast<size_t>(c.C);
    return {parameter_elements(c) * sizeof(Real) + Gradients<Real>::bytes(c) + AdamState<Real>::bytes(c) +
                (Machine::IS_GPU ? largest * sizeof(float) : 0),
            ActivationMemory<Real>::bytes(c, micro_batch, T, keep),
            evaluates ? ActivationMemory<Real>::bytes(c, std::max(1, EVAL_POSITIONS / T), T, Keep::Nothing) : 0};
}
RunMemory memory_of(const GptConfig& c, int micro_batch, const TrainOptions& o) {
#ifndef KNAPSACK_CPU
    if (o.precision == "bf16") return memory_of<bf16>(c, micro_batch, o);
#endif
    return memory_of<float>(c, micro_batch, o);
}

// The largest divisor of the step's rows whose activations fit into what the parameters leave free: half of it on a
// host (the other half is the page cache's, where the shards live), nine tenths on a GPU. The bound is refused, not
// swapped.
int largest_micro_batch(const GptConfig& c, const TrainOptions& o, size_t available) {
    const RunMemory one = memory_of(c, 1, o);
    const size_t taken = one.parameters + one.evaluation, left = available > taken ? available - taken : 0;
    const size_t room = Machine::IS_GPU ? left / 10 * 9 : left / 2;
    const int64_t rows = o.batch_tokens.n / o.seq_len.n;
    int best = 0;
    for (int64_t b = 1; b <= rows; ++b)
        if (rows % b == 0 && b * o.seq_len.n <= 1 << 20 && memory_of(c, static_cast<int>(b), o).activations <= room)
            best = static_cast<int>(b);
    if (best == 0)
        die(Exit::Runtime,
            "out of memory: the model takes %s, an evaluation %s and a micro-batch of one row %s, %s are free; try "
            "--recompute on, a smaller --model or --seq-len",
            byte_text(one.parameters).c_str(), byte_text(one.evaluation).c_str(), byte_text(one.activations).c_str(),
            byte_text(available).c_str());
    return best;
}

// A model goes on with the ids it was trained on: the tokenizer of --init or --branch is the shards', where both are known.
void check_start_tokenizer(const std::string& directory, const Plan& plan) {
    const std::string file = path_join(directory, "tokenizer.json");
    if (directory.empty() || plan.tokenizer_sha256.empty() || !file_exists(file)) return;
    if (sha256_file(file) != plan.tokenizer_sha256)
        die(Exit::Data,
            "tokenizers differ: %s is not the one the shards were made with (%s); tokenize the text again with it",
            file.c_str(), plan.tokenizer_file.c_str());
}

// Validation text that is also trained on measures memory: allowed, and said.
void warn_of_overlap(const TrainOptions& o) {
    for (const auto& [val, val_glob] : o.val)
        for (const auto& [source, source_glob] : o.source)
            for (const std::string& path : glob_files(val_glob)) {
                const std::vector<std::string> trained = glob_files(source_glob);
                if (std::find(trained.begin(), trained.end(), path) != trained.end())
                    fprintf(stderr,
                            "warning: --val %s and --source %s share %s: that loss is not one of held-out text\n",
                            val.c_str(), source.c_str(), path.c_str());
            }
}

Schedule setup_schedule(TrainOptions& o, int64_t steps) {
    if (o.warmup.n < 0) o.warmup.n = std::min<int64_t>(160, steps / 10);
    if (std::isnan(o.final_lr)) o.final_lr = o.schedule == "cosine" ? 0.1 : 0.0;
    return make_schedule(o.schedule, o.lr, steps, o.warmup.n, o.cooldown, o.final_lr);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// --plan

// The plan as a JSON object, for config.json.
std::string plan_json(const Plan& plan) {
    std::string text;
    for (const SourcePlan& s : plan.sources) {
        MetricsLine line;
        line.add("documents", s.knowledge ? s.entities : s.documents);
        line.add("source_tokens", s.source_tokens);
        line.add("tokens", s.tokens);
        line.add("share", s.share);
        line.add("epochs", s.epochs);
        if (s.knowledge) line.add("exposures", s.exposures);
        text += (text.empty() ? "" : ", ") + json_quote(s.name) + ": " + line.json();
    }
    return "{" + text + "}";
}

void print_plan(const TrainOptions& o, const GptConfig& c, const Plan& plan, double rate) {
    printf("model: %s, %.2fM parameters (%.2fM without embeddings), L=%d C=%d NH=%d V=%d T=%lld\n",
           o.model.empty() ? "from a directory" : o.model.c_str(), static_cast<double>(num_parameters(c)) / 1e6,
           static_cast<double>(num_parameters(c, false)) / 1e6, c.L, c.C, c.NH, c.V,
           static_cast<long long>(o.seq_len.n));
    printf("run: %lld steps of %lld tokens = %lld tokens\n\n", static_cast<long long>(plan.steps),
           static_cast<long long>(o.batch_tokens.n), static_cast<long long>(plan.tokens));
    printf("%-14s %10s %14s %9s %12s %9s %10s\n", "source", "documents", "tokens", "share", "pieces", "epochs",
           "exposures");
    for (const SourcePlan& s : plan.sources) {
        printf("%-14s %10lld %14.0f %8.4f%% %12.0f %9.3f ", s.name.c_str(),
               static_cast<long long>(s.knowledge ? s.entities : s.documents), s.tokens, 100 * s.share, s.pieces,
               s.epochs);
        if (s.knowledge && s.min_exposures < s.max_exposures)
            printf("%10.2f (%.2f to %.2f by group)\n", s.exposures, s.min_exposures, s.max_exposures);
        else if (s.knowledge)
            printf("%10.2f\n", s.exposures);
        else
            printf("%10s\n", "-");
    }
    const double flops = flops_per_token(c, static_cast<int>(o.seq_len.n)) * static_cast<double>(plan.tokens);
    printf("\ncompute: %.3g FLOPs; at this machine's matmul rate of %.0f GFLOP/s no less than %.0f s\n", flops,
           rate / 1e9, flops / rate);
    const RunMemory memory = memory_of(c, static_cast<int>(o.micro_batch.n), o);
    printf(
        "memory: %s of weights, gradients and optimizer, %s of activations (micro-batch %lld), %s while evaluating\n",
        byte_text(memory.parameters).c_str(), byte_text(memory.activations).c_str(),
        static_cast<long long>(o.micro_batch.n), byte_text(memory.evaluation).c_str());
    // weights, two moments; masters where the weights are bf16
    printf("disk: %s a checkpoint\n", byte_text((o.precision == "bf16" ? 14 : 12) * num_parameters(c)).c_str());
}

// ---------------------------------------------------------------------------------------------------------------------------------
// the state of a run: all that a step changes

template <class Real>
struct Trainer {
    Trainer(const GptConfig& c, const TrainOptions& o, const Plan& plan, backend::stream_t stream)
        : stream(stream),
          gpt(c),
          gradients(c),
          adam(c, static_cast<float>(o.weight_decay)),
          activations(c, static_cast<int>(o.micro_batch.n), static_cast<int>(o.seq_len.n),
                      o.recompute.on ? Keep::Inputs : Keep::All, stream),
          batch(static_cast<size_t>(o.batch_tokens.n), o.doc_mask.on),
          loss_sums(plan.sources.size()),
          source_tokens(plan.sources.size()) {
        for (Arrival& a : arrivals) a.numbers = PinnedArray<double>(plan.sources.size() + 1);
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

    std::vector<Ledger> ledgers;
    std::vector<int64_t> source_tokens;  // targets seen, per source
    int64_t step = 0;                    // updates queued
    std::string loader_state;            // after them
};

// A step that the device works on: what the host knows of it already.
struct QueuedStep {
    int64_t step;  // from 0
    double lr;
    std::vector<int64_t> source_targets;  // of this step
    std::vector<int64_t> source_tokens;   // of all steps to this one
};

// What came of it.
struct StepReport {
    double loss = 0, grad_norm = 0;
    std::vector<double> source_loss;  // sums of nats
};

// The log files of a run; without --out nothing but the screen.
struct Log {
    bool on = false;
    MetricsFile metrics, eval;
    TensorBoard board;
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
};

volatile sig_atomic_t signal_received = 0;
void on_signal(int number) {
    if (signal_received && number == SIGINT) _exit(1);  // the second Ctrl-C leaves at once
    signal_received = number;
}

// ---------------------------------------------------------------------------------------------------------------------------------
// checkpoints

void save_ledgers(const std::vector<Ledger>& ledgers, const std::string& directory) {
    const std::string folder = path_join(directory, "exposures");
    for (const Ledger& ledger : ledgers) {
        if (ledger.empty()) continue;
        make_directories(folder);
        ledger.write(folder);
    }
}

template <class Real>
void save_checkpoint(const Trainer<Real>& t, const Machine& machine, const RunDirectory& run, const OptionTable& table,
                     const TrainOptions& o, const Plan& plan, Log& log, const std::string& stopped) {
    log.metrics.sync();
    log.eval.sync();
    const std::string directory = checkpoint_begin(run.path(), t.step);
    save_training_state(directory, t.gpt, t.adam, plan.tokenizer_file);
    write_file(path_join(directory, "loader_state.json"), t.loader_state);
    save_ledgers(t.ledgers, directory);
    TrainerState state;
    state.step = t.step;
    state.tokens = t.step * o.batch_tokens.n;
    state.options_json = table.json();
    MetricsLine facts;
    facts.add("metrics_bytes", log.metrics.size());
    facts.add("eval_bytes", log.eval.size());
    facts.add("stopped", stopped);
    for (size_t i = 0; i < t.source_tokens.size(); ++i) facts.add("tokens/" + plan.sources[i].name, t.source_tokens[i]);
    state.metrics_json = facts.json();
    state.matmul_json = machine.matmul_choices();
    write_trainer_state(directory, state);
    checkpoint_finish(directory);
    save_ledgers(t.ledgers, run.path());
    checkpoint_prune(run.path(), static_cast<int>(o.keep.n));
}

// Weights, moments, ledgers and counters of a checkpoint directory.
template <class Real>
void load_checkpoint(Trainer<Real>& t, const std::string& directory, const Plan& plan) {
    checkpoint_verify(directory);
    load_training_state(directory, t.gpt, t.adam);
    const TrainerState state = read_trainer_state(directory);
    t.step = state.step;
    for (Ledger& ledger : t.ledgers)
        if (!ledger.empty()) ledger.read(path_join(directory, "exposures"));
    for (size_t i = 0; i < t.source_tokens.size(); ++i)
        t.source_tokens[i] =
            integer_fact(directory + "/trainer_state.json", state.metrics_json, "tokens/" + plan.sources[i].name);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// one step

// Queues a step; nothing is waited for.
template <class Real>
QueuedStep queue_step(Trainer<Real>& t, const Batch& batch, const TrainOptions& o, double lr) {
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
    gpt_update(
        t.gpt, t.adam, t.gradients,
        {static_cast<float>(lr), static_cast<float>(o.beta1), static_cast<float>(o.beta2), static_cast<float>(o.eps),
         static_cast<float>(o.grad_clip), static_cast<int>(t.step + 1), static_cast<uint64_t>(o.seed)},
        t.stream);
    auto& arrival = t.arrivals[static_cast<size_t>(t.step % 2)];
    download(arrival.numbers.get(), t.loss_sums.get(), sources, t.stream);
    download(arrival.numbers.get() + sources, t.gradients.norm_squared.get(), 1, t.stream);
    arrival.mark.set(t.stream);

    QueuedStep queued{t.step, lr, std::vector<int64_t>(sources), {}};
    for (const uint16_t source : batch.source) ++queued.source_targets[source];
    for (size_t i = 0; i < sources; ++i) t.source_tokens[i] += queued.source_targets[i];
    queued.source_tokens = t.source_tokens;
    for (const Exposure& e : batch.exposures) t.ledgers[e.source].book(e, t.step);
    t.loader_state = batch.state;
    ++t.step;
    return queued;
}

// Waits for a queued step. Dies with Exit::Diverged; a checkpoint is never made of a step that was not waited for.
template <class Real>
StepReport finish_step(Trainer<Real>& t, const QueuedStep& queued) {
    auto& arrival = t.arrivals[static_cast<size_t>(queued.step % 2)];
    arrival.mark.wait();
    const size_t sources = queued.source_targets.size();
    StepReport report;
    report.source_loss.assign(arrival.numbers.get(), arrival.numbers.get() + sources);
    report.grad_norm = std::sqrt(arrival.numbers.get()[sources]);
    int64_t targets = 0;
    for (size_t i = 0; i < sources; ++i) report.loss += report.source_loss[i], targets += queued.source_targets[i];
    report.loss /= static_cast<double>(targets);
    if (!std::isfinite(report.loss) || !std::isfinite(report.grad_norm))
        die(Exit::Diverged,
            "step %lld: loss %g, gradient norm %g: the run diverged; try a lower --lr or a longer --warmup. "
            "Checkpoints stay as they are",
            static_cast<long long>(queued.step), report.loss, report.grad_norm);
    return report;
}

void log_step(Log& log, const QueuedStep& queued, const StepReport& r, const GptConfig& c, const TrainOptions& o,
              const Plan& plan, double step_seconds, double flops_rate) {
    if (!log.on) return;
    const int64_t tokens = (queued.step + 1) * o.batch_tokens.n;
    const double tokens_per_s = static_cast<double>(o.batch_tokens.n) / step_seconds;
    MetricsLine line;
    line.add("step", queued.step);
    line.add("tokens", tokens);
    line.add("time", log.seconds());
    line.add("train/loss", r.loss);
    for (size_t i = 0; i < plan.sources.size(); ++i) {
        const SourcePlan& s = plan.sources[i];
        const double seen = static_cast<double>(queued.source_tokens[i]);
        if (queued.source_targets[i] > 0)
            line.add("train/loss/" + s.name, r.source_loss[i] / static_cast<double>(queued.source_targets[i]));
        line.add("data/" + s.name + "/tokens", queued.source_tokens[i]);
        line.add("data/" + s.name + "/epochs", seen / static_cast<double>(s.source_tokens));
        line.add("data/" + s.name + "/ratio", seen / static_cast<double>(tokens));
    }
    line.add("optim/lr", queued.lr);
    line.add("optim/grad_norm", r.grad_norm);
    line.add("perf/tokens_per_s", tokens_per_s);
    line.add("perf/mfu", tokens_per_s * flops_per_token(c, static_cast<int>(o.seq_len.n)) / flops_rate);
    line.add("perf/step_ms", 1e3 * step_seconds);
    log.metrics.write(line);
    log.board.write(queued.step, line);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// evaluation: the same code as eval_knowledge, equal numbers

EvaluationOptions setup_evaluation(const TrainOptions& o, const Plan& plan) {
    EvaluationOptions e;
    e.questions = o.questions;
    e.questions_per_set = o.questions_per_set.n;
    e.validation = o.val;
    e.val_tokens = o.val_tokens.n;
    e.T = static_cast<int>(o.seq_len.n);
    e.document_mask = o.doc_mask.on;
    e.eot_id = plan.eot_id;
    e.seed = static_cast<uint64_t>(o.data_seed);
    e.tokenizer_sha256 = plan.tokenizer_sha256;
    e.tokenizer_file = plan.tokenizer_file;
    e.data_seed = static_cast<uint64_t>(o.data_seed);
    for (const auto& [name, rho] : o.subsample)
        for (size_t i = 0; i < plan.sources.size(); ++i)
            if (plan.sources[i].name == name && plan.sources[i].knowledge)
                e.subsampled.push_back({name, o.source[i].second, parse_number("--subsample " + name, rho)});
    return e;
}

// Evaluates, logs, writes the answers where wanted, and returns the stop rule that holds now ("" for none).
template <class Real>
std::string evaluate_and_log(const Trainer<Real>& t, const Evaluator<Real>& evaluator, const EvaluationPlan& plan,
                             const RunDirectory& run, Log& log, const TrainOptions& o,
                             const std::vector<StopRule>& rules) {
    const NvtxRange range("evaluation");
    const Evaluation evaluation = evaluator.run(t.gpt, t.stream, t.ledgers);
    const std::vector<Metric>& metrics = evaluation.metrics;
    if (o.per_question.on) {
        make_directories(run.file("answers"));
        const std::string name = format_text("answers/step_%08lld.jsonl", static_cast<long long>(t.step));
        write_question_lines(run.file(name), plan, evaluation, t.step);
    }
    MetricsLine line;
    line.add("step", t.step);
    line.add("tokens", t.step * o.batch_tokens.n);
    line.add("time", log.seconds());
    std::string screen = format_text("step %lld: ", static_cast<long long>(t.step));
    for (const Metric& m : metrics) {
        line.add(m.name, m.value);
        if (m.headline) screen += format_text("  %s %.4g", m.name.c_str(), m.value);
    }
    printf("%s\n", screen.c_str());
    if (log.on) {
        log.eval.write(line);
        log.board.write(t.step, line);
    }
    return rule_that_holds(rules, metrics);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// main

RunDirectory* failing_run = nullptr;
void write_failed_marker(Exit, const char* message) {
    if (failing_run) failing_run->mark_failed(message);
}

// Options a resumed run may change: where it lies, and how long checkpoints are kept.
const std::vector<std::string> MAY_DIFFER = {"out", "resume", "keep", "plan", "print-order", "manifest"};

// A run whose options are resolved: what remains is to train it in one precision.
struct Run {
    const TrainOptions& o;
    const OptionTable& table;
    const GptConfig& config;
    Machine& machine;
    Loader& loader;
    RunDirectory& directory;
    const Schedule& schedule;
    const std::vector<StopRule>& stop_rules;
    When eval_when, checkpoint_when;
    std::string resumed;     // the checkpoint that --resume found, "" for none
    std::string start_from;  // that, or --branch's
    double flops_rate;
};

// config.json, and the logs cut to where the run goes on. Returns the stop rule that ended the run already ("": none).
template <class Real>
std::string open_logs(const Run& r, const Trainer<Real>& t, Log& log) {
    const Plan& plan = r.loader.plan();
    RunDirectory& run = r.directory;
    failing_run = &run;
    die_hook = write_failed_marker;
    const std::string state = r.resumed + "/trainer_state.json";
    const std::string facts =
        r.resumed.empty() ? R"({"metrics_bytes":0,"eval_bytes":0})" : read_trainer_state(r.resumed).metrics_json;
    run.write_config(r.table.json(), {{"parameters", std::to_string(num_parameters(r.config))},
                                      {"parameters_non_embedding", std::to_string(num_parameters(r.config, false))},
                                      {"steps", std::to_string(plan.steps)},
                                      {"tokens", std::to_string(plan.tokens)},
                                      {"plan", plan_json(plan)},
                                      {"commit", json_quote(build_commit())},
                                      {"compiler", json_quote(build_compiler())},
                                      {"flags", json_quote(build_flags())},
                                      {"device", json_quote(r.machine.name())},
                                      {"matmul", json_quote(r.machine.matmul_library())},
                                      {"threads", std::to_string(num_threads())},
                                      {"matmul_gflops", std::to_string(r.flops_rate / 1e9)}});
    log.on = true;
    run.truncate_log("metrics.jsonl", integer_fact(state, facts, "metrics_bytes"));
    run.truncate_log("eval.jsonl", integer_fact(state, facts, "eval_bytes"));
    log.metrics = MetricsFile(run.file("metrics.jsonl"), true);
    log.eval = MetricsFile(run.file("eval.jsonl"), true);
    log.board = TensorBoard(run.path());
    remove_tree(run.file("FAILED"));
    remove_tree(run.file("exposures"));
    // answers of what comes again; those up to the checkpoint are its own
    for (const std::string& name :
         directory_exists(run.file("answers")) ? list_directory(run.file("answers")) : std::vector<std::string>{})
        if (r.resumed.empty() || name > format_text("step_%08lld.jsonl", static_cast<long long>(t.step)))
            remove_tree(run.file("answers/" + name));
    if (!r.resumed.empty()) save_ledgers(t.ledgers, run.path());
    return text_fact(state, facts, "stopped");
}

template <class Real>
int train(const Run& r) {
    const TrainOptions& o = r.o;
    const Plan& plan = r.loader.plan();

    // model, optimizer, evaluation
    Trainer<Real> t(r.config, o, plan, r.machine.stream());
    t.ledgers = r.loader.make_ledgers();
    const EvaluationPlan evaluation = plan_evaluation(setup_evaluation(o, plan), r.config.V, r.config.max_T);
    for (const QuestionTask& task : evaluation.questions) warn_of_other_entities(*task.set, t.ledgers);
    check_stop_rules(r.stop_rules, evaluation);
    const Evaluator<Real> evaluator(r.config, evaluation);
    if (!r.start_from.empty()) t.loader_state = read_file(path_join(r.start_from, "loader_state.json"));
    r.loader.start(t.loader_state, r.resumed.empty());
    if (!r.start_from.empty()) {
        load_checkpoint(t, r.start_from, plan);
        r.machine.load_matmul_choices(read_trainer_state(r.start_from).matmul_json);
    } else if (!o.init.empty()) {
        load_weights(o.init, t.gpt, &t.adam);
    } else {
        fill_weights(t.gpt, &t.adam,
                     [&](float* weights) { initialise_parameters(r.config, static_cast<uint64_t>(o.seed), weights); });
    }
    const int64_t first_step = t.step;
    if (first_step > plan.steps)
        die(Exit::Usage, "%s stands at step %lld, the run ends at step %lld; give a longer --tokens",
            r.start_from.c_str(), static_cast<long long>(first_step), static_cast<long long>(plan.steps));

    RunDirectory& run = r.directory;
    Log log;
    std::string stopped;  // the stop rule that ended the run
    run.create();
    if (run.active()) stopped = open_logs(r, t, log);
    print_plan(o, r.config, plan, r.flops_rate);
    printf("\n");
    Progress progress(plan.steps, first_step,
                      flops_per_token(r.config, static_cast<int>(o.seq_len.n)) * static_cast<double>(o.batch_tokens.n),
                      r.flops_rate, static_cast<double>(o.batch_tokens.n));

    // the loop
    std::optional<QueuedStep> queued;  // not waited for yet
    auto clock = std::chrono::steady_clock::now();
    const auto settle = [&] {
        if (!queued) return;
        const StepReport report = finish_step(t, *queued);
        const auto now = std::chrono::steady_clock::now();
        const double seconds = std::chrono::duration<double>(now - clock).count();
        clock = now;
        log_step(log, *queued, report, r.config, o, plan, seconds, r.flops_rate);
        progress.update(queued->step + 1, report.loss, report.grad_norm, queued->lr, seconds);
        queued.reset();
    };
    for (;;) {
        const bool fresh = r.resumed.empty() || t.step > first_step;  // not what the checkpoint's own run did already
        if (fresh && evaluator.active() && r.eval_when.due(t.step, plan.steps)) {
            settle();
            progress.clear();
            stopped = evaluate_and_log(t, evaluator, evaluation, run, log, o, r.stop_rules);
            clock = std::chrono::steady_clock::now();
        }
        const bool last = t.step == plan.steps || !stopped.empty();
        const int signal_now = signal_received;  // read once: what is saved and what is said are of the same moment
        const bool save = last || signal_now || (t.step > first_step && r.checkpoint_when.due(t.step, plan.steps));
        if (save) settle();
        if (run.active() && fresh && save) {
            save_checkpoint(t, r.machine, run, r.table, o, plan, log, stopped);
            clock = std::chrono::steady_clock::now();
        }
        if (last) break;
        if (signal_now) {
            progress.clear();
            if (!run.active())
                die(Exit::Runtime, "stopped by signal %d at step %lld: no --out, nothing saved", signal_now,
                    static_cast<long long>(t.step));
            printf("stopped by signal %d at step %lld; checkpoint saved, go on with --resume\n", signal_now,
                   static_cast<long long>(t.step));
            return static_cast<int>(Exit::Requeue);
        }

        const Batch& batch = r.loader.next();
        const QueuedStep next = queue_step(t, batch, o, learning_rate(r.schedule, t.step));
        settle();  // the step before, while the device is at this one
        queued = next;
        if (!Machine::IS_GPU) settle();  // it is over: the time until now is its own
    }
    progress.finish();
    const RunAccount account = r.loader.account(t.ledgers, t.source_tokens, t.step);
    print_account(stdout, account);
    if (run.active()) write_file(run.file("mixture.json"), account_json(account));
    if (run.active()) run.mark_done(stopped.empty() ? "finished" : "stopped: " + stopped);
    printf("%s after %lld steps, %lld tokens%s%s\n", stopped.empty() ? "finished" : "stopped",
           static_cast<long long>(t.step), static_cast<long long>(t.step * o.batch_tokens.n),
           stopped.empty() ? "" : ": ", stopped.c_str());
    return 0;
}

int main(int argc, char** argv) {
    wait_politely(argv);

    // options -> shape -> data -> plan
    TrainOptions o;
    OptionTable table = option_table(o);
    table.parse(argc, argv);
    check_options(o);
    std::set_new_handler(
        [] { die(Exit::Runtime, "out of memory; try a smaller --micro-batch, --batch-tokens or --model"); });
    for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) signal(number, on_signal);
    const bool looks = only_looks(o);
    When eval_when("--eval-at", o.eval_at), checkpoint_when("--checkpoint-at", o.checkpoint_at);
    const std::vector<StopRule> stop_rules = parse_stop_rules(o.stop_at);
    RunDirectory run;
    if (!o.out.empty() && !looks) run = RunDirectory(o.out, o.resume);
    if (run.done()) {
        printf("%s: already DONE; nothing to do\n", o.out.c_str());
        return 0;
    }
    const std::string resumed = o.resume ? checkpoint_latest(o.out) : "",
                      start_from = resumed.empty() ? o.branch : resumed;
    GptConfig config = setup_config(o, resumed);
    setup_batch(o);
    const MixtureOptions mixture = setup_mixture(o, config);
    Loader loader(mixture, {o.doc_mask.on});
    const Plan& plan = loader.plan();
    if (config.V == 0) config.V = static_cast<int>(plan.vocab);
    config.eot_id = static_cast<int>(plan.eot_id);
    validate_config(config);
    check_start_tokenizer(!o.init.empty() ? o.init : o.branch, plan);
    const Schedule schedule = setup_schedule(o, plan.steps);
    for (const SourceOptions& source : mixture.sources) {
        eval_when.add_windows(source.windows, plan.steps);
        checkpoint_when.add_windows(source.windows, plan.steps);
    }
    eval_when.check("--eval-at", plan.steps);
    checkpoint_when.check("--checkpoint-at", plan.steps);

    if (o.print_order.n >= 0) {
        const std::string nearest = o.out.empty() ? "" : checkpoint_latest(o.out, o.print_order.n);
        loader.print_order(o.print_order.n, nearest.empty() ? "" : read_file(path_join(nearest, "loader_state.json")),
                           stdout);
        return 0;
    }
    warn_of_overlap(o);
    for (const std::string& warning : plan.warnings) fprintf(stderr, "warning: %s\n", warning.c_str());
    if (!o.manifest.empty()) {
        print_account(stdout, loader.write_manifest(o.manifest));
        return 0;
    }

    // the machine, and where to go on from
    Machine machine;
    machine.check_model(config.C, config.F, config.HS);
    if (o.resume)
        printf(resumed.empty() ? "%s: no complete checkpoint; starting anew\n" : "resuming from %s\n",
               (resumed.empty() ? o.out : resumed).c_str());
    if (o.micro_batch.n < 0 && !resumed.empty())  // the micro-batch chosen for that run's memory, not for this moment's
        o.micro_batch.n =
            integer_fact(resumed + "/trainer_state.json", read_trainer_state(resumed).options_json, "micro-batch");
    if (o.micro_batch.n < 0) o.micro_batch.n = largest_micro_batch(config, o, machine.available_memory());
    const double flops_rate = machine.flops_rate(o.precision == "bf16");
    if (o.plan) {
        const EvaluationPlan evaluation = plan_evaluation(setup_evaluation(o, plan), config.V, config.max_T);
        check_stop_rules(stop_rules, evaluation);
        print_plan(o, config, plan, flops_rate);
        return 0;
    }
    if (!resumed.empty()) {
        std::string text;
        for (const std::string& line :
             options_difference(table.json(), read_trainer_state(resumed).options_json, MAY_DIFFER))
            text += "\n  " + line;
        if (!text.empty())
            die(Exit::Usage,
                "--resume: options differ from the checkpoint's; give the ones the run was started with:%s",
                text.c_str());
    }
    const Run r{o,          table,     config,          machine, loader,     run,       schedule,
                stop_rules, eval_when, checkpoint_when, resumed, start_from, flops_rate};
#ifndef KNAPSACK_CPU
    if (o.precision == "bf16") return train<bf16>(r);
#endif
    return train<float>(r);
}
