#include "eval/majority.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "util/rng.h"

namespace {

// The texts of a set; the same where their token ids are, which a hash of them says.
class Texts {
  public:
    explicit Texts(const QuestionSet& set) : set_(set) {}

    uint64_t hash(uint32_t i, uint32_t text) {
        const QuestionSet::Length n = set_.length(i, text);
        tokens_.resize(static_cast<size_t>(n.both()));
        set_.read(i, tokens_.data(), text);
        return hash_name(
            {reinterpret_cast<const char*>(tokens_.data() + n.prompt), static_cast<size_t>(n.answer) * sizeof(int)});
    }

  private:
    const QuestionSet& set_;
    std::vector<int> tokens_;
};

using Counts = std::unordered_map<uint64_t, uint32_t>;  // by hash of the text

std::vector<double> answer_baseline(const QuestionSet& set, Texts* texts) {
    const size_t kinds = set.names().kinds.size(), cells = set.names().attributes.size() * kinds;
    std::vector<Counts> counts(cells);
    std::vector<int64_t> questions(cells);
    std::vector<uint32_t> most(cells);
    for (const uint32_t i : set.fitting()) {
        const Question q = set.question(i);
        const size_t cell = q.attribute * kinds + q.kind;
        ++questions[cell];
        most[cell] = std::max(most[cell], ++counts[cell][texts->hash(i, 0)]);
    }
    std::vector<double> baseline(cells, 0.0);
    for (size_t cell = 0; cell < cells; ++cell)
        if (questions[cell]) baseline[cell] = static_cast<double>(most[cell]) / static_cast<double>(questions[cell]);
    return baseline;
}

// By attribute: of how many entities each text is an answer.
std::vector<Counts> entities_by_answer(const QuestionSet& set, Texts* texts) {
    std::vector<std::tuple<uint32_t, uint32_t, uint64_t>> answers;  // attribute, entity, text
    for (const uint32_t i : set.fitting()) {
        const Question q = set.question(i);
        const std::tuple answer(q.attribute, q.entity, texts->hash(i, 0));
        if (answers.empty() || answers.back() != answer) answers.push_back(answer);
    }
    std::sort(answers.begin(), answers.end());
    answers.erase(std::unique(answers.begin(), answers.end()), answers.end());
    std::vector<Counts> counts(set.names().attributes.size());
    for (const auto& [attribute, entity, text] : answers) ++counts[attribute][text];
    return counts;
}

std::vector<double> choice_baseline(const QuestionSet& set, const std::vector<uint32_t>& chosen, Texts* texts) {
    const std::vector<Counts> counts = entities_by_answer(set, texts);
    std::vector<double> baseline;
    for (const uint32_t i : chosen) {
        const uint32_t candidates = set.texts(i).candidates;
        const Counts& of_attribute = counts[set.question(i).attribute];
        const uint32_t own = of_attribute.at(texts->hash(i, 0)) - 1;  // of the other entities
        int equal = 1;
        for (uint32_t text = 1; text <= candidates; ++text) {
            const auto found = of_attribute.find(texts->hash(i, text));
            const uint32_t other = found == of_attribute.end() ? 0 : found->second;
            if (other > own) equal = 0;
            if (equal > 0 && other == own) ++equal;
        }
        baseline.push_back(candidates > 0 && equal > 0 ? 1.0 / equal : 0.0);
    }
    return baseline;
}

}  // namespace

MajorityBaselines majority_baselines(const QuestionSet& set, const std::vector<uint32_t>& chosen) {
    Texts texts(set);
    return {answer_baseline(set, &texts),
            set.has_candidates() ? choice_baseline(set, chosen, &texts) : std::vector<double>()};
}
