// schedule.h - the learning rate as a pure function of the step: nothing to save, nothing to restore.
//
// N steps, W of warm-up, p = the peak, f = the final fraction; s counts from 0. The first W steps rise linearly,
//     lr = p (s + 1) / W                                      s < W
// and then, with t = (s - W) / (N - W) the part that is done since:
//     constant  lr = p
//     linear    lr = p (1 - (1 - f) t)
//     cosine    lr = p (f + (1 - f) (1 + cos(pi t)) / 2)
//     wsd       lr = p, and over the last D = round(cooldown N) steps  lr = p (1 - (1 - f) (s - (N - D)) / D)
// so the step after the last would reach p f exactly. wsd (warm-up, stable, decay): Hu et al. 2024, "MiniCPM"; one run
// without its cooldown is the trunk of runs of many lengths.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>

#include "util/check.h"

struct Schedule {
    enum class Kind { Wsd, Cosine, Linear, Constant };
    Kind kind = Kind::Wsd;
    double peak = 1e-3;
    int64_t steps = 0, warmup = 0;
    double cooldown = 0.1;        // fraction of the run, wsd only
    double final_fraction = 0.0;  // of the peak, where the schedule ends
};

// `name` is wsd, cosine, linear or constant; dies with Exit::Usage on another one and on a warm-up longer than the run.
// The other numbers' ranges are those of their options.
inline Schedule make_schedule(const std::string& name, double peak, int64_t steps, int64_t warmup, double cooldown,
                              double final_fraction) {
    const std::pair<const char*, Schedule::Kind> kinds[] = {{"wsd", Schedule::Kind::Wsd},
                                                            {"cosine", Schedule::Kind::Cosine},
                                                            {"linear", Schedule::Kind::Linear},
                                                            {"constant", Schedule::Kind::Constant}};
    const auto* kind = std::find_if(std::begin(kinds), std::end(kinds), [&](const auto& k) { return name == k.first; });
    if (kind == std::end(kinds)) die(Exit::Usage, "--schedule %s: expected wsd, cosine, linear or constant", name);
    if (warmup < 0 || warmup > steps) die(Exit::Usage, "--warmup %d: expected 0 to the run's %d steps", warmup, steps);
    return {kind->second, peak, steps, warmup, cooldown, final_fraction};
}

inline double learning_rate(const Schedule& s, int64_t step) {
    if (step < s.warmup) return s.peak * static_cast<double>(step + 1) / static_cast<double>(s.warmup);
    const double fall = 1 - s.final_fraction;
    const double t =
        static_cast<double>(step - s.warmup) / static_cast<double>(std::max<int64_t>(1, s.steps - s.warmup));
    switch (s.kind) {
        case Schedule::Kind::Constant:
            return s.peak;
        case Schedule::Kind::Linear:
            return s.peak * (1 - fall * t);
        case Schedule::Kind::Cosine:
            return s.peak * (s.final_fraction + fall * 0.5 * (1 + std::cos(3.14159265358979323846 * t)));
        case Schedule::Kind::Wsd:
            break;
    }
    const int64_t decay = std::llround(s.cooldown * static_cast<double>(s.steps)), start = s.steps - decay;
    if (step < start) return s.peak;
    return s.peak * (1 - fall * static_cast<double>(step - start) / static_cast<double>(std::max<int64_t>(1, decay)));
}
