// scorer.cuh - what a model answers: one packed forward pass over prompts with their answers, no generation.
//
// Greedy decoding of |answer| tokens gives the answer exactly when the arg-max is right at every answer position under teacher forcing: as long as
// the tokens before are the right ones, both condition on the same prefix. So exact match, log-probability and rank come from the same pass.
//
// A question's scores are the same bits whatever else is asked, in which order and batch: it stands alone in its segment (document mask, positions
// restart), attention counts its tiles from the segment's start, a row of a matrix product does not know the other rows, and the head runs over tiles
// of a fixed number of rows.
#pragma once
#include <algorithm>
#include <vector>

#include "eval/metrics.h"    // defines: QuestionResult
#include "eval/packing.h"    // defines: pack_segments
#include "eval/questions.h"  // defines: QuestionSet
#include "model/gpt.cuh"     // defines: gpt_forward, gpt_score
#include "util/device.h"

// Rows of T positions, B of them in a forward pass.
struct PackShape {
    int B, T;
};

// A segment is EOT + prompt + answer without its last token: as long as prompt and answer.
// T = 256, or the longest question's need; passes of 2048 positions: activations of a few MiB, yet matrix products near their full speed.
inline PackShape pack_shape(int longest, int max_T) {
    const int T = std::min(max_T, std::max(256, (longest + 63) / 64 * 64));
    return {std::max(2, 2048 / T), T};
}

// Scores questions `chosen` of the set, in their order.
template <class Real>
std::vector<QuestionResult> score_questions(const Gpt<Real>& gpt, const QuestionSet& set, const std::vector<uint32_t>& chosen,
                                            PackShape shape, backend::stream_t stream) {
    const int B = shape.B, T = shape.T;
    const size_t N = static_cast<size_t>(B) * static_cast<size_t>(T);
    std::vector<int> lengths;
    for (const uint32_t i : chosen) lengths.push_back(set.length(i).both());
    const Packing packing = pack_segments(lengths, T);

    ActivationMemory<Real> memory(gpt.config, B, T, false);
    DeviceArray<int> tokens_device(N), positions_device(N), segment_start_device(N);
    DeviceArray<int> rows_device(N), targets_device(N), argmax_device(N), rank_device(N);
    DeviceArray<Real> losses_device(N);
    std::vector<int> tokens(N), positions(N), segment_start(N), rows, targets, argmax(N), rank(N), text;
    std::vector<Real> losses(N);
    std::vector<uint32_t> pass;  // which of `chosen` this pass holds

    std::vector<QuestionResult> results(chosen.size());
    for (size_t first_row = 0; first_row < packing.rows(); first_row += static_cast<size_t>(B)) {
        // rows of the pass: segments, then one segment of EOT over what is left
        rows.clear(), targets.clear(), pass.clear();
        for (size_t b = 0; b < static_cast<size_t>(B); ++b) {
            const size_t row = b * static_cast<size_t>(T);
            int used = 0;
            auto add_segment = [&](const int* ids, int n) {  // EOT, then n - 1 ids; null: EOT only
                for (int t = 0; t < n; ++t) {
                    const size_t at = row + static_cast<size_t>(used + t);
                    tokens[at] = t > 0 && ids ? ids[t - 1] : set.eot_id();
                    positions[at] = t;
                    segment_start[at] = used;
                }
                used += n;
            };
            for (uint64_t s = first_row + b < packing.rows() ? packing.first[first_row + b] : packing.segments.size();
                 s < packing.segments.size() && s < packing.first[first_row + b + 1]; ++s) {
                const uint32_t question = packing.segments[s];
                const QuestionSet::Length length = set.length(chosen[question]);
                text.resize(static_cast<size_t>(length.both()));
                set.read(chosen[question], text.data());
                for (int k = length.prompt; k < length.both(); ++k) {
                    rows.push_back(static_cast<int>(row) + used + k);  // text[k] is predicted where text[k - 1] stands
                    targets.push_back(text[static_cast<size_t>(k)]);
                }
                add_segment(text.data(), length.both());
                pass.push_back(question);
            }
            add_segment(nullptr, T - used);
        }

        copy_to_device(tokens_device.get(), tokens.data(), N);
        copy_to_device(positions_device.get(), positions.data(), N);
        copy_to_device(segment_start_device.get(), segment_start.data(), N);
        copy_to_device(rows_device.get(), rows.data(), rows.size());
        copy_to_device(targets_device.get(), targets.data(), targets.size());
        gpt_forward(gpt, memory, {tokens_device.get(), positions_device.get(), segment_start_device.get()}, stream);
        gpt_score(gpt, memory, losses_device.get(), argmax_device.get(), rank_device.get(), rows_device.get(), targets_device.get(),
                  static_cast<int>(rows.size()), stream);
        copy_to_host(losses.data(), losses_device.get(), rows.size());
        copy_to_host(argmax.data(), argmax_device.get(), rows.size());
        copy_to_host(rank.data(), rank_device.get(), rows.size());

        size_t at = 0;
        for (const uint32_t question : pass) {
            QuestionResult& result = results[question];
            result = {0.0, 0, set.length(chosen[question]).answer, true};
            for (int k = 0; k < result.tokens; ++k, ++at) {
                result.nll += static_cast<double>(losses[at]);
                result.rank = std::max(result.rank, rank[at]);
                result.correct = result.correct && argmax[at] == targets[at];
            }
        }
    }
    return results;
}
