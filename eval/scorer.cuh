// scorer.cuh - what a model answers: one packed forward pass over prompts with their answers, no generation.
//
// Greedy decoding of |answer| tokens gives the answer exactly when the arg-max is right at every answer position under
// teacher forcing: as long as the tokens before are the right ones, both condition on the same prefix. So exact match,
// log-probability and rank come from the same pass.
//
// A text is EOT + prompt + one of the question's texts: its answer, a candidate, an alias. Its score is the same bits
// whatever else is asked, in which order and batch: it stands alone in its segment (document mask, positions restart), attention counts its tiles from the segment's start, a row of a matrix
// product does not know the other rows, and the head runs over tiles of a fixed number of rows.
#pragma once
#include <algorithm>
#include <functional>
#include <vector>

#include "eval/choices.h"    // defines: QuestionResult, TextScore, judge
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

// One of the texts that are scored: text `text` of question `number` of the set.
struct AskedText {
    uint32_t number, text;
};

// The host's side of one forward pass: segments of EOT + prompt + text without its last token.
class ScorePass {
  public:
    explicit ScorePass(PackShape shape) : shape_(shape) {
        for (auto* array : {&tokens, &positions, &segment_start})
            array->resize(static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T));
    }

    std::vector<int> tokens, positions, segment_start;  // (B, T)
    std::vector<int> rows, targets;                     // of every token to score: the row of (B*T) that predicts it
    std::vector<uint32_t> texts;                        // whose tokens these are, as indices of `asked`

    // Rows first_row .. first_row + B - 1 of the packing. What a row has left is a segment of EOTs.
    void fill(const QuestionSet& set, const std::vector<AskedText>& asked, const Packing& packing, size_t first_row) {
        rows.clear(), targets.clear(), texts.clear();
        for (int b = 0; b < shape_.B; ++b) {
            const size_t row = first_row + static_cast<size_t>(b);
            int t = 0;
            if (row < packing.rows()) {
                for (uint64_t s = packing.first[row]; s < packing.first[row + 1]; ++s) {
                    const AskedText& ask = asked[packing.segments[s]];
                    const QuestionSet::Length length = set.length(ask.number, ask.text);
                    text_.assign(static_cast<size_t>(length.both()) + 1, set.eot_id());
                    set.read(ask.number, text_.data() + 1, ask.text);
                    for (int k = length.prompt; k < length.both(); ++k) {
                        rows.push_back(b * shape_.T + t + k);
                        targets.push_back(text_[static_cast<size_t>(k) + 1]);
                    }
                    texts.push_back(packing.segments[s]);
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

// Scores texts of one set, pass by pass; what a pass needs stays allocated between calls.
template <class Real>
class TextScorer {
  public:
    TextScorer(const Gpt<Real>& gpt, const QuestionSet& set, PackShape shape, backend::stream_t stream)
        : gpt_(gpt),
          set_(set),
          shape_(shape),
          stream_(stream),
          pass_(shape),
          memory_(gpt.config, shape.B, shape.T, Keep::Nothing, stream),
          N_(pass_.tokens.size()),
          tokens_(N_),
          positions_(N_),
          segment_start_(N_),
          rows_(N_),
          targets_(N_),
          argmax_(N_),
          rank_(N_),
          losses_(N_),
          host_argmax_(N_),
          host_rank_(N_),
          host_losses_(N_) {}

    // In the order of `asked`. `scored` is told after each pass how many of them it was.
    template <class Scored>
    std::vector<TextScore> score(const std::vector<AskedText>& asked, Scored scored) {
        std::vector<int> lengths;
        for (const AskedText& ask : asked) lengths.push_back(set_.length(ask.number, ask.text).both());
        const Packing packing = pack_segments(lengths, shape_.T);
        std::vector<TextScore> scores(asked.size());
        for (size_t row = 0; row < packing.rows(); row += static_cast<size_t>(shape_.B)) {
            pass_.fill(set_, asked, packing, row);
            run_pass();
            size_t at = 0;
            for (const uint32_t text : pass_.texts) {
                TextScore& score = scores[text];
                score = {0.0, 0, set_.length(asked[text].number, asked[text].text).answer, true};
                for (int k = 0; k < score.tokens; ++k, ++at) {
                    score.nll += static_cast<double>(host_losses_[at]);
                    score.rank = std::max(score.rank, host_rank_[at]);
                    score.correct = score.correct && host_argmax_[at] == pass_.targets[at];
                }
            }
            scored(pass_.texts.size());
        }
        return scores;
    }

  private:
    void run_pass() {
        const size_t n = pass_.rows.size();
        copy_to_device(tokens_.get(), pass_.tokens.data(), N_);
        copy_to_device(positions_.get(), pass_.positions.data(), N_);
        copy_to_device(segment_start_.get(), pass_.segment_start.data(), N_);
        copy_to_device(rows_.get(), pass_.rows.data(), n);
        copy_to_device(targets_.get(), pass_.targets.data(), n);
        gpt_forward(gpt_, memory_, {tokens_.get(), positions_.get(), segment_start_.get()}, stream_);
        gpt_score(gpt_, memory_, losses_.get(), argmax_.get(), rank_.get(), rows_.get(), targets_.get(),
                  static_cast<int>(n), stream_);
        copy_to_host(host_losses_.data(), losses_.get(), n);
        copy_to_host(host_argmax_.data(), argmax_.get(), n);
        copy_to_host(host_rank_.data(), rank_.get(), n);
    }

    const Gpt<Real>& gpt_;
    const QuestionSet& set_;
    PackShape shape_;
    backend::stream_t stream_;
    ScorePass pass_;
    ActivationMemory<Real> memory_;
    size_t N_;
    DeviceArray<int> tokens_, positions_, segment_start_, rows_, targets_, argmax_, rank_;
    DeviceArray<Stat<Real>> losses_;
    std::vector<int> host_argmax_, host_rank_;
    std::vector<Stat<Real>> host_losses_;
};

// Texts that are packed together: enough that passes are full, few enough that their scores take a few MiB however many
// questions there are.
constexpr size_t SCORED_AT_ONCE = 1 << 16;

// Told after each pass: how many of the texts are done, of how many.
using ScoreProgress = std::function<void(size_t done, size_t all)>;

// Scores questions `chosen` of the set with all their texts; results in their order. Shape and at_once change speed
// and memory only; the shape's T must hold the set's longest text.
template <class Real>
std::vector<QuestionResult> score_questions(const Gpt<Real>& gpt, const QuestionSet& set,
                                            const std::vector<uint32_t>& chosen, PackShape shape,
                                            backend::stream_t stream, const ScoreProgress& progress = nullptr,
                                            size_t at_once = SCORED_AT_ONCE) {
    TextScorer<Real> scorer(gpt, set, shape, stream);
    std::vector<QuestionResult> results;
    results.reserve(chosen.size());
    size_t done = 0, all = 0;
    for (const uint32_t number : chosen) all += set.texts(number).all();
    auto scored = [&](size_t texts) {
        if (progress) progress(done += texts, all);
    };
    std::vector<AskedText> asked;
    while (results.size() < chosen.size()) {
        asked.clear();
        size_t end = results.size();
        for (; end < chosen.size() && asked.size() < at_once; ++end)
            for (uint32_t text = 0; text < set.texts(chosen[end]).all(); ++text) asked.push_back({chosen[end], text});
        const std::vector<TextScore> scores = scorer.score(asked, scored);
        for (const TextScore* at = scores.data(); results.size() < end;) {
            const QuestionSet::Texts n = set.texts(chosen[results.size()]);
            results.push_back(judge(at, n.candidates, n.aliases));
            at += n.all();
        }
    }
    return results;
}
