// tensors.h - the one table of tensors. Size, pointers, initial weights, weight decay, checkpoint names and optimizer
// groups of every parameter follow from its row here; adding a tensor is adding a field and a row.
#pragma once
#include <array>
#include <cstddef>
#include <vector>

#include "model/config.h"

// Gradients and optimizer states use the same struct. Weights of a layer lie L times behind one another.
template <class Real>
struct Parameters {
    Real* wte;      // (Vp, C)     token embedding; also the head when tied
    Real* wpe;      // (max_T, C)  learned positions, GPT-2 only
    Real* ln1w;     // (L, C)
    Real* ln1b;     // (L, C)
    Real* qkvw;     // (L, 3C, C)  rows: all of q, all of k, all of v, each head by head
    Real* qkvb;     // (L, 3C)
    Real* projw;    // (L, C, C)
    Real* projb;    // (L, C)
    Real* ln2w;     // (L, C)
    Real* ln2b;     // (L, C)
    Real* fcw;      // (L, 4C, C)
    Real* fcb;      // (L, 4C)
    Real* fcprojw;  // (L, C, 4C)
    Real* fcprojb;  // (L, C)
    Real* lnfw;     // (C)
    Real* lnfb;     // (C)
    Real* lmheadw;  // (Vp, C)     untied only
};
constexpr size_t NUM_TENSORS = sizeof(Parameters<float>) / sizeof(float*);

// Residual: Normal with the smaller deviation of layers that write to the residual stream.
enum class Init { Zero, One, Normal, Residual };

// How Hugging Face stores the matrix, against ours (rows = outputs):
enum class Layout {
    Plain,       // the same
    Transposed,  // GPT-2's Conv1D: (inputs, outputs)
    QkvPerHead,  // NeoX: rows are [head][q, k, v][dim] where ours are [q, k, v][head][dim]
};

struct TensorSpec {
    const char* name;  // ours; "%d" in hf_name is the layer
    const char* hf_name;
    int layers, rows, cols;  // 0 layers: the configuration does not have this tensor
    Init init;
    bool decay;            // weight decay: matrices and embeddings only
    bool embedding;        // counted out of the non-embedding parameters
    bool vocabulary_rows;  // rows = Vp in memory, V in checkpoints
    Layout layout;
    size_t layer_size() const { return static_cast<size_t>(rows) * static_cast<size_t>(cols); }
    size_t size() const { return static_cast<size_t>(layers) * layer_size(); }
};

inline std::array<TensorSpec, NUM_TENSORS> tensor_table(const GptConfig& c) {
    const bool gpt2 = c.family == Family::Gpt2;
    const int L = c.L, C = c.C, Vp = c.Vp(), P = c.learned_positions ? 1 : 0, U = c.tied ? 0 : 1;
    const Layout T = gpt2 ? Layout::Transposed : Layout::Plain, QKV = gpt2 ? Layout::Transposed : Layout::QkvPerHead;
    const Layout QKVB = gpt2 ? Layout::Plain : Layout::QkvPerHead;
    auto hf = [gpt2](const char* a, const char* b) { return gpt2 ? a : b; };
    // clang-format off
    return {{
        // name      Hugging Face: GPT-2, GPT-NeoX                                                       layers rows
        // cols   init            decay  embed  vocab  layout
        {"wte",      hf("transformer.wte.weight",           "gpt_neox.embed_in.weight"),                            1, Vp,      C,     Init::Normal,   true,  true,  true,  Layout::Plain},
        {"wpe",      hf("transformer.wpe.weight",           ""),                                                    P, c.max_T, C,     Init::Normal,   true,  true,  false, Layout::Plain},
        {"ln1w",     hf("transformer.h.%d.ln_1.weight",     "gpt_neox.layers.%d.input_layernorm.weight"),           L, 1,       C,     Init::One,      false, false, false, Layout::Plain},
        {"ln1b",     hf("transformer.h.%d.ln_1.bias",       "gpt_neox.layers.%d.input_layernorm.bias"),             L, 1,       C,     Init::Zero,     false, false, false, Layout::Plain},
        {"qkvw",     hf("transformer.h.%d.attn.c_attn.weight", "gpt_neox.layers.%d.attention.query_key_value.weight"), L, 3 * C, C,     Init::Normal,   true,  false, false, QKV},
        {"qkvb",     hf("transformer.h.%d.attn.c_attn.bias", "gpt_neox.layers.%d.attention.query_key_value.bias"),  L, 1,       3 * C, Init::Zero,     false, false, false, QKVB},
        {"projw",    hf("transformer.h.%d.attn.c_proj.weight", "gpt_neox.layers.%d.attention.dense.weight"),        L, C,       C,     Init::Residual, true,  false, false, T},
        {"projb",    hf("transformer.h.%d.attn.c_proj.bias", "gpt_neox.layers.%d.attention.dense.bias"),            L, 1,       C,     Init::Zero,     false, false, false, Layout::Plain},
        {"ln2w",     hf("transformer.h.%d.ln_2.weight",     "gpt_neox.layers.%d.post_attention_layernorm.weight"),  L, 1,       C,     Init::One,      false, false, false, Layout::Plain},
        {"ln2b",     hf("transformer.h.%d.ln_2.bias",       "gpt_neox.layers.%d.post_attention_layernorm.bias"),    L, 1,       C,     Init::Zero,     false, false, false, Layout::Plain},
        {"fcw",      hf("transformer.h.%d.mlp.c_fc.weight", "gpt_neox.layers.%d.mlp.dense_h_to_4h.weight"),         L, 4 * C,   C,     Init::Normal,   true,  false, false, T},
        {"fcb",      hf("transformer.h.%d.mlp.c_fc.bias",   "gpt_neox.layers.%d.mlp.dense_h_to_4h.bias"),           L, 1,       4 * C, Init::Zero,     false, false, false, Layout::Plain},
        {"fcprojw",  hf("transformer.h.%d.mlp.c_proj.weight", "gpt_neox.layers.%d.mlp.dense_4h_to_h.weight"),       L, C,       4 * C, Init::Residual, true,  false, false, T},
        {"fcprojb",  hf("transformer.h.%d.mlp.c_proj.bias", "gpt_neox.layers.%d.mlp.dense_4h_to_h.bias"),           L, 1,       C,     Init::Zero,     false, false, false, Layout::Plain},
        {"lnfw",     hf("transformer.ln_f.weight",          "gpt_neox.final_layer_norm.weight"),                    1, 1,       C,     Init::One,      false, false, false, Layout::Plain},
        {"lnfb",     hf("transformer.ln_f.bias",            "gpt_neox.final_layer_norm.bias"),                      1, 1,       C,     Init::Zero,     false, false, false, Layout::Plain},
        {"lmheadw",  hf("lm_head.weight",                   "embed_out.weight"),                                    U, Vp,      C,     Init::Normal,   true,  true,  true,  Layout::Plain},
    }};
    // clang-format on
}

// Elements of all parameters with their padding: what place_parameters lays out.
inline size_t parameter_elements(const GptConfig& c) {
    size_t n = 0;
    for (const TensorSpec& t : tensor_table(c)) n += t.size();
    return n;
}

// Points every field of `p` into `memory`, in table order; a tensor that the configuration does not have gets null.
template <class Real>
void place_parameters(Parameters<Real>* p, Real* memory, const GptConfig& c) {
    static_assert(sizeof(Parameters<Real>) == NUM_TENSORS * sizeof(Real*));
    Real** field = reinterpret_cast<Real**>(p);  // a struct of NUM_TENSORS equal pointers, in table order
    size_t at = 0;
    for (const TensorSpec& t : tensor_table(c)) {
        *field++ = t.layers ? memory + at : nullptr;
        at += t.size();
    }
}

// The pointers of layer l; tensors that all layers share stay.
template <class Real>
Parameters<Real> layer_parameters(Parameters<Real> p, const GptConfig& c, int l) {
    Real** field = reinterpret_cast<Real**>(&p);
    for (const TensorSpec& t : tensor_table(c)) {
        if (t.layers > 1) *field += static_cast<size_t>(l) * t.layer_size();
        ++field;
    }
    return p;
}
