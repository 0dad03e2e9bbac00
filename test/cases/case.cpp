#include "test/cases/case.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "util/rng.h"

namespace {

// streams of the generator
constexpr uint64_t NORMAL_VALUES = 7, RANDOM_INTS = 8;

}  // namespace

WorstRow worst_row(const Output& output) {
    WorstRow worst;
    for (size_t row = 0; row * output.row < output.got.size(); ++row) {
        double difference = 0, size = 0;
        for (size_t i = row * output.row; i < std::min((row + 1) * output.row, output.got.size()); ++i) {
            const double d = output.got[i] - output.want[i];
            difference += d * d;
            size += output.want[i] * output.want[i];
        }
        const double error = std::sqrt(size > 0 ? difference / size : difference);
        if (!(error <= worst.error)) worst = {row, error};
        if (std::isnan(error)) break;
    }
    return worst;
}

std::vector<Case> all_cases() {
    std::vector<Case> cases;
#define ADD_ROOM(name) \
    for (Case & c : name##_cases()) cases.push_back(std::move(c));
    CASE_ROOMS(ADD_ROOM)
#undef ADD_ROOM
    return cases;
}

std::vector<Case> timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
#define ADD_ROOM(name) \
    for (Case & c : name##_timed_cases(step)) cases.push_back(std::move(c));
    CASE_ROOMS(ADD_ROOM)
#undef ADD_ROOM
    return cases;
}

Doubles normal_doubles(size_t n, uint64_t seed) {
    static std::map<uint64_t, Doubles> drawn;  // by seed: the same few are asked for again and again
    Doubles& values = drawn[seed];
    for (size_t i = values.size(); i < n; ++i) values.push_back(random_normal(seed, NORMAL_VALUES, i));
    return part(values, 0, n);
}

Doubles finite(Doubles x) {
    for (double& value : x)
        if (!std::isfinite(value)) value = std::isnan(value) ? 1e30 : std::copysign(1e31, value);
    return x;
}

Ints random_ints(size_t n, int below, uint64_t seed) {
    Ints values(n);
    for (size_t i = 0; i < n; ++i)
        values[i] = static_cast<int>(random_below(static_cast<uint64_t>(below), seed, RANDOM_INTS, i));
    return values;
}

Case gradient_case(const std::string& name, const std::function<Doubles(const Doubles&)>& f, const Doubles& x,
                   const Doubles& weights, const Doubles& gradient) {
    Case result;
    result.name = "formula's gradient of " + name;
    result.make = [=] {
        constexpr double STEP = 1e-5;
        Doubles numeric(x.size());
        for (size_t i = 0; i < x.size(); ++i) {
            Doubles up = x, down = x;
            up[i] += STEP;
            down[i] -= STEP;
            const Doubles a = f(up), b = f(down);
            for (size_t j = 0; j < a.size(); ++j) numeric[i] += weights[j] * (a[j] - b[j]) / (2 * STEP);
        }
        return Instance{[](backend::stream_t, bool) {},
                        [=] {
                            return Outputs{{"gradient", x.size(), 1e-8, gradient, numeric}};
                        }};
    };
    return result;
}
