// device_batch.cuh - a step's batch on the device. Two sets of pinned memory take turns, so that the next batch can be
// queued while the device still works on this one.
#pragma once
#include <array>
#include <vector>

#include "dataloader/batch.h"  // defines: Batch
#include "model/gpt.cuh"       // defines: GptInput

class DeviceBatch {
  public:
    // tokens: of the own rows of a step.
    DeviceBatch(size_t tokens, bool document_mask)
        : inputs_(tokens),
          targets_(tokens),
          positions_(tokens),
          segment_start_(document_mask ? tokens : 0),
          source_(tokens) {
        for (Stage& stage : stages_) {
            stage.ints = PinnedArray<int>(tokens * (document_mask ? 4 : 3));
            stage.source = PinnedArray<uint16_t>(tokens);
        }
    }

    // Queues the copies. The stream must have passed the last but one load.
    void load(const Batch& batch, backend::stream_t stream) {
        Stage& stage = stages_[next_];
        next_ = 1 - next_;
        int* pinned = stage.ints.get();
        for (const auto& [to, from] : {std::pair{&inputs_, &batch.inputs},
                                       {&targets_, &batch.targets},
                                       {&positions_, &batch.positions},
                                       {&segment_start_, &batch.segment_start}}) {
            upload(to->get(), pinned, from->data(), from->size(), stream);
            pinned += from->size();
        }
        upload(source_.get(), stage.source.get(), batch.source.data(), batch.source.size(), stream);
    }

    // From token `at` on.
    GptInput input(size_t at) const {
        return {inputs_.get() + at, positions_.get() + at, segment_start_.size() ? segment_start_.get() + at : nullptr};
    }
    const int* targets(size_t at) const { return targets_.get() + at; }
    const uint16_t* source(size_t at) const { return source_.get() + at; }

  private:
    struct Stage {
        PinnedArray<int> ints;
        PinnedArray<uint16_t> source;
    };
    DeviceArray<int> inputs_, targets_, positions_, segment_start_;
    DeviceArray<uint16_t> source_;
    std::array<Stage, 2> stages_;
    size_t next_ = 0;
};
