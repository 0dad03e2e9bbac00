// state.cuh - the model and its optimizer between device memory and checkpoint directories. Files hold floats, or bf16
// where that is what the model computes with; on the way in everything is float.
#pragma once
#include <string>
#include <type_traits>
#include <vector>

#include "model/checkpoint.h"  // defines: read_model_weights, read_optimizer, write_model, write_optimizer
#include "model/gpt.cuh"       // defines: Gpt, Optimizer

// fill(float* host) writes all parameters in place_parameters' layout; they become the model's, rounded to nearest, and
// the optimizer's masters (null: no optimizer) as they are.
template <class Real, class Fill>
void fill_weights(Gpt<Real>& gpt, Optimizer<Real>* optimizer, Fill fill) {
#ifdef KNAPSACK_CPU
    (void)optimizer;
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
        if (optimizer) copy_to_device(optimizer->master.get(), values.data(), n);
    }
#endif
}

template <class Real>
void load_weights(const std::string& directory, Gpt<Real>& gpt, Optimizer<Real>* optimizer) {
    fill_weights(gpt, optimizer, [&](float* host) { read_model_weights(directory, gpt.config, host); });
}

// Weights, moments and masters of a training checkpoint, also of one with the other precision: floats become masters,
// masters become floats.
template <class Real>
void load_training_state(const std::string& directory, Gpt<Real>& gpt, Optimizer<Real>& optimizer) {
    load_weights(directory, gpt, &optimizer);
    const size_t n = gpt.memory.size();
    std::vector<float> m(n), v(n), master(n);
    const bool has_masters = read_optimizer(directory, gpt.config, m.data(), v.data(), master.data());
    copy_to_device(optimizer.m.get(), m.data(), n);
    copy_to_device(optimizer.v.get(), v.data(), n);
    if constexpr (Optimizer<Real>::HAS_MASTERS) {
        if (has_masters) copy_to_device(optimizer.master.get(), master.data(), n);
    } else {
        if (has_masters) copy_to_device(gpt.memory.get(), master.data(), n);
    }
}

template <class Real>
void save_training_state(const std::string& directory, const Gpt<Real>& gpt, const Optimizer<Real>& optimizer,
                         const std::string& tokenizer_file) {
    write_model(directory, gpt.config, HostView<Real>(gpt.memory).get(), tokenizer_file);
    const HostView<Stat<Real>> m(optimizer.m), v(optimizer.v), master(optimizer.master);
    write_optimizer(directory, gpt.config, m.get(), v.get(), Optimizer<Real>::HAS_MASTERS ? master.get() : nullptr);
}
