#include "util/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

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
    if (days > 0) return format_text("%lldd %02lld:%02lld", days, hours % 24, minutes % 60);
    if (hours > 0) return format_text("%lld:%02lld:%02lld", hours, minutes % 60, s % 60);
    return format_text("%lld:%02lld", minutes, s % 60);
}

Progress::Progress(const ProgressOptions& options, int64_t first_step, FILE* out)
    : Progress(options, first_step, out, is_terminal(out), is_terminal(out) && wants_color()) {}

Progress::Progress(const ProgressOptions& options, int64_t first_step, FILE* out, bool redraw, bool color)
    : options_(options), out_(out), redraw_(redraw), color_(color), step_(first_step) {}

double Progress::share_of_peak() const {
    return options_.peak_flops > 0 ? rate_ * options_.flops_per_token / options_.peak_flops : 0;
}

void Progress::update(int64_t step, double loss, double lr, int64_t tokens, double seconds) {
    step_ = step, loss_ = loss, lr_ = lr;
    seconds = std::max(seconds, 1e-9);
    // an exponential mean whose memory is a time, not a number of steps: steady for short steps, quick for long ones
    const double weight = rate_ == 0 ? 1 : 1 - std::exp(-seconds / MEMORY_SECONDS);
    rate_ += weight * (static_cast<double>(tokens) / seconds - rate_);
    step_seconds_ += weight * (seconds - step_seconds_);
    if (!out_) return;
    pending_ = true;
    const double since = std::chrono::duration<double>(std::chrono::steady_clock::now() - drawn_).count();
    if (!shown_ || since >= (redraw_ ? REDRAW_SECONDS : options_.plain_seconds)) draw(false);
}

std::string Progress::text() const {
    const double percent = options_.steps ? 100.0 * static_cast<double>(step_) / static_cast<double>(options_.steps) : 0;
    const int width = static_cast<int>(std::to_string(options_.steps).size());
    std::string line = format_text("step %*lld/%lld %5.1f%%", width, static_cast<long long>(step_),
                                   static_cast<long long>(options_.steps), percent);
    line += format_text("  loss %s%.4f%s  lr %.1e", color_ ? "\033[1m" : "", loss_, color_ ? "\033[0m" : "", lr_);
    line += "  " + short_count(rate_) + " tok/s";
    if (options_.peak_flops > 0) line += format_text("  %.0f%% of %s", 100 * share_of_peak(), options_.peak_name);
    return line + "  ETA " + short_duration(static_cast<double>(options_.steps - step_) * step_seconds_);
}

void Progress::draw(bool last) {
    if (redraw_) fprintf(out_, "\r%s\033[K%s", text().c_str(), last ? "\n" : "");
    else fprintf(out_, "%s\n", text().c_str());
    fflush(out_);
    drawn_ = std::chrono::steady_clock::now();
    shown_ = true;
    pending_ = false;
}

void Progress::note(const std::string& message) {
    if (!out_) return;
    if (redraw_ && shown_) fprintf(out_, "\r\033[K");
    fprintf(out_, "%s\n", message.c_str());
    if (redraw_ && shown_) draw(false);
    fflush(out_);
}

void Progress::finish() {
    if (!out_ || !(shown_ || pending_)) return;
    // a terminal's line gets its line feed; a log gets the last state unless it has it already
    if (redraw_ || pending_) draw(true);
    shown_ = pending_ = false;
}
