// generate.cuh - what a model says when it is left to go on: greedy continuation of a question's prompt, for answers
// that have many right forms (a worked solution with its result at the end). Facts do not need it: scorer.cuh asks for
// them in one pass.
#pragma once
#include <algorithm>
#include <numeric>
#include <vector>

#include "eval/questions.h"  // defines: QuestionSet
#include "model/gpt.cuh"     // defines: gpt_forward, gpt_score
#include "util/device.h"

// The greedy continuation of EOT + prompt of each question in `chosen`: up to `most` tokens, fewer where EOT comes (it
// is not among them). In their order. A question stands alone in its row, so its text does not depend on the others.
// Every token is a forward pass over the rows as they are: no keys and values are kept, which costs a factor of the
// text's length and keeps one code path. Prompt and continuation must fit into the model's rows.
template <class Real>
std::vector<std::vector<int>> generate(const Gpt<Real>& gpt, const QuestionSet& set,
                                       const std::vector<uint32_t>& chosen, int most, backend::stream_t stream) {
    std::vector<uint32_t> order(chosen.size());  // neighbours of like length share a pass
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
        return set.length(chosen[a]).prompt < set.length(chosen[b]).prompt;
    });
    const int B = std::max(2, EVAL_POSITIONS / 256);

    std::vector<std::vector<int>> continuations(chosen.size());
    for (size_t first = 0; first < order.size(); first += static_cast<size_t>(B)) {
        const size_t count = std::min(static_cast<size_t>(B), order.size() - first);
        std::vector<std::vector<int>> texts(count);
        size_t longest = 0;
        for (size_t b = 0; b < count; ++b) {
            const uint32_t number = chosen[order[first + b]];
            const QuestionSet::Length length = set.length(number);
            texts[b].assign(static_cast<size_t>(length.both()) + 1, set.eot_id());
            set.read(number, texts[b].data() + 1);
            texts[b].resize(static_cast<size_t>(length.prompt) + 1);
            longest = std::max(longest, texts[b].size());
            ENSURE(length.prompt + most <= gpt.config.max_T, "generate: question %u needs %d positions of %d", number,
                   length.prompt + most, gpt.config.max_T);
        }
        std::vector<bool> open(count, true);
        for (int n = 0; n < most && std::find(open.begin(), open.end(), true) != open.end();) {
            // passes of one length until the longest text has grown out of it
            const int T = std::min(gpt.config.max_T, (static_cast<int>(longest) + 63) / 64 * 64);
            const size_t N = static_cast<size_t>(B) * static_cast<size_t>(T);
            ActivationMemory<Real> memory(gpt.config, B, T, Keep::Nothing, stream);
            DeviceArray<int> tokens(N), positions(N), rows(count), targets(count), argmax(count), rank(count);
            DeviceArray<Stat<Real>> losses(count);
            std::vector<int> host(N), host_rows(count), host_argmax(count);
            for (size_t i = 0; i < N; ++i) host[i] = static_cast<int>(i) % T;
            copy_to_device(positions.get(), host.data(), N);
            copy_to_device(targets.get(), std::vector<int>(count, 0).data(), count);  // only the arg-max is wanted
            for (; n < most && longest <= static_cast<size_t>(T); ++n) {
                std::fill(host.begin(), host.end(), set.eot_id());
                for (size_t b = 0; b < count; ++b) {
                    std::copy(texts[b].begin(), texts[b].end(), host.begin() + static_cast<std::ptrdiff_t>(b) * T);
                    host_rows[b] = static_cast<int>(b) * T + static_cast<int>(texts[b].size()) - 1;
                }
                copy_to_device(tokens.get(), host.data(), N);
                copy_to_device(rows.get(), host_rows.data(), count);
                gpt_forward(gpt, memory, {tokens.get(), positions.get(), nullptr}, stream);
                gpt_score(gpt, memory, losses.get(), argmax.get(), rank.get(), rows.get(), targets.get(),
                          static_cast<int>(count), stream);
                copy_to_host(host_argmax.data(), argmax.get(), count);
                for (size_t b = 0; b < count; ++b) {
                    open[b] = open[b] && host_argmax[b] != set.eot_id();
                    if (!open[b]) continue;
                    texts[b].push_back(host_argmax[b]);
                    longest = std::max(longest, texts[b].size());
                }
                if (std::find(open.begin(), open.end(), true) == open.end()) break;
            }
        }
        for (size_t b = 0; b < count; ++b) {
            const std::ptrdiff_t prompt = set.length(chosen[order[first + b]]).prompt + 1;
            continuations[order[first + b]].assign(texts[b].begin() + prompt, texts[b].end());
        }
    }
    return continuations;
}
