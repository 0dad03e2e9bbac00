// train_gpt.cu - trains a GPT on an exact mixture of sources and keeps account of what it saw.
//
// One program, read top to bottom: a run, its state, one step, checkpoints, evaluation, the loop, main. The options and
// what they leave open are decided in train/options.cuh and train/setup.cuh. nvcc compiles this file against the CUDA
// kernels, g++ compiles the same file against the CPU backend (train_gpt_cpu); kernels/backend.h decides.
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
#include "dataloader/validation.h"  // defines: overlap_warnings
#include "eval/evaluator.cuh"       // defines: Evaluator (the same code as eval_knowledge's)
#include "eval/results.h"           // defines: write_question_lines, score_warnings
#include "eval/stop_rule.h"         // defines: StopRule, parse_stop_rules, check_stop_rules, rule_that_holds
#include "model/checkpoint.h"       // defines: check_model_files, read_trainer_state, checkpoint_begin, ...
#include "model/gpt.cuh"            // defines: Gpt, Gradients, AdamState, gpt_forward, ..., gpt_update
#include "model/init.h"             // defines: initialise_parameters
#include "model/state.cuh"          // defines: load_weights, load_training_state, save_training_state
#include "train/agreement.h"        // defines: agree_on_start, agree_on_data, start_identity, smallest
#include "train/device_batch.cuh"   // defines: DeviceBatch
#include "train/evaluation_data.h"  // defines: evaluation_identities, check_evaluation_data
#include "train/lanes.cuh"          // defines: Lanes
#include "train/log.h"              // defines: Log, StepReport
#include "train/memory.cuh"         // defines: RunShape, memory_of, byte_text
#include "train/micro_batch.cuh"    // defines: queue_micro_batch
#include "train/options.cuh"        // defines: TrainOptions, option_table, options_json, check_options, only_looks
#include "train/run_directory.h"    // defines: RunDirectory
#include "train/schedule.h"         // defines: Schedule, learning_rate
#include "train/setup.cuh"          // defines: setup_*, resolve, check_resumed_*, check_start_tokenizer
#include "train/when.h"             // defines: When
#include "util/build_info.h"        // defines: build_commit, build_compiler, build_flags
#include "util/check.h"             // defines: die, Exit, format_text
#include "util/files.h"             // defines: path_join, make_directories, read_file, write_file
#include "util/json_text.h"         // defines: JsonLine, json_quote, integer_member, text_member
#include "util/mapped_file.h"       // defines: die_of_bus_errors
#include "util/peers.h"             // defines: Peers, find_rank
#include "util/stop.h"              // defines: hear_signals, on_signals_exit, signal_received, Stopped
#include "util/system.h"            // defines: wait_politely, num_threads

using backend::Machine;

// ---------------------------------------------------------------------------------------------------------------------
// a run

// A run whose options are resolved: what remains is to train it in one precision.
struct Run {
    TrainOptions o;
    RunShape shape;
    Machine& machine;
    const Peers& peers;
    backend::Communicator& communicator;
    Loader loader;
    RunDirectory directory;  // of process 0; the others write nothing
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
    bool saves() const { return !o.out.empty(); }
    bool alone() const { return peers.size() == 1; }
    // Of a step, of all lanes.
    int micro_batches() const { return static_cast<int>(plan().batch_tokens / (o.micro_batch.n * shape.T)); }
    double flops_a_token() const { return flops_per_token(shape.config, shape.T); }
};

// What --cuda-graph is for this run.
std::string graph_text(const Run& r) {
    if (!r.o.cuda_graph.on) return "off";
    if (r.alone()) return "of a micro-batch's forward and backward";
    if (r.micro_batches() == r.peers.size()) return "none: a step's only micro-batch is exchanged while it runs";
    return "of a micro-batch's forward and backward, but for a step's last, which is exchanged while it runs";
}

void print_run(Run& r) {
    const GptConfig& c = r.shape.config;
    const Plan& plan = r.plan();
    const auto millions = [&](bool embeddings) { return static_cast<double>(num_parameters(c, embeddings)) / 1e6; };
    r.log.print(
        "model: %s (%s), %.2fM parameters (%.2fM without embeddings), L=%d C=%d NH=%d KV=%d HS=%d F=%d V=%d T=%d\n",
        r.o.model.empty() ? r.o.start_directory() : r.o.model, family_name(c.family), millions(true), millions(false),
        c.L, c.C, c.NH, c.KV, c.HS, c.F, c.V, r.shape.T);
    r.log.print("run: %d steps of %d tokens = %d tokens\n\n", plan.steps, plan.batch_tokens, plan.tokens);
    print_plan(r.log.screen(), plan);
    const double flops = r.flops_a_token() * static_cast<double>(plan.tokens);
    r.log.print("\ncompute: %.3g FLOPs; at this machine's matmul rate of %.0f GFLOP/s no less than %.0f s\n", flops,
                r.flops_rate / 1e9, flops / r.flops_rate);
    const RunMemory memory = memory_of(r.shape, static_cast<int>(r.o.micro_batch.n));
    r.log.print(
        "memory: %s of weights, gradients and optimizer, %s of activations (micro-batch %d), %s while evaluating\n",
        byte_text(memory.parameters), byte_text(memory.activations), r.o.micro_batch.n, byte_text(memory.evaluation));
    if (Machine::IS_GPU) r.log.print("CUDA graph: %s\n", graph_text(r));
    r.log.print("lanes: %d, shared by %d processes; memory a process of n, without activations:", r.o.lanes.n,
                r.peers.size());
    RunShape shape = r.shape;
    for (shape.processes = 1; shape.processes <= MAX_LANES; shape.processes *= 2) {
        shape.lanes = std::max(r.shape.lanes, shape.processes);
        r.log.print("%s %d: %s", shape.processes == 1 ? "" : ",", shape.processes,
                    byte_text(memory_of(shape, 1).parameters));
    }
    r.log.print("\n");
    // weights, two moments; masters where the weights are bf16
    r.log.print("disk: %s a checkpoint\n", byte_text((r.o.precision == "bf16" ? 14 : 12) * num_parameters(c)));
}

// ---------------------------------------------------------------------------------------------------------------------
// the state of a run: all that a step changes

template <class Real>
struct Trainer {
    explicit Trainer(Run& r)
        : stream(r.machine.stream()),
          gpt(r.shape.config),
          lanes(r.shape.config, r.communicator, r.shape.lanes, r.shape.whole_state, r.plan().sources.size()),
          adam(r.shape.config, static_cast<float>(r.o.weight_decay),
               Lanes<Real>::updated_ranges(r.shape.config, r.communicator, r.shape.lanes, r.shape.whole_state)),
          activations(r.shape.config, static_cast<int>(r.o.micro_batch.n), r.shape.T, r.shape.keep, stream),
          batch(static_cast<size_t>(r.plan().batch_tokens / r.peers.size()),
                static_cast<size_t>(activations.B) * static_cast<size_t>(activations.T), r.o.doc_mask.on),
          graphs(lanes.places()),
          dloss(static_cast<Stat<Real>>(1.0 / static_cast<double>(r.plan().batch_tokens))),
          evaluator(r.shape.config, r.evaluation, r.communicator),
          ledgers(r.loader.make_ledgers()),
          source_tokens(r.plan().sources.size()) {
        for (Arrival& a : arrivals) a.totals = PinnedArray<double>(lanes.num_totals());
    }
    backend::stream_t stream;
    Gpt<Real> gpt;
    Lanes<Real> lanes;
    AdamState<Real> adam;
    ActivationMemory<Real> activations;
    DeviceBatch batch;
    std::vector<backend::Graph> graphs;  // of a micro-batch (train/micro_batch.cuh), for each place of the lanes
    const Stat<Real> dloss;              // of a token
    // What the host reads of a step, in turns: the totals of Lanes.
    struct Arrival {
        PinnedArray<double> totals;
        StreamMark mark;
    };
    std::array<Arrival, 2> arrivals;
    Evaluator<Real> evaluator;

    std::vector<Ledger> ledgers;
    std::vector<int64_t> source_tokens;  // targets seen, per source
    int64_t step = 0;                    // updates queued
    std::string loader_state;            // after them
    bool evaluation_owed = false;        // that of `step` was cut short by a signal
    bool asked_to_stop = false;          // several processes: by a signal that one of them had in a step that is over
};

// ---------------------------------------------------------------------------------------------------------------------
// one step

// Queues a step; nothing is waited for (on a CPU: but for other processes). What the report says of its outcome comes
// with finish_step.
template <class Real>
StepReport queue_step(const Run& r, Trainer<Real>& t, const Batch& batch) {
    const NvtxRange range("step");
    const size_t sources = t.source_tokens.size();
    const int micro_batches = r.micro_batches() / r.shape.lanes;  // of a lane
    t.batch.load(batch, t.stream);
    for (int lane = 0; lane < t.lanes.own(); ++lane) {
        Gradients<Real>& gradients = t.lanes.begin(lane, t.stream);
        const auto queue = [&](auto... finished) {
            queue_micro_batch(t.gpt, t.activations, t.batch, gradients, t.lanes.losses(lane), sources, t.dloss,
                              t.stream, finished...);
        };
        const auto finished = [&](size_t block) { t.lanes.finished(lane, block, t.stream); };
        for (int i = 0; i < micro_batches; ++i) {
            const bool last = i + 1 == micro_batches;
            t.batch.select(static_cast<size_t>(lane * micro_batches + i), t.stream);
            if (last && !r.alone() && lane + 1 == t.lanes.own()) {
                queue(finished);  // blocks are exchanged while the pass goes on
                continue;
            }
            if (r.o.cuda_graph.on)
                t.graphs[t.lanes.place(lane)].run(t.stream, queue);
            else
                queue();
            for (size_t block = static_cast<size_t>(r.shape.config.L) + 2; last && block-- > 0;) finished(block);
        }
        t.lanes.end(lane, t.stream);
    }
    t.lanes.sum(signal_received() != 0, t.stream);
    const double lr = learning_rate(r.schedule, t.step);
    t.lanes.update(t.gpt, t.adam,
                   {static_cast<float>(lr), static_cast<float>(r.o.beta1), static_cast<float>(r.o.beta2),
                    static_cast<float>(r.o.eps), static_cast<float>(r.o.grad_clip), static_cast<int>(t.step + 1),
                    static_cast<uint64_t>(r.o.seed)},
                   t.stream);
    auto& arrival = t.arrivals[static_cast<size_t>(t.step % 2)];
    download(arrival.totals.get(), t.lanes.totals(), t.lanes.num_totals(), t.stream);
    arrival.mark.set(t.stream);

    StepReport report;
    report.step = t.step;
    report.lr = lr;
    report.source_targets = batch.source_targets;
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
    const double* const totals = arrival.totals.get();
    report.source_loss.assign(totals, totals + sources);
    report.grad_norm = std::sqrt(totals[t.lanes.num_totals() - 1]);
    t.asked_to_stop = totals[t.lanes.signal_at()] > 0;
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

// By all processes. `stopped`: the stop rule that ended the run, "" for none.
template <class Real>
void save_checkpoint(Run& r, const Trainer<Real>& t, const std::string& stopped) {
    if (r.directory.active()) r.log.sync();
    const std::string directory = r.peers.first() ? checkpoint_begin(r.directory.path(), t.step) : "";
    const Temporary unfinished(directory);  // on a full disk it makes room for FAILED
    save_training_state(directory, t.gpt, t.adam, r.plan().tokenizer.file, r.communicator, r.shape.lanes);
    if (!r.peers.first()) return;
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
    state.choices_json = r.machine.choices();
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
    r.machine.load_choices(state.choices_json);
}

// Where the run begins: a checkpoint, another model's weights, or weights of its own.
template <class Real>
void begin_training(Run& r, Trainer<Real>& t) {
    if (!r.start_from.empty()) {
        checkpoint_verify(r.start_from);
        t.loader_state = read_loader_state(r.start_from);
    }
    r.loader.start(t.loader_state, r.resumed.empty());
    t.loader_state = r.loader.start_state();
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

// The model in the run's config.json.
std::string shape_json(const GptConfig& c) {
    JsonLine shape;
    shape.add("family", family_name(c.family));
    const std::pair<const char*, int> sizes[] = {{"L", c.L},   {"C", c.C}, {"NH", c.NH}, {"KV", c.KV},
                                                 {"HS", c.HS}, {"F", c.F}, {"V", c.V},   {"max_T", c.max_T}};
    for (const auto& [name, size] : sizes) shape.add(name, int64_t{size});
    return shape.json();
}

// config.json, and the logs cut to where the run goes on. Returns the stop rule that ended the run already ("": none)
// and says whether the checkpoint's evaluation is still to be made.
template <class Real>
std::string open_directory(Run& r, Trainer<Real>& t) {
    const std::string where = r.resumed + "/trainer_state.json",
                      facts = r.resumed.empty() ? R"({"metrics_bytes":0,"eval_bytes":0})"
                                                : read_trainer_state(r.resumed).metrics_json,
                      stopped = text_member(where, facts, "stopped");
    t.evaluation_owed = text_member(where, facts, "evaluation") == "owed";
    if (!r.directory.active()) return stopped;
    r.directory.create();
    r.directory.mark_failures();
    const GptConfig& c = r.shape.config;
    const std::string products = r.machine.matmul_library(r.o.precision == "bf16");
    r.directory.write_config(options_json(r.o), {{"parameters", std::to_string(num_parameters(c))},
                                                 {"parameters_non_embedding", std::to_string(num_parameters(c, false))},
                                                 {"model", shape_json(c)},
                                                 {"steps", std::to_string(r.plan().steps)},
                                                 {"tokens", std::to_string(r.plan().tokens)},
                                                 {"plan", plan_json(r.plan())},
                                                 {"commit", json_quote(build_commit())},
                                                 {"compiler", json_quote(build_compiler())},
                                                 {"flags", json_quote(build_flags())},
                                                 {"device", json_quote(r.machine.name())},
                                                 {"matmul", json_quote(products)},
                                                 {"threads", std::to_string(num_threads())},
                                                 {"processes", std::to_string(r.peers.size())},
                                                 {"communicator", json_quote(backend::Communicator::library())},
                                                 {"matmul_gflops", std::to_string(r.flops_rate / 1e9)}});
    r.log.open(r.directory, integer_member(where, facts, "metrics_bytes"), integer_member(where, facts, "eval_bytes"),
               t.step, strtod(text_member(where, facts, "seconds").c_str(), nullptr));
    r.directory.remove_results_after(r.resumed.empty() ? -1 : t.step);
    if (!r.resumed.empty()) save_ledgers(t.ledgers, r.directory.path());
    return stopped;
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
    if (r.o.per_question.on && r.directory.active()) {
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
    for (const std::string& warning : score_warnings(r.evaluation, evaluation)) r.log.warn(warning);
    r.log.evaluation(t.step, numbers);
    return rule_that_holds(r.stop_rules, evaluation.metrics);
}

// ---------------------------------------------------------------------------------------------------------------------
// the loop

template <class Real>
int train(Run& r) {
    const Plan& plan = r.plan();
    Trainer<Real> t(r);
    if (r.peers.first())
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
    const auto restart_clock = [&] {  // what was no step is no step's time
        clock = std::chrono::steady_clock::now();
        r.communicator.waited_ms();
    };
    const auto settle = [&] {
        if (!waiting) return;
        finish_step(t, queued);
        if (!r.alone()) queued.comm_ms = r.communicator.waited_ms();
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
            restart_clock();
        }
        const bool last = (t.step == plan.steps || !stopped.empty()) && !t.evaluation_owed;
        // read once: what is saved and what is said are of the same moment; several processes have agreed on it
        const auto asked_to_stop = [&] {
            return r.alone() ? signal_received() != 0 : t.asked_to_stop || t.evaluation_owed;
        };
        bool stop = asked_to_stop();
        const bool save = last || stop || (t.step > first_step && r.checkpoint_when.due(t.step, plan.steps));
        if (save) settle();
        if (r.saves() && fresh && save) {
            save_checkpoint(r, t, stopped);
            restart_clock();
            stop = asked_to_stop();  // also one that came while this was being saved
        }
        if (last) break;
        if (stop) {
            r.log.clear();
            // of another process its number may still be on the way
            const std::string signal = signal_received() ? format_text("signal %d", signal_received()) : "a signal";
            if (!r.saves()) die(Exit::Runtime, "stopped by %s at step %d: no --out, nothing saved", signal, t.step);
            r.log.print("stopped by %s at step %d; checkpoint saved, go on with --resume\n", signal, t.step);
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
    const Rank rank = find_rank();
    backend::Communicator::check(rank);
    const Peers peers(rank);

    // options
    TrainOptions given;
    option_table(given).parse(argc, argv);
    check_options(given);
    on_signals_exit(static_cast<int>(given.out.empty() || only_looks(given) ? Exit::Runtime : Exit::Requeue));
    When eval_when("--eval-at", given.eval_at), checkpoint_when("--checkpoint-at", given.checkpoint_at);
    const std::vector<StopRule> stop_rules = parse_stop_rules(given.stop_at);

    agree_on_start(peers, options_json(given), Machine::BUILD);

    // where the run lies, and what is there already
    Log log = peers.first() ? Log() : silent_log();
    RunDirectory directory;
    if (!given.out.empty() && !only_looks(given)) directory = RunDirectory(given.out, given.resume);
    const std::string resumed = given.resume ? checkpoint_latest(given.out) : "",
                      start_from = resumed.empty() ? given.branch : resumed;

    // shape -> data -> plan
    RunShape shape = setup_shape(given, resumed, peers.size());
    if (!resumed.empty()) check_resumed_shape(shape.config, resumed);
    const MixtureOptions mixture = setup_mixture(given, shape);
    Loader loader(mixture, {given.doc_mask.on, 2, peers.rank(), peers.size()});
    const Plan& plan = loader.plan();
    if (shape.config.V == 0) shape.config.V = static_cast<int>(plan.vocab);
    shape.config.eot_id = static_cast<int>(plan.eot_id);
    validate_config(shape.config);
    check_start_tokenizer(given.start_directory(), plan);
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
        if (!peers.first()) return 0;
        print_account(log.screen(), loader.write_manifest(given.manifest));
        return 0;
    }

    // the machine, and what it decides
    Machine machine(peers.local());
    backend::Communicator communicator(peers);
    if (shape.lanes > 1) machine.choose_by_rule();  // a lane's bits are those of no process
    machine.check_model(shape.config.C, shape.config.F, shape.config.HS);
    if (given.resume && resumed.empty() && !directory.done())
        log.print("%s: no complete checkpoint; starting anew\n", given.out);
    if (!resumed.empty() && !directory.done()) log.print("resuming from %s\n", resumed);
    std::string lacking;  // memory, said after a plan
    const int64_t micro_batch =
        smallest(peers, static_cast<int>(setup_micro_batch(given, shape, plan, resumed, machine, &lacking)));
    const TrainOptions o = resolve(given, shape, plan, schedule, micro_batch);
    EvaluationPlan evaluation =
        plan_evaluation(setup_evaluation(o, shape, mixture, plan), shape.config.V, shape.config.max_T);
    const auto evaluation_data = evaluation_identities(evaluation);
    for (const std::string& warning : evaluation.warnings) log.warn(warning);
    check_stop_rules(stop_rules, evaluation);
    agree_on_data(peers, loader.fingerprint(), evaluation_data,
                  start_identity(peers, start_from.empty() ? given.init : start_from),
                  machine.matmul_library(o.precision == "bf16"));
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

    // of all processes together, measured while all do: they may share cores
    const double flops_rate = machine.flops_rate(o.precision == "bf16") * peers.size();
    if (!peers.first()) directory = RunDirectory();
    Run r{o,
          shape,
          machine,
          peers,
          communicator,
          std::move(loader),
          directory,
          std::move(log),
          schedule,
          eval_when,
          checkpoint_when,
          std::move(evaluation),
          evaluation_data,
          stop_rules,
          resumed,
          start_from,
          flops_rate};
    if (o.plan) {
        if (resumed.empty() && o.model.empty()) check_model_files(o.start_directory(), r.shape.config);
        print_run(r);
        if (!lacking.empty()) die(Exit::Runtime, "%s", lacking);
        return 0;
    }
    const int code = with_precision(o.precision, [&](auto real) { return train<decltype(real)>(r); });
    peers.barrier();  // nobody leaves while process 0 still writes
    return code;
}
