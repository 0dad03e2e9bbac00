// config.h - the shape of a GPT as data: its sizes, and one field for each way in which two models differ. A family is
// a name for a set of these values (config.cpp) and for what Hugging Face calls the values (hf_config.cpp) and the
// tensors (hf_tensors.cpp); no other file asks for more than its name.
//
// Letters used everywhere: B batch rows, T row length, C channels, L layers, NH heads, KV heads of keys and values, HS
// head size, F hidden channels of the feed-forward, V vocabulary, Vp padded vocabulary.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

enum class Family { Gpt2, Neox, Llama, Qwen2, Qwen3 };

enum class Norm {
    LayerNorm,
    RmsNorm,  // no mean, no bias
};
enum class Activation {
    GeluTanh,
    GeluExact,
    SwiGlu,  // gated: F channels of gate and F of up
};
enum class Biases { None, Qkv, All };  // of the linear layers; the head never has one
enum class Positions {
    Learned,  // added to the embedding: wpe
    Rotary,   // of q and k
};
enum class Residual {
    Sequential,  // y = x + attention(ln1 x), then y + mlp(ln2 y)
    Parallel,    // x + attention(ln1 x) + mlp(ln2 x)
};
enum class Deviations {  // of initial weights; init.h has the formulas
    Scaled,              // by depth where a layer writes to the residual stream
    SmallWang,
    Equal,
};

// As it is, gpt2-124m.
struct GptConfig {
    Family family = Family::Gpt2;
    int L = 12, C = 768, NH = 12, KV = 12, HS = 64, F = 3072;
    int V = 50257;     // ids the checkpoint knows; memory holds Vp rows
    int max_T = 1024;  // longest row the model can take (rows of wpe where positions are learned)
    Norm norm = Norm::LayerNorm;
    Activation activation = Activation::GeluTanh;
    Positions positions = Positions::Learned;
    Residual residual = Residual::Sequential;
    Deviations deviations = Deviations::Scaled;
    double deviation = 0.02;  // of initial weights; config.json's initializer_range
    Biases biases = Biases::All;
    bool qk_norm = false;           // RMS norm of every head of q and k, before the rotation
    bool tied = true;               // the head is wte
    float rotary_fraction = 0.25f;  // of HS, rounded down to an even number of dimensions
    float rotary_base = 10000.0f;
    float norm_eps = 1e-5f;  // of every norm
    int eot_id = -1;         // written to the checkpoint's config.json; -1: unknown

    int Vp() const { return (V + 127) / 128 * 128; }  // padding exists in memory only; padded logits are -inf
    int qkv_width() const { return (NH + 2 * KV) * HS; }
    int attention_width() const { return NH * HS; }  // of what the heads give together
    bool gated() const { return activation == Activation::SwiGlu; }
    int fc_width() const { return gated() ? 2 * F : F; }  // of the feed-forward's first product
    int rotary_dims() const {
        return positions == Positions::Learned ? 0 : static_cast<int>(rotary_fraction * static_cast<float>(HS)) / 2 * 2;
    }
};

// "gpt2", "pythia", "llama", ...: the first word of a size.
const char* family_name(Family family);

// The family's values, at the sizes of gpt2-124m.
GptConfig family_config(Family family);

// What names and files of a family can say: fewer heads of keys and values than of queries; a head size that is not
// C / NH.
bool has_grouped_queries(Family family);
bool has_head_size(Family family);

// Sets L, C and NH, and the sizes that follow from them unless a name or a config.json says otherwise: KV = NH,
// HS = C / NH, and F = FEED_FORWARD_RATIO C, or where it is gated two thirds of that, so that three matrices hold as
// much as two (Shazeer 2020, section 3), rounded up to a multiple of 8.
constexpr int FEED_FORWARD_RATIO = 4;
void set_sizes(GptConfig* config, int L, int C, int NH);

// `name` is a preset (gpt2-124m, pythia-70m, qwen3-0.6b, ...) or FAMILY:Lx:Cy:Hz[:KVk][:HSd][:Ff], FAMILY one of gpt2,
// pythia, llama, qwen2, qwen3 (gpt2:L4:C128:H4, llama:L6:C384:H6:KV2:F1024). KV is Llama's and Qwen's, HS Llama's and
// Qwen3's. V = 0 in the result means "the tokenizer's": only presets fix the vocabulary. Dies with Exit::Usage on a
// name that it does not know (the message lists what there is) and on sizes that no kernel takes.
GptConfig config_from_name(const std::string& name);
std::vector<std::string> preset_names();

// Dies with Exit::Usage unless the numbers make a model that the kernels of both backends can run (what the GPU's alone
// cannot is refused by Machine::check_model).
void validate_config(const GptConfig& config);

// Parameters without padding. `embedding`: with wte, wpe and an untied head.
size_t num_parameters(const GptConfig& config, bool embedding = true);

// FLOPs of forward + backward for one token at row length T: 6 N + 6 L NH HS T. N: elements of all matrices, with the
// head (once) and without the input embeddings; attention is causal, so half of its products count. With F = 4C this is
// the formula of llm.c's MFU figures, N = 12 L C^2 + V C.
double flops_per_token(const GptConfig& config, int T);
