// scorer.cuh - what a model answers: one packed forward pass over prompts with their answers, no generation.
//
// Greedy decoding of |answer| tokens gives the answer exactly when the arg-max is right at every answer position under
// teacher forcing: as long as the tokens before are the right ones, both condition on the same prefix. So exact match,
// log-probability and rank come from the same pass.
//
// A text is EOT + prompt + one of the question's texts: its answer, a candidate, an alias. Its score is the same bits
// whatever else is asked, in which order and batch (packed_pass.cuh).
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "eval/choices.h"        // defines: QuestionResult, TextScore, judge
#include "eval/packed_pass.cuh"  // defines: PackedPass, PackShape, pack_shape
#include "eval/packing.h"        // defines: pack_segments
#include "eval/questions.h"      // defines: QuestionSet

// One of the texts that are scored: text `text` of question `number` of the set.
struct AskedText {
    uint32_t number, text;
};

// Scores texts of one set, pass by pass; what a pass needs stays allocated between calls.
template <class Real>
class TextScorer {
  public:
    TextScorer(const Gpt<Real>& gpt, const QuestionSet& set, PackShape shape, backend::stream_t stream)
        : set_(set), shape_(shape), pass_(gpt, shape, set.eot_id(), stream), vocabulary_(gpt.config.V) {}

    // In the order of `asked`. `scored` hears after each pass how many of them it was.
    template <class Scored>
    std::vector<TextScore> score(const std::vector<AskedText>& asked, Scored scored) {
        std::vector<int> lengths;
        for (const AskedText& ask : asked) lengths.push_back(set_.length(ask.number, ask.text).both());
        const Packing packing = pack_segments(lengths, shape_.T);
        std::vector<TextScore> scores(asked.size());
        for (size_t row = 0; row < packing.rows(); row += static_cast<size_t>(shape_.B)) {
            const size_t end = std::min(row + static_cast<size_t>(shape_.B), packing.rows());
            pass_.clear();
            for (size_t r = row; r < end; ++r)
                for (uint64_t s = packing.first[r]; s < packing.first[r + 1]; ++s)
                    add(static_cast<int>(r - row), asked[packing.segments[s]]);
            pass_.run();
            size_t at = 0;
            for (uint64_t s = packing.first[row]; s < packing.first[end]; ++s) {
                const AskedText& ask = asked[packing.segments[s]];
                TextScore& score = scores[packing.segments[s]];
                score = {0.0, 0, set_.length(ask.number, ask.text).answer, true};
                for (int k = 0; k < score.tokens; ++k, ++at) {
                    score.nll += pass_.loss(at);
                    score.rank = std::max(score.rank, pass_.rank(at));
                    score.correct = score.correct && pass_.correct(at);
                }
                if (std::isnan(score.nll)) {  // nothing is greater than such a logit; that is no first rank
                    score.rank = vocabulary_;
                    score.correct = false;
                }
            }
            scored(packing.first[end] - packing.first[row]);
        }
        return scores;
    }

  private:
    // A segment of EOT + prompt + text without its last token, which nothing follows.
    void add(int b, const AskedText& ask) {
        const QuestionSet::Length length = set_.length(ask.number, ask.text);
        text_.assign(static_cast<size_t>(length.both()) + 1, set_.eot_id());
        set_.read(ask.number, text_.data() + 1, ask.text);
        const int first = pass_.add(b, text_.data(), length.both());
        for (int k = length.prompt; k < length.both(); ++k) pass_.predict(first + k, text_[static_cast<size_t>(k) + 1]);
    }

    const QuestionSet& set_;
    PackShape shape_;
    PackedPass<Real> pass_;
    int vocabulary_;
    std::vector<int> text_;
};

// Texts that are packed together: enough that passes are full, few enough that their scores take a few MiB however many
// questions there are.
constexpr size_t SCORED_AT_ONCE = 1 << 16;

// Called after each pass: how many of the texts are done, of how many.
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
