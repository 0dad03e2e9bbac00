// choices.h - how a model did on one question: exact match of the right answers, and the choice among the candidates.
#pragma once
#include <cstdint>

// A text after its prompt (EOT + prompt + text), as the scorer gives it.
struct TextScore {
    double nll;    // nats, summed over the text's tokens (log-softmax over the unpadded vocabulary)
    int rank;      // worst rank of one of its tokens among the vocabulary; 1: exact match
    int tokens;    // of the text
    bool correct;  // the arg-max is right at every one of them
};

struct QuestionResult {
    double nll;              // the answer's
    int rank;                // the least of answer and aliases
    int tokens;              // of the answer
    bool correct;            // exact match: of the answer or of an alias
    int alias = -1;          // the first alias that matches, where the answer does not
    int choices = 0;         // candidates and the answer; 0: there are no candidates
    double choice = 0;       // 1: the answer's log-probability is the largest; 1/n: n share it; 0
    double choice_norm = 0;  // the same of log-probability per token
    double choice_rank = 0;  // the answer's among the choices: 1 + those above it + half of those equal to it
    int normalized = -1;     // 1: the model's own continuation is right (normalize.h); 0: wrong; -1: not judged
};

// texts: the answer, its candidates, its aliases.
QuestionResult judge(const TextScore* texts, uint32_t candidates, uint32_t aliases);
