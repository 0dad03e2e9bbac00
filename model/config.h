// config.h - the shape of a GPT: two families as configuration, published presets by name, any size between.
//
// Letters used everywhere: B batch rows, T row length, C channels, L layers, NH heads, HS = C / NH, V vocabulary, Vp
// padded vocabulary.
#pragma once
#include <string>
#include <vector>

#include "kernels/types.h"  // defines: Gelu

enum class Family { Gpt2, Neox };

struct GptConfig {
    Family family = Family::Gpt2;
    int L = 12, C = 768, NH = 12;
    int V = 50257;                   // ids the checkpoint knows; memory holds Vp rows
    int max_T = 1024;                // longest row the model can take (rows of wpe for GPT-2)
    bool tied = true;                // the head is wte
    bool parallel_residual = false;  // x + attention(ln1 x) + mlp(ln2 x), NeoX
    Gelu gelu = Gelu::Tanh;
    bool learned_positions = true;  // GPT-2's wpe; false: rotary
    float rotary_fraction = 0.25f;  // of HS, rounded down to an even number of dimensions
    float rotary_base = 10000.0f;
    float layernorm_eps = 1e-5f;
    int eot_id = -1;  // written to the checkpoint's config.json; -1: unknown

    int HS() const { return C / NH; }
    int Vp() const { return (V + 127) / 128 * 128; }  // padding exists in memory only; padded logits are -inf
    int rotary_dims() const {
        return learned_positions ? 0 : static_cast<int>(rotary_fraction * static_cast<float>(HS())) / 2 * 2;
    }
};

// `name` is a preset (gpt2-124m, pythia-70m, ...) or FAMILY:Lx:Cy:Hz (gpt2:L4:C128:H4, pythia:L6:C384:H6).
// V = 0 in the result means "the tokenizer's": only presets fix the vocabulary. Dies with Exit::Usage on a name it does
// not know (the message lists what there is) and on sizes that no kernel takes (C not a multiple of NH, HS odd).
GptConfig config_from_name(const std::string& name);
std::vector<std::string> preset_names();

// Dies with Exit::Usage unless the numbers make a model that the kernels can run.
void validate_config(const GptConfig& config);

// Parameters without padding. `embedding`: with wte, wpe and an untied head.
size_t num_parameters(const GptConfig& config, bool embedding = true);

// FLOPs of forward + backward for one token at row length T: 6 N + 6 L C T, N = 12 L C^2 + V C (the head once, the
// input embedding not), causal attention at half. The formula of llm.c's MFU figures.
double flops_per_token(const GptConfig& config, int T);
