// generate.cuh - what a model says when it is left to go on: greedy continuation of a question's prompt, for answers
// that have many right forms (a worked solution with its result at the end; a name with more or less around it). Facts
// with one right form do not need it: scorer.cuh asks for them in one pass.
#pragma once
#include <algorithm>
#include <numeric>
#include <vector>

#include "eval/packed_pass.cuh"  // defines: PackedPass, pack_shape
#include "eval/packing.h"        // defines: pack_segments
#include "eval/questions.h"      // defines: QuestionSet

// What follows texts[open[0]], texts[open[1]], ..., in that order: the most likely token. `shape`: the pass's.
template <class Real>
std::vector<int> next_tokens(PackedPass<Real>* pass, PackShape shape, const std::vector<std::vector<int>>& texts,
                             const std::vector<uint32_t>& open) {
    std::vector<int> lengths;
    for (const uint32_t i : open) lengths.push_back(static_cast<int>(texts[i].size()));
    const Packing packing = pack_segments(lengths, shape.T);
    std::vector<int> next(open.size());
    for (size_t row = 0; row < packing.rows(); row += static_cast<size_t>(shape.B)) {
        const size_t end = std::min(row + static_cast<size_t>(shape.B), packing.rows());
        pass->clear();
        for (size_t r = row; r < end; ++r)
            for (uint64_t s = packing.first[r]; s < packing.first[r + 1]; ++s) {
                const std::vector<int>& text = texts[open[packing.segments[s]]];
                const int length = static_cast<int>(text.size());
                const int first = pass->add(static_cast<int>(r - row), text.data(), length);
                pass->predict(first + length - 1, 0);  // only the arg-max is wanted
            }
        pass->run();
        const uint64_t begin = packing.first[row];
        for (uint64_t s = begin; s < packing.first[end]; ++s) next[packing.segments[s]] = pass->argmax(s - begin);
    }
    return next;
}

// The greedy continuation of EOT + prompt of each question in `chosen`: up to `most` tokens, fewer where EOT comes (it
// is not among them). In their order. Every token of all texts that have not ended is one round of packed passes over
// the texts as they are: no keys and values are kept, which costs a factor of the text's length and keeps one code
// path. Prompt and continuation must fit into the model's rows.
template <class Real>
std::vector<std::vector<int>> generate(const Gpt<Real>& gpt, const QuestionSet& set,
                                       const std::vector<uint32_t>& chosen, int most, backend::stream_t stream) {
    std::vector<std::vector<int>> texts;
    int longest = 0;
    for (const uint32_t number : chosen) {
        const QuestionSet::Length length = set.length(number);
        const int needs = length.prompt + most;  // the last token is not read again
        ENSURE(needs <= gpt.config.max_T, "generate: question %u needs %d positions of %d", number, needs,
               gpt.config.max_T);
        texts.emplace_back(static_cast<size_t>(length.both()) + 1, set.eot_id());
        set.read(number, texts.back().data() + 1);
        texts.back().resize(static_cast<size_t>(length.prompt) + 1);
        longest = std::max(longest, needs);
    }
    const PackShape shape = pack_shape(longest, gpt.config.max_T);
    PackedPass<Real> pass(gpt, shape, set.eot_id(), stream);
    std::vector<uint32_t> open(chosen.size());
    std::iota(open.begin(), open.end(), 0u);
    for (int n = 0; n < most && !open.empty(); ++n) {
        const std::vector<int> next = next_tokens(&pass, shape, texts, open);
        size_t left = 0;
        for (size_t k = 0; k < open.size(); ++k) {
            if (next[k] == set.eot_id()) continue;
            texts[open[k]].push_back(next[k]);
            open[left++] = open[k];
        }
        open.resize(left);
    }
    for (size_t i = 0; i < chosen.size(); ++i)
        texts[i].erase(texts[i].begin(), texts[i].begin() + set.length(chosen[i]).prompt + 1);
    return texts;
}
