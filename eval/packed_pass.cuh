// packed_pass.cuh - one forward pass over many short texts, each as if it were alone.
//
// What a text gives is the same bits whatever else is in the pass, in which order and row: it is alone in its segment
// (document mask, positions restart), attention counts its tiles from the segment's start, a row of a matrix product
// does not know the other rows, and the head runs over tiles of a fixed number of rows.
#pragma once
#include <algorithm>
#include <vector>

#include "kernels/backend.h"
#include "model/gpt.cuh"  // defines: gpt_forward, gpt_score
#include "util/check.h"

// A forward pass has B rows of T positions.
struct PackShape {
    int B, T;
};

// Rows of 256, or the longest text's need; passes of about EVAL_POSITIONS.
inline PackShape pack_shape(int longest, int max_T) {
    const int T = std::min(max_T, std::max(256, (longest + 63) / 64 * 64));
    return {std::max(2, EVAL_POSITIONS / T), T};
}

// Filled text by text, run, emptied; what it needs stays allocated.
template <class Real>
class PackedPass {
  public:
    // What rows have left is a segment of `filler`.
    PackedPass(const Gpt<Real>& gpt, PackShape shape, int filler, backend::stream_t stream)
        : gpt_(gpt),
          shape_(shape),
          filler_(static_cast<size_t>(shape.T), filler),
          stream_(stream),
          memory_(gpt.config, shape.B, shape.T, Keep::Nothing, stream),
          N_(static_cast<size_t>(shape.B) * static_cast<size_t>(shape.T)),
          host_tokens_(N_),
          host_positions_(N_),
          host_segment_start_(N_),
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
          host_losses_(N_) {
        clear();
    }

    void clear() {
        used_.assign(static_cast<size_t>(shape_.B), 0);
        host_rows_.clear(), host_targets_.clear();
    }

    // Puts a text after those that row b has: a segment of its own. Where its first token is in (B*T).
    int add(int b, const int* text, int length) {
        int& t = used_[static_cast<size_t>(b)];
        const int first = b * shape_.T + t;
        ENSURE(t + length <= shape_.T, "pass: %d tokens do not fit after %d of %d", length, t, shape_.T);
        for (int k = 0; k < length; ++k) {
            const size_t at = static_cast<size_t>(first + k);
            host_tokens_[at] = text[k];
            host_positions_[at] = k;
            host_segment_start_[at] = t;
        }
        t += length;
        return first;
    }

    // What follows the token at this index of (B*T) is asked for, and how likely `target` is. Results come in this
    // order.
    void predict(int row, int target) { host_rows_.push_back(row), host_targets_.push_back(target); }

    void run() {
        for (int b = 0; b < shape_.B; ++b) add(b, filler_.data(), shape_.T - used_[static_cast<size_t>(b)]);
        const size_t n = host_rows_.size();
        copy_to_device(tokens_.get(), host_tokens_.data(), N_);
        copy_to_device(positions_.get(), host_positions_.data(), N_);
        copy_to_device(segment_start_.get(), host_segment_start_.data(), N_);
        copy_to_device(rows_.get(), host_rows_.data(), n);
        copy_to_device(targets_.get(), host_targets_.data(), n);
        gpt_forward(gpt_, memory_, {tokens_.get(), positions_.get(), segment_start_.get()}, stream_);
        gpt_score(gpt_, memory_, losses_.get(), argmax_.get(), rank_.get(), rows_.get(), targets_.get(),
                  static_cast<int>(n), stream_);
        copy_to_host(host_losses_.data(), losses_.get(), n);
        copy_to_host(host_argmax_.data(), argmax_.get(), n);
        copy_to_host(host_rank_.data(), rank_.get(), n);
    }

    // Of the prediction `i`.
    double loss(size_t i) const { return static_cast<double>(host_losses_[i]); }
    int argmax(size_t i) const { return host_argmax_[i]; }
    bool correct(size_t i) const { return host_argmax_[i] == host_targets_[i]; }
    int rank(size_t i) const { return host_rank_[i]; }

  private:
    const Gpt<Real>& gpt_;
    PackShape shape_;
    std::vector<int> filler_;  // a row of it
    backend::stream_t stream_;
    ActivationMemory<Real> memory_;
    size_t N_;
    std::vector<int> used_;                                               // by row: positions with texts
    std::vector<int> host_tokens_, host_positions_, host_segment_start_;  // (B, T)
    std::vector<int> host_rows_, host_targets_;
    DeviceArray<int> tokens_, positions_, segment_start_, rows_, targets_, argmax_, rank_;
    DeviceArray<Stat<Real>> losses_;
    std::vector<int> host_argmax_, host_rank_;
    std::vector<Stat<Real>> host_losses_;
};
