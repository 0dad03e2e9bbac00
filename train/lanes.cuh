// lanes.cuh - a step's gradients: of its lanes, added up as a fixed tree by one process or several, and the update by
// those who own the parameters (ZeRO-1: Rajbhandari et al. 2020, section 5).
//
// A step's rows, in stream order, are W equal runs of rows: the lanes. A lane's gradient is the sum over its
// micro-batches in order; the lanes' are added as a binary tree, ((0 + 1) + (2 + 3)) + ... So nothing depends on how
// many processes there are: each of n has W/n neighbouring lanes, which is a whole subtree.
//
//   a lane's backward pass leaves block b   its gradient is final; subtrees that are whole are added, here
//   the last lane's                         exchange: slice r of the block goes to process r, while the pass goes on
//   all n have come                         the owner adds them as the upper part of the tree, and its squares
//   all blocks are through                  norms, losses and the signal of all processes: one small gather
//   update                                  AdamW on own slices, block by block; the new weights go to all
//
// What crosses the wire in a step, by process, of P parameters of s bytes: 4 P (n-1)/n bytes of gradients out and as
// much in; s P (n-1)/n of weights in, and out to the others (--zero 0: floats of summed gradients in their place). A
// process holds log2(W/n) + 1 gradients.
#pragma once
#include <algorithm>
#include <array>
#include <deque>
#include <type_traits>
#include <vector>

#include "kernels/backend.h"  // defines: Communicator, add_tree, global_norm_squared, add_in_order
#include "model/gpt.cuh"      // defines: Gpt, Gradients, AdamState, gpt_update
#include "model/tensors.h"    // defines: parameter_blocks, block_slices, block_parts

// A subtree of `lanes` lanes is added up with this many gradients in memory.
inline int gradients_in_memory(int lanes) {
    int count = 1;
    for (; lanes > 1; lanes /= 2) ++count;
    return count;
}

// Elements of the largest block's own part, of every process: where exchanged slices arrive.
inline size_t exchange_elements(const GptConfig& config, int lanes, int processes) {
    size_t largest = 0;
    if (processes > 1)
        for (const ElementRange& block : parameter_blocks(config))
            largest = std::max(largest, block_parts(block, lanes, processes).size(0));
    return largest * static_cast<size_t>(processes);
}

// Parameters that a process updates; all update as many.
inline size_t updated_elements(const GptConfig& config, int lanes, int processes) {
    size_t elements = 0;
    for (const ElementRange& block : parameter_blocks(config)) elements += block_parts(block, lanes, processes).size(0);
    return elements;
}

template <class Real>
class Lanes {
  public:
    using Sum = Stat<Real>;

    // lanes: a power of two that communicator.size() divides. whole_state: every process updates all parameters (--zero
    // 0). sources: whose losses are summed apart.
    Lanes(const GptConfig& config, backend::Communicator& communicator, int lanes, bool whole_state, size_t sources)
        : communicator_(communicator),
          lanes_(lanes),
          whole_state_(whole_state),
          sources_(sources),
          blocks_(parameter_blocks(config)),
          elements_(parameter_elements(config)),
          width_((sources + 1 + blocks_.size() + 1) / 2 * 2),  // records begin on 16 bytes
          records_(static_cast<size_t>(lanes) * width_),
          totals_(width_ + 1),
          terms_(exchange_elements(config, lanes, communicator.size())) {
        size_t largest = 0;
        for (const ElementRange& block : blocks_) {
            slices_.push_back(block_slices(block, lanes));
            parts_.push_back(block_parts(block, lanes, communicator.size()));
            largest = std::max(largest, slices_.back()[0].size());
        }
        norm_scratch_ = DeviceArray<char>(backend::global_norm_scratch(largest));
        const size_t count = static_cast<size_t>(gradients_in_memory(own()));
        memory_ = DeviceArray<Sum>(count * elements_);
        for (size_t i = 0; i < count; ++i) gradients_.emplace_back(config, memory_.get() + i * elements_);
        losses_ = DeviceArray<double>(count * sources);
        for (PinnedArray<double>& stage : signals_) stage = PinnedArray<double>(1);
    }

    // Ranges of every block that this process updates.
    static std::vector<ElementRange> updated_ranges(const GptConfig& config, const backend::Communicator& communicator,
                                                    int lanes, bool whole_state) {
        std::vector<ElementRange> ranges = parameter_blocks(config);
        if (whole_state) return ranges;
        for (ElementRange& range : ranges) {
            const Parts parts = block_parts(range, lanes, communicator.size());
            const int r = communicator.rank();
            range = {range.begin + parts.begin(r), range.begin + parts.begin(r) + parts.size(r)};
        }
        return ranges;
    }

    int own() const { return lanes_ / communicator_.size(); }

    // To be added to by the micro-batches of own lane `lane`; lanes go in order.
    Gradients<Real>& begin(int lane, backend::stream_t stream) {
        Gradients<Real>& gradients = gradients_[pending(lane)];
        // what the update went over is zero already
        const bool zero = pending(lane) == 0 && (whole_state_ || communicator_.size() == 1);
        if (!zero) device_zero(gradients.memory, elements_, stream);
        device_zero(losses(lane), sources_, stream);
        return gradients;
    }
    // Where a lane's gradients and losses are in memory: place 0 to places() - 1.
    static size_t place(int lane) { return pending(lane); }
    size_t places() const { return gradients_.size(); }
    // (sources) sums of losses, of the lane.
    double* losses(int lane) const { return losses_.get() + pending(lane) * sources_; }
    // All work on a block's gradient of this lane is queued on the stream.
    void finished(int lane, size_t block, backend::stream_t stream) {
        const ElementRange& range = blocks_[block];
        for_pairs(lane, [&](size_t at) {
            add_pair(memory_.get() + at * elements_ + range.begin, elements_, range.size(), stream);
        });
        if (communicator_.size() == 1 || lane + 1 < own()) return;
        communicator_.follow(stream);
        finished_.push_back(block);
        advance();
    }
    // The lane's losses are there, too.
    void end(int lane, backend::stream_t stream) {
        for_pairs(lane, [&](size_t at) { add_pair(losses_.get() + at * sources_, sources_, sources_, stream); });
    }

    // After the last lane: waits for exchanges, then norm and losses of all lanes and processes. signal: this process
    // has been asked to stop.
    void sum(bool signal, backend::stream_t stream) {
        const bool alone = communicator_.size() == 1;
        if (alone)
            for (size_t block = 0; block < blocks_.size(); ++block) square(block, stream);
        backend::add_tree(record(), static_cast<const double*>(losses_.get()), sources_, 1, sources_, stream);
        while (!finished_.empty() || exchanged_ != NONE) {
            settle();
            advance();
        }
        PinnedArray<double>& stage = signals_[next_signal_];
        next_signal_ = 1 - next_signal_;
        *stage.get() = signal ? 1 : 0;
        upload(record() + signal_at(), stage.get(), 1, stream);
        backend::stream_t on = stream;
        if (!alone) {
            communicator_.follow(stream);
            on = communicator_.stream();
            Parts parts{{0}};
            for (int r = 0; r < communicator_.size(); ++r)
                parts.bounds.push_back(static_cast<size_t>((r + 1) * own()) * width_);
            communicator_.gather(Span<double>{records_.get(), records_.size()}, parts);
            communicator_.wait();
        }
        // where a column is not a lane's own it is 0, which changes no sum
        backend::add_tree(totals_.get(), static_cast<const double*>(records_.get()), width_, lanes_, width_, on);
        backend::add_in_order(totals_.get() + width_, totals_.get() + norms_at(), static_cast<int>(blocks_.size()), on);
        communicator_.join(stream);
    }

    // AdamW on what this process updates, which is zero afterwards; then all have all weights.
    void update(Gpt<Real>& gpt, AdamState<Real>& adam, const AdamwSettings& settings, backend::stream_t stream) {
        Gradients<Real>& gradients = gradients_[0];
        const bool alone = communicator_.size() == 1;
        const auto gather = [&](auto* memory, size_t block) {
            communicator_.gather(
                Span<std::remove_pointer_t<decltype(memory)>>{memory + blocks_[block].begin, blocks_[block].size()},
                parts_[block]);
        };
        if (!alone && whole_state_) {
            for (size_t block = 0; block < blocks_.size(); ++block) gather(gradients.memory, block);
            communicator_.join(stream);
        }
        gpt_update(gpt, adam, gradients, norm_squared(), settings, stream, [&](size_t block) {
            if (alone || whole_state_) return;
            communicator_.follow(stream);
            gather(gpt.memory.get(), block);
        });
        communicator_.join(stream);
    }

    // Of the step that was summed last: on the own parts, until they are updated, the sum over all lanes.
    const Gradients<Real>& gradients() const { return gradients_[0]; }
    // On the device, of that step: (sources) sums of losses, the number of processes with a signal, (L + 2) squared
    // norms of the blocks; last, the squared norm of all.
    const double* totals() const { return totals_.get(); }
    size_t num_totals() const { return totals_.size(); }
    const double* norm_squared() const { return totals_.get() + width_; }
    size_t signal_at() const { return sources_; }
    size_t norms_at() const { return sources_ + 1; }

  private:
    static constexpr size_t NONE = SIZE_MAX;

    // How many whole subtrees wait to be added when a lane begins; its gradient comes after them.
    static size_t pending(int lane) { return static_cast<size_t>(__builtin_popcount(static_cast<unsigned>(lane))); }
    // add(at): subtree `at` and the one after it become one. What the end of a lane makes possible, as counting up by
    // one in binary carries.
    template <class Add>
    static void for_pairs(int lane, Add add) {
        size_t last = pending(lane);
        for (int rest = lane; rest & 1; rest >>= 1) add(--last);
    }
    template <class T>
    static void add_pair(T* first, size_t stride, size_t n, backend::stream_t stream) {
        backend::add_tree(first, static_cast<const T*>(first), stride, 2, n, stream);
    }
    // Of the first own lane: losses, signal, the squared norms of its slices of the blocks. Later lanes: norms only.
    double* record(int lane = 0) const {
        return records_.get() + static_cast<size_t>(communicator_.rank() * own() + lane) * width_;
    }

    // The squared norms of a block's own slices.
    void square(size_t block, backend::stream_t stream) {
        for (int lane = 0; lane < own(); ++lane) {
            const ElementRange& slice = slices_[block][static_cast<size_t>(communicator_.rank() * own() + lane)];
            if (slice.size() > 0)
                backend::global_norm_squared<Sum>(record(lane) + norms_at() + block, norm_scratch_.get(),
                                                  memory_.get() + slice.begin, slice.size(), stream);
        }
    }
    // Begins the next exchange where the one before is through.
    void advance() {
        while (!finished_.empty() && (exchanged_ == NONE || communicator_.ready())) {
            settle();
            exchanged_ = finished_.front();
            finished_.pop_front();
            const ElementRange& range = blocks_[exchanged_];
            const Parts& parts = parts_[exchanged_];
            const size_t own_part = parts.size(communicator_.rank());
            communicator_.exchange(Span<Sum>{terms_.get(), own_part * static_cast<size_t>(communicator_.size())},
                                   Span<const Sum>{memory_.get() + range.begin, range.size()}, parts);
        }
    }
    // What has arrived is added up.
    void settle() {
        if (exchanged_ == NONE) return;
        communicator_.wait();
        const Parts& parts = parts_[exchanged_];
        const size_t own_part = parts.size(communicator_.rank());
        Sum* const sum = memory_.get() + blocks_[exchanged_].begin + parts.begin(communicator_.rank());
        if (own_part > 0)
            backend::add_tree(sum, static_cast<const Sum*>(terms_.get()), own_part, communicator_.size(), own_part,
                              communicator_.stream());
        square(exchanged_, communicator_.stream());
        exchanged_ = NONE;
    }

    backend::Communicator& communicator_;
    const int lanes_;
    const bool whole_state_;
    const size_t sources_;
    std::vector<ElementRange> blocks_;
    std::vector<std::vector<ElementRange>> slices_;  // of each block, by lane
    std::vector<Parts> parts_;                       // of each block, by process
    size_t elements_;                                // of all parameters
    size_t width_;                                   // of a record
    DeviceArray<double> records_;                    // (lanes, width): of all processes after sum()
    DeviceArray<double> totals_;                     // (width + 1)
    DeviceArray<Sum> terms_;                         // (processes, own part): what an exchange brings
    DeviceArray<char> norm_scratch_;
    DeviceArray<Sum> memory_;                     // (count, elements): subtrees that wait, then the lane's own
    std::vector<Gradients<Real>> gradients_;      // each of them
    DeviceArray<double> losses_;                  // (count, sources)
    std::array<PinnedArray<double>, 2> signals_;  // in turns
    size_t next_signal_ = 0;
    std::deque<size_t> finished_;  // blocks, not exchanged yet
    size_t exchanged_ = NONE;      // the block that is under way
};
