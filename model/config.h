// config.h - the shape of a GPT as data: its sizes, and one field for each way in which two models differ. A family is
// a name for a set of these values (config.cpp) and for what Hugging Face calls the values (hf_config.cpp) and the
// tensors (hf_tensors.cpp); no other file asks for it.
//
// Letters used everywhere: B batch rows, T row length, C channels, L layers, NH heads, KV heads of keys and values, HS
// head size, F hidden channels of the feed-forward, V vocabulary, Vp padded vocabulary.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

enum class Family { Gpt2, Neox };

enum class Norm { LayerNorm };
enum class Activation { GeluTanh, GeluExact };
enum class Positions {
    Learned,  // added to the embedding: wpe
    Rotary,   // of q and k
};
enum class Residual {
    Sequential,  // y = x + attention(ln1 x), then y + mlp(ln2 y)
    Parallel,    // x + attention(ln1 x) + mlp(ln2 x)
};
enum class Deviations {  // of initial weights; init.h has the formulas
    Fixed,
    SmallWang,
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
    Deviations deviations = Deviations::Fixed;
    bool biases = true;             // of the linear layers; the head never has one
    bool tied = true;               // the head is wte
    float rotary_fraction = 0.25f;  // of HS, rounded down to an even number of dimensions
    float rotary_base = 10000.0f;
    float layernorm_eps = 1e-5f;
    int eot_id = -1;  // written to the checkpoint's config.json; -1: unknown

    int Vp() const { return (V + 127) / 128 * 128; }  // padding exists in memory only; padded logits are -inf
    int qkv_width() const { return (NH + 2 * KV) * HS; }
    int attention_width() const { return NH * HS; }  // of what the heads give together
    int rotary_dims() const {
        return positions == Positions::Learned ? 0 : static_cast<int>(rotary_fraction * static_cast<float>(HS)) / 2 * 2;
    }
};

// The family's values, at the sizes of gpt2-124m.
GptConfig family_config(Family family);

// Sets L, C and NH, and the sizes that follow from them unless a config.json says otherwise, in both families: KV = NH,
// HS = C / NH, F = FEED_FORWARD_RATIO C.
constexpr int FEED_FORWARD_RATIO = 4;
void set_sizes(GptConfig* config, int L, int C, int NH);

// `name` is a preset (gpt2-124m, pythia-70m, ...) or FAMILY:Lx:Cy:Hz (gpt2:L4:C128:H4, pythia:L6:C384:H6).
// V = 0 in the result means "the tokenizer's": only presets fix the vocabulary. Dies with Exit::Usage on a name it does
// not know (the message lists what there is) and on sizes that no kernel takes.
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
