// deal.cuh - the forward passes of an evaluation, dealt out to the processes of a run in turn. Every process ends up
// with all results, so that what is summed of them is summed in one order, whoever computed it.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"  // defines: Communicator
#include "util/stop.h"        // defines: Stopped

class Deal {
  public:
    Deal() = default;  // one process has all passes
    // Of the processes that the communicator joins, which outlives it. All of them make the same calls.
    Deal(backend::Communicator& communicator) : communicator_(communicator.size() > 1 ? &communicator : nullptr) {}

    bool mine(size_t pass) const {
        return !communicator_ ||
               pass % static_cast<size_t>(communicator_->size()) == static_cast<size_t>(communicator_->rank());
    }

    // work() does the own passes. When a signal has cut it short in one process (it threw Stopped), all throw.
    template <class Work>
    void together(Work work) const {
        if (!communicator_) return work();
        std::vector<uint32_t> signals(static_cast<size_t>(communicator_->size()));
        try {
            work();
        } catch (const Stopped& stopped) {
            signals[static_cast<size_t>(communicator_->rank())] = static_cast<uint32_t>(stopped.signal);
        }
        communicator_->merge(&signals);
        const uint32_t signal = *std::max_element(signals.begin(), signals.end());
        if (signal) throw Stopped{static_cast<int>(signal)};
    }

    // Each element was set by the process that has its pass, and is 0 elsewhere; afterwards all have them.
    template <class T>
    void merge(std::vector<T>* values) const {
        if (communicator_) communicator_->merge(values);
    }

  private:
    backend::Communicator* communicator_ = nullptr;
};
