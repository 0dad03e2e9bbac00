#include "eval/popularity.h"

#include <algorithm>

namespace {

struct Item {
    uint32_t popularity;
    bool correct;
};

// Of at least one item.
PopularityThreshold threshold_of(std::vector<Item> items, const PopularityRule& rule) {
    std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.popularity > b.popularity; });
    PopularityThreshold threshold;
    threshold.items = static_cast<int64_t>(items.size());
    int64_t failures = 0, correct = 0;
    for (size_t i = 0; i < items.size() && !threshold.reached; ++i) {
        correct += items[i].correct;
        const bool group_ends = i + 1 == items.size() || items[i + 1].popularity < items[i].popularity;
        if (!group_ends) continue;
        threshold.popularity = items[i].popularity;
        threshold.items_at_least = static_cast<int64_t>(i + 1);
        threshold.accuracy = static_cast<double>(correct) / static_cast<double>(i + 1);
        failures += threshold.accuracy < rule.target;
        threshold.reached = failures >= rule.failures;
    }
    return threshold;
}

}  // namespace

std::vector<PopularityThreshold> popularity_thresholds(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                                       const std::vector<QuestionResult>& results,
                                                       const PopularityRule& rule) {
    std::vector<PopularityThreshold> thresholds;
    if (!set.has_popularity()) return thresholds;
    const std::vector<std::string>& kinds = set.names().kinds;
    for (const bool normalized : {false, true}) {
        std::vector<std::vector<Item>> items(kinds.size());
        for (size_t i = 0; i < chosen.size(); ++i) {
            const uint32_t popularity = set.popularity(chosen[i]);
            const bool judged = !normalized || results[i].normalized >= 0;
            if (popularity == UNKNOWN_POPULARITY || !judged) continue;
            const bool correct = normalized ? results[i].normalized > 0 : results[i].correct;
            items[set.question(chosen[i]).kind].push_back({popularity, correct});
        }
        for (size_t kind = 0; kind < kinds.size(); ++kind) {
            if (items[kind].empty()) continue;
            thresholds.push_back(threshold_of(std::move(items[kind]), rule));
            thresholds.back().kind = kinds[kind];
            thresholds.back().normalized = normalized;
        }
    }
    return thresholds;
}
