#include "eval/normalize.h"
#include "eval/results.h"

namespace {

// The prompt's ids, then the text's.
std::vector<int> read_both(const QuestionSet& set, uint32_t number, uint32_t text) {
    std::vector<int> tokens(static_cast<size_t>(set.length(number, text).both()));
    set.read(number, tokens.data(), text);
    return tokens;
}

bool is_right(const QuestionSet& set, uint32_t number, const std::string& continuation, const Tokenizer& tokenizer) {
    const QuestionSet::Texts texts = set.texts(number);
    for (uint32_t text = 0; text < texts.all(); ++text) {
        if (text > 0 && text <= texts.candidates) continue;  // wrong answers
        const std::vector<int> tokens = read_both(set, number, text);
        const QuestionSet::Length length = set.length(number, text);
        const std::string answer = tokenizer.decode(tokens.data() + length.prompt, static_cast<size_t>(length.answer));
        if (begins_with_answer(continuation, answer)) return true;
    }
    return false;
}

}  // namespace

std::string prompt_text(const QuestionSet& set, uint32_t number, const Tokenizer& tokenizer) {
    return tokenizer.decode(read_both(set, number, 0).data(), static_cast<size_t>(set.length(number).prompt));
}

std::string continuation_text(const QuestionSet& set, uint32_t number, const std::vector<int>& continuation,
                              const Tokenizer& tokenizer) {
    std::vector<int> ids = read_both(set, number, 0);
    ids.resize(static_cast<size_t>(set.length(number).prompt));
    const std::string prompt = tokenizer.decode(ids.data(), ids.size());
    ids.insert(ids.end(), continuation.begin(), continuation.end());
    const std::string both = tokenizer.decode(ids.data(), ids.size());
    // not so where the prompt ends within a character
    if (both.compare(0, prompt.size(), prompt) == 0) return both.substr(prompt.size());
    return tokenizer.decode(continuation.data(), continuation.size());
}

void judge_continuations(const QuestionSet& set, const std::vector<uint32_t>& chosen,
                         const std::vector<std::vector<int>>& continuations, const Tokenizer& tokenizer,
                         std::vector<QuestionResult>* results) {
    for (size_t i = 0; i < chosen.size(); ++i) {
        const std::string text = tokenizer.decode(continuations[i].data(), continuations[i].size());
        (*results)[i].normalized = is_right(set, chosen[i], text, tokenizer);
    }
}
