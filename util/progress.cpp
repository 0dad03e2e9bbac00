#include "util/progress.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "util/check.h"

namespace {

constexpr double REDRAW_SECONDS = 0.1;
constexpr double MEMORY_SECONDS = 5;  // how far back the rate looks

bool is_terminal(FILE* out) {
    const char* term = getenv("TERM");
    return isatty(fileno(out)) && term && strcmp(term, "dumb") != 0;
}

bool wants_color() {
    const char* no_color = getenv("NO_COLOR");
    return !no_color || !*no_color;
}

}  // namespace

std::string short_count(double n) {
    const char* units[] = {"", "k", "M", "B", "T"};
    int unit = 0;
    // 999.95 would print as 1000.0
    while (n >= 999.5 && unit < 4) n /= 1000, ++unit;
    return format_text(unit == 0 || n >= 99.95 ? "%.0f%s" : n >= 9.995 ? "%.1f%s" : "%.2f%s", n, units[unit]);
}

std::string short_duration(double seconds) {
    if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e10) return "?";
    const long long s = std::llround(seconds), minutes = s / 60, hours = minutes / 60, days = hours / 24;
    if (days > 0) return format_text("%dd %02d:%02d", days, hours % 24, minutes % 60);
    if (hours > 0) return format_text("%d:%02d:%02d", hours, minutes % 60, s % 60);
    return format_text("%d:%02d", minutes, s % 60);
}

Progress::Progress(int64_t steps, int64_t first_step, double flops_per_step, double matmul_flops,
                   double tokens_per_step, FILE* out)
    : steps_(steps),
      step_(first_step),
      flops_per_step_(flops_per_step),
      matmul_flops_(matmul_flops),
      tokens_per_step_(tokens_per_step),
      out_(out) {
    if (is_terminal(out)) set_style(true, wants_color(), REDRAW_SECONDS);
}

void Progress::set_style(bool redraw, bool color, double seconds_between_lines) {
    redraw_ = redraw, color_ = color, seconds_between_lines_ = seconds_between_lines;
}

double Progress::matmul_share() const {
    return matmul_flops_ > 0 && step_seconds_ > 0 ? flops_per_step_ / step_seconds_ / matmul_flops_ : 0;
}

void Progress::update(int64_t step, double loss, double grad_norm, double lr, double seconds) {
    step_ = step, loss_ = loss, grad_norm_ = grad_norm, lr_ = lr;
    // an exponential mean whose memory is a time, not a number of steps: steady for short steps, quick for long ones
    const double weight = step_seconds_ == 0 ? 1 : 1 - std::exp(-seconds / MEMORY_SECONDS);
    step_seconds_ += weight * (seconds - step_seconds_);
    pending_ = true;
    const double since = std::chrono::duration<double>(std::chrono::steady_clock::now() - drawn_).count();
    if (since >= seconds_between_lines_ || (redraw_ && !on_screen_)) draw();
}

std::string Progress::text() const {
    const double percent = steps_ ? 100.0 * static_cast<double>(step_) / static_cast<double>(steps_) : 0;
    const int width = static_cast<int>(std::to_string(steps_).size());
    std::string line = format_text("step %*d/%d %5.1f%%", width, step_, steps_, percent);
    line += format_text("  loss %s%.4f%s  |g| %.3f  lr %.1e", color_ ? "\033[1m" : "", loss_, color_ ? "\033[0m" : "",
                        grad_norm_, lr_);
    line += "  " + short_count(tokens_per_s()) + " tok/s";
    if (matmul_share() > 0) line += format_text("  %.0f%% of matmul", 100 * matmul_share());
    return line + "  ETA " + short_duration(static_cast<double>(steps_ - step_) * step_seconds_);
}

void Progress::draw() {
    print(out_, redraw_ ? "\r%s\033[K" : "%s\n", text());
    fflush(out_);
    drawn_ = std::chrono::steady_clock::now();
    on_screen_ = redraw_;
    pending_ = false;
}

void Progress::clear() {
    if (!on_screen_) return;
    fputs("\r\033[K", out_);
    fflush(out_);
    on_screen_ = false;
}

void Progress::finish() {
    if (pending_) draw();
    if (on_screen_) fputc('\n', out_);
    fflush(out_);
    on_screen_ = false;
}

PercentLine::PercentLine(std::string name, FILE* out)
    : name_(std::move(name)),
      out_(out),
      terminal_(is_terminal(out)),
      begin_(std::chrono::steady_clock::now()),
      drawn_(begin_) {}

void PercentLine::update(size_t done, size_t all) {
    const auto now = std::chrono::steady_clock::now();
    if (!terminal_ || now - begin_ < std::chrono::seconds(2) || now - drawn_ < std::chrono::milliseconds(200)) return;
    drawn_ = now;
    fprintf(out_, "\r%s: %3.0f %%\033[K", name_.c_str(), 100 * static_cast<double>(done) / static_cast<double>(all));
    fflush(out_);
}

void PercentLine::clear() {
    if (drawn_ > begin_) fputs("\r\033[K", out_);
}
