#include "eval/choices.h"

#include <algorithm>

namespace {

// Candidates whose value is below the answer's (values are nats: less is better), and equal to it. Where a value is no
// number (a model that gives none), the answer is taken for the worse one.
struct Order {
    int better = 0, equal = 0;
    double choice() const { return better > 0 ? 0 : 1.0 / (1 + equal); }
};

template <class Value>
Order order_of(const TextScore* texts, uint32_t candidates, Value value) {
    Order order;
    for (uint32_t i = 1; i <= candidates; ++i) {
        const double own = value(texts[0]), other = value(texts[i]);
        if (own == other)
            ++order.equal;
        else if (!(own < other))
            ++order.better;
    }
    return order;
}

}  // namespace

QuestionResult judge(const TextScore* texts, uint32_t candidates, uint32_t aliases) {
    QuestionResult result{texts[0].nll, texts[0].rank, texts[0].tokens, texts[0].correct};
    for (uint32_t i = 0; i < aliases; ++i) {
        const TextScore& alias = texts[1 + candidates + i];
        result.rank = std::min(result.rank, alias.rank);
        if (alias.correct && !result.correct) {
            result.correct = true;
            result.alias = static_cast<int>(i);
        }
    }
    if (candidates == 0) return result;
    const Order summed = order_of(texts, candidates, [](const TextScore& t) { return t.nll; });
    const Order normed = order_of(texts, candidates, [](const TextScore& t) { return t.nll / t.tokens; });
    result.choices = static_cast<int>(candidates) + 1;
    result.choice = summed.choice();
    result.choice_norm = normed.choice();
    result.choice_rank = 1 + summed.better + 0.5 * summed.equal;
    return result;
}
