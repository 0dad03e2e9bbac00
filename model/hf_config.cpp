// Hugging Face's config.json <-> GptConfig. transformers 4 and 5 both read what is written here; keys that either of
// them wrote are read.
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "util/check.h"
#include "util/files.h"
#include "util/json.h"

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

// A float as the shortest decimal that reads back as it: 1e-05, not 9.99999974e-06.
double shortest(float value) {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text - 1, value).ptr;
    *end = '\0';
    return strtod(text, nullptr);
}

// Reads members of one config.json, each with the default that transformers has for it.
struct Reader {
    std::string name;
    const json& object;

    bool has(const char* key) const { return object.contains(key) && !object[key].is_null(); }
    int integer(const char* key, int64_t low, int64_t high) const {
        return static_cast<int>(json_integer(name, object, key, low, high));
    }
    bool boolean(const char* key, bool standard) const {
        if (!has(key)) return standard;
        if (!object[key].is_boolean()) refuse(key, "true or false");
        return object[key];
    }
    double number(const char* key, double standard) const {
        if (!has(key)) return standard;
        if (!object[key].is_number()) refuse(key, "a number");
        return object[key];
    }
    std::string text(const char* key, const char* standard) const {
        if (!has(key)) return standard;
        if (!object[key].is_string()) refuse(key, "a string");
        return object[key];
    }
    [[noreturn]] void refuse(const char* key, const char* expected) const {
        const std::string found = object.contains(key) ? object[key].dump(-1, ' ', true) : "missing";
        die(Exit::Data, "%s: %s is %s, expected %s", name.c_str(), key, found.c_str(), expected);
    }
    void require(const char* key, bool standard, bool expected) const {
        if (boolean(key, standard) != expected) refuse(key, expected ? "true" : "false");
    }
};

Activation read_activation(const Reader& in, const char* key, const char* standard) {
    const std::string name = in.text(key, standard);
    // gelu_fast and gelu_pytorch_tanh are other spellings of the same formula as gelu_new
    if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh") return Activation::GeluTanh;
    if (name == "gelu" || name == "gelu_python") return Activation::GeluExact;
    in.refuse(key, "gelu or gelu_new (gelu_fast, gelu_pytorch_tanh, gelu_python)");
}

float read_epsilon(const Reader& in, const char* key, double standard = 1e-5) {
    const double eps = in.number(key, standard);
    if (!(eps > 0 && eps < 1)) in.refuse(key, "a number between 0 and 1");
    return static_cast<float>(eps);
}

int read_eot(const Reader& in, int V) {
    if (!in.has("eos_token_id")) return -1;
    const json& value = in.object["eos_token_id"];
    const json first = value.is_array() && !value.empty() ? value[0] : value;
    if (!first.is_number_integer() || first.get<int64_t>() < 0 || first.get<int64_t>() >= V) return -1;
    return first.get<int>();
}

void read_sizes(const Reader& in, const char* layers, const char* channels, const char* heads, const char* positions,
                GptConfig* c) {
    c->V = in.integer("vocab_size", 1, 1 << 24);
    const int L = in.integer(layers, 1, 1000), C = in.integer(channels, 2, 65536), NH = in.integer(heads, 1, 65536);
    set_sizes(c, L, C, NH);
    c->max_T = in.integer(positions, 1, 1 << 24);
    if (c->NH * c->HS != c->C || c->HS % 2 != 0)
        die(Exit::Data, "%s: %s=%d over %s=%d: channels must be a multiple of heads, and the head size even",
            in.name.c_str(), channels, c->C, heads, c->NH);
}

int read_hidden(const Reader& in, const char* key) { return in.integer(key, 1, 1 << 20); }

GptConfig read_gpt2(const Reader& in) {
    GptConfig c = family_config(Family::Gpt2);
    read_sizes(in, "n_layer", "n_embd", "n_head", "n_positions", &c);
    if (in.has("n_inner")) c.F = read_hidden(in, "n_inner");
    c.activation = read_activation(in, "activation_function", "gelu_new");
    c.norm_eps = read_epsilon(in, "layer_norm_epsilon");
    c.tied = in.boolean("tie_word_embeddings", true);
    in.require("scale_attn_weights", true, true);
    in.require("scale_attn_by_inverse_layer_idx", false, false);
    in.require("add_cross_attention", false, false);
    c.deviation = in.number("initializer_range", c.deviation);
    c.eot_id = read_eot(in, c.V);
    return c;
}

// The objects in which versions of transformers keep what else there is about a rotation, one after the other. Dies on
// one that scales it: rows would be read at other angles than those that the weights were trained with.
template <class Read>
void for_each_rope(const Reader& in, Read read) {
    for (const char* key : {"rope_scaling", "rope_parameters"}) {
        if (!in.has(key)) continue;
        if (!in.object[key].is_object()) in.refuse(key, "an object");
        const Reader rope{in.name + ": " + key, in.object[key]};
        for (const auto& item : in.object[key].items())
            if (item.value().is_object()) rope.refuse(item.key().c_str(), "one rotation for all layers");
        const std::string type = rope.text("rope_type", rope.text("type", "default").c_str());
        if (type != "default")
            rope.refuse(rope.has("rope_type") ? "rope_type" : "type",
                        "default: scaled rotations are not computed (TinyLlama, SmolLM2, Qwen2.5 and Qwen3 have none)");
        read(rope);
    }
}

// transformers 4: rotary_pct and rotary_emb_base; 5: both inside rope_parameters. Its versions differ in which of two
// wins, and all of them ignore these two keys of other families at the top: what differs is refused.
void read_neox_rotary(const Reader& in, GptConfig* c) {
    double fraction = in.number("rotary_pct", 0.25), base = in.number("rotary_emb_base", 10000);
    const bool version_4 = in.text("transformers_version", "").compare(0, 2, "4.") == 0;
    for_each_rope(in, [&](const Reader& rope) {
        const double inner_fraction = rope.number("partial_rotary_factor", fraction),
                     inner_base = rope.number("rope_theta", base);
        if (inner_fraction != fraction && (version_4 || in.has("rotary_pct")))
            rope.refuse("partial_rotary_factor",
                        "none, or what the library of this config's version takes (rotary_pct)");
        if (inner_base != base && (version_4 || in.has("rotary_emb_base")))
            rope.refuse("rope_theta", "none, or what the library of this config's version takes (rotary_emb_base)");
        fraction = inner_fraction;
        base = inner_base;
    });
    if (in.number("partial_rotary_factor", fraction) != fraction)
        in.refuse("partial_rotary_factor", "none: transformers ignores it at the top, and rotary_pct says otherwise");
    if (in.number("rope_theta", base) != base)
        in.refuse("rope_theta", "none: transformers ignores it at the top, and rotary_emb_base says otherwise");
    if (!(fraction > 0 && fraction <= 1)) in.refuse("rotary_pct", "a number in (0, 1]");
    if (!(base > 1 && base < 1e12)) in.refuse("rotary_emb_base", "a number above 1");
    c->rotary_fraction = static_cast<float>(fraction);
    c->rotary_base = static_cast<float>(base);
    const int dims = static_cast<int>(fraction * c->HS);
    if (dims != c->rotary_dims())
        die(Exit::Data, "%s: rotary_pct %g of a head of %d gives %d rotary dimensions, expected an even number",
            in.name.c_str(), fraction, c->HS, dims);
}

// The whole head is rotated. transformers 4: rope_theta at the top; 5: in rope_parameters, or at the top where those
// have none.
void read_llama_rotary(const Reader& in, GptConfig* c) {
    double base = in.number("rope_theta", 10000);
    const auto check_base = [](const Reader& reader, double value) {
        if (!(value > 1 && value < 1e12)) reader.refuse("rope_theta", "a number above 1");
    };
    check_base(in, base);
    const auto whole = [](const Reader& reader) {
        if (reader.number("partial_rotary_factor", 1) != 1)
            reader.refuse("partial_rotary_factor", "1: the whole head is rotated");
    };
    whole(in);
    for_each_rope(in, [&](const Reader& rope) {
        whole(rope);
        const double inner = rope.number("rope_theta", base);
        if (inner != base && in.has("rope_theta")) rope.refuse("rope_theta", "none, or the rope_theta at the top");
        check_base(rope, inner);
        base = inner;
    });
    c->rotary_base = static_cast<float>(base);
}

GptConfig read_neox(const Reader& in) {
    GptConfig c = family_config(Family::Neox);
    read_sizes(in, "num_hidden_layers", "hidden_size", "num_attention_heads", "max_position_embeddings", &c);
    c.F = in.has("intermediate_size") ? read_hidden(in, "intermediate_size") : 24576;
    c.activation = read_activation(in, "hidden_act", "gelu");
    c.norm_eps = read_epsilon(in, "layer_norm_eps");
    c.tied = in.boolean("tie_word_embeddings", false);
    c.residual = in.boolean("use_parallel_residual", true) ? Residual::Parallel : Residual::Sequential;
    in.require("attention_bias", true, true);
    read_neox_rotary(in, &c);
    c.deviation = in.number("initializer_range", c.deviation);
    c.eot_id = read_eot(in, c.V);
    return c;
}

// LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM: what their configurations can say and we cannot do is refused.
GptConfig read_llama(const Reader& in, Family family) {
    GptConfig c = family_config(family);
    c.V = in.integer("vocab_size", 1, 1 << 24);
    set_sizes(&c, in.integer("num_hidden_layers", 1, 1000), in.integer("hidden_size", 2, 65536),
              in.integer("num_attention_heads", 1, 65536));
    c.max_T = in.integer("max_position_embeddings", 1, 1 << 24);
    c.F = read_hidden(in, "intermediate_size");
    if (in.has("num_key_value_heads")) c.KV = in.integer("num_key_value_heads", 1, 65536);
    const bool silent = !in.object.contains("num_key_value_heads");
    if (silent && family != Family::Llama) c.KV = 32;  // as their classes have it
    if (in.has("head_dim")) c.HS = in.integer("head_dim", 2, 65536);
    if (!in.has("head_dim") && family == Family::Qwen3) c.HS = 128;  // the default of its class
    if (c.HS < 2 || c.HS % 2 != 0 || static_cast<int64_t>(c.NH) * c.HS > 65536)
        die(Exit::Data, "%s: %d heads of %d channels: the head size must be even, both together at most 65536",
            in.name.c_str(), c.NH, c.HS);
    if (!in.has("head_dim") && family != Family::Qwen3 && c.NH * c.HS != c.C)
        die(Exit::Data, "%s: hidden_size=%d over num_attention_heads=%d: channels must be a multiple of heads",
            in.name.c_str(), c.C, c.NH);
    if (family == Family::Qwen2 && c.NH * c.HS != c.C) in.refuse("head_dim", "hidden_size / num_attention_heads");
    if (c.NH % c.KV != 0)
        die(Exit::Data, "%s: num_attention_heads=%d over num_key_value_heads=%d%s: heads must be a multiple", in.name,
            c.NH, c.KV, silent ? " (missing, which transformers reads as 32)" : "");
    if (in.text("hidden_act", "silu") != "silu") in.refuse("hidden_act", "silu");
    c.norm_eps = read_epsilon(in, "rms_norm_eps", 1e-6);
    c.tied = in.boolean("tie_word_embeddings", false);
    in.require("attention_bias", family == Family::Qwen2, family == Family::Qwen2);
    in.require("mlp_bias", false, false);
    in.require("use_sliding_window", false, false);
    if (in.has("layer_types") && in.object["layer_types"] != std::vector<std::string>(c.L, "full_attention"))
        in.refuse("layer_types", "full_attention, once for every layer");
    read_llama_rotary(in, &c);
    c.deviation = in.number("initializer_range", c.deviation);
    c.eot_id = read_eot(in, c.V);
    return c;
}

// transformers takes int(HS * rotary_pct) dimensions; ours are rounded down to an even number, so the written share
// must give exactly those.
double written_rotary_fraction(const GptConfig& c) {
    const double fraction = shortest(c.rotary_fraction);
    if (static_cast<int>(fraction * c.HS) == c.rotary_dims()) return fraction;
    return (c.rotary_dims() + 0.5) / c.HS;
}

bool is_llama(Family family) { return family != Family::Gpt2 && family != Family::Neox; }

// A family's config.json has keys for some of the values; the others are the family's own.
void check_has_keys(const GptConfig& c) {
    const GptConfig own = family_config(c.family);
    const bool residual_key = c.family == Family::Neox, groups_key = has_grouped_queries(c.family);
    const bool head_key = has_head_size(c.family);
    ENSURE(c.norm == own.norm && c.positions == own.positions && c.biases == own.biases && c.qk_norm == own.qk_norm &&
               (groups_key || c.KV == c.NH) && (head_key || c.NH * c.HS == c.C) &&
               (!is_llama(c.family) || (c.activation == own.activation && c.rotary_fraction == 1)) &&
               c.gated() == own.gated() && (residual_key || c.residual == own.residual),
           "config.json: the family has no keys for this shape");
}

ordered_json llama_keys(const GptConfig& c) {
    const bool qwen3 = c.family == Family::Qwen3, qwen2 = c.family == Family::Qwen2;
    ordered_json out = {{"architectures",
                         {qwen3   ? "Qwen3ForCausalLM"
                          : qwen2 ? "Qwen2ForCausalLM"
                                  : "LlamaForCausalLM"}},
                        {"model_type", qwen3   ? "qwen3"
                                       : qwen2 ? "qwen2"
                                               : "llama"},
                        {"vocab_size", c.V},
                        {"max_position_embeddings", c.max_T},
                        {"hidden_size", c.C},
                        {"intermediate_size", c.F},
                        {"num_hidden_layers", c.L},
                        {"num_attention_heads", c.NH},
                        {"num_key_value_heads", c.KV},
                        {"hidden_act", "silu"},
                        {"rms_norm_eps", shortest(c.norm_eps)},
                        {"rope_theta", shortest(c.rotary_base)},
                        {"attention_dropout", 0.0}};
    if (!qwen2) {
        out["head_dim"] = c.HS;
        out["attention_bias"] = false;
    }
    if (c.family == Family::Llama)
        out["mlp_bias"] = false;
    else
        out["use_sliding_window"] = false;
    return out;
}

}  // namespace

GptConfig parse_model_config(const std::string& name, const std::string& text) {
    const json object = parse_json(name, text);
    if (!object.is_object()) die(Exit::Data, "%s: not a JSON object", name.c_str());
    const Reader in{name, object};
    const std::string type = in.text("model_type", "");
    if (in.has("quantization_config")) in.refuse("quantization_config", "none: quantized weights are not read");
    if (type == "gpt2") return read_gpt2(in);
    if (type == "gpt_neox") return read_neox(in);
    if (type == "llama") return read_llama(in, Family::Llama);
    if (type == "qwen2") return read_llama(in, Family::Qwen2);
    if (type == "qwen3") return read_llama(in, Family::Qwen3);
    in.refuse("model_type", "gpt2, gpt_neox, llama, qwen2 or qwen3");
}

GptConfig read_model_config(const std::string& directory) {
    const std::string path = path_join(directory, "config.json");
    if (directory_exists(path_join(directory, "checkpoints")))
        die(Exit::Data, "%s: a run, not a checkpoint; give one of the directories in %s", directory.c_str(),
            path_join(directory, "checkpoints").c_str());
    if (!file_exists(path))
        die(Exit::Data, "%s: no config.json; expected a checkpoint or a Hugging Face model directory",
            directory.c_str());
    checkpoint_verify_file(directory, "config.json");
    return parse_model_config(path, read_file(path));
}

std::string model_config_json(const GptConfig& c, bool bf16) {
    check_has_keys(c);
    const char* activation = c.activation == Activation::GeluTanh ? "gelu_new" : "gelu";
    const json eot = c.eot_id >= 0 ? json(c.eot_id) : json();
    ordered_json out;
    if (c.family == Family::Gpt2) {
        out = {{"architectures", {"GPT2LMHeadModel"}},
               {"model_type", "gpt2"},
               {"vocab_size", c.V},
               {"n_positions", c.max_T},
               {"n_ctx", c.max_T},
               {"n_embd", c.C},
               {"n_layer", c.L},
               {"n_head", c.NH},
               {"n_inner", c.F == FEED_FORWARD_RATIO * c.C ? json() : json(c.F)},
               {"activation_function", activation},
               {"layer_norm_epsilon", shortest(c.norm_eps)},
               {"resid_pdrop", 0.0},
               {"embd_pdrop", 0.0},
               {"attn_pdrop", 0.0},
               {"scale_attn_weights", true}};
    } else if (is_llama(c.family)) {
        out = llama_keys(c);
    } else {
        out = {{"architectures", {"GPTNeoXForCausalLM"}},
               {"model_type", "gpt_neox"},
               {"vocab_size", c.V},
               {"max_position_embeddings", c.max_T},
               {"hidden_size", c.C},
               {"intermediate_size", c.F},
               {"num_hidden_layers", c.L},
               {"num_attention_heads", c.NH},
               {"hidden_act", activation},
               {"layer_norm_eps", shortest(c.norm_eps)},
               {"rotary_pct", written_rotary_fraction(c)},
               {"rotary_emb_base", shortest(c.rotary_base)},
               {"use_parallel_residual", c.residual == Residual::Parallel},
               {"attention_bias", true},
               {"attention_dropout", 0.0},
               {"hidden_dropout", 0.0}};
    }
    out["initializer_range"] = c.deviation;
    out["bos_token_id"] = eot;
    out["eos_token_id"] = eot;
    out["tie_word_embeddings"] = c.tied;
    out["use_cache"] = true;
    out["torch_dtype"] = bf16 ? "bfloat16" : "float32";
    return out.dump(2) + "\n";
}
