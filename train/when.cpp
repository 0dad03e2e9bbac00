#include "train/when.h"

#include <algorithm>
#include <cmath>

#include "util/check.h"
#include "util/numbers.h"

When::When(std::string flag, const std::string& text) : flag_(std::move(flag)) {
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        const std::string word = text.substr(begin, end - begin);
        begin = end + 1;
        const bool every = word.rfind("every:", 0) == 0;
        const int64_t n = every                       ? parse_count(flag_, word.substr(6))
                          : word.rfind("at:", 0) == 0 ? parse_count(flag_, word.substr(3))
                                                      : -1;
        if (word == "log")
            log_ = true;
        else if (word == "windows")
            windows_ = true;
        else if (every && n > 0)
            every_.push_back(n);
        else if (!every && n >= 0)
            at_.insert(n);
        else if (word != "end")
            die(Exit::Usage,
                "%s: expected log, windows, every:N, at:N or end, or several with commas between, found '%s'", flag_,
                text);
    }
}

void When::add_windows(const std::vector<std::pair<double, double>>& windows, int64_t steps) {
    if (!windows_) return;
    const double n = static_cast<double>(steps), tiny = 1e-9;  // 0.3 * 10 is 3
    for (const auto& [a, b] : windows) {
        at_.insert(static_cast<int64_t>(std::floor(a * n + tiny)));
        const int64_t closed = static_cast<int64_t>(std::ceil(b * n - tiny));
        at_.insert(closed);
        for (int64_t after = 1; closed + after < steps; after *= 2) at_.insert(closed + after);
    }
}

void When::check(int64_t steps) const {
    if (!at_.empty() && *at_.rbegin() > steps)
        die(Exit::Usage, "%s at:%d: the run has %d steps", flag_, *at_.rbegin(), steps);
}

bool When::due(int64_t step, int64_t steps) const {
    if (step == steps || at_.count(step) > 0) return true;
    for (const int64_t n : every_)
        if (step > 0 && step % n == 0) return true;
    return log_ && (step & (step - 1)) == 0;
}
