#include "eval/hedged_bits.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

namespace {

constexpr double LN2 = 0.693147180559945309417, HALF_TURN = 3.14159265358979323846;
constexpr int MIXTURES = 16;
constexpr double UNUSED_COST = 1, USED_COST = 1 + 4;  // bits of a cell's description

struct Fact {
    uint32_t entity, attribute, group;
    bool kept;
    double bits = 0;  // log2 |pool| + log2 p
};

using CellKey = std::tuple<uint32_t, uint32_t, bool>;  // attribute, group, kept
CellKey key_of(const Fact& fact) { return {fact.attribute, fact.group, fact.kept}; }

// Calls visit(place, question) for the questions of `numbers` that count.
template <class Visit>
void visit_seen(const QuestionSet& set, const std::vector<uint32_t>& numbers, Visit visit) {
    for (size_t i = 0; i < numbers.size(); ++i) {
        const Question q = set.question(numbers[i]);
        if (set.names().pools[q.attribute] > 0 && set.names().kinds[q.kind] == "seen") visit(i, q);
    }
}

// Of each cell in the whole set.
std::map<CellKey, int64_t> count_facts(const QuestionTask& task) {
    std::vector<std::tuple<uint32_t, uint32_t, uint32_t>> facts;
    visit_seen(*task.set, task.set->fitting(),
               [&](size_t, const Question& q) { facts.emplace_back(q.entity, q.attribute, q.group); });
    std::sort(facts.begin(), facts.end());
    facts.erase(std::unique(facts.begin(), facts.end()), facts.end());
    std::map<CellKey, int64_t> counts;
    for (const auto& [entity, attribute, group] : facts)
        ++counts[{attribute, group, !task.kept.empty() && task.kept[entity]}];
    return counts;
}

// The facts asked about, entity by entity.
std::vector<Fact> facts_asked(const QuestionTask& task, const std::vector<QuestionResult>& results) {
    struct Sum {
        Fact fact;
        double nll = 0, questions = 0;
    };
    std::map<std::pair<uint32_t, uint32_t>, Sum> sums;
    visit_seen(*task.set, task.chosen, [&](size_t i, const Question& q) {
        Sum& sum = sums[{q.entity, q.attribute}];
        sum.fact = {q.entity, q.attribute, q.group, !task.kept.empty() && task.kept[q.entity]};
        sum.nll += results[i].nll, sum.questions += 1;
    });
    std::vector<Fact> facts;
    for (auto& [number, sum] : sums) {
        sum.fact.bits =
            std::log2(static_cast<double>(task.set->names().pools[sum.fact.attribute])) - sum.nll / sum.questions / LN2;
        // a loss that is not a number: the model gives the value no probability
        if (std::isnan(sum.fact.bits)) sum.fact.bits = -std::numeric_limits<double>::infinity();
        facts.push_back(sum.fact);
    }
    return facts;
}

// Of a fact coded with the mixture.
double gain(double bits, double mixture) {
    return mixture >= 1 ? bits : std::log2(mixture * std::exp2(bits) + 1 - mixture);
}

// A cell while it is worked out.
struct Coded {
    HedgedCell cell;
    std::vector<double> bits;  // of the facts asked about
    double cost = UNUSED_COST, scale = 1;

    void choose() {
        double best = -UNUSED_COST;
        for (int i = 1; i <= MIXTURES; ++i) {
            const double mixture = i == MIXTURES ? 1 : std::pow(std::sin(0.5 * HALF_TURN * i / MIXTURES), 2);
            double sum = -USED_COST;
            for (const double b : bits) sum += gain(b, mixture);
            if (sum > best) best = sum, cell.mixture = mixture, cost = USED_COST;
        }
        cell.facts_asked = static_cast<int64_t>(bits.size());
        scale = static_cast<double>(cell.facts) / static_cast<double>(bits.size());
        cell.bits = std::min(scale * best, cell.most);
    }
    double share_of(double fact_bits) const { return cell.mixture > 0 ? scale * gain(fact_bits, cell.mixture) : 0; }
};

// A figure while it is summed.
struct Summed {
    HedgedFigure figure;
    double fixed = 0, entities = 0;  // bits that no resample changes; entities with facts in it

    void add(const Coded& coded) {
        figure.facts += coded.cell.facts;
        figure.bits += coded.cell.bits;
        figure.most += coded.cell.most;
        fixed -= coded.scale * coded.cost;
    }
    double clip(double bits) const { return std::min(std::max(bits, 0.0), figure.most); }
};

}  // namespace

HedgedBits hedged_bits(const QuestionTask& task, const std::vector<QuestionResult>& results, int resamples,
                       uint64_t seed) {
    const QuestionNames& names = task.set->names();
    const std::vector<Fact> facts = facts_asked(task, results);
    const std::map<CellKey, int64_t> counts = count_facts(task);
    std::map<CellKey, Coded> cells;
    for (const Fact& fact : facts) cells[key_of(fact)].bits.push_back(fact.bits);

    // figures: all, kept, attributes, groups
    const size_t A = names.attributes.size(), G = names.groups.size();
    std::vector<Summed> sums(2 + A + G);
    const auto visit_figures = [&](const CellKey& key, auto visit) {
        const auto [attribute, group, kept] = key;
        visit(0);
        if (kept) visit(1);
        visit(2 + attribute);
        visit(2 + A + group);
    };
    HedgedBits found;
    for (auto& [key, coded] : cells) {
        const auto [attribute, group, kept] = key;
        HedgedCell& cell = coded.cell;
        cell.attribute = names.attributes[attribute], cell.group = names.groups[group];
        cell.kept = task.kept.empty() ? -1 : kept;
        cell.facts = counts.at(key);
        cell.most = static_cast<double>(cell.facts) * names.bits[attribute];
        coded.choose();
        found.cells.push_back(cell);
        visit_figures(key, [&, &of = coded](size_t f) { sums[f].add(of); });
    }

    RatioTable table;  // by entity and figure: what its facts save, and 1
    for (size_t i = 0; i < facts.size();) {
        std::map<size_t, double> saved;
        const uint32_t entity = facts[i].entity;
        for (; i < facts.size() && facts[i].entity == entity; ++i)
            visit_figures(key_of(facts[i]),
                          [&](size_t f) { saved[f] += cells.at(key_of(facts[i])).share_of(facts[i].bits); });
        for (const auto& [f, bits] : saved) {
            table.entries.push_back({static_cast<uint32_t>(f), static_cast<float>(bits), 1});
            sums[f].entities += 1;
        }
        table.first.push_back(table.entries.size());
    }
    const uint32_t figures = static_cast<uint32_t>(sums.size());
    const std::vector<double> ratios =
        resamples > 0 ? bootstrap_ratios(table, figures, resamples, seed) : std::vector<double>();
    for (size_t f = 0; f < sums.size(); ++f) {
        Summed& sum = sums[f];
        std::vector<double> values;
        for (size_t r = 0; r < static_cast<size_t>(std::max(resamples, 0)); ++r)
            values.push_back(sum.clip(sum.entities * ratios[r * figures + f] + sum.fixed));
        sum.figure.interval = percentile_interval(values);
        sum.figure.bits = sum.clip(sum.figure.bits);
        if (sum.entities == 0) continue;
        if (f >= 2) sum.figure.name = f < 2 + A ? names.attributes[f - 2] : names.groups[f - 2 - A];
        if (f == 0) found.all = sum.figure;
        if (f == 1) found.kept = sum.figure;
        if (f >= 2 && f < 2 + A) found.attributes.push_back(sum.figure);
        if (f >= 2 + A && G > 1) found.groups.push_back(sum.figure);
    }
    return found;
}

HedgedFigure above_control(const HedgedBits& bits, const HedgedBits& control) {
    HedgedFigure above = bits.all;
    double other = 0, low = 0, high = 0;
    for (const HedgedFigure& own : bits.attributes)
        for (const HedgedFigure& its : control.attributes) {
            if (its.name != own.name) continue;
            const double scale = static_cast<double>(own.facts) / static_cast<double>(its.facts);
            other += scale * its.bits, low += scale * its.interval.low, high += scale * its.interval.high;
        }
    const double value = bits.all.bits - other;
    above.bits = std::max(value, 0.0);
    above.interval = {std::max(value - std::hypot(bits.all.bits - bits.all.interval.low, high - other), 0.0),
                      std::max(value + std::hypot(bits.all.interval.high - bits.all.bits, other - low), 0.0)};
    return above;
}
