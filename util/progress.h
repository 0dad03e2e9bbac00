// progress.h - the live line: one that redraws itself on a terminal, a plain line now and then in a log file.
//
//   step  120/5000   2.4%  loss 6.1240  |g| 0.812  lr 1.0e-03  12.3k tok/s  71% of matmul  ETA 14:02
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

class Progress {
  public:
    // `flops_per_step` and `matmul_flops` (per second, measured; 0: unknown) give the share of the machine's matmul
    // rate. On a terminal the line is redrawn, unless TERM=dumb; NO_COLOR takes the colour away.
    Progress(int64_t steps, int64_t first_step, double flops_per_step, double matmul_flops, double tokens_per_step,
             FILE* out = stderr);

    // After each step: `step` counts the finished ones, `seconds` is what this one took.
    void update(int64_t step, double loss, double grad_norm, double lr, double seconds);
    // Takes the live line away, so that something else can be printed; the next update draws it again.
    void clear();
    // Leaves the last state on the screen, with a line feed.
    void finish();

    double tokens_per_s() const { return step_seconds_ > 0 ? tokens_per_step_ / step_seconds_ : 0; }
    double matmul_share() const;  // 0: unknown

    // What a terminal or the environment decide, for tests.
    void set_style(bool redraw, bool color, double seconds_between_lines);

  private:
    std::string text() const;
    void draw();

    int64_t steps_, step_;
    double flops_per_step_, matmul_flops_, tokens_per_step_;
    FILE* out_;
    bool redraw_ = false, color_ = false;
    double seconds_between_lines_ = 10;
    bool on_screen_ = false;  // the live line is there
    bool pending_ = false;    // there is news that was not printed
    double loss_ = 0, grad_norm_ = 0, lr_ = 0, step_seconds_ = 0;
    std::chrono::steady_clock::time_point drawn_{};
};

// How much of something is done, drawn again and again while it lasts: on a terminal only, and not where it is quick.
class PercentLine {
  public:
    explicit PercentLine(std::string name, FILE* out = stderr);
    void update(size_t done, size_t all);
    void clear();

  private:
    std::string name_;
    FILE* out_;
    bool terminal_;
    std::chrono::steady_clock::time_point begin_, drawn_;
};

std::string short_count(double n);           // 12.3k, 4.56M
std::string short_duration(double seconds);  // 0:42, 14:02, 3:07:15, 2d 04:10
