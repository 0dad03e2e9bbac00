#include "eval/majority.h"

#include <algorithm>
#include <unordered_map>

#include "eval/questions.h"
#include "util/rng.h"

namespace {

// How often each answer occurs in each cell of attribute and kind; answers by the hash of their ids.
class AnswerCounts {
  public:
    explicit AnswerCounts(const QuestionSet& set)
        : set_(set), kinds_(set.names().kinds.size()), counts_(set.names().attributes.size() * kinds_) {}

    size_t cells() const { return counts_.size(); }
    size_t cell(uint32_t i) const {
        const Question q = set_.question(i);
        return q.attribute * kinds_ + q.kind;
    }
    // Counts the question's answer; how often it has occurred by now.
    uint32_t add(uint32_t i) { return ++counts_[cell(i)][hash(i, 0)]; }
    uint32_t of(uint32_t i, uint32_t text) {
        const auto& counts = counts_[cell(i)];
        const auto found = counts.find(hash(i, text));
        return found == counts.end() ? 0 : found->second;
    }

  private:
    uint64_t hash(uint32_t i, uint32_t text) {
        const QuestionSet::Length n = set_.length(i, text);
        tokens_.resize(static_cast<size_t>(n.both()));
        set_.read(i, tokens_.data(), text);
        return hash_name(
            {reinterpret_cast<const char*>(tokens_.data() + n.prompt), static_cast<size_t>(n.answer) * sizeof(int)});
    }

    const QuestionSet& set_;
    size_t kinds_;
    std::vector<std::unordered_map<uint64_t, uint32_t>> counts_;
    std::vector<int> tokens_;
};

double choice_majority(AnswerCounts* counts, uint32_t i, uint32_t candidates) {
    const uint32_t own = counts->of(i, 0);
    int equal = 0;
    for (uint32_t text = 1; text <= candidates; ++text) {
        const uint32_t other = counts->of(i, text);
        if (other > own) return 0;
        equal += other == own;
    }
    return 1.0 / (1 + equal);
}

}  // namespace

MajorityBaselines majority_baselines(const QuestionSet& set) {
    AnswerCounts counts(set);
    std::vector<int64_t> questions(counts.cells());
    std::vector<uint32_t> most(counts.cells());
    for (uint32_t i = 0; i < set.size(); ++i) {
        const size_t cell = counts.cell(i);
        ++questions[cell];
        most[cell] = std::max(most[cell], counts.add(i));
    }
    MajorityBaselines baselines;
    baselines.answer.assign(counts.cells(), 0.0);
    for (size_t cell = 0; cell < most.size(); ++cell)
        if (questions[cell])
            baselines.answer[cell] = static_cast<double>(most[cell]) / static_cast<double>(questions[cell]);
    if (!set.has_candidates()) return baselines;
    baselines.choice.assign(set.size(), 0.0);
    for (uint32_t i = 0; i < set.size(); ++i)
        if (const uint32_t candidates = set.texts(i).candidates)
            baselines.choice[i] = choice_majority(&counts, i, candidates);
    return baselines;
}
