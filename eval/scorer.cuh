// scorer.cuh - what a model answers: one packed forward pass over prompts with their answers, no generation.
//
// Greedy decoding of |answer| tokens gives the answer exactly when the arg-max is right at every answer position under
// teacher forcing: as long as the tokens before are the right ones, both condition on the same prefix. So exact match,
// log-probability and rank come from the same pass.
//
// A question's scores are the same bits whatever else is asked, in which order and batch: it stands alone in its
// segment (document mask, positions restart), attention counts its tiles from the segment's start, a row of a matrix
// product does not know the other rows, and the head runs over tiles of a fixed number of rows.
#pragma once
#include <algorithm>
#include <vector>

#include "eval/metrics.h"    // defines: QuestionResult
#include "eval/packing.h"    // defines: pack_segments
#include "eval/questions.h"  // defines: QuestionSet
#include "model/gpt.cuh"     // defines: gpt_forward, gpt_score
#include "util/device.h"

// A forward pass has B rows of T positions.
struct PackShape {
    int B, T;
};

// Rows of 256, or the longest question's need; passes of about EVAL_POSITIONS.
inline PackShape pack_shape(int longest, int max_T) {
    const int T = std::min(max_T, std::max(256, (longest + 63) / 64 * 64));
    return {std::max(2, EVAL_POSITIONS / T), T};
}

// The host's side of one forward pass: segments of EOT + prompt + answer without its last token.
class ScorePass {
  public:
    explicit ScorePass(PackShape shape) : shape_(shape) {
        for (auto* array : {&tokens, &positions, &segment_start})
            array->resize(static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T));
    }

    std::vector<int> tokens, positions, segment_start;  // (B, T)
    std::vector<int> rows, targets;                     // of every answer token: the row of (B*T) that predicts it
    std::vector<uint32_t> questions;                    // whose answers these are, as indices of `chosen`

    // Rows first_row .. first_row + B - 1 of the packing. What a row has left is a segment of EOTs.
    void fill(const QuestionSet& set, const std::vector<uint32_t>& chosen, const Packing& packing, size_t first_row) {
        rows.clear(), targets.clear(), questions.clear();
        for (int b = 0; b < shape_.B; ++b) {
            const size_t row = first_row + static_cast<size_t>(b);
            int t = 0;
            if (row < packing.rows()) {
                for (uint64_t s = packing.first[row]; s < packing.first[row + 1]; ++s) {
                    const uint32_t number = chosen[packing.segments[s]];
                    const QuestionSet::Length length = set.length(number);
                    text_.assign(static_cast<size_t>(length.both()) + 1, set.eot_id());
                    set.read(number, text_.data() + 1);
                    for (int k = length.prompt; k < length.both(); ++k) {
                        rows.push_back(b * shape_.T + t + k);
                        targets.push_back(text_[static_cast<size_t>(k) + 1]);
                    }
                    questions.push_back(packing.segments[s]);
                    add_segment(b, t, length.both());
                    t += length.both();
                }
            }
            text_.assign(static_cast<size_t>(shape_.T - t), set.eot_id());
            add_segment(b, t, shape_.T - t);
        }
    }

  private:
    void add_segment(int b, int start, int length) {
        const size_t row = static_cast<size_t>(b) * static_cast<size_t>(shape_.T);
        for (int t = 0; t < length; ++t) {
            const size_t at = row + static_cast<size_t>(start + t);
            tokens[at] = text_[static_cast<size_t>(t)];
            positions[at] = t;
            segment_start[at] = start;
        }
    }

    PackShape shape_;
    std::vector<int> text_;
};

// Scores questions `chosen` of the set; results in their order. The shape changes speed and memory only; its T must
// hold the set's longest question.
template <class Real>
std::vector<QuestionResult> score_questions(const Gpt<Real>& gpt, const QuestionSet& set,
                                            const std::vector<uint32_t>& chosen, PackShape shape,
                                            backend::stream_t stream) {
    std::vector<int> lengths;
    for (const uint32_t number : chosen) lengths.push_back(set.length(number).both());
    const Packing packing = pack_segments(lengths, shape.T);

    ScorePass pass(shape);
    ActivationMemory<Real> memory(gpt.config, shape.B, shape.T, Keep::Nothing, stream);
    const size_t N = pass.tokens.size();
    DeviceArray<int> tokens(N), positions(N), segment_start(N), rows(N), targets(N), argmax(N), rank(N);
    DeviceArray<Stat<Real>> losses(N);
    std::vector<int> host_argmax(N), host_rank(N);
    std::vector<Stat<Real>> host_losses(N);

    std::vector<QuestionResult> results(chosen.size());
    for (size_t first_row = 0; first_row < packing.rows(); first_row += static_cast<size_t>(shape.B)) {
        pass.fill(set, chosen, packing, first_row);
        const size_t n = pass.rows.size();
        copy_to_device(tokens.get(), pass.tokens.data(), N);
        copy_to_device(positions.get(), pass.positions.data(), N);
        copy_to_device(segment_start.get(), pass.segment_start.data(), N);
        copy_to_device(rows.get(), pass.rows.data(), n);
        copy_to_device(targets.get(), pass.targets.data(), n);

        gpt_forward(gpt, memory, {tokens.get(), positions.get(), segment_start.get()}, stream);
        gpt_score(gpt, memory, losses.get(), argmax.get(), rank.get(), rows.get(), targets.get(), static_cast<int>(n),
                  stream);

        copy_to_host(host_losses.data(), losses.get(), n);
        copy_to_host(host_argmax.data(), argmax.get(), n);
        copy_to_host(host_rank.data(), rank.get(), n);
        size_t at = 0;
        for (const uint32_t question : pass.questions) {
            QuestionResult& result = results[question];
            result = {0.0, 0, set.length(chosen[question]).answer, true};
            for (int k = 0; k < result.tokens; ++k, ++at) {
                result.nll += static_cast<double>(host_losses[at]);
                result.rank = std::max(result.rank, host_rank[at]);
                result.correct = result.correct && host_argmax[at] == pass.targets[at];
            }
        }
    }
    return results;
}
