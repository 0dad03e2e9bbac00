#include "dataloader/doses.h"

#include <cmath>

#include "util/check.h"
#include "util/numbers.h"

namespace {
const std::string form = "random:";
}  // namespace

bool asks_for_doses(const std::string& text) { return text.rfind(form, 0) == 0; }

std::vector<int64_t> dose_grid(const std::string& name, const std::string& text) {
    const std::string what = "--exposures " + name;
    const size_t colon = text.find(':', form.size());
    if (!asks_for_doses(text) || colon == std::string::npos)
        die(Exit::Usage, "%s=%s: expected a whole number, or random:LO:HI", what, text);
    const int64_t low = parse_count(what, text.substr(form.size(), colon - form.size())),
                  high = parse_count(what, text.substr(colon + 1));
    if (low < 1) die(Exit::Usage, "%s=%s: the least dose is %d, expected at least 1", what, text, low);
    if (high < low) die(Exit::Usage, "%s=%s: the most is less than the least, expected LO <= HI", what, text);
    if (high > MOST_DOSE) die(Exit::Usage, "%s=%s: expected at most %d exposures", what, text, MOST_DOSE);
    std::vector<int64_t> doses;
    for (int i = 0;; ++i) {
        const int64_t power = low << (i / 2);
        const int64_t dose = i % 2 == 0 ? power : std::llround(static_cast<double>(power) * std::sqrt(2.0));
        if (dose > high) return doses;
        if (doses.empty() || dose > doses.back()) doses.push_back(dose);
    }
}
