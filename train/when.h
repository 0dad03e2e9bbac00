// when.h - --eval-at and --checkpoint-at: the steps at which something is due.
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

// Steps are counted in updates done: 0 before the first, `steps` after the last, which is always due.
class When {
  public:
    // A list out of: log (0, 1, 2, 4, 8, ...), every:N, at:N, end, and windows: where each window of a source opens
    // and closes, and 1, 2, 4, 8, ... steps after it closed. Dies with Exit::Usage on anything else; `flag` is for
    // messages.
    When(std::string flag, const std::string& text);
    // Adds a source's windows, fractions of the run [a, b); they count where the list says `windows`.
    void add_windows(const std::vector<std::pair<double, double>>& windows, int64_t steps);
    // Dies with Exit::Usage on a step after the run's end, which would never be due.
    void check(int64_t steps) const;
    bool due(int64_t step, int64_t steps) const;

  private:
    std::string flag_;
    std::vector<int64_t> every_;
    std::set<int64_t> at_;
    bool log_ = false, windows_ = false;
};
