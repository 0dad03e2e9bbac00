// options.cuh - the trainer's options: a field with its default here; its flag, its line of --help and its values in
// the table below.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "eval/evaluation.h"  // defines: EvaluationOptions
#include "kernels/backend.h"  // defines: Machine
#include "util/check.h"       // defines: die, Exit
#include "util/files.h"       // defines: check_output_directory
#include "util/options.h"     // defines: OptionTable, the kinds of option, ranges

struct TrainOptions {
    std::string model, init, branch, tokenizer, out, manifest;
    int64_t eot_id = -1, seed = 1, data_seed = 1;
    Switch resume = false, plan = false;
    NamedList source, ratio, exposures, window, placement, subsample, max_epochs;
    std::string budget = "replace", eval_at = "log", checkpoint_at = "end", schedule = "wsd",
                precision = backend::Machine::IS_GPU ? "bf16" : "fp32";
    Count tokens, steps, seq_len, micro_batch, batch_tokens, lanes, warmup, keep{2}, print_order;
    TextList stop_at;
    EvaluationOptions evaluation;
    OnOff doc_mask, recompute, per_question, cuda_graph{backend::Machine::IS_GPU};
    // The directory that --init or --branch names, "" for none.
    const std::string& start_directory() const { return init.empty() ? branch : init; }

    double lr = 1e-3, cooldown = 0.1, final_lr = NAN, weight_decay = 0.1, beta1 = 0.9, beta2 = 0.95, eps = 1e-8,
           grad_clip = 1.0;
    int64_t zero = 1;

    TrainOptions() {
        evaluation.questions_per_set.n = 10000;
        evaluation.val_tokens.n = backend::Machine::IS_GPU ? 1000000 : 100000;
    }
};

// "CPU build, many processes by Open MPI 4.1.4"
inline std::string build_text() {
    const std::string library = backend::Communicator::library();
    return backend::Machine::BUILD + (library.empty() ? ", for one process" : ", many processes by " + library);
}

inline OptionTable option_table(TrainOptions& o) {
    const char* const batch_help =
        backend::Machine::IS_GPU ? "tokens a step; default 1048576, in whole rows" : "tokens a step; default 16 rows";
    const std::string program = std::string("train_gpt") + backend::Machine::SUFFIX,
                      what = std::string("Trains a GPT on an exact mixture of token shards. ") + build_text() + ".";
    const std::vector<Option> rows = {
        {"model", "model", &o.model, "NAME|FAMILY:Lx:Cy:Hz[:KVk][:HSd][:Ff]",
         "a preset (gpt2-124m, pythia-70m, ...) or a size: gpt2:L4:C128:H4, llama:L6:C384:H6:KV2"},
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
        {"data", "exposures", &o.exposures, "NAME=F|random:LO:HI",
         "every entity of a knowledge source exactly F times; or each its own dose of LO * 2^(i/2), up to HI, dealt by "
         "--data-seed"},
        {"data", "budget", &o.budget, "replace|append", "exposures within --tokens, or on top of them"},
        {"data", "window", &o.window, "NAME=a:b", "the source appears only there, fractions of the run"},
        {"data", "placement", &o.placement, "NAME=WHERE",
         "within its windows: uniform, front:F, back:F, burst:C:F, periodic:N:F"},
        {"data", "subsample", &o.subsample, "NAME=rho|file:PATH",
         "keep a seeded fraction of the entities or documents, or those listed"},
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
        {"length and batch", "lanes", &o.lanes, "W",
         "equal parts of a step whose gradients are added as a tree, a power of two: the same bits on 1 to W "
         "processes; "
         "default their number",
         at_least(1)},
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
        {"device", "precision", &o.precision, "bf16|fp32", "of weights and activations"},
        {"device", "recompute", &o.recompute, "on|off",
         "keep only the layers' outputs and compute the rest again: less memory, a third more work"},
        {"device", "cuda-graph", &o.cuda_graph, "on|off",
         "record the launches of a micro-batch once and queue them by one call, which speeds up small models; "
         "same bits; default on with a GPU"},
        {"device", "zero", &o.zero, "0|1",
         "of several processes: 1, each keeps and updates its part of the optimizer's state; 0, all of it; same bits",
         from_to(0, 1)},
        {"look", "plan", &o.plan, "", "print what the run would take and cost, and leave"},
        {"look", "print-order", &o.print_order, "STEP", "print the pieces of a step, and leave"},
        {"look", "manifest", &o.manifest, "DIR", "write what the whole run places where, and leave"},
    };
    return OptionTable(program, what, rows);
}

// The options as config.json and checkpoints have them.
inline std::string options_json(TrainOptions o) { return option_table(o).json(); }

// Nothing is trained.
inline bool only_looks(const TrainOptions& o) { return o.plan || o.print_order.n >= 0 || !o.manifest.empty(); }

// What no single row of the table can say.
inline void check_options(const TrainOptions& o) {
    if (o.cuda_graph.on && !backend::Machine::IS_GPU)
        die(Exit::Usage, "--cuda-graph on: not in this build (CPU); leave it out");
    if (o.lanes.n > MAX_LANES || (o.lanes.n > 0 && (o.lanes.n & (o.lanes.n - 1)) != 0))
        die(Exit::Usage, "--lanes %d: expected a power of two from 1 to %d", o.lanes.n, MAX_LANES);
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
