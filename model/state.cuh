// state.cuh - the model and its optimizer between device memory and checkpoint directories. Files hold floats, or bf16
// where that is what the model computes with; on the way in everything is float.
#pragma once
#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "model/checkpoint.h"  // defines: read_model_weights, read_optimizer, write_model, write_optimizer
#include "model/gpt.cuh"       // defines: Gpt, AdamState, Communicator

// `host`: a float for every parameter. Its own ones go into an array of the optimizer's (m, v or master).
template <class Real>
void load_state(const AdamState<Real>& adam, DeviceArray<Stat<Real>>& array, const float* host) {
    for (const auto& part : adam.parts)
        copy_to_device(array.get() + part.at, host + part.range.begin, part.range.size());
}

// fill(float* host) writes all parameters; they become the model's, rounded to nearest, and the optimizer's masters
// (null: no optimizer) as they are.
template <class Real, class Fill>
void fill_weights(Gpt<Real>& gpt, [[maybe_unused]] AdamState<Real>* adam, Fill fill) {
    constexpr bool ROUNDED = AdamState<Real>::HAS_MASTERS;
    if constexpr (!ROUNDED && !backend::Machine::IS_GPU) {
        fill(gpt.memory.get());
    } else {
        const size_t n = gpt.memory.size();
        // on the CPU a whole optimizer's masters are where the floats go: there is no copy of the model on the way
        const bool in_place = !backend::Machine::IS_GPU && adam && adam->master.size() == n;
        std::vector<float> own(in_place ? 0 : n);
        const Span<float> values = in_place ? Span<float>{adam->master.get(), n} : Span<float>{own.data(), n};
        fill(values.data);
        if constexpr (!ROUNDED) {
            copy_to_device(gpt.memory.get(), values.data, n);
        } else {
            std::vector<Real> rounded(std::min(n, size_t{1} << 22));  // in pieces: the host of 8 GPUs holds 8 models
            for (size_t begin = 0; begin < n; begin += rounded.size()) {
                const size_t size = std::min(rounded.size(), n - begin);
                for (size_t i = 0; i < size; ++i) rounded[i] = Real(values.data[begin + i]);
                copy_to_device(gpt.memory.get() + begin, rounded.data(), size);
            }
            if (adam && !in_place) load_state(*adam, adam->master, values.data);
        }
    }
}

template <class Real>
void load_weights(const std::string& directory, Gpt<Real>& gpt, AdamState<Real>* adam) {
    fill_weights(gpt, adam, [&](float* host) { read_model_weights(directory, gpt.config, host); });
}

// What the process has of a piece of optimizer.safetensors; empty: nothing.
template <class Real>
struct OwnPiece {
    ElementRange range;
    Stat<Real>* data;
};
template <class Real>
OwnPiece<Real> own_piece(const AdamState<Real>& adam, const OptimizerPiece& piece) {
    const DeviceArray<Stat<Real>>& array = piece.array == OptimizerArray::M   ? adam.m
                                           : piece.array == OptimizerArray::V ? adam.v
                                                                              : adam.master;
    const auto& part = adam.parts[piece.block];
    const size_t begin = std::max(piece.range.begin, part.range.begin), end = std::min(piece.range.end, part.range.end);
    if (begin >= end) return {{piece.range.begin, piece.range.begin}, nullptr};
    return {{begin, end}, array.get() + part.at + (begin - part.range.begin)};
}

// Weights, moments and masters of a training checkpoint, also of one with the other precision: floats become masters,
// masters become floats. Every process takes its own ranges out of the same file. m and v are zero before.
template <class Real>
void load_training_state(const std::string& directory, Gpt<Real>& gpt, AdamState<Real>& adam) {
    load_weights(directory, gpt, &adam);
    const auto load = [](float* to, const unsigned char* from, size_t n) {
        if (n > 0) copy_to_device(reinterpret_cast<unsigned char*>(to), from, n * sizeof(float));
    };
    read_optimizer(directory, gpt.config, [&](const OptimizerPiece& piece, const unsigned char* floats) {
        if constexpr (!AdamState<Real>::HAS_MASTERS)
            if (piece.array == OptimizerArray::Master)
                return load(gpt.memory.get() + piece.range.begin, floats, piece.range.size());
        const OwnPiece<Real> own = own_piece(adam, piece);
        load(own.data, floats + (own.range.begin - piece.range.begin) * sizeof(float), own.range.size());
    });
}

// Brings the optimizer's state to process 0, piece by piece.
template <class Real>
class StateCollector {
  public:
    StateCollector(const GptConfig& config, const AdamState<Real>& adam, backend::Communicator& communicator, int lanes)
        : adam_(adam),
          communicator_(communicator),
          whole_(adam.m.size() == parameter_elements(config)),
          blocks_(parameter_blocks(config)) {
        for (size_t b = 0; b < blocks_.size() && !whole_; ++b) {
            parts_.push_back(block_parts(blocks_[b], lanes, communicator.size()));
            const size_t begin = blocks_[b].begin + parts_[b].begin(communicator.rank()),
                         end = begin + parts_[b].size(communicator.rank());
            const ElementRange& own = adam.parts[b].range;
            ENSURE(own.begin == begin && own.end == end, "block %d: the optimizer has %d to %d of it, not %d to %d", b,
                   own.begin, own.end, begin, end);
        }
        if (!whole_ && communicator.rank() == 0) collected_ = DeviceArray<float>(OPTIMIZER_PIECE);
    }

    // All processes ask for the same pieces in the same order. On process 0 the piece's elements, until the next call;
    // null elsewhere.
    const float* fetch(const OptimizerPiece& piece) {
        const OwnPiece<Real> own = own_piece(adam_, piece);
        const size_t n = piece.range.size();
        if (whole_) return host(own.data, n);
        communicator_.collect(Span<float>{collected_.get(), n}, Span<const float>{own.data, own.range.size()},
                              range_parts(piece.range, blocks_[piece.block], parts_[piece.block]));
        communicator_.wait();
        arrived_.set(communicator_.stream());
        arrived_.wait();
        return host(collected_.get(), n);
    }
    // Whether the others must be asked for what process 0 writes.
    bool whole() const { return whole_; }

  private:
    const float* host(const float* data, size_t n) {
        if (communicator_.rank() != 0) return nullptr;
#ifdef KNAPSACK_CPU
        (void)n;
        return data;
#else
        copy_.resize(n);
        copy_to_host(copy_.data(), data, n);
        return copy_.data();
#endif
    }

    const AdamState<Real>& adam_;
    backend::Communicator& communicator_;
    const bool whole_;  // every process has the state of all parameters
    std::vector<ElementRange> blocks_;
    std::vector<Parts> parts_;  // of each block, by process
    DeviceArray<float> collected_;
    std::vector<float> copy_;
    StreamMark arrived_;
};

// By all processes, each with the state of its part of every block (block_parts) or all with all of it; process 0
// writes the directory that one process would write. The others may have no directory. What was queued before must be
// over.
template <class Real>
void save_training_state(const std::string& directory, const Gpt<Real>& gpt, const AdamState<Real>& adam,
                         const std::string& tokenizer_file, backend::Communicator& communicator, int lanes) {
    constexpr bool MASTERS = AdamState<Real>::HAS_MASTERS;
    StateCollector<Real> collector(gpt.config, adam, communicator, lanes);
    const auto fetch = [&](const OptimizerPiece& piece) { return collector.fetch(piece); };
    if (communicator.rank() == 0) {
        write_model(directory, gpt.config, HostView<Real>(gpt.memory).get(), tokenizer_file);
        write_optimizer(directory, gpt.config, MASTERS, fetch);
    } else if (!collector.whole()) {
        for (const OptimizerPiece& piece : optimizer_pieces(gpt.config, MASTERS)) fetch(piece);
    }
}
