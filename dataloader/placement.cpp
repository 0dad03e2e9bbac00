#include "dataloader/placement.h"

#include <algorithm>
#include <cmath>

#include "util/check.h"
#include "util/numbers.h"

namespace {

// "burst:0.5:0.1" -> {"burst", "0.5", "0.1"}
std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words = {""};
    for (const char c : text) {
        if (c == ':')
            words.emplace_back();
        else
            words.back() += c;
    }
    return words;
}

// [from, to) of the windows put end to end, as fractions of their length, appended to `result`. Neighbours join.
void cut_out(const RunWindows& windows, double length, double from, double to, RunWindows* result) {
    double before = 0;
    for (const auto& [a, b] : windows) {
        const double begin = std::max(a, a + from * length - before), end = std::min(b, a + to * length - before);
        before += b - a;
        if (end <= begin) continue;
        if (!result->empty() && begin - result->back().second < 1e-12)
            result->back().second = end;
        else
            result->emplace_back(begin, end);
    }
}

}  // namespace

void check_windows(const std::string& name, RunWindows windows) {
    std::sort(windows.begin(), windows.end());
    for (size_t i = 0; i < windows.size(); ++i) {
        const auto [a, b] = windows[i];
        if (!(a >= 0 && a < b && b <= 1)) die(Exit::Usage, "--window %s=%g:%g, expected 0 <= a < b <= 1", name, a, b);
        if (i > 0 && a < windows[i - 1].second)
            die(Exit::Usage, "--window %s: %g:%g overlaps the one before", name, a, b);
    }
}

RunWindows place_windows(const std::string& name, const std::string& text, RunWindows windows) {
    const std::string what = "--placement " + name;
    check_windows(name, windows);
    if (windows.empty()) windows = {{0, 1}};
    std::sort(windows.begin(), windows.end());
    double length = 0;
    for (const auto& [a, b] : windows) length += b - a;

    const std::vector<std::string> words = words_of(text);
    const std::string& form = words[0];
    const auto refuse = [&](const char* why) {
        die(Exit::Usage, "%s=%s: expected uniform, front:F, back:F, burst:C:F or periodic:N:F%s", what, text, why);
    };
    const size_t numbers = form == "uniform"                       ? 0
                           : form == "front" || form == "back"     ? 1
                           : form == "burst" || form == "periodic" ? 2
                                                                   : SIZE_MAX;
    if (words.size() != numbers + 1) refuse("");
    if (numbers == 0) return windows;
    const double F = parse_number(what, words.back());
    if (!(F > 0 && F <= 1)) refuse(", with 0 < F <= 1 of the source's windows");

    RunWindows result;
    if (form == "front") cut_out(windows, length, 0, F, &result);
    if (form == "back") cut_out(windows, length, 1 - F, 1, &result);
    if (form == "burst") {
        const double C = parse_number(what, words[1]), tiny = 1e-12;
        if (!(C - F / 2 >= -tiny && C + F / 2 <= 1 + tiny))
            refuse("; this burst reaches over an end: choose C from F/2 to 1 - F/2");
        cut_out(windows, length, C - F / 2, C + F / 2, &result);
    }
    if (form == "periodic") {
        const int64_t N = parse_count(what, words[1]);
        if (N < 1 || N > 100000) refuse(", with N from 1 to 100000");
        const double n = static_cast<double>(N);
        for (int64_t i = 0; i < N; ++i) {
            const double middle = (static_cast<double>(i) + 0.5) / n;
            cut_out(windows, length, middle - F / (2 * n), middle + F / (2 * n), &result);
        }
    }
    return result;
}
