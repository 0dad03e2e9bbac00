// progress.h - the live line: one that redraws itself on a terminal, a plain line now and then in a log file.
//
//   step   120/5000   2.4%  loss 6.1240  lr 1.0e-03  12.3k tok/s  71% of matmul  ETA 14:02
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

struct ProgressOptions {
    int64_t steps = 0;
    double flops_per_token = 0;     // with peak_flops: the share of the machine's measured matmul rate
    double peak_flops = 0;          // per second; 0: the share is not shown
    double plain_seconds = 10;      // without a terminal: at most one line in this time
    const char* peak_name = "matmul";
};

class Progress {
  public:
    Progress() = default;  // shows nothing
    // A terminal gets the redrawn line, unless TERM=dumb; NO_COLOR takes the colours away. `first_step`: where a resumed
    // run begins.
    Progress(const ProgressOptions& options, int64_t first_step, FILE* out = stderr);
    // The same with the choice made by the caller (tests).
    Progress(const ProgressOptions& options, int64_t first_step, FILE* out, bool redraw, bool color);

    // After each step: `step` counts finished steps, `tokens` those of this step, `seconds` what it took.
    void update(int64_t step, double loss, double lr, int64_t tokens, double seconds);
    // A message of its own line, above the live line.
    void note(const std::string& text);
    // Ends the live line; the last state stays on the screen.
    void finish();

    double tokens_per_s() const { return rate_; }
    double share_of_peak() const;  // 0 when unknown

  private:
    std::string text() const;
    void draw(bool last);
    ProgressOptions options_;
    FILE* out_ = nullptr;
    bool redraw_ = false, color_ = false, shown_ = false, pending_ = false;
    int64_t step_ = 0;
    double loss_ = 0, lr_ = 0, rate_ = 0, step_seconds_ = 0;
    std::chrono::steady_clock::time_point drawn_{};
};

std::string short_count(double n);          // 12.3k, 4.56M
std::string short_duration(double seconds);  // 0:42, 14:02, 3:07:15, 2d 04:10
