// activations.h - what the forward pass keeps for the backward pass, and the scratch of both: one list of tensors, one
// allocation.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "kernels/backend.h"
#include "model/config.h"

// Of one layer (N = B*T rows).
template <class Real>
struct LayerActivations {
    Real* ln1;             // (N, C)
    Stat<Real>* ln1_mean;  // (N)         layer norm only, as ln2_mean
    Stat<Real>* ln1_rstd;  // (N)
    Real* qkv_raw;         // (N, NH+2KV, HS) before the norms of q and k, where there are such
    Stat<Real>* qk_rstd;   // (N, NH+KV)  theirs
    Real* qkv;             // (N, NH+2KV, HS), q, k, v; rotated
    Real* atty;            // (N, NH, HS) attention's output, before its projection
    Stat<Real>* lse;       // (B, NH, T)
    Real* residual2;       // (N, C)      after attention; sequential residual only
    Real* ln2;             // (N, C)
    Stat<Real>* ln2_mean;  // (N)         parallel residual: ln1's, both norms have the same input
    Stat<Real>* ln2_rstd;  // (N)
    Real* fch;             // (N, F)      before the activation; gated (N, 2F): gate, up
    Real* fcact;           // (N, F)      after it
    Real* residual3;       // (N, C)      the layer's output
};

template <class Real>
struct Activations {
    // kept
    int* schedule;             // attention_schedule's
    Stat<Real>* rotary_table;  // (T, R)
    Real* encoded;             // (N, C)      the first layer's input
    Real* lnf;                 // (N, C)
    Stat<Real>* lnf_mean;      // (N)
    Stat<Real>* lnf_rstd;      // (N)
    Stat<Real>* losses;        // (N)
    // scratch of the forward pass and of the head
    Real* attproj;  // (N, C)      projections, on their way into the residual stream
    Real* fcproj;   // (N, C)
    Real* logits;   // (head_rows, Vp)  a slice of the head at a time; then its gradient
    // scratch of the backward pass
    Real* dresidual;  // (N, C)      the gradient that travels down the residual stream
    Real* dnormed;    // (N, C)
    Real* datty;      // (N, NH, HS)
    Real* dqkv;       // (N, NH+2KV, HS)
    Real* dfch;       // as fch
    Real* dfcact;     // (N, F)      dfch, where it is not gated
    char* scratch;    // of biases, norms, attention and embedding, backward, one after the other
};

// What is kept of the layers. All: everything (training). Inputs: each layer's output alone, the rest is computed again
// in the backward pass (training with --recompute on). Nothing: all layers share one layer's memory and there is no
// gradient (evaluation).
enum class Keep { All, Inputs, Nothing };

template <class Real>
class ActivationMemory {
  public:
    ActivationMemory(const GptConfig& c, int B, int T, Keep keep, backend::stream_t stream)
        : B(B), T(T), keep(keep), head_rows(std::min(B * T, MAX_HEAD_ROWS)), layers(layer_count(c)) {
        memory_ = DeviceArray<char>(place(c, nullptr));
        place(c, memory_.get());
        if (c.rotary_dims() > 0) backend::rotary_table(a.rotary_table, T, c.rotary_dims(), c.rotary_base, stream);
    }
    static size_t bytes(const GptConfig& c, int B, int T, Keep keep) {
        ActivationMemory probe(c, B, T, keep);
        return probe.place(c, nullptr);
    }

    const int B, T;
    const Keep keep;
    const int head_rows;  // rows of the head computed at a time
    Activations<Real> a;
    std::vector<LayerActivations<Real>> layers;

  private:
    ActivationMemory(const GptConfig& c, int B, int T, Keep keep)
        : B(B), T(T), keep(keep), head_rows(std::min(B * T, MAX_HEAD_ROWS)), layers(layer_count(c)) {}
    static size_t layer_count(const GptConfig& c) { return static_cast<size_t>(c.L); }

    // Lays everything out from `memory` on and returns the bytes it takes; null: only that.
    size_t place(const GptConfig& c, char* memory) {
        const size_t N = static_cast<size_t>(B) * static_cast<size_t>(T), C = static_cast<size_t>(c.C);
        const size_t QKV = static_cast<size_t>(c.qkv_width()), A = static_cast<size_t>(c.attention_width());
        const size_t F = static_cast<size_t>(c.F), FC = static_cast<size_t>(c.fc_width());
        const size_t MEANS = c.norm == Norm::LayerNorm ? N : 0;
        size_t at = 0;
        const auto put = [&](auto*& tensor, size_t elements) {
            tensor = memory ? reinterpret_cast<std::remove_reference_t<decltype(tensor)>>(memory + at) : nullptr;
            at += (elements * sizeof(*tensor) + 255) / 256 * 256;  // vectors and cache lines begin where tensors do
        };
        put(a.schedule, backend::attention_schedule_size(B, T));
        put(a.rotary_table, static_cast<size_t>(T) * static_cast<size_t>(c.rotary_dims()));
        put(a.encoded, N * C);
        put(a.lnf, N * C);
        put(a.lnf_mean, MEANS);
        put(a.lnf_rstd, N);
        put(a.losses, N);
        put(a.attproj, N * C);
        put(a.fcproj, N * C);
        put(a.logits, static_cast<size_t>(head_rows) * static_cast<size_t>(c.Vp()));
        for (size_t l = 0; l < layers.size(); ++l) {
            LayerActivations<Real>& layer = layers[l];
            if (l > 0 && keep != Keep::All) {
                layer = layers[0];
                if (keep == Keep::Inputs) put(layer.residual3, N * C);
                continue;
            }
            put(layer.ln1, N * C);
            put(layer.ln1_mean, MEANS);
            put(layer.ln1_rstd, N);
            put(layer.qkv_raw, c.qk_norm ? N * QKV : 0);
            put(layer.qk_rstd, c.qk_norm ? N * static_cast<size_t>(c.NH + c.KV) : 0);
            put(layer.qkv, N * QKV);
            put(layer.atty, N * A);
            put(layer.lse, N * static_cast<size_t>(c.NH));
            put(layer.ln2, N * C);
            if (c.residual == Residual::Parallel) {
                layer.residual2 = nullptr;
                layer.ln2_mean = layer.ln1_mean;
                layer.ln2_rstd = layer.ln1_rstd;
            } else {
                put(layer.residual2, N * C);
                put(layer.ln2_mean, MEANS);
                put(layer.ln2_rstd, N);
            }
            put(layer.fch, N * FC);
            put(layer.fcact, N * F);
            put(layer.residual3, N * C);
        }
        if (keep == Keep::Nothing) return at;
        put(a.dresidual, N * C);
        put(a.dnormed, N * C);
        put(a.datty, N * A);
        put(a.dqkv, N * QKV);
        put(a.dfch, N * FC);
        if (c.gated())
            put(a.dfcact, N * F);
        else
            a.dfcact = a.dfch;
        put(a.scratch, std::max({backend::bias_backward_scratch(B * T, std::max(c.C, c.F)),
                                 c.norm == Norm::RmsNorm ? backend::rmsnorm_backward_scratch(B * T, c.C)
                                                         : backend::layernorm_backward_scratch(B * T, c.C),
                                 c.qk_norm ? backend::qk_norm_backward_scratch(B * T, c.NH, c.KV, c.HS) : 0,
                                 backend::attention_backward_scratch(B, T, c.NH, c.KV, c.HS),
                                 backend::embedding_backward_scratch(B * T, c.C)}));
        return at;
    }
    DeviceArray<char> memory_;
};
