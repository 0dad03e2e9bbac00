// gpt.cuh - the model: forward, backward and update as one list of kernel launches, the same for both families and both
// backends.
//
// Read it top to bottom: gpt_forward runs the layers up to the last layer norm; gpt_losses adds the head and gives the
// loss of every target;
// gpt_backward (training) goes back through the same list; gpt_update is AdamW over everything. What the names of
// kernels mean is chosen by kernels/backend.h; pointers and sizes come from the tables of tensors.h and activations.h.
#pragma once
#include <cmath>
#include <vector>

#include "kernels/backend.h"    // defines: layernorm_forward, matmul_forward, attention_forward, ... and stream_t
#include "model/activations.h"  // defines: Activations, ActivationMemory
#include "model/config.h"       // defines: GptConfig
#include "model/tensors.h"      // defines: Parameters, tensor_table, place_parameters

template <class Real>
struct Gpt {
    explicit Gpt(const GptConfig& config) : config(config), memory(parameter_elements(config)) {
        place_parameters(&params, memory.get(), config);
    }
    GptConfig config;
    Parameters<Real> params;
    DeviceArray<Real> memory;
};

// Gradients and AdamW's moments, laid out as the parameters.
template <class Real>
struct Optimizer {
    explicit Optimizer(const GptConfig& config, float weight_decay)
        : grads_memory(parameter_elements(config)), m(grads_memory.size()), v(grads_memory.size()) {
        place_parameters(&grads, grads_memory.get(), config);
        size_t at = 0;
        for (const TensorSpec& t : tensor_table(config)) {
            if (t.layers) groups.push_back({at, at + t.size(), t.decay ? weight_decay : 0.0f});
            at += t.size();
        }
    }
    Parameters<Real> grads;
    DeviceArray<Real> grads_memory, m, v;
    std::vector<backend::AdamwGroup> groups;
};

// Device pointers of one micro-batch, (B, T) each. segment_start null: no document mask.
struct GptInput {
    const int* tokens;
    const int* positions;
    const int* segment_start;
};

// ---------------------------------------------------------------------------------------------------------------------------------
// forward: tokens -> lnf (B*T, C)

template <class Real>
void gpt_forward(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, const GptInput& in, backend::stream_t stream) {
    using namespace backend;
    const GptConfig& c = gpt.config;
    const Parameters<Real>& p = gpt.params;
    Activations<Real>& a = memory.a;
    const int B = memory.B, T = memory.T, N = B * T, C = c.C, NH = c.NH, HS = c.HS();
    const size_t NC = static_cast<size_t>(N) * static_cast<size_t>(C), sC = static_cast<size_t>(C),
                 sN = static_cast<size_t>(N);
    const Real eps = static_cast<Real>(c.layernorm_eps);

    embedding_forward(a.encoded, in.tokens, in.positions, p.wte, p.wpe, N, C, stream);
    const Real* x = a.encoded;
    for (int l = 0; l < c.L; ++l) {
        const size_t w = static_cast<size_t>(l);
        const size_t lNC = memory.layer(l, NC), lN = memory.layer(l, sN);
        Real* qkv = a.qkv + 3 * lNC;
        Real* atty = a.atty + lNC;
        Real* fch = a.fch + 4 * lNC;
        Real* fch_gelu = a.fch_gelu + 4 * lNC;
        Real* out = a.residual3 + lNC;

        // attention
        layernorm_forward(a.ln1 + lNC, a.ln1_mean + lN, a.ln1_rstd + lN, x, p.ln1w + w * sC, p.ln1b + w * sC, N, C, eps,
                          stream);
        matmul_forward(qkv, a.ln1 + lNC, p.qkvw + w * 3 * sC * sC, p.qkvb + w * 3 * sC, N, C, 3 * C, stream);
        if (c.rotary_dims() > 0)
            rotary_forward(qkv, in.positions, N, NH, HS, c.rotary_dims(), static_cast<Real>(c.rotary_base), stream);
        attention_forward(atty, a.lse + memory.layer(l, sN * static_cast<size_t>(NH)), qkv, in.segment_start, B, T, NH,
                          HS, stream);
        matmul_forward(a.attproj, atty, p.projw + w * sC * sC, p.projb + w * sC, N, C, C, stream);

        // feed-forward: of x beside the attention (parallel residual), or of x + attention
        const Real* y = x;
        if (!c.parallel_residual) {
            residual_forward(a.residual2 + lNC, x, a.attproj, static_cast<const Real*>(nullptr), NC, stream);
            y = a.residual2 + lNC;
        }
        layernorm_forward(a.ln2 + lNC, a.ln2_mean + lN, a.ln2_rstd + lN, y, p.ln2w + w * sC, p.ln2b + w * sC, N, C, eps,
                          stream);
        matmul_forward(fch, a.ln2 + lNC, p.fcw + w * 4 * sC * sC, p.fcb + w * 4 * sC, N, C, 4 * C, stream);
        gelu_forward(fch_gelu, fch, 4 * NC, c.gelu, stream);
        matmul_forward(a.fcproj, fch_gelu, p.fcprojw + w * 4 * sC * sC, p.fcprojb + w * sC, N, 4 * C, C, stream);
        residual_forward(out, y, a.fcproj, c.parallel_residual ? a.attproj : static_cast<const Real*>(nullptr), NC,
                         stream);
        x = out;
    }
    layernorm_forward(a.lnf, a.lnf_mean, a.lnf_rstd, x, p.lnfw, p.lnfb, N, C, eps, stream);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// head: lnf -> the loss of every target, a slice of rows at a time so that the logits stay small

// losses[n] for n < B*T into memory.a.losses. With an optimizer (training): the head's weight gradient += and d loss /
// d lnf in a.dnormed, for a total loss of dloss * sum of losses.
template <class Real>
void gpt_losses(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, Optimizer<Real>* optimizer, const int* targets,
                Real dloss, backend::stream_t stream) {
    using namespace backend;
    const GptConfig& c = gpt.config;
    Activations<Real>& a = memory.a;
    const int N = memory.B * memory.T, C = c.C;
    const Real* head = c.tied ? gpt.params.wte : gpt.params.lmheadw;
    for (int row = 0; row < N; row += memory.head_rows) {
        const int rows = std::min(memory.head_rows, N - row);
        const size_t at = static_cast<size_t>(row) * static_cast<size_t>(C);
        matmul_forward(a.logits, a.lnf + at, head, static_cast<const Real*>(nullptr), rows, C, c.Vp(), stream);
        classifier_forward(a.losses + row, a.logits, targets + row, dloss, optimizer != nullptr, rows, c.V, c.Vp(),
                           stream);
        if (optimizer) {
            Real* dhead = c.tied ? optimizer->grads.wte : optimizer->grads.lmheadw;
            matmul_backward(a.dnormed + at, dhead, static_cast<Real*>(nullptr), a.logits, a.lnf + at, head, rows, C,
                            c.Vp(), stream);
        }
    }
}

// For questions: the head at chosen rows only. rows[i] indexes (B*T); n of them, in tiles of a fixed number of rows, so
// that a score does not depend on how many are asked at once. losses, argmax, rank (n), targets (n).
constexpr int SCORE_ROWS = 64;
template <class Real>
void gpt_score(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, Real* losses, int* argmax, int* rank,
               const int* rows, const int* targets, int n, backend::stream_t stream) {
    using namespace backend;
    const GptConfig& c = gpt.config;
    Activations<Real>& a = memory.a;
    const Real* head = c.tied ? gpt.params.wte : gpt.params.lmheadw;
    const int tile = std::min(SCORE_ROWS, memory.head_rows);
    for (int i = 0; i < n; i += tile) {
        const int count = std::min(tile, n - i);
        embedding_forward(a.attproj, rows + i, static_cast<const int*>(nullptr), a.lnf,
                          static_cast<const Real*>(nullptr), count, c.C, stream);
        // rows of the tile past `count` hold earlier values; they are computed and not read
        matmul_forward(a.logits, a.attproj, head, static_cast<const Real*>(nullptr), tile, c.C, c.Vp(), stream);
        classifier_score(losses + i, argmax + i, rank + i, a.logits, targets + i, count, c.V, c.Vp(), stream);
    }
}

// ---------------------------------------------------------------------------------------------------------------------------------
// backward: d loss / d lnf -> all gradients (+=). Follows gpt_forward from its end.

template <class Real>
void gpt_backward(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, Optimizer<Real>& optimizer, const GptInput& in,
                  backend::stream_t stream) {
    using namespace backend;
    const GptConfig& c = gpt.config;
    const Parameters<Real>& p = gpt.params;
    const Parameters<Real>& g = optimizer.grads;
    Activations<Real>& a = memory.a;
    const int B = memory.B, T = memory.T, N = B * T, C = c.C, NH = c.NH, HS = c.HS();
    const size_t NC = static_cast<size_t>(N) * static_cast<size_t>(C), sC = static_cast<size_t>(C),
                 sN = static_cast<size_t>(N);

    device_zero(a.dresidual, NC);
    const Real* last = c.L > 0 ? a.residual3 + memory.layer(c.L - 1, NC) : a.encoded;
    layernorm_backward(a.dresidual, g.lnfw, g.lnfb, a.dlayernorm, a.dnormed, last, p.lnfw, a.lnf_mean, a.lnf_rstd, N, C,
                       stream);
    for (int l = c.L - 1; l >= 0; --l) {
        const size_t w = static_cast<size_t>(l);
        const size_t lNC = memory.layer(l, NC), lN = memory.layer(l, sN);
        const Real* x = l == 0 ? a.encoded : a.residual3 + memory.layer(l - 1, NC);
        const Real* y = c.parallel_residual ? x : a.residual2 + lNC;

        // feed-forward; dresidual is the gradient of the layer's output
        matmul_backward(a.dfch, g.fcprojw + w * 4 * sC * sC, g.fcprojb + w * sC, a.dresidual, a.fch_gelu + 4 * lNC,
                        p.fcprojw + w * 4 * sC * sC, N, 4 * C, C, stream);
        gelu_backward(a.dfch, a.fch + 4 * lNC, a.dfch, 4 * NC, c.gelu, stream);
        matmul_backward(a.dnormed, g.fcw + w * 4 * sC * sC, g.fcb + w * 4 * sC, a.dfch, a.ln2 + lNC,
                        p.fcw + w * 4 * sC * sC, N, C, 4 * C, stream);
        // the attention of a parallel block sees the layer's output gradient, before ln2 adds to it
        if (c.parallel_residual)
            matmul_backward(a.datty, g.projw + w * sC * sC, g.projb + w * sC, a.dresidual, a.atty + lNC,
                            p.projw + w * sC * sC, N, C, C, stream);
        layernorm_backward(a.dresidual, g.ln2w + w * sC, g.ln2b + w * sC, a.dlayernorm, a.dnormed, y, p.ln2w + w * sC,
                           a.ln2_mean + lN, a.ln2_rstd + lN, N, C, stream);
        if (!c.parallel_residual)
            matmul_backward(a.datty, g.projw + w * sC * sC, g.projb + w * sC, a.dresidual, a.atty + lNC,
                            p.projw + w * sC * sC, N, C, C, stream);

        // attention
        attention_backward(a.dqkv, a.dattention, a.datty, a.atty + lNC,
                           a.lse + memory.layer(l, sN * static_cast<size_t>(NH)), a.qkv + 3 * lNC, in.segment_start, B,
                           T, NH, HS, stream);
        if (c.rotary_dims() > 0)
            rotary_backward(a.dqkv, in.positions, N, NH, HS, c.rotary_dims(), static_cast<Real>(c.rotary_base), stream);
        matmul_backward(a.dnormed, g.qkvw + w * 3 * sC * sC, g.qkvb + w * 3 * sC, a.dqkv, a.ln1 + lNC,
                        p.qkvw + w * 3 * sC * sC, N, C, 3 * C, stream);
        layernorm_backward(a.dresidual, g.ln1w + w * sC, g.ln1b + w * sC, a.dlayernorm, a.dnormed, x, p.ln1w + w * sC,
                           a.ln1_mean + lN, a.ln1_rstd + lN, N, C, stream);
    }
    embedding_backward(g.wte, g.wpe, a.dresidual, in.tokens, in.positions, N, C, stream);
}

// ---------------------------------------------------------------------------------------------------------------------------------
// update

// The L2 norm of all gradients.
template <class Real>
double gpt_gradient_norm(const Optimizer<Real>& optimizer, backend::stream_t stream) {
    double sum = 0;
    backend::global_norm_squared(&sum, optimizer.grads_memory.get(), optimizer.grads_memory.size(), stream);
    return std::sqrt(sum);
}

// AdamW on all parameters; the gradients are zero afterwards.
template <class Real>
void gpt_update(Gpt<Real>& gpt, Optimizer<Real>& optimizer, const backend::AdamwSettings& settings,
                backend::stream_t stream) {
    backend::adamw_update(gpt.memory.get(), optimizer.m.get(), optimizer.v.get(), optimizer.grads_memory.get(),
                          optimizer.groups.data(), static_cast<int>(optimizer.groups.size()), settings, stream);
}
