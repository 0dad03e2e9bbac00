// What Hugging Face calls our tensors and how it stores them: one list a family.
#include "model/tensors.h"

namespace {

// clang-format off
HfTensors gpt2_tensors() {
    const Layout CONV = Layout::Transposed;
    return {
        {"wte",     {{"transformer.wte.weight"}}},
        {"wpe",     {{"transformer.wpe.weight"}}},
        {"ln1w",    {{"transformer.h.%d.ln_1.weight"}}},
        {"ln1b",    {{"transformer.h.%d.ln_1.bias"}}},
        {"qkvw",    {{"transformer.h.%d.attn.c_attn.weight", CONV}}},
        {"qkvb",    {{"transformer.h.%d.attn.c_attn.bias"}}},
        {"projw",   {{"transformer.h.%d.attn.c_proj.weight", CONV}}},
        {"projb",   {{"transformer.h.%d.attn.c_proj.bias"}}},
        {"ln2w",    {{"transformer.h.%d.ln_2.weight"}}},
        {"ln2b",    {{"transformer.h.%d.ln_2.bias"}}},
        {"fcw",     {{"transformer.h.%d.mlp.c_fc.weight", CONV}}},
        {"fcb",     {{"transformer.h.%d.mlp.c_fc.bias"}}},
        {"fcprojw", {{"transformer.h.%d.mlp.c_proj.weight", CONV}}},
        {"fcprojb", {{"transformer.h.%d.mlp.c_proj.bias"}}},
        {"lnfw",    {{"transformer.ln_f.weight"}}},
        {"lnfb",    {{"transformer.ln_f.bias"}}},
        {"lmheadw", {{"lm_head.weight"}}},
    };
}

HfTensors neox_tensors() {
    const Layout HEADS = Layout::QkvPerHead;
    return {
        {"wte",     {{"gpt_neox.embed_in.weight"}}},
        {"ln1w",    {{"gpt_neox.layers.%d.input_layernorm.weight"}}},
        {"ln1b",    {{"gpt_neox.layers.%d.input_layernorm.bias"}}},
        {"qkvw",    {{"gpt_neox.layers.%d.attention.query_key_value.weight", HEADS}}},
        {"qkvb",    {{"gpt_neox.layers.%d.attention.query_key_value.bias", HEADS}}},
        {"projw",   {{"gpt_neox.layers.%d.attention.dense.weight"}}},
        {"projb",   {{"gpt_neox.layers.%d.attention.dense.bias"}}},
        {"ln2w",    {{"gpt_neox.layers.%d.post_attention_layernorm.weight"}}},
        {"ln2b",    {{"gpt_neox.layers.%d.post_attention_layernorm.bias"}}},
        {"fcw",     {{"gpt_neox.layers.%d.mlp.dense_h_to_4h.weight"}}},
        {"fcb",     {{"gpt_neox.layers.%d.mlp.dense_h_to_4h.bias"}}},
        {"fcprojw", {{"gpt_neox.layers.%d.mlp.dense_4h_to_h.weight"}}},
        {"fcprojb", {{"gpt_neox.layers.%d.mlp.dense_4h_to_h.bias"}}},
        {"lnfw",    {{"gpt_neox.final_layer_norm.weight"}}},
        {"lnfb",    {{"gpt_neox.final_layer_norm.bias"}}},
        {"lmheadw", {{"embed_out.weight"}}},
    };
}

// LlamaForCausalLM, Qwen2ForCausalLM (with biases of q, k and v) and Qwen3ForCausalLM (with norms of q and k).
HfTensors llama_tensors(const GptConfig& c) {
    const Layout PLAIN = Layout::Plain;
    const int Q = c.NH * c.HS, KV = c.KV * c.HS, F = c.F;
    return {
        {"wte",     {{"model.embed_tokens.weight"}}},
        {"ln1w",    {{"model.layers.%d.input_layernorm.weight"}}},
        {"qkvw",    {{"model.layers.%d.self_attn.q_proj.weight", PLAIN, Q},
                     {"model.layers.%d.self_attn.k_proj.weight", PLAIN, KV},
                     {"model.layers.%d.self_attn.v_proj.weight", PLAIN, KV}}},
        {"qkvb",    {{"model.layers.%d.self_attn.q_proj.bias", PLAIN, Q},
                     {"model.layers.%d.self_attn.k_proj.bias", PLAIN, KV},
                     {"model.layers.%d.self_attn.v_proj.bias", PLAIN, KV}}},
        {"projw",   {{"model.layers.%d.self_attn.o_proj.weight"}}},
        {"ln2w",    {{"model.layers.%d.post_attention_layernorm.weight"}}},
        {"fcw",     {{"model.layers.%d.mlp.gate_proj.weight", PLAIN, F},
                     {"model.layers.%d.mlp.up_proj.weight", PLAIN, F}}},
        {"fcprojw", {{"model.layers.%d.mlp.down_proj.weight"}}},
        {"lnfw",    {{"model.norm.weight"}}},
        {"lmheadw", {{"lm_head.weight"}}},
        {"qnormw",  {{"model.layers.%d.self_attn.q_norm.weight"}}},
        {"knormw",  {{"model.layers.%d.self_attn.k_norm.weight"}}},
    };
}
// clang-format on

}  // namespace

HfTensors hf_tensors(const GptConfig& c) {
    switch (c.family) {
        case Family::Gpt2:
            return gpt2_tensors();
        case Family::Neox:
            return neox_tensors();
        case Family::Llama:
        case Family::Qwen2:
        case Family::Qwen3:
            break;
    }
    return llama_tensors(c);
}
