// log.h - all that a run says: on the screen, in metrics.jsonl and eval.jsonl, to TensorBoard. It is said in one place,
// so that of many processes one is heard: the others are given /dev/null and no directory.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "dataloader/plan.h"      // defines: Plan
#include "train/run_directory.h"  // defines: RunDirectory
#include "train/tensorboard.h"    // defines: TensorBoard
#include "util/check.h"           // defines: format_text
#include "util/files.h"           // defines: AppendFile
#include "util/json_text.h"       // defines: JsonLine
#include "util/progress.h"        // defines: Progress

// A step: what is known of it when it is queued, and what came of it.
struct StepReport {
    int64_t step = 0;  // from 0
    double lr = 0;
    std::vector<int64_t> source_targets;  // of this step
    std::vector<int64_t> source_tokens;   // targets of all steps to this one
    double loss = 0, grad_norm = 0;       // mean nats of a target
    std::vector<double> source_loss;      // sums of nats
    std::optional<double> comm_ms;        // several processes: milliseconds that nothing was computed for waiting
};

class Log {
  public:
    explicit Log(FILE* screen = stdout, FILE* errors = stderr) : screen_(screen), errors_(errors) {}

    void clear();    // takes the live line away; the next step draws it again
    FILE* screen();  // for what prints itself, cleared
    template <class... Arguments>
    void print(const char* format, const Arguments&... arguments) {
        ::print(screen(), format, arguments...);
    }
    void warn(const std::string& warning);

    // The files of a run, cut to where it goes on: bytes, steps and the seconds that it took until there. Without them
    // nothing but the screen is written to.
    void open(const RunDirectory& directory, int64_t metrics_bytes, int64_t eval_bytes, int64_t step, double seconds);
    // Before a checkpoint says how long they are.
    void sync();
    int64_t metrics_bytes() const { return metrics_.size(); }
    int64_t eval_bytes() const { return eval_.size(); }

    // Of training, over all lives of the run.
    double seconds() const;

    // Before the first step. flops_rate: per second, what perf/mfu is a share of.
    void begin(const Plan& plan, int64_t first_step, double flops_per_token, double flops_rate);
    // A line of metrics.jsonl, and of the screen now and then; `seconds`: what the step took.
    //     step, tokens, time, train/loss, train/loss/<source>, data/<source>/{tokens,epochs,ratio},
    //     optim/{lr,grad_norm}, perf/{tokens_per_s,mfu,step_ms,comm_ms}
    void step(const StepReport& report, double seconds);
    // A line of eval.jsonl: step, tokens, time, then `metrics`.
    void evaluation(int64_t step, const std::vector<std::pair<std::string, double>>& metrics);
    void end();  // leaves the last state on the screen

  private:
    JsonLine line_of(int64_t step, int64_t tokens) const;

    FILE *screen_, *errors_;
    AppendFile metrics_, eval_;
    TensorBoard board_;
    Plan plan_;
    double flops_per_token_ = 0, flops_rate_ = 0;
    std::chrono::steady_clock::time_point begin_;
    double seconds_before_ = 0;  // of earlier lives
    std::optional<Progress> progress_;
};

// Of a process that is not the first: says nothing.
Log silent_log();
