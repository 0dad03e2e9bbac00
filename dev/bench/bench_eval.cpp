// bench_eval - what asking questions costs: scoring 10,000 of them beside plain forward passes, loss included, of the
// same number of padded positions.
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "eval/scorer.cuh"
#include "model/init.h"
#include "test/question_builder.h"
#include "util/files.h"

namespace {

constexpr int V = 2048, ROUNDS = 5;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Prompts of 8 to 16 ids, answers of 2 to 4: 12 and 3 on average.
QuestionBuilder make_questions(uint32_t questions, uint32_t candidates) {
    QuestionBuilder set;
    set.vocab = V;
    set.names.name = set.names.source = "bench";
    set.names.entities = questions;
    set.names.attributes = set.names.relations = {"a"};
    set.names.pools = {1000};
    set.names.templates = {"t"};
    set.names.kinds = {"seen"};
    set.names.groups = {"g"};
    for (uint32_t i = 0; i < questions; ++i) {
        BuiltQuestion q{{0, 0, 0, 0, i, 0, 0, 0}, {}, {}, {}};
        for (uint32_t t = 0; t < 8 + i % 9; ++t) q.prompt.push_back(1 + static_cast<int>((i * 31 + t * 17) % (V - 1)));
        for (uint32_t t = 0; t < 2 + i % 3; ++t) q.answer.push_back(1 + static_cast<int>((i * 7 + t) % (V - 1)));
        set.questions.push_back(q);
        if (candidates) add_others(&set, i, candidates, 0);
    }
    return set;
}

// Passes of a shape that hold all texts of the questions, as the scorer packs them.
size_t count_passes(const QuestionSet& set, const std::vector<uint32_t>& chosen, PackShape shape) {
    std::vector<int> lengths;
    for (const uint32_t i : chosen)
        for (uint32_t text = 0; text < set.texts(i).all(); ++text) lengths.push_back(set.length(i, text).both());
    const size_t B = static_cast<size_t>(shape.B);
    return (pack_segments(lengths, shape.T).rows() + B - 1) / B;
}

// Rows of text as validation_loss runs them: no document mask, a target at every position.
void forward_passes(const Gpt<float>& gpt, PackShape shape, size_t passes) {
    const size_t N = static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T);
    ActivationMemory<float> memory(gpt.config, shape.B, shape.T, Keep::Nothing, {});
    std::vector<int> tokens(N), positions(N);
    for (size_t i = 0; i < N; ++i) {
        tokens[i] = static_cast<int>(i * 31 % V);
        positions[i] = static_cast<int>(i % static_cast<size_t>(shape.T));
    }
    for (size_t pass = 0; pass < passes; ++pass) {
        gpt_forward(gpt, memory, {tokens.data(), positions.data(), nullptr}, {});
        gpt_losses(gpt, memory, static_cast<Gradients<float>*>(nullptr), tokens.data(), 0.0f, {});
    }
}

void measure(const Gpt<float>& gpt, const std::string& folder, uint32_t questions, uint32_t candidates) {
    make_questions(questions, candidates).write(folder + "/set");
    const QuestionSet set(folder + "/set", V, gpt.config.max_T);
    const std::vector<uint32_t> all = set.choose(0, 1);
    const PackShape shape = pack_shape(set.longest(), gpt.config.max_T);
    const size_t passes = count_passes(set, all, shape);
    std::vector<double> scoring, forward;
    for (int round = 0; round < ROUNDS; ++round) {
        const double begin = now();
        score_questions(gpt, set, all, shape, {});
        const double middle = now();
        forward_passes(gpt, shape, passes);
        const double end = now();
        scoring.push_back(middle - begin);
        forward.push_back(end - middle);
    }
    printf(
        "%u questions, %2u candidates each: scoring %.3f s, forward passes of the same %zu positions %.3f s, ratio "
        "%.3f\n",
        questions, candidates, median(scoring), passes * static_cast<size_t>(shape.B * shape.T), median(forward),
        median(scoring) / median(forward));
}

}  // namespace

int main() {
    setvbuf(stdout, nullptr, _IOLBF, 0);  // a figure as soon as it is there
    GptConfig config = config_from_name("pythia:L4:C128:H4");
    config.V = V;
    config.max_T = 256;
    Gpt<float> gpt(config);
    initialise_parameters(config, 1, gpt.memory.get());
    std::string folder = "/tmp/bench_eval_XXXXXX";
    ENSURE(mkdtemp(folder.data()), "%s: cannot be created", folder.c_str());
    printf("%zu parameters, goal: a ratio of at most 1.2\n", num_parameters(config));
    measure(gpt, folder, 10000, 0);
    measure(gpt, folder, 2500, 3);
    remove_tree(folder);
}
