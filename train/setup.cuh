// setup.cuh - one function for each thing that the trainer's loop needs; what the options leave open is decided here.
#pragma once
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "dataloader/doses.h"       // defines: asks_for_doses, dose_grid
#include "dataloader/placement.h"   // defines: place_windows
#include "dataloader/plan.h"        // defines: MixtureOptions, SourceOptions, Plan
#include "dataloader/subsample.h"   // defines: asks_for_list, read_subsample_list
#include "model/checkpoint.h"       // defines: read_model_config, read_trainer_state
#include "train/evaluation_data.h"  // defines: evaluation_identities, check_evaluation_data
#include "train/memory.cuh"         // defines: RunShape, largest_micro_batch
#include "train/options.cuh"        // defines: TrainOptions
#include "train/schedule.h"         // defines: Schedule, make_schedule
#include "util/files.h"             // defines: path_join, file_exists
#include "util/json_text.h"         // defines: integer_member
#include "util/numbers.h"           // defines: parse_count, parse_number
#include "util/sha256.h"            // defines: sha256_file

// --lanes of a checkpoint; older ones had none, which is one.
inline int64_t lanes_of(const std::string& checkpoint) {
    return integer_member(checkpoint, read_trainer_state(checkpoint).options_json, "lanes", 1);
}

// The lanes of a step: those asked for, those of the run that is gone on with, or one for each process.
inline int setup_lanes(const TrainOptions& o, const std::string& resumed, int processes) {
    if (processes > MAX_LANES || (processes & (processes - 1)) != 0)
        die(Exit::Usage, "%d processes: expected a power of two up to %d, which shares a step's lanes equally",
            processes, MAX_LANES);
    const int64_t lanes = o.lanes.n > 0 ? o.lanes.n : resumed.empty() ? processes : lanes_of(resumed);
    if (lanes < processes)
        die(Exit::Usage, "--lanes %d%s: fewer than the %d processes; start %d or fewer", lanes,
            o.lanes.n > 0 ? "" : ", as the run was started", processes, lanes);
    return static_cast<int>(lanes);
}

// The model's shape and the length of its rows, which depend on each other. A resumed run has its own checkpoint to
// read the shape from: the directory that it once started from may be gone.
inline RunShape setup_shape(const TrainOptions& o, const std::string& resumed, int processes) {
    const std::string start = !o.init.empty() ? o.init : o.branch,
                      from = start.empty() || resumed.empty() ? start : resumed;
    GptConfig c = from.empty() ? config_from_name(o.model) : read_model_config(from);
    const int64_t T = o.seq_len.n < 0 ? std::min(2048, c.max_T) : o.seq_len.n;
    const bool is_size = from.empty() && o.model.find(':') != std::string::npos;
    if (is_size && T <= 1 << 20)  // FAMILY:Lx:Cy:Hz takes the context that it is trained with
        c.max_T = static_cast<int>(c.positions == Positions::Learned ? T : std::max<int64_t>(c.max_T, T));
    if (T > c.max_T) die(Exit::Usage, "--seq-len %d: this model takes rows of at most %d tokens", T, c.max_T);
    return {o.precision,
            c,
            static_cast<int>(T),
            o.recompute.on ? Keep::Inputs : Keep::All,
            o.evaluation.active(),
            setup_lanes(o, resumed, processes),
            processes,
            o.zero == 0};
}

// A checkpoint's own config.json is not read where --model says the same; it must say the same.
inline void check_resumed_shape(const GptConfig& c, const std::string& resumed) {
    const GptConfig there = read_model_config(resumed);
    if (there.family != c.family || there.L != c.L || there.C != c.C || there.NH != c.NH || there.KV != c.KV ||
        there.HS != c.HS || there.F != c.F || (c.V > 0 && there.V != c.V))
        die(Exit::Usage,
            "--resume: %s is of a model with L=%d C=%d NH=%d KV=%d HS=%d F=%d V=%d, not of --model's L=%d C=%d NH=%d "
            "KV=%d HS=%d F=%d V=%d",
            resumed, there.L, there.C, there.NH, there.KV, there.HS, there.F, there.V, c.L, c.C, c.NH, c.KV, c.HS, c.F,
            c.V);
}

// Tokens of a step: a whole number of rows for each lane; with --micro-batch, of micro-batches.
inline int64_t setup_batch(const TrainOptions& o, const RunShape& shape) {
    const int64_t T = shape.T, W = shape.lanes;
    if (o.micro_batch.n > INT32_MAX / T)
        die(Exit::Usage, "--micro-batch %d: expected 1 to %d rows", o.micro_batch.n, INT32_MAX / T);
    const int64_t unit = T * std::max<int64_t>(o.micro_batch.n, 1) * W,
                  rows = backend::Machine::IS_GPU ? (1 << 20) / T : 16,
                  standard = std::max(rows / W, int64_t{1}) * W * T,
                  tokens = o.batch_tokens.n < 0 ? standard : o.batch_tokens.n;
    if (tokens < unit || tokens % unit != 0) {
        const int64_t below = std::max(tokens / unit * unit, unit);
        die(Exit::Usage,
            "--batch-tokens %d: expected a multiple of %d (--seq-len %d x --micro-batch %d%s); the nearest "
            "are %d and %d",
            tokens, unit, T, unit / T / W, W == 1 ? "" : format_text(" x --lanes %d", W), below, below + unit);
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

inline MixtureOptions setup_mixture(const TrainOptions& o, const RunShape& shape) {
    MixtureOptions m;
    for (const auto& [name, glob] : o.source) {
        SourceOptions s;
        s.name = name;
        s.glob = glob;
        m.sources.push_back(s);
    }
    for_sources(m, "ratio", o.ratio, [](auto& s, auto& what, auto& v) { s.ratio = parse_number(what, v); });
    for_sources(m, "exposures", o.exposures, [](auto& s, auto& what, auto& v) {
        if (asks_for_doses(v))
            s.doses = dose_grid(s.name, v);
        else
            s.exposures = parse_count(what, v);
    });
    for_sources(m, "subsample", o.subsample, [](auto& s, auto& what, auto& v) {
        if (asks_for_list(v))
            s.kept = read_subsample_list(what, v);
        else
            s.subsample = parse_number(what, v);
    });
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
    m.batch_tokens = setup_batch(o, shape);
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
inline void check_start_tokenizer(const std::string& directory, const Plan& plan) {
    const std::string file = path_join(directory, "tokenizer.json");
    if (directory.empty() || plan.tokenizer.sha256.empty() || !file_exists(file)) return;
    if (!same_tokenizer(tokenizer_id(file), plan.tokenizer))
        die(Exit::Data,
            "tokenizers differ: %s is not the one the shards were made with (%s); tokenize the text again with it",
            file, plan.tokenizer.file);
}

inline Schedule setup_schedule(const TrainOptions& o, int64_t steps) {
    const int64_t warmup = o.warmup.n < 0 ? std::min<int64_t>(160, steps / 10) : o.warmup.n;
    const double final_lr = !std::isnan(o.final_lr) ? o.final_lr : o.schedule == "cosine" ? 0.1 : 0.0;
    return make_schedule(o.schedule, o.lr, steps, warmup, o.cooldown, final_lr);
}

// The same code as eval_knowledge, equal numbers.
inline EvaluationOptions setup_evaluation(const TrainOptions& o, const RunShape& shape, const MixtureOptions& mixture,
                                          const Plan& plan) {
    EvaluationOptions e = o.evaluation;
    e.seq_len.n = shape.T;
    e.doc_mask = o.doc_mask;
    e.eot_id = plan.eot_id;
    e.seed = o.data_seed;
    e.tokenizer = plan.tokenizer;
    e.data_seed = static_cast<uint64_t>(o.data_seed);
    for (const auto& [name, value] : o.subsample)
        for (size_t i = 0; i < plan.sources.size(); ++i)
            if (const SourceOptions& s = mixture.sources[i]; s.name == name && plan.sources[i].knowledge)
                e.subsampled.push_back({name, o.source[i].second, s.subsample, s.kept});
    return e;
}

// A resumed run keeps the micro-batch that was chosen for its memory then, not for this moment's. With lanes it is
// chosen as if each had a process (on a CPU: of this machine), so that it does not depend on how many there are. Where
// not even one row fits, it dies with Exit::Runtime; a plan may be for another machine, so that for --plan it is 1 and
// *lacking says why this one cannot run it.
inline int64_t setup_micro_batch(const TrainOptions& o, const RunShape& shape, const Plan& plan,
                                 const std::string& resumed, const backend::Machine& machine, std::string* lacking) {
    const int64_t rows = plan.batch_tokens / shape.T / shape.lanes;
    if (o.micro_batch.n > 0) {
        check_micro_batch(shape, o.micro_batch.n, rows);
        return o.micro_batch.n;
    }
    if (!resumed.empty()) {
        const int64_t kept =
            integer_member(resumed + "/trainer_state.json", read_trainer_state(resumed).options_json, "micro-batch");
        check_micro_batch(shape, kept, rows);
        return kept;
    }
    RunShape widest = shape;
    widest.processes = shape.lanes;
    const size_t sharing = backend::Machine::IS_GPU ? 1 : static_cast<size_t>(shape.lanes);
    const size_t available = machine.available_memory() / sharing;
    if (const int largest = largest_micro_batch(widest, rows, available)) return largest;
    *lacking = out_of_memory_text(widest, available);
    if (!o.plan) die(Exit::Runtime, "%s", *lacking);
    return 1;
}

// The options that the run goes by and that config.json has: what was given, and what model, data and machine decided.
inline TrainOptions resolve(const TrainOptions& given, const RunShape& shape, const Plan& plan,
                            const Schedule& schedule, int64_t micro_batch) {
    TrainOptions o = given;
    o.seq_len.n = shape.T;
    o.batch_tokens.n = plan.batch_tokens;
    o.micro_batch.n = micro_batch;
    o.lanes.n = shape.lanes;
    o.warmup.n = schedule.warmup;
    o.final_lr = schedule.final_fraction;
    return o;
}

// A resumed run is the run that was started, but for where it and its data lie, when checkpoints are made and kept, how
// many rows fit into memory, and what is evaluated besides. Data are compared by content: by the loader, and here.
inline void check_resumed_options(const TrainOptions& o, const EvaluationPlan& evaluation,
                                  const std::string& options_there, const std::string& facts_there) {
    std::vector<std::string> may_differ = {"out",         "resume",    "keep",   "plan",
                                           "print-order", "manifest",  "source", "checkpoint-at",
                                           "micro-batch", "tokenizer", "zero",   "cuda-graph"};
    if (check_evaluation_data(facts_there, evaluation_identities(evaluation)))
        may_differ.insert(may_differ.end(), {"val", "questions"});
    if (o.lanes.n == integer_member("", options_there, "lanes", 1))
        may_differ.push_back("lanes");  // older runs do not say
    for (const auto& [name, value] : o.subsample)
        if (asks_for_list(value)) may_differ.push_back("subsample");  // compared by the loader, by the list's content
    std::string text;
    for (const std::string& line : options_difference(options_json(o), options_there, may_differ))
        text += "\n  " + line;
    if (!text.empty())
        die(Exit::Usage, "--resume: options differ from the checkpoint's; give the ones the run was started with:%s",
            text);
}
