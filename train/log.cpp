#include "train/log.h"

void Log::clear() {
    if (progress_) progress_->clear();
}

FILE* Log::screen() {
    clear();
    return screen_;
}

void Log::warn(const std::string& warning) {
    clear();
    ::print(errors_, "warning: %s\n", warning);
}

void Log::open(const RunDirectory& directory, int64_t metrics_bytes, int64_t eval_bytes, int64_t step, double seconds) {
    metrics_ = directory.open_log("metrics.jsonl", metrics_bytes);
    eval_ = directory.open_log("eval.jsonl", eval_bytes);
    seconds_before_ = seconds;
    board_ = TensorBoard(directory.path(), step);
    // The board forgets what it has of this step and later ones, but the evaluation at this step is not made again.
    if (eval_bytes == 0) return;
    const std::string lines = read_file(eval_.path());
    const size_t end = lines.size() - 1, begin = lines.rfind('\n', end - 1);
    const JsonLine last = parse_json_line(eval_.path(), lines.substr(begin == std::string::npos ? 0 : begin + 1));
    for (const auto& [name, number] : last.numbers())
        if (name == "step" && number == static_cast<double>(step)) board_.write(step, last);
}

void Log::sync() {
    metrics_.sync();
    eval_.sync();
}

void Log::begin(const Plan& plan, int64_t first_step, double flops_per_token, double flops_rate) {
    plan_ = plan;
    flops_per_token_ = flops_per_token;
    flops_rate_ = flops_rate;
    begin_ = std::chrono::steady_clock::now();
    const double tokens = static_cast<double>(plan.batch_tokens);
    progress_.emplace(plan.steps, first_step, flops_per_token * tokens, flops_rate, tokens, errors_);
}

double Log::seconds() const {
    return seconds_before_ + std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

JsonLine Log::line_of(int64_t step, int64_t tokens) const {
    JsonLine line;
    line.add("step", step);
    line.add("tokens", tokens);
    line.add("time", seconds());
    return line;
}

void Log::step(const StepReport& r, double seconds) {
    progress_->update(r.step + 1, r.loss, r.grad_norm, r.lr, seconds);
    if (!metrics_) return;
    const int64_t tokens = (r.step + 1) * plan_.batch_tokens;
    const double tokens_per_s = static_cast<double>(plan_.batch_tokens) / seconds;
    JsonLine line = line_of(r.step, tokens);
    line.add("train/loss", r.loss);
    for (size_t i = 0; i < plan_.sources.size(); ++i) {
        const SourcePlan& s = plan_.sources[i];
        const double seen = static_cast<double>(r.source_tokens[i]);
        if (r.source_targets[i] > 0)
            line.add("train/loss/" + s.name, r.source_loss[i] / static_cast<double>(r.source_targets[i]));
        line.add("data/" + s.name + "/tokens", r.source_tokens[i]);
        line.add("data/" + s.name + "/epochs", seen / static_cast<double>(s.source_tokens));
        line.add("data/" + s.name + "/ratio", seen / static_cast<double>(tokens));
    }
    line.add("optim/lr", r.lr);
    line.add("optim/grad_norm", r.grad_norm);
    line.add("perf/tokens_per_s", tokens_per_s);
    line.add("perf/mfu", tokens_per_s * flops_per_token_ / flops_rate_);
    line.add("perf/step_ms", 1e3 * seconds);
    if (r.comm_ms) line.add("perf/comm_ms", *r.comm_ms);
    metrics_.write(line.json() + "\n");
    board_.write(r.step, line);
}

void Log::evaluation(int64_t step, const std::vector<std::pair<std::string, double>>& metrics) {
    if (!eval_) return;
    JsonLine line = line_of(step, step * plan_.batch_tokens);
    for (const auto& [name, value] : metrics) line.add(name, value);
    eval_.write(line.json() + "\n");
    board_.write(step, line);
}

void Log::end() {
    if (progress_) progress_->finish();
    progress_.reset();
}

Log silent_log() {
    FILE* const nowhere = fopen("/dev/null", "w");
    if (!nowhere) die(Exit::Runtime, "/dev/null: cannot be opened");
    return Log(nowhere, nowhere);
}
