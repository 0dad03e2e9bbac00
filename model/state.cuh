// state.cuh - the model and its optimizer between device memory and checkpoint directories. Files hold floats, or bf16
// where that is what the model computes with; on the way in everything is float.
#pragma once
#include <string>
#include <type_traits>
#include <vector>

#include "model/checkpoint.h"  // defines: read_model_weights, read_optimizer, write_model, write_optimizer
#include "model/gpt.cuh"       // defines: Gpt, AdamState

// `host`: a float for every parameter. Its own ones go into an array of the optimizer's (m, v or master).
template <class Real>
void load_state(const AdamState<Real>& adam, DeviceArray<Stat<Real>>& array, const float* host) {
    for (const auto& part : adam.parts)
        copy_to_device(array.get() + part.at, host + part.range.begin, part.range.size());
}

// fill(float* host) writes all parameters; they become the model's, rounded to nearest, and the optimizer's masters
// (null: no optimizer) as they are.
template <class Real, class Fill>
void fill_weights(Gpt<Real>& gpt, AdamState<Real>* adam, Fill fill) {
#ifdef KNAPSACK_CPU
    (void)adam;
    fill(gpt.memory.get());
#else
    const size_t n = gpt.memory.size();
    std::vector<float> values(n);
    fill(values.data());
    if constexpr (std::is_same_v<Real, float>) {
        copy_to_device(gpt.memory.get(), values.data(), n);
    } else {
        std::vector<Real> rounded(n);
        for (size_t i = 0; i < n; ++i) rounded[i] = Real(values[i]);
        copy_to_device(gpt.memory.get(), rounded.data(), n);
        if (adam) load_state(*adam, adam->master, values.data());
    }
#endif
}

template <class Real>
void load_weights(const std::string& directory, Gpt<Real>& gpt, AdamState<Real>* adam) {
    fill_weights(gpt, adam, [&](float* host) { read_model_weights(directory, gpt.config, host); });
}

// Weights, moments and masters of a training checkpoint, also of one with the other precision: floats become masters,
// masters become floats.
template <class Real>
void load_training_state(const std::string& directory, Gpt<Real>& gpt, AdamState<Real>& adam) {
    load_weights(directory, gpt, &adam);
    const size_t n = gpt.memory.size();
    std::vector<float> m(n), v(n), master(n);
    const bool has_masters = read_optimizer(directory, gpt.config, m.data(), v.data(), master.data());
    load_state(adam, adam.m, m.data());
    load_state(adam, adam.v, v.data());
    if constexpr (AdamState<Real>::HAS_MASTERS) {
        if (has_masters) load_state(adam, adam.master, master.data());
    } else {
        if (has_masters) copy_to_device(gpt.memory.get(), master.data(), n);
    }
}

// Of an optimizer that has the state of all parameters.
template <class Real>
void save_training_state(const std::string& directory, const Gpt<Real>& gpt, const AdamState<Real>& adam,
                         const std::string& tokenizer_file) {
    ENSURE(adam.m.size() == gpt.memory.size(), "%s: the optimizer has a part of the state", directory.c_str());
    write_model(directory, gpt.config, HostView<Real>(gpt.memory).get(), tokenizer_file);
    const HostView<Stat<Real>> m(adam.m), v(adam.v), master(adam.master);
    write_optimizer(directory, gpt.config, m.get(), v.get(), AdamState<Real>::HAS_MASTERS ? master.get() : nullptr);
}
