// test_eval_models.h - random models to ask, and scoring as one would write it down: a whole forward pass a text.
#pragma once
#include <cmath>
#include <vector>

#include "eval/choices.h"
#include "model/gpt.cuh"
#include "model/init.h"
#include "test/question_builder.h"

inline constexpr int MAX_T = 48;
inline const char* const MODELS[] = {"gpt2:L2:C32:H2", "pythia:L2:C24:H3"};

// Of either family, with logits that differ clearly.
inline Gpt<float> random_model(const char* name, int V = 64) {
    GptConfig config = config_from_name(name);
    config.V = V;
    config.max_T = MAX_T;
    Gpt<float> gpt(config);
    initialise_parameters(config, 3, gpt.memory.get());
    for (size_t i = 0; i < gpt.memory.size(); ++i) gpt.memory.get()[i] *= 3;
    return gpt;
}

// (T, V): after every token of a text that is alone.
inline std::vector<std::vector<double>> plain_logits(const Gpt<float>& gpt, const std::vector<int>& text) {
    const GptConfig& c = gpt.config;
    const float* head = c.tied ? gpt.params.wte : gpt.params.lmheadw;
    std::vector<int> positions;
    for (size_t t = 0; t < text.size(); ++t) positions.push_back(static_cast<int>(t));
    ActivationMemory<float> memory(c, 1, static_cast<int>(text.size()), Keep::Nothing, {});
    gpt_forward(gpt, memory, {text.data(), positions.data(), nullptr}, {});
    std::vector<std::vector<double>> logits(text.size(), std::vector<double>(static_cast<size_t>(c.V)));
    for (size_t t = 0; t < text.size(); ++t)
        for (int v = 0; v < c.V; ++v)
            for (int k = 0; k < c.C; ++k)
                logits[t][static_cast<size_t>(v)] +=
                    static_cast<double>(memory.a.lnf[t * static_cast<size_t>(c.C) + static_cast<size_t>(k)]) *
                    static_cast<double>(head[v * c.C + k]);
    return logits;
}

inline TextScore plain_score(const Gpt<float>& gpt, std::vector<int> text, const std::vector<int>& answer) {
    const size_t prompt = text.size();
    text.insert(text.end(), answer.begin(), answer.end() - 1);
    const std::vector<std::vector<double>> logits = plain_logits(gpt, text);
    TextScore score{0.0, 0, static_cast<int>(answer.size()), true};
    for (size_t k = 0; k < answer.size(); ++k) {
        const std::vector<double>& row = logits[prompt - 1 + k];
        const double own = row[static_cast<size_t>(answer[k])];
        double sum = 0;
        for (const double logit : row) sum += std::exp(logit - own);
        const int rank = 1 + static_cast<int>(std::count_if(row.begin(), row.end(), [&](double x) { return x > own; }));
        score.nll += std::log(sum);
        score.rank = std::max(score.rank, rank);
        score.correct = score.correct && rank == 1;
    }
    return score;
}

// Greedy decoding.
inline std::vector<int> decode(const Gpt<float>& gpt, std::vector<int> text, size_t n) {
    const size_t start = text.size();
    while (text.size() < start + n) {
        const std::vector<double> last = plain_logits(gpt, text).back();
        text.push_back(static_cast<int>(std::max_element(last.begin(), last.end()) - last.begin()));
    }
    return {text.begin() + static_cast<std::ptrdiff_t>(start), text.end()};
}

inline std::vector<int> with_eot(const QuestionBuilder& set, const BuiltQuestion& q) {
    std::vector<int> text = {set.eot_id};
    text.insert(text.end(), q.prompt.begin(), q.prompt.end());
    return text;
}
