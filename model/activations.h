// activations.h - what the forward pass keeps for the backward pass, and the scratch of both: one table, one
// allocation.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>

#include "kernels/backend.h"
#include "model/config.h"
#include "util/device.h"

template <class Real>
struct Activations {
    // kept per layer (N = B*T rows)
    Real* ln1;        // (L, N, C)
    Real* ln1_mean;   // (L, N)
    Real* ln1_rstd;   // (L, N)
    Real* qkv;        // (L, N, 3, NH, HS), rotated
    Real* atty;       // (L, N, C)   attention's output, before its projection
    Real* lse;        // (L, B, NH, T)
    Real* residual2;  // (L, N, C)   after attention; sequential residual only
    Real* ln2;        // (L, N, C)
    Real* ln2_mean;   // (L, N)
    Real* ln2_rstd;   // (L, N)
    Real* fch;        // (L, N, 4C)  before GELU
    Real* fch_gelu;   // (L, N, 4C)
    Real* residual3;  // (L, N, C)   the layer's output
    // kept once
    Real* encoded;   // (N, C)      the first layer's input
    Real* lnf;       // (N, C)
    Real* lnf_mean;  // (N)
    Real* lnf_rstd;  // (N)
    // scratch of the forward pass and of the head
    Real* attproj;  // (N, C)      projections, on their way into the residual stream
    Real* fcproj;   // (N, C)
    Real* logits;   // (head_rows, Vp)  a slice of the head at a time; then its gradient
    Real* losses;   // (N)
    // scratch of the backward pass
    Real* dresidual;   // (N, C)      the gradient that travels down the residual stream
    Real* dnormed;     // (N, C)
    Real* datty;       // (N, C)
    Real* dqkv;        // (N, 3C)
    Real* dfch;        // (N, 4C)
    Real* dlayernorm;  // scratch of layernorm_backward
    Real* dattention;  // scratch of attention_backward
};
template <class Real>
constexpr size_t NUM_ACTIVATIONS = sizeof(Activations<Real>) / sizeof(Real*);

// Rows of the head computed at a time: bounds the logits in memory (the whole N x Vp would dwarf everything else),
// large enough that the head's weight gradient is not rewritten too often.
constexpr int MAX_HEAD_ROWS = 1024;

template <class Real>
class ActivationMemory {
  public:
    // training = false: every layer shares one layer's memory, no gradients.
    ActivationMemory(const GptConfig& c, int B, int T, bool training)
        : B(B), T(T), training(training), head_rows(std::min(B * T, MAX_HEAD_ROWS)) {
        memory_ = DeviceArray<Real>(place(c, nullptr));
        place(c, memory_.get());
    }
    static size_t bytes(const GptConfig& c, int B, int T, bool training) {
        ActivationMemory probe(B, T, training);
        return probe.place(c, nullptr) * sizeof(Real);
    }

    const int B, T;
    const bool training;
    const int head_rows;
    Activations<Real> a;
    // Elements between a layer's activations of `per_layer` elements and the next layer's.
    size_t layer(int l, size_t per_layer) const { return training ? static_cast<size_t>(l) * per_layer : 0; }

  private:
    ActivationMemory(int B, int T, bool training)
        : B(B), T(T), training(training), head_rows(std::min(B * T, MAX_HEAD_ROWS)) {}

    size_t place(const GptConfig& c, Real* memory) {
        const size_t N = static_cast<size_t>(B) * static_cast<size_t>(T), C = static_cast<size_t>(c.C),
                     NH = static_cast<size_t>(c.NH);
        const size_t L = training ? static_cast<size_t>(c.L) : 1, G = training ? 1 : 0, S = c.parallel_residual ? 0 : 1;
        // clang-format off
        const size_t sizes[] = {
            // ln1, its mean and rstd; qkv; atty, lse; residual2; ln2, its mean and rstd; fch, fch_gelu; residual3
            L * N * C, L * N, L * N, L * N * 3 * C, L * N * C, L * N * NH, S * L * N * C,
            L * N * C, L * N, L * N, L * N * 4 * C, L * N * 4 * C, L * N * C,
            // encoded; lnf, its mean and rstd; attproj, fcproj; logits, losses
            N * C, N * C, N, N, N * C, N * C, static_cast<size_t>(head_rows) * static_cast<size_t>(c.Vp()), N,
            // dresidual, dnormed, datty, dqkv, dfch; dlayernorm, dattention
            G * N * C, G * N * C, G * N * C, G * N * 3 * C, G * N * 4 * C,
            G * backend::layernorm_backward_scratch(B * T, c.C), G * backend::attention_backward_scratch(B, T, c.NH, c.HS()),
        };
        // clang-format on
        static_assert(sizeof(sizes) / sizeof(sizes[0]) == NUM_ACTIVATIONS<Real>, "an activation has no size");
        Real** field = reinterpret_cast<Real**>(&a);  // a struct of equal pointers, in the order of `sizes`
        size_t at = 0;
        for (const size_t size : sizes) {
            *field++ = memory ? memory + at : nullptr;
            at += (size + 15) / 16 * 16;  // 64-byte rows
        }
        return at;
    }
    DeviceArray<Real> memory_;
};
