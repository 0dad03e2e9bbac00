#include "eval/thresholds.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "eval/exposures.h"

namespace {

struct Group {
    uint32_t number;
    double frequency;
    int64_t questions = 0, correct = 0;
    std::vector<std::pair<uint64_t, uint32_t>> facts;  // entity and attribute, exposures
};

// Groups with entities, their questions still to count.
std::vector<Group> groups_of(const QuestionSet& set) {
    const std::vector<double>& weights = set.names().group_weights;
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<Group> groups;
    for (uint32_t g = 0; g < weights.size(); ++g) {
        const double entities = static_cast<double>(set.group_entities(g));
        groups.push_back({g, entities > 0 ? weights[g] / sum / entities : 0.0, 0, 0, {}});
    }
    return groups;
}

// Groups that differ in something else than frequency (who was trained on questions) count as one, named by the first.
std::vector<Group> merge_equal(std::vector<Group> groups) {
    std::vector<Group> merged;
    for (Group& group : groups) {
        if (merged.empty() || group.frequency < merged.back().frequency * (1 - 1e-9)) {
            merged.push_back(std::move(group));
            continue;
        }
        Group& to = merged.back();
        to.questions += group.questions;
        to.correct += group.correct;
        to.facts.insert(to.facts.end(), group.facts.begin(), group.facts.end());
    }
    return merged;
}

bool has_seen(const QuestionSet& set) {
    for (uint32_t a = 0; a < set.names().attributes.size(); ++a)
        if (set.seen_entities(a) > 0) return true;
    return false;
}

// A fact counts once, however many questions ask about it.
double mean_exposures(std::vector<std::pair<uint64_t, uint32_t>> facts) {
    std::sort(facts.begin(), facts.end());
    facts.erase(std::unique(facts.begin(), facts.end()), facts.end());
    double sum = 0;
    for (const auto& fact : facts) sum += fact.second;
    return facts.empty() ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(facts.size());
}

// Of any question; NaN where the pool's size is not known.
double guess_of(const QuestionSet& set, const Question& q) {
    const int64_t pool = set.names().pools[q.attribute];
    return pool > 0 ? 1 / static_cast<double>(pool) : DoseCurve::NONE;
}

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
        failures += threshold.accuracy < rule.target && threshold.items_at_least >= rule.items.n;
        threshold.reached = failures >= rule.failures.n;
    }
    return threshold;
}

}  // namespace

FrequencyThreshold frequency_threshold(const QuestionTask& task, const std::vector<QuestionResult>& results,
                                       const std::vector<uint32_t>& exposures, const FrequencyRule& rule) {
    const QuestionSet& set = *task.set;
    const QuestionNames& names = set.names();
    FrequencyThreshold threshold;
    if (names.group_weights.empty() || names.groups.size() < 2) return threshold;
    threshold.target = rule.target;
    std::vector<Group> groups = groups_of(set);
    std::vector<DoseAnswers> answers;
    const bool seen_only = has_seen(set);
    for (size_t i = 0; i < task.chosen.size(); ++i) {
        const Question q = set.question(task.chosen[i]);
        if (seen_only && names.kinds[q.kind] != "seen") continue;
        Group& group = groups[q.group];
        ++group.questions;
        group.correct += results[i].correct;
        const double dose = task.kept.empty() || task.kept[q.entity] ? group.frequency : 0;
        answers.push_back({dose, guess_of(set, q), q.entity, results[i].correct ? 1.0 : 0.0, 1});
        if (!exposures.empty() && exposures[i] != UNKNOWN_EXPOSURES)
            group.facts.emplace_back(static_cast<uint64_t>(q.entity) << 32 | q.attribute, exposures[i]);
    }
    std::stable_sort(groups.begin(), groups.end(),
                     [](const Group& a, const Group& b) { return a.frequency > b.frequency; });
    groups = merge_equal(std::move(groups));
    if (groups.size() < 2) return {};  // all have one frequency
    for (const Group& group : groups) {
        if (group.questions == 0) continue;
        const double accuracy = static_cast<double>(group.correct) / static_cast<double>(group.questions);
        if (accuracy < rule.target) {
            threshold.reached = true;
            threshold.group = names.groups[group.number];
            threshold.frequency = group.frequency;
            threshold.accuracy = accuracy;
            threshold.exposures = mean_exposures(group.facts);
            break;
        }
        ++threshold.groups_above;
    }
    threshold.curve = fit_dose_curve(answers, rule.target, rule.resamples, rule.seed);
    return threshold;
}

std::vector<PopularityThreshold> popularity_thresholds(const QuestionTask& task,
                                                       const std::vector<QuestionResult>& results,
                                                       const PopularityRule& rule, int resamples, uint64_t seed) {
    const QuestionSet& set = *task.set;
    std::vector<PopularityThreshold> thresholds;
    if (!set.has_popularity()) return thresholds;
    const std::vector<std::string>& kinds = set.names().kinds;
    for (const bool normalized : {false, true}) {
        std::vector<std::vector<Item>> items(kinds.size());
        std::vector<std::vector<DoseAnswers>> answers(kinds.size());
        for (size_t i = 0; i < task.chosen.size(); ++i) {
            const uint32_t popularity = set.popularity(task.chosen[i]);
            const bool judged = !normalized || results[i].normalized >= 0;
            if (popularity == UNKNOWN_POPULARITY || !judged) continue;
            const bool correct = normalized ? results[i].normalized > 0 : results[i].correct;
            const Question q = set.question(task.chosen[i]);
            items[q.kind].push_back({popularity, correct});
            answers[q.kind].push_back(
                {static_cast<double>(std::max(popularity, 1u)), guess_of(set, q), q.entity, correct ? 1.0 : 0.0, 1});
        }
        for (size_t kind = 0; kind < kinds.size(); ++kind) {
            if (items[kind].empty()) continue;
            thresholds.push_back(threshold_of(std::move(items[kind]), rule));
            thresholds.back().kind = kinds[kind];
            thresholds.back().normalized = normalized;
            thresholds.back().curve = fit_dose_curve(answers[kind], rule.target, resamples, seed);
        }
    }
    return thresholds;
}
