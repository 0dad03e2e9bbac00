// device_batch.cuh - a step's batch on the device, micro-batch by micro-batch. Two sets of pinned memory take turns, so
// that the next batch can be queued while the device still works on this one.
//
// A micro-batch is one piece of memory, which is copied into a window before it is worked on: the kernels read the
// window alone, so that every micro-batch has the same pointers and one CUDA graph serves all. The copy is 14 to 18
// bytes a token, within the device: a microsecond or two, where a graph for each micro-batch would take memory for each
// and need as many recordings.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "dataloader/batch.h"  // defines: Batch
#include "model/gpt.cuh"       // defines: GptInput
#include "util/check.h"        // defines: ENSURE

class DeviceBatch {
  public:
    // tokens: of the own rows of a step, a multiple of N, those of a micro-batch.
    DeviceBatch(size_t tokens, size_t N, bool document_mask)
        : N_(N), arrays_(document_mask ? 4 : 3), ints_(arrays_ * N + (N + 1) / 2), window_(ints_) {
        ENSURE(N > 0 && tokens % N == 0, "a batch of %d tokens in micro-batches of %d", tokens, N);
        batch_ = DeviceArray<int>(tokens / N * ints_);
        for (PinnedArray<int>& stage : stages_) stage = PinnedArray<int>(batch_.size());
    }

    // Queues the copy. The stream must have passed the last but one load.
    void load(const Batch& batch, backend::stream_t stream) {
        int* const stage = stages_[next_].get();
        next_ = 1 - next_;
        int* to = stage;
        for (size_t at = 0; at < batch.inputs.size(); at += N_, to += ints_) {
            int* end = to;
            for (const auto* from : {&batch.inputs, &batch.targets, &batch.positions, &batch.segment_start})
                if (!from->empty()) end = std::copy_n(from->data() + at, N_, end);
            std::memcpy(end, batch.source.data() + at, N_ * sizeof(uint16_t));
        }
        upload(batch_.get(), stage, batch_.size(), stream);
    }

    // Queues the way of micro-batch i into the window.
    void select(size_t i, backend::stream_t stream) const {
        copy_on_device(window_.get(), static_cast<const int*>(batch_.get()) + i * ints_, ints_, stream);
    }

    // The window: (N) each.
    GptInput input() const { return {array(0), array(2), arrays_ == 4 ? array(3) : nullptr}; }
    const int* targets() const { return array(1); }
    const uint16_t* source() const { return reinterpret_cast<const uint16_t*>(array(arrays_)); }

  private:
    const int* array(size_t i) const { return window_.get() + i * N_; }

    size_t N_, arrays_;  // of ints: inputs, targets, positions, where there is a mask segment_start; after them source
    size_t ints_;        // of a micro-batch
    DeviceArray<int> window_, batch_;
    std::array<PinnedArray<int>, 2> stages_;
    size_t next_ = 0;
};
