// gpt.cuh - the model: forward, backward and update as one list of kernel launches, the same for all families and both
// backends.
//
// Read it top to bottom: gpt_forward runs the layers up to the last norm; gpt_losses adds the head and gives the
// loss of every target; gpt_backward (training) goes back through the same list; gpt_update is AdamW over everything.
// What the names of kernels mean is chosen by kernels/backend.h; pointers and sizes come from the lists of tensors.h
// and activations.h. Nothing here waits for the device.
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels/backend.h"    // defines: layernorm_forward, matmul_forward, attention_forward, ... and stream_t
#include "kernels/nvtx.h"       // defines: NvtxRange
#include "model/activations.h"  // defines: ActivationMemory, Activations, LayerActivations
#include "model/config.h"       // defines: GptConfig
#include "model/tensors.h"      // defines: Parameters, place_parameters, place_layers, parameter_blocks, ElementRange

template <class Real>
struct Gpt {
    explicit Gpt(const GptConfig& config)
        : config(config),
          memory(parameter_elements(config)),
          params(place_parameters(memory.get(), config)),
          layers(place_layers(memory.get(), config)) {}
    GptConfig config;
    DeviceArray<Real> memory;
    Parameters<Real> params;  // those outside of the layers
    std::vector<Parameters<Real>> layers;
};

// The gradients of all parameters, laid out as they are: in memory of their own, or from `place` on.
template <class Real>
struct Gradients {
    explicit Gradients(const GptConfig& config, Stat<Real>* place = nullptr)
        : own(place ? 0 : parameter_elements(config)),
          memory(place ? place : own.get()),
          params(place_parameters(memory, config)),
          layers(place_layers(memory, config)) {}
    static size_t bytes(const GptConfig& config) { return parameter_elements(config) * sizeof(Stat<Real>); }

    DeviceArray<Stat<Real>> own;
    Stat<Real>* memory;
    Parameters<Stat<Real>> params;  // those outside of the layers
    std::vector<Parameters<Stat<Real>>> layers;
};

// AdamW's state of the parameters that a process updates: a range of every block. One process has whole blocks.
template <class Real>
struct AdamState {
    // Weights that are rounded to bf16 have float masters, which the updates add up in.
    static constexpr bool HAS_MASTERS = !std::is_same_v<Real, Stat<Real>>;

    AdamState(const GptConfig& config, float weight_decay)
        : AdamState(config, weight_decay, parameter_blocks(config)) {}
    AdamState(const GptConfig& config, float weight_decay, const std::vector<ElementRange>& ranges) {
        size_t elements = 0;
        for (const ElementRange& range : ranges) {
            parts.push_back({range, elements, adamw_groups(config, range, weight_decay)});
            elements += range.size();
        }
        m = DeviceArray<Stat<Real>>(elements);
        v = DeviceArray<Stat<Real>>(elements);
        if (HAS_MASTERS) master = DeviceArray<Stat<Real>>(elements);
    }
    // Of so many parameters.
    static size_t bytes(size_t elements) { return elements * sizeof(Stat<Real>) * (HAS_MASTERS ? 3 : 2); }

    struct Part {
        ElementRange range;  // of the parameters
        size_t at;           // where it begins in m, v and master
        std::vector<AdamwGroup> groups;
    };
    std::vector<Part> parts;
    DeviceArray<Stat<Real>> m, v, master;
};

// Device pointers of one micro-batch, (B, T) each. segment_start null: no document mask.
struct GptInput {
    const int* tokens;
    const int* positions;
    const int* segment_start;
};

// ---------------------------------------------------------------------------------------------------------------------
// The two axes on which an operation is chosen: the norm and the activation.

// layernorm_forward of operations.h, or rmsnorm_forward, which has neither mean nor bias.
template <class Real>
void norm_forward(const GptConfig& c, Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* mean,
                  Stat<Real>* rstd, const Real* x, const Real* y, const Real* z, int N, backend::stream_t stream) {
    const Stat<Real> eps = static_cast<Stat<Real>>(c.norm_eps);
    if (c.norm == Norm::RmsNorm)
        backend::rmsnorm_forward(residual, first, second, rstd, x, y, z, N, c.C, eps, stream);
    else
        backend::layernorm_forward(residual, first, second, mean, rstd, x, y, z, N, c.C, eps, stream);
}

template <class Real>
void norm_backward(const GptConfig& c, Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, void* scratch,
                   const Real* dout, const Real* inp, const Real* weight, const Stat<Real>* mean,
                   const Stat<Real>* rstd, int N, backend::stream_t stream) {
    if (c.norm == Norm::RmsNorm)
        backend::rmsnorm_backward(dinp, dweight, scratch, dout, inp, weight, rstd, N, c.C, stream);
    else
        backend::layernorm_backward(dinp, dweight, dbias, scratch, dout, inp, weight, mean, rstd, N, c.C, stream);
}

inline Gelu gelu_form(const GptConfig& c) { return c.activation == Activation::GeluTanh ? Gelu::Tanh : Gelu::Exact; }

// out (N, F) of fch (N, F), or gated (N, 2F)
template <class Real>
void activation_forward(const GptConfig& c, Real* out, const Real* fch, int N, backend::stream_t stream) {
    if (c.gated())
        backend::swiglu_forward(out, fch, N, c.F, stream);
    else
        backend::gelu_forward(out, fch, static_cast<size_t>(N) * static_cast<size_t>(c.F), gelu_form(c), stream);
}

// dfch as fch, dout (N, F), which is dfch itself where it is not gated. The gated form has no bias: dbias null.
template <class Real>
void activation_backward(const GptConfig& c, Real* dfch, Stat<Real>* dbias, void* scratch, const Real* fch,
                         const Real* dout, int N, backend::stream_t stream) {
    ENSURE(!c.gated() || !dbias, "a gated feed-forward with a bias: its gradient is not computed");
    if (c.gated())
        backend::swiglu_backward(dfch, fch, dout, N, c.F, stream);
    else
        backend::gelu_backward(dfch, dbias, scratch, fch, dout, N, c.F, gelu_form(c), stream);
}

// ---------------------------------------------------------------------------------------------------------------------
// forward: tokens -> lnf (B*T, C)

// The norms of layer l's input: two where the residual is parallel, one where it is sequential; l = L: the last.
// x = a (+ b (+ c)) is written to `residual` on the way.
template <class Real>
void input_norms(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, int l, Real* residual, const Real* a,
                 const Real* b, const Real* c, backend::stream_t stream) {
    const GptConfig& config = gpt.config;
    Affine<Real> first{memory.a.lnf, gpt.params.lnfw, gpt.params.lnfb}, second{};
    Stat<Real>*mean = memory.a.lnf_mean, *rstd = memory.a.lnf_rstd;
    if (l < config.L) {
        const Parameters<Real>& p = gpt.layers[static_cast<size_t>(l)];
        const LayerActivations<Real>& layer = memory.layers[static_cast<size_t>(l)];
        first = {layer.ln1, p.ln1w, p.ln1b};
        if (config.residual == Residual::Parallel) second = {layer.ln2, p.ln2w, p.ln2b};
        mean = layer.ln1_mean, rstd = layer.ln1_rstd;
    }
    norm_forward(config, residual, first, second, mean, rstd, a, b, c, memory.B * memory.T, stream);
}

// Layer l from its norms up to fcact; the attention's projection stays in a.attproj. x: the layer's input.
template <class Real>
void layer_forward(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, int l, const Real* x, const GptInput& in,
                   backend::stream_t stream) {
    using namespace backend;
    const GptConfig& c = gpt.config;
    const Parameters<Real>& p = gpt.layers[static_cast<size_t>(l)];
    const Activations<Real>& a = memory.a;
    const LayerActivations<Real>& layer = memory.layers[static_cast<size_t>(l)];
    const int B = memory.B, T = memory.T, N = B * T, C = c.C, NH = c.NH, KV = c.KV, HS = c.HS;

    matmul_forward(c.qk_norm ? layer.qkv_raw : layer.qkv, layer.ln1, p.qkvw, p.qkvb, N, C, c.qkv_width(), stream);
    if (c.qk_norm)
        qk_norm_forward(layer.qkv, layer.qk_rstd, layer.qkv_raw, p.qnormw, p.knormw, N, NH, KV, HS,
                        static_cast<Stat<Real>>(c.norm_eps), stream);
    if (c.rotary_dims() > 0)
        rotary_forward(layer.qkv, a.rotary_table, in.positions, N, NH, KV, HS, c.rotary_dims(), stream);
    attention_forward(layer.atty, layer.lse, layer.qkv, a.schedule, B, T, NH, KV, HS, stream);
    matmul_forward(a.attproj, layer.atty, p.projw, p.projb, N, c.attention_width(), C, stream);
    // feed-forward: of x next to the attention (parallel residual), or of x + attention
    if (c.residual == Residual::Sequential)
        norm_forward(c, layer.residual2, {layer.ln2, p.ln2w, p.ln2b}, {}, layer.ln2_mean, layer.ln2_rstd, x,
                     static_cast<const Real*>(a.attproj), static_cast<const Real*>(nullptr), N, stream);
    matmul_forward(layer.fch, layer.ln2, p.fcw, p.fcb, N, C, c.fc_width(), stream);
    activation_forward(c, layer.fcact, layer.fch, N, stream);
}

template <class Real>
void gpt_forward(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, const GptInput& in, backend::stream_t stream) {
    using namespace backend;
    const NvtxRange range("forward");
    const GptConfig& c = gpt.config;
    const Activations<Real>& a = memory.a;
    const int B = memory.B, T = memory.T, N = B * T, C = c.C;
    const Real* const none = nullptr;

    attention_schedule(a.schedule, in.segment_start, B, T, stream);
    embedding_forward(a.encoded, in.tokens, in.positions, gpt.params.wte, gpt.params.wpe, N, C, stream);
    const Real* x = a.encoded;
    input_norms(gpt, memory, 0, static_cast<Real*>(nullptr), x, none, none, stream);
    for (int l = 0; l < c.L; ++l) {
        const LayerActivations<Real>& layer = memory.layers[static_cast<size_t>(l)];
        const Parameters<Real>& p = gpt.layers[static_cast<size_t>(l)];
        layer_forward(gpt, memory, l, x, in, stream);
        matmul_forward(a.fcproj, layer.fcact, p.fcprojw, p.fcprojb, N, c.F, C, stream);
        // the layer's output, and at once the norms that read it
        if (c.residual == Residual::Parallel)
            input_norms(gpt, memory, l + 1, layer.residual3, x, a.fcproj, a.attproj, stream);
        else
            input_norms(gpt, memory, l + 1, layer.residual3, layer.residual2, a.fcproj, none, stream);
        x = layer.residual3;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// head: lnf -> the loss of every target, a slice of rows at a time so that the logits stay small

// losses[n] for n < B*T into memory.a.losses. With gradients (training): the head's weight gradient += and d loss /
// d lnf in a.dnormed, for a total loss of dloss * sum of losses.
template <class Real>
void gpt_losses(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, Gradients<Real>* gradients, const int* targets,
                Stat<Real> dloss, backend::stream_t stream) {
    using namespace backend;
    const NvtxRange range("head");
    const GptConfig& c = gpt.config;
    const Activations<Real>& a = memory.a;
    const int N = memory.B * memory.T, C = c.C;
    const Real *head = c.tied ? gpt.params.wte : gpt.params.lmheadw, *no_bias = nullptr;
    for (int row = 0; row < N; row += memory.head_rows) {
        const int rows = std::min(memory.head_rows, N - row);
        const size_t at = static_cast<size_t>(row) * static_cast<size_t>(C);
        matmul_forward(a.logits, a.lnf + at, head, no_bias, rows, C, c.Vp(), stream);
        classifier_forward(a.losses + row, a.logits, targets + row, dloss, gradients != nullptr, rows, c.V, c.Vp(),
                           stream);
        if (gradients) {
            Stat<Real>* dhead = c.tied ? gradients->params.wte : gradients->params.lmheadw;
            matmul_backward(a.dnormed + at, dhead, static_cast<Stat<Real>*>(nullptr), a.logits, a.lnf + at, head, rows,
                            C, c.Vp(), stream);
        }
    }
}

// For questions: the head at chosen rows only. rows[i] indexes (B*T); n of them, in tiles of a fixed number of rows, so
// that a score does not depend on how many are asked at once. losses, argmax, rank (n), targets (n).
template <class Real>
void gpt_score(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, Stat<Real>* losses, int* argmax, int* rank,
               const int* rows, const int* targets, int n, backend::stream_t stream) {
    using namespace backend;
    const NvtxRange range("score");
    const GptConfig& c = gpt.config;
    const Activations<Real>& a = memory.a;
    const Real *head = c.tied ? gpt.params.wte : gpt.params.lmheadw, *none = nullptr;
    const int tile = std::min(SCORE_ROWS, memory.head_rows);
    for (int i = 0; i < n; i += tile) {
        const int count = std::min(tile, n - i);
        // a gather: the rows of lnf in place of those of an embedding
        embedding_forward(a.attproj, rows + i, static_cast<const int*>(nullptr), a.lnf, none, count, c.C, stream);
        // rows of the tile past `count` hold earlier values; they are computed and not read
        matmul_forward(a.logits, a.attproj, head, none, tile, c.C, c.Vp(), stream);
        classifier_score(losses + i, argmax + i, rank + i, a.logits, targets + i, count, c.V, c.Vp(), stream);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// backward: d loss / d lnf -> all gradients (+=). Follows gpt_forward from its end.

struct NoBlockCall {
    void operator()(size_t /*block*/) const {}
};

// finished(block) is called when all work on the block's gradients is queued: the head's (L + 1), the layers' from L to
// 1, the embeddings' (0), as tensors.h numbers them.
template <class Real, class Finished = NoBlockCall>
void gpt_backward(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, Gradients<Real>& gradients, const GptInput& in,
                  backend::stream_t stream, Finished finished = {}) {
    using namespace backend;
    const NvtxRange range("backward");
    const GptConfig& c = gpt.config;
    const Activations<Real>& a = memory.a;
    const int B = memory.B, T = memory.T, N = B * T, C = c.C, NH = c.NH, KV = c.KV, HS = c.HS, F = c.F;
    const int A = c.attention_width();
    const size_t NC = static_cast<size_t>(N) * static_cast<size_t>(C);
    const bool parallel = c.residual == Residual::Parallel;
    const Real* const none = nullptr;

    device_zero(a.dresidual, NC, stream);
    const Real* last = c.L > 0 ? memory.layers[static_cast<size_t>(c.L - 1)].residual3 : a.encoded;
    norm_backward(c, a.dresidual, gradients.params.lnfw, gradients.params.lnfb, a.scratch, a.dnormed, last,
                  gpt.params.lnfw, a.lnf_mean, a.lnf_rstd, N, stream);
    finished(gpt.layers.size() + 1);
    for (int l = c.L - 1; l >= 0; --l) {
        const LayerActivations<Real>& layer = memory.layers[static_cast<size_t>(l)];
        const Parameters<Real>& p = gpt.layers[static_cast<size_t>(l)];
        const Parameters<Stat<Real>>& g = gradients.layers[static_cast<size_t>(l)];
        const Real* x = l == 0 ? a.encoded : memory.layers[static_cast<size_t>(l - 1)].residual3;
        const Real* y = parallel ? x : layer.residual2;
        if (memory.keep == Keep::Inputs && l < c.L - 1) {  // the last layer's activations are still there
            input_norms(gpt, memory, l, static_cast<Real*>(nullptr), x, none, none, stream);
            layer_forward(gpt, memory, l, x, in, stream);
        }

        // dresidual is the gradient of the layer's output; in a parallel block also of both projections, so that one
        // sum serves both biases
        Stat<Real>*fcprojb = g.fcprojb, *projb = g.projb;
        if (parallel && c.biases == Biases::All) {
            bias_backward(fcprojb, projb, a.scratch, a.dresidual, N, C, stream);
            fcprojb = projb = nullptr;
        }
        // feed-forward
        matmul_backward(a.dfcact, g.fcprojw, fcprojb, a.dresidual, layer.fcact, p.fcprojw, N, F, C, stream);
        activation_backward(c, a.dfch, g.fcb, a.scratch, layer.fch, a.dfcact, N, stream);
        matmul_backward(a.dnormed, g.fcw, static_cast<Stat<Real>*>(nullptr), a.dfch, layer.ln2, p.fcw, N, C,
                        c.fc_width(), stream);
        // the attention of a parallel block sees the layer's output gradient, before ln2 adds to it
        if (parallel) matmul_backward(a.datty, g.projw, projb, a.dresidual, layer.atty, p.projw, N, A, C, stream);
        norm_backward(c, a.dresidual, g.ln2w, g.ln2b, a.scratch, a.dnormed, y, p.ln2w, layer.ln2_mean, layer.ln2_rstd,
                      N, stream);
        if (!parallel) matmul_backward(a.datty, g.projw, projb, a.dresidual, layer.atty, p.projw, N, A, C, stream);

        // attention
        attention_backward(a.dqkv, a.scratch, a.datty, layer.atty, layer.lse, layer.qkv, a.schedule, B, T, NH, KV, HS,
                           stream);
        if (c.rotary_dims() > 0)
            rotary_backward(a.dqkv, a.rotary_table, in.positions, N, NH, KV, HS, c.rotary_dims(), stream);
        if (c.qk_norm)
            qk_norm_backward(a.dqkv, g.qnormw, g.knormw, a.scratch, layer.qkv_raw, p.qnormw, p.knormw, layer.qk_rstd, N,
                             NH, KV, HS, stream);
        matmul_backward(a.dnormed, g.qkvw, g.qkvb, a.dqkv, layer.ln1, p.qkvw, N, C, c.qkv_width(), stream);
        norm_backward(c, a.dresidual, g.ln1w, g.ln1b, a.scratch, a.dnormed, x, p.ln1w, layer.ln1_mean, layer.ln1_rstd,
                      N, stream);
        finished(static_cast<size_t>(l) + 1);
    }
    embedding_backward(gradients.params.wte, gradients.params.wpe, a.scratch, a.dresidual, in.tokens, in.positions, N,
                       C, c.Vp(), c.max_T, stream);
    finished(0);
}

// ---------------------------------------------------------------------------------------------------------------------
// update

// AdamW on the parameters that `adam` has the state of, clipped by *norm_squared of all gradients; theirs are zero
// afterwards. updated(i) is called when all work on the i-th of the state's ranges is queued.
template <class Real, class Updated = NoBlockCall>
void gpt_update(Gpt<Real>& gpt, AdamState<Real>& adam, Gradients<Real>& gradients, const double* norm_squared,
                const AdamwSettings& settings, backend::stream_t stream, Updated updated = {}) {
    const NvtxRange range("update");
    for (size_t i = 0; i < adam.parts.size(); ++i) {
        const auto& part = adam.parts[i];
        const size_t first = part.range.begin;
        if (!part.groups.empty())  // else it is padding
            backend::adamw_update(gpt.memory.get() + first, adam.HAS_MASTERS ? adam.master.get() + part.at : nullptr,
                                  adam.m.get() + part.at, adam.v.get() + part.at, gradients.memory + first,
                                  norm_squared, first, part.groups.data(), static_cast<int>(part.groups.size()),
                                  settings, stream);
        updated(i);
    }
}
