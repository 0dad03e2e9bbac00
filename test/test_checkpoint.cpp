// Checkpoints: directories made by `transformers` (test/golden) against ours, every kind of damage, and the marker.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/checkpoint.h"
#include "model/state.cuh"
#include "model/tensors.h"
#include "test/catch.h"
#include "test/support.h"
#include "util/files.h"
#include "util/safetensors.h"

namespace {

std::vector<float> read_weights(const std::string& directory, const GptConfig& config) {
    std::vector<float> params(parameter_elements(config), -1.0f);
    read_model_weights(directory, config, params.data());
    return params;
}

std::vector<float> read_weights(const std::string& directory) {
    return read_weights(directory, read_model_config(directory));
}

// What --plan looks at.
void check_files(const std::string& directory) { check_model_files(directory, read_model_config(directory)); }

std::string golden(const std::string& name) { return test_file("golden/" + name); }

// A copy of a golden model that a test may damage.
struct Copy : TemporaryFolder {
    explicit Copy(const std::string& name) {
        for (const std::string& file : list_directory(golden(name)))
            copy_file(path_join(golden(name), file), *this / file);
    }
    void edit_config(const std::string& from, const std::string& to) const {
        std::string text = read_file(*this / "config.json");
        REQUIRE(text.find(from) != std::string::npos);
        write_file(*this / "config.json", text.replace(text.find(from), from.size(), to));
    }
    // Writes model.safetensors again, each tensor passed through `change`, which returns false to leave it out.
    template <class Change>
    void edit_tensors(Change change) const {
        const std::string bytes = read_file(*this / "model.safetensors");
        std::vector<SafeTensorSpec> specs;
        const auto tensors = parse_safetensors("x", reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
        for (const auto& [name, t] : tensors) {
            SafeTensorSpec spec{name, t.dtype, t.shape, t.bytes, t.data, nullptr};
            if (change(spec)) specs.push_back(spec);
        }
        write_safetensors(*this / "model.safetensors", specs);
    }
};

// Pieces out of, or into, arrays of all parameters: m, v and masters.
FetchPiece out_of(std::vector<const float*> arrays) {
    return [arrays](const OptimizerPiece& piece) {
        return arrays.at(static_cast<size_t>(piece.array)) + piece.range.begin;
    };
}
TakePiece into(std::vector<float*> arrays) {
    return [arrays](const OptimizerPiece& piece, const unsigned char* floats) {
        memcpy(arrays.at(static_cast<size_t>(piece.array)) + piece.range.begin, floats,
               piece.range.size() * sizeof(float));
    };
}

// A complete checkpoint of a golden model's weights, with an optimizer and a trainer state.
std::string save_checkpoint(const std::string& run, int64_t step, const std::string& tokenizer = "") {
    const GptConfig config = read_model_config(golden("gpt2"));
    const std::vector<float> params = read_weights(golden("gpt2"), config);
    const std::string folder = checkpoint_begin(run, step);
    write_model(folder, config, params.data(), tokenizer);
    write_optimizer(folder, config, false, out_of({params.data(), params.data()}));
    write_trainer_state(folder, {step, step * 64, R"({"lr":0.001,"a":1})", R"({"metrics_bytes":123})"});
    make_directories(folder + "/exposures");
    write_file(folder + "/exposures/bio.npy", "some bytes");
    return checkpoint_finish(folder);
}

std::string minimal_config(const std::string& more) {
    return R"({"model_type": "gpt_neox", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 128,
               "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 32)" +
           more + "}";
}

}  // namespace

TEST_CASE("Checkpoint: what transformers wrote comes back bit for bit", "[checkpoint]") {
    for (const char* name : {"gpt2", "gpt2_untied", "neox", "neox_sequential", "gpt2_inner", "neox_inner", "llama",
                             "llama_tied_wide_heads", "qwen2"}) {
        INFO(name);
        const TemporaryFolder folder;
        const GptConfig config = read_model_config(golden(name));
        write_model(folder.path(), config, read_weights(golden(name), config).data(), "");
        check_files(folder.path());
        const SafeTensorsFile theirs(path_join(golden(name), "model.safetensors")), ours(folder / "model.safetensors");
        CHECK(ours.tensors().size() == theirs.tensors().size());
        for (const auto& [key, t] : theirs.tensors()) {
            INFO(key);
            REQUIRE(ours.tensors().count(key) == 1);
            const SafeTensor& o = ours.tensors().at(key);
            CHECK(o.shape == t.shape);
            CHECK((o.bytes == t.bytes && memcmp(o.data, t.data, t.bytes) == 0));
        }
        CHECK(model_config_json(read_model_config(folder.path())) == model_config_json(config));
    }
}

TEST_CASE("Checkpoint: layouts and padding, element by element", "[checkpoint]") {
    const GptConfig c = read_model_config(golden("neox"));
    REQUIRE((c.C == 32 && c.NH == 2 && c.V == 97 && c.Vp() == 128));
    std::vector<float> params = read_weights(golden("neox"), c);
    Parameters<float> p = place_parameters(params.data(), c, 1);
    const SafeTensorsFile file(path_join(golden("neox"), "model.safetensors"));
    auto theirs = [&](const char* name, size_t i) {
        float value;
        memcpy(&value, file.tensors().at(name).data + 4 * i, 4);
        return value;
    };
    // layer 1, k of head 1, dimension 5: row (1 * 3 + 1) * 16 + 5 there, 32 + 1 * 16 + 5 here
    const size_t there = (1 * 3 + 1) * 16 + 5, here = 32 + 1 * 16 + 5;
    CHECK(p.qkvw[here * 32 + 7] == theirs("gpt_neox.layers.1.attention.query_key_value.weight", there * 32 + 7));
    CHECK(p.qkvb[here] == theirs("gpt_neox.layers.1.attention.query_key_value.bias", there));
    CHECK(p.lmheadw[96 * 32 + 31] == theirs("embed_out.weight", 96 * 32 + 31));
    for (size_t i = 97 * 32; i < 128 * 32; ++i) REQUIRE((p.wte[i] == 0 && p.lmheadw[i] == 0));

    const GptConfig g = read_model_config(golden("gpt2"));
    std::vector<float> weights = read_weights(golden("gpt2"), g);
    p = place_parameters(weights.data(), g, 1);
    const SafeTensorsFile gpt2(path_join(golden("gpt2"), "model.safetensors"));
    float value;  // layer 1, output 70, input 3: Conv1D keeps inputs as rows
    memcpy(&value, gpt2.tensors().at("transformer.h.1.attn.c_attn.weight").data + 4 * (3 * 72 + 70), 4);
    CHECK(p.qkvw[70 * 24 + 3] == value);
}

// As Llama's files have them: q, k and v apart, weights and biases.
TEST_CASE("Checkpoint: a row of the table may be several tensors of a file", "[checkpoint]") {
    const GptConfig c = read_model_config(golden("gpt2"));
    const std::vector<float> params = read_weights(golden("gpt2"), c);
    TensorTable table = tensor_table(c);
    for (TensorSpec& t : table) {
        const std::string name = t.name;
        if (name == "qkvw")
            t.hf = {{"h.%d.q.weight", Layout::Plain, 24}, {"h.%d.k.weight", Layout::Transposed, 24}, {"h.%d.v.weight"}};
        if (name == "qkvb") t.hf = {{"h.%d.q.bias", Layout::Plain, 24}, {"h.%d.kv.bias"}};
    }
    const TemporaryFolder folder;
    write_model_weights(folder.path(), c, table, params.data());
    const SafeTensorsFile file(folder / "model.safetensors");
    CHECK(file.tensors().size() == SafeTensorsFile(golden("gpt2") + "/model.safetensors").tensors().size() + 2 * 3);
    CHECK(file.tensors().at("h.1.q.bias").shape == std::vector<int64_t>{24});
    CHECK(file.tensors().at("h.1.kv.bias").shape == std::vector<int64_t>{48});
    const auto at = [&](const char* name, size_t i) {
        float value;
        memcpy(&value, file.tensors().at(name).data + 4 * i, 4);
        return value;
    };
    std::vector<float> weights = params;
    const Parameters<float> p = place_parameters(weights.data(), c, 1);
    CHECK(at("h.1.q.weight", 5 * 24 + 7) == p.qkvw[5 * 24 + 7]);
    CHECK(at("h.1.k.weight", 7 * 24 + 5) == p.qkvw[(24 + 5) * 24 + 7]);
    CHECK(at("h.1.v.weight", 5 * 24 + 7) == p.qkvw[(48 + 5) * 24 + 7]);
    CHECK(at("h.1.kv.bias", 30) == p.qkvb[24 + 30]);
    std::vector<float> back(params.size(), -1.0f);
    read_model_weights(folder.path(), c, table, back.data());
    CHECK(back == params);

    table[4].hf[0].outputs = 25;  // more than are left for the last one
    table[4].hf[2].outputs = 24;
    REQUIRE_DIES(Exit::Runtime, "qkvw: its tensors in files hold 73 outputs of 72",
                 read_model_weights(folder.path(), c, table, back.data()));
}

TEST_CASE("Checkpoint: half precision, shards and names without prefix", "[checkpoint]") {
    for (const char* name : {"neox_f16", "gpt2_bf16_shards"}) {
        const std::vector<float> params = read_weights(golden(name));
        double sum = 0;
        for (const float x : params) sum += std::abs(x);
        CHECK(sum / static_cast<double>(params.size()) > 0.1);  // drawn with a deviation of 0.3
    }
    Copy copy("neox_f16");
    // zero, one, the largest, the smallest subnormal, the smallest normal, the largest subnormal (IEEE 754 binary16)
    uint16_t halves[32] = {0, 0x3C00, 0x7BFF, 0x0001, 0x0400, 0x03FF, 0x8000, 0xC000};
    copy.edit_tensors([&](SafeTensorSpec& t) {
        if (t.name == "gpt_neox.final_layer_norm.weight") t.data = halves;
        return true;
    });
    const GptConfig c = read_model_config(copy.path());
    std::vector<float> params = read_weights(copy.path(), c);
    const Parameters<float> p = place_parameters(params.data(), c);
    const float expected[8] = {0.0f, 1.0f, 65504.0f, 5.9604645e-08f, 6.103515625e-05f, 6.097555e-05f, -0.0f, -2.0f};
    CHECK(memcmp(p.lnfw, expected, sizeof expected) == 0);
    halves[5] = 0xFC00;
    copy.edit_tensors([&](SafeTensorSpec& t) {
        if (t.name == "gpt_neox.final_layer_norm.weight") t.data = halves;
        return true;
    });
    REQUIRE_DIES(Exit::Data, "'gpt_neox.final_layer_norm.weight' holds -inf at element 5", read_weights(copy.path()));
}

TEST_CASE("Checkpoint: config.json of transformers 4 and 5", "[checkpoint]") {
    GptConfig c = parse_model_config("c", minimal_config(R"(, "rotary_pct": 0.5, "rotary_emb_base": 500)"));
    CHECK((c.rotary_dims() == 8 && c.rotary_base == 500 && !c.tied && c.residual == Residual::Parallel &&
           c.activation == Activation::GeluExact));
    c = parse_model_config("c", minimal_config(R"(, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0,
        "partial_rotary_factor": 0.5}, "hidden_act": "gelu_fast", "use_parallel_residual": false,
        "eos_token_id": [5, 6])"));
    CHECK((c.rotary_dims() == 8 && c.rotary_base == 500 && c.residual == Residual::Sequential &&
           c.activation == Activation::GeluTanh && c.eot_id == 5));

    auto refused = [](const std::string& more, const char* part) {
        REQUIRE_DIES(Exit::Data, part, parse_model_config("c", minimal_config(more)));
    };
    refused(R"(, "hidden_act": "relu")", "hidden_act is \"relu\"");
    refused(R"(, "attention_bias": false)", "attention_bias");
    refused(R"(, "rope_scaling": {"type": "linear", "factor": 2.0})", "type is \"linear\"");
    // keys that transformers ignores at the top of a NeoX config, or reads there in some versions alone
    refused(R"(, "rope_theta": 500)", "rope_theta is 500");
    refused(R"(, "rotary_pct": 0.5, "partial_rotary_factor": 0.25)", "partial_rotary_factor is 0.25");
    refused(R"(, "rotary_pct": 0.5, "rope_parameters": {"partial_rotary_factor": 0.25})", "rope_parameters: partial");
    refused(R"(, "transformers_version": "4.40.0", "rope_scaling": {"rope_theta": 500})", "rope_scaling: rope_theta");
    refused(R"(, "quantization_config": {"bits": 4})", "quantization_config");
    REQUIRE_DIES(Exit::Data, "quantization_config",
                 parse_model_config("c", R"({"model_type": "gpt2", "quantization_config": {"bits": 4}})"));
    c = parse_model_config("c", minimal_config(R"(, "rotary_pct": 0.5, "rotary_emb_base": 500, "rope_theta": 500,
        "partial_rotary_factor": 0.5)"));  // transformers 4 writes each under both names
    CHECK((c.rotary_dims() == 8 && c.rotary_base == 500));
    refused(R"(, "rotary_pct": 0.2)", "3 rotary dimensions");
    refused(R"(, "rotary_pct": 1.5)", "rotary_pct");
    refused(R"(, "layer_norm_eps": "x")", "layer_norm_eps");
    REQUIRE_DIES(Exit::Data, "model_type is \"mistral\"", parse_model_config("c", R"({"model_type": "mistral"})"));
    REQUIRE_DIES(Exit::Data, "model_type is missing", parse_model_config("c", "{}"));
    REQUIRE_DIES(Exit::Data, "'vocab_size' is missing", parse_model_config("c", R"({"model_type": "gpt2"})"));
    const std::string gpt2 = read_file(path_join(golden("gpt2"), "config.json"));
    auto with = [&](const std::string& from, const std::string& to) {
        return std::string(gpt2).replace(gpt2.find(from), from.size(), to);
    };
    REQUIRE_DIES(Exit::Data, "n_inner is 0", parse_model_config("c", with("\"n_inner\": null", "\"n_inner\": 0")));
    REQUIRE_DIES(Exit::Data, "n_head=5", parse_model_config("c", with("\"n_head\": 3", "\"n_head\": 5")));
    REQUIRE_DIES(Exit::Data, "n_layer is -2", parse_model_config("c", with("\"n_layer\": 2", "\"n_layer\": -2")));

    // the width of the feed-forward: GPT-2 has a key for it where it is not 4 C, NeoX always
    for (const int F : {100, 96}) {
        const std::string text = with("\"n_inner\": null", "\"n_inner\": " + std::to_string(F));
        CHECK(parse_model_config("c", text).F == F);
        const std::string written = model_config_json(parse_model_config("c", text));
        CHECK(written.find(F == 100 ? "\"n_inner\": 100," : "\"n_inner\": null,") != std::string::npos);
        CHECK(parse_model_config("c", written).F == F);
    }
    CHECK(parse_model_config("c", gpt2).F == 96);
    CHECK(parse_model_config("c", minimal_config(R"(, "intermediate_size": 72)")).F == 72);
    CHECK(model_config_json(read_model_config(golden("neox_inner"))).find("\"intermediate_size\": 72,") !=
          std::string::npos);
    refused(R"(, "intermediate_size": -1)", "intermediate_size is -1");
    // what a family's file has no key for is not written as something else
    for (void (*change)(GptConfig*) :
         {+[](GptConfig* c) { c->residual = Residual::Parallel; }, +[](GptConfig* c) { c->biases = Biases::None; },
          +[](GptConfig* c) { c->positions = Positions::Rotary; }, +[](GptConfig* c) { c->HS = 4; }}) {
        GptConfig other = parse_model_config("c", gpt2);
        change(&other);
        REQUIRE_DIES(Exit::Runtime, "no keys", model_config_json(other));
    }

    // rotary dimensions that are no whole number are written so that transformers takes as many as we do
    GptConfig odd = config_from_name("pythia:L1:C20:H1");
    odd.V = 10;
    CHECK(odd.rotary_dims() == 4);
    CHECK(parse_model_config("c", model_config_json(odd)).rotary_dims() == 4);
    CHECK(model_config_json(odd).find("\"layer_norm_eps\": 1e-05") != std::string::npos);
}

TEST_CASE("Checkpoint: config.json of Llama, Qwen2 and Qwen3", "[checkpoint]") {
    const auto config = [](const std::string& type, const std::string& more = "") {
        const bool silent = type != "llama" && more.find("num_key_value_heads") == std::string::npos;
        return parse_model_config("c", R"({"model_type": ")" + type + R"(", "vocab_size": 97, "hidden_size": 32,
            "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32)" +
                                           (silent ? R"(, "num_key_value_heads": 4)" : "") + more + "}");
    };
    // what the classes of transformers take where the file is silent
    GptConfig c = config("llama");
    CHECK((c.KV == 4 && c.HS == 8 && c.F == 48 && c.rotary_dims() == 8 && c.rotary_base == 10000 && !c.tied &&
           c.norm_eps == 1e-6f && c.biases == Biases::None && !c.qk_norm && c.gated()));
    c = config("qwen2", R"(, "num_key_value_heads": 2, "use_sliding_window": false, "sliding_window": 32)");
    CHECK((c.KV == 2 && c.HS == 8 && c.biases == Biases::Qkv && !c.qk_norm));
    c = config("qwen3", R"(, "num_key_value_heads": 2)");
    CHECK((c.HS == 128 && c.qk_norm && c.biases == Biases::None));
    // transformers 4 has rope_theta at the top, 5 in rope_parameters
    for (const char* rope :
         {R"(, "rope_theta": 5e5, "rope_scaling": null)", R"(, "rope_parameters": {"rope_theta": 5e5})",
          R"(, "rope_theta": 5e5, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5})"})
        CHECK(config("llama", rope).rotary_base == 5e5f);
    for (const char* type : {"llama", "qwen2", "qwen3"}) {
        c = config(type, R"(, "num_key_value_heads": 1, "rms_norm_eps": 1e-05, "tie_word_embeddings": true)");
        const GptConfig back = parse_model_config("c", model_config_json(c));
        CHECK(model_config_json(back) == model_config_json(c));
        CHECK((back.KV == 1 && back.tied && back.HS == c.HS && back.norm_eps == 1e-5f));
    }
    // the deviation of initial weights is part of the model: a branch's directories say what its trunk was drawn with
    CHECK(model_config_json(config("llama")).find("\"initializer_range\": 0.02,") != std::string::npos);
    CHECK(model_config_json(config("llama", R"(, "initializer_range": 0.041666666666666664)"))
              .find("\"initializer_range\": 0.041666666666666664,") != std::string::npos);
    CHECK(model_config_json(config_from_name("smollm2-135m")).find("\"initializer_range\": 0.041666666666666664,") !=
          std::string::npos);
    const auto refused = [&](const char* type, const std::string& more, const char* part) {
        REQUIRE_DIES(Exit::Data, part, config(type, more));
    };
    refused("llama", R"(, "rope_scaling": {"rope_type": "llama3", "factor": 32.0})", "rope_type is \"llama3\"");
    refused("llama", R"(, "rope_parameters": {"rope_type": "yarn", "factor": 4.0})", "rope_type is \"yarn\"");
    refused("llama", R"(, "rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5})", "rope_theta is 500000");
    refused("llama", R"(, "rope_parameters": {"rope_theta": -1})", "rope_parameters: rope_theta is -1");
    refused("llama", R"(, "partial_rotary_factor": 0.5)", "partial_rotary_factor is 0.5");
    refused("llama", R"(, "attention_bias": true)", "attention_bias");
    refused("llama", R"(, "mlp_bias": true)", "mlp_bias");
    refused("llama", R"(, "hidden_act": "gelu")", "hidden_act is \"gelu\", expected silu");
    refused("llama", R"(, "num_key_value_heads": 3)", "num_attention_heads=4 over num_key_value_heads=3: heads");
    refused("llama", R"(, "head_dim": 7)", "head size must be even");
    refused("qwen2", R"(, "head_dim": 16)", "head_dim is 16");
    REQUIRE_DIES(Exit::Data,
                 "num_key_value_heads=32 (missing, which transformers reads as 32): heads must be a multiple",
                 parse_model_config("c", R"({"model_type": "qwen2", "vocab_size": 97, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32})"));
    refused("qwen3", R"(, "attention_bias": true)", "attention_bias");
    refused("qwen3", R"(, "use_sliding_window": true)", "use_sliding_window");
    refused("qwen2", R"(, "layer_types": ["full_attention", "sliding_attention"])", "layer_types");
    refused("qwen2", R"(, "layer_types": ["full_attention"])", "layer_types");
    refused("qwen2", R"(, "layer_types": "full_attention")", "layer_types");
    refused("llama", R"(, "rope_parameters": {"full_attention": {"rope_type": "yarn", "factor": 4.0}})",
            "rope_parameters: full_attention");
    c = config("llama");
    c.qk_norm = true;
    REQUIRE_DIES(Exit::Runtime, "no keys", model_config_json(c));
}

TEST_CASE("Checkpoint: models that do not fit are refused", "[checkpoint]") {
    SECTION("a missing tensor") {
        Copy copy("gpt2");
        copy.edit_tensors([](const SafeTensorSpec& t) { return t.name != "transformer.h.1.ln_2.bias"; });
        REQUIRE_DIES(Exit::Data, "'transformer.h.1.ln_2.bias' of shape (24) is missing", read_weights(copy.path()));
        REQUIRE_DIES(Exit::Data, "'transformer.h.1.ln_2.bias' of shape (24) is missing", check_files(copy.path()));
    }
    SECTION("a weight that is no number, plain and transposed in the file") {
        for (const char* name : {"transformer.ln_f.weight", "transformer.h.1.mlp.c_fc.weight"}) {
            Copy copy("gpt2");
            std::vector<float> values;
            copy.edit_tensors([&](SafeTensorSpec& t) {
                if (t.name != name) return true;
                values.resize(t.bytes / sizeof(float));
                memcpy(values.data(), t.data, t.bytes);
                values[3] = NAN;
                t.data = values.data();
                return true;
            });
            REQUIRE_DIES(Exit::Data, "tensor '" + std::string(name) + "' holds nan at element 3",
                         read_weights(copy.path()));
        }
    }
    SECTION("a pointer of git-lfs") {
        Copy copy("gpt2");
        write_file(copy / "model.safetensors",
                   "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 269060552\n");
        REQUIRE_DIES(Exit::Data, "a pointer of git-lfs, not the weights; fetch them: git lfs pull",
                     read_weights(copy.path()));
    }
    SECTION("an unknown tensor") {
        Copy copy("gpt2");
        copy.edit_tensors([](SafeTensorSpec& t) {
            if (t.name == "transformer.wpe.weight") t.name = "transformer.wqe.weight";
            return true;
        });
        REQUIRE_DIES(Exit::Data, "transformer.wpe.weight", read_weights(copy.path()));
        REQUIRE_DIES(Exit::Data, "transformer.wpe.weight", check_files(copy.path()));
    }
    SECTION("another shape, another type, a differing second copy of the head") {
        Copy copy("gpt2");
        copy.edit_config("\"n_positions\": 32", "\"n_positions\": 31");
        REQUIRE_DIES(Exit::Data, "has shape (32, 24), config.json asks for (31, 24)", read_weights(copy.path()));
        REQUIRE_DIES(Exit::Data, "has shape (32, 24), config.json asks for (31, 24)", check_files(copy.path()));
        copy.edit_config("\"n_positions\": 31", "\"n_positions\": 32");
        copy.edit_tensors([](SafeTensorSpec& t) {
            if (t.name == "transformer.ln_f.bias") t.dtype = "I32";
            return true;
        });
        REQUIRE_DIES(Exit::Data, "is I32, expected F32, BF16 or F16", read_weights(copy.path()));
        REQUIRE_DIES(Exit::Data, "is I32, expected F32, BF16 or F16", check_files(copy.path()));
        Copy untied("gpt2_untied");
        untied.edit_config("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true");
        REQUIRE_DIES(Exit::Data, "'lm_head.weight' differs", read_weights(untied.path()));
        REQUIRE_DIES(Exit::Data, "'lm_head.weight' differs", check_files(untied.path()));
    }
    SECTION("a NeoX head under the name of other families is read") {
        Copy copy("neox");
        copy.edit_tensors([](SafeTensorSpec& t) {
            if (t.name == "embed_out.weight") t.name = "lm_head.weight";
            return true;
        });
        CHECK(read_weights(copy.path()) == read_weights(golden("neox")));
        copy.edit_tensors([](const SafeTensorSpec& t) { return t.name != "lm_head.weight"; });
        REQUIRE_DIES(Exit::Data, "embed_out.weight", read_weights(copy.path()));
    }
    SECTION("a file that is cut off, a pickle, nothing") {
        Copy copy("gpt2");
        truncate_file(copy / "model.safetensors", 1000);
        REQUIRE_DIES(Exit::Data, "truncated", read_weights(copy.path()));
        rename_path(copy / "model.safetensors", copy / "pytorch_model.bin");
        REQUIRE_DIES(Exit::Data, "convert it", read_weights(copy.path()));
        remove_tree(copy / "pytorch_model.bin");
        REQUIRE_DIES(Exit::Data, "no model.safetensors", read_weights(copy.path()));
        REQUIRE_DIES(Exit::Data, "no config.json", read_model_config(copy / "none"));
    }
    SECTION("an index that leaves its folder, or names a shard that is not there") {
        Copy copy("gpt2_bf16_shards");
        write_file(copy / "model.safetensors.index.json", R"({"weight_map": {"wte.weight": "../model.safetensors"}})");
        REQUIRE_DIES(Exit::Data, "not the name of a file next to it", read_weights(copy.path()));
        write_file(copy / "model.safetensors.index.json", R"({"weight_map": {"wte.weight": "none.safetensors"}})");
        REQUIRE_DIES(Exit::Data, "none.safetensors", read_weights(copy.path()));
        write_file(copy / "model.safetensors.index.json", "{}");
        REQUIRE_DIES(Exit::Data, "no weight_map", read_weights(copy.path()));
    }
}

TEST_CASE("Checkpoint: saved, found, pruned", "[checkpoint]") {
    const TemporaryFolder run;
    CHECK(checkpoint_latest(run.path()).empty());
    for (const int step : {5, 100000000, 20}) save_checkpoint(run.path(), step);
    const std::string folder = run / "checkpoints";
    checkpoint_begin(run.path(), 999999999);               // a save that was cut off
    make_directories(path_join(folder, "step_99999999"));  // no marker
    CHECK(checkpoint_latest(run.path()) == path_join(folder, "step_100000000"));
    checkpoint_prune(run.path(), 0);
    checkpoint_prune(run.path(), 2);
    CHECK(list_directory(folder) == std::vector<std::string>{"step_00000020", "step_100000000", "step_99999999"});

    const std::string path = path_join(folder, "step_00000020");
    checkpoint_verify(path);
    const TrainerState state = read_trainer_state(path);
    CHECK((state.step == 20 && state.tokens == 1280));
    CHECK(state.options_json == R"({"lr":0.001,"a":1})");
    CHECK(state.metrics_json == R"({"metrics_bytes":123})");
    const GptConfig c = read_model_config(path);
    const std::vector<float> params = read_weights(path, c);
    CHECK(params == read_weights(golden("gpt2")));
    std::vector<float> m(params.size()), v(params.size());
    CHECK_FALSE(read_optimizer(path, c, into({m.data(), v.data()})));
    CHECK(m == params);
    CHECK(v == params);
    GptConfig other = c;
    other.V = 96;
    REQUIRE_DIES(Exit::Data, "another model's", read_optimizer(path, other, into({})));  // before the first piece
    CHECK(save_checkpoint(run.path(), 20) == path);  // again, after a resume at that step
    checkpoint_verify(path);
}

TEST_CASE("Checkpoint: bf16 weights with their float masters", "[checkpoint]") {
    const TemporaryFolder folder;
    const GptConfig c = read_model_config(golden("neox"));
    const std::vector<float> params = read_weights(golden("neox"), c);
    std::vector<uint16_t> rounded(params.size());  // towards zero: any bf16 will do
    std::vector<float> expected(params.size()), m(params.size()), v(params.size()), master(params.size());
    for (size_t i = 0; i < params.size(); ++i) {
        uint32_t bits;
        memcpy(&bits, &params[i], 4);
        rounded[i] = static_cast<uint16_t>(bits >> 16);
        bits &= 0xffff0000u;
        memcpy(&expected[i], &bits, 4);
    }
    write_model(folder.path(), c, rounded.data(), "");
    write_optimizer(folder.path(), c, true, out_of({expected.data(), params.data(), params.data()}));
    CHECK(read_weights(folder.path(), c) == expected);
    CHECK(read_file(folder / "config.json").find("\"torch_dtype\": \"bfloat16\"") != std::string::npos);
    CHECK(read_optimizer(folder.path(), c, into({m.data(), v.data(), master.data()})));
    CHECK(m == expected);
    CHECK((v == params && master == params));
}

TEST_CASE("Checkpoint: the optimizer's file is the same bytes, whoever owns what of it", "[checkpoint]") {
    struct Expected {
        const char* model;
        bool masters;
        uint32_t crc;
    };
    // of the file that a program of one process, with all of it in three arrays, has written
    const Expected expected = GENERATE(Expected{"gpt2", false, 0x1f41fde9}, Expected{"gpt2", true, 0x2e91316f},
                                       Expected{"neox", false, 0xc321882c}, Expected{"neox", true, 0xcd5a30c1});
    CAPTURE(expected.model, expected.masters);
    const GptConfig c = read_model_config(golden(expected.model));
    const size_t n = parameter_elements(c);
    std::vector<float> arrays[3] = {std::vector<float>(n), std::vector<float>(n), std::vector<float>(n)};
    std::vector<std::pair<size_t, size_t>> copies;  // of tensors: where, how many
    for (const TensorSpec& t : tensor_table(c))
        for (int l = 0; l < t.copies; ++l) copies.emplace_back(t.offset(l), t.copy_size());
    std::sort(copies.begin(), copies.end());
    size_t number = 0;  // of an element, as if there were no padding after a block
    for (const auto& [begin, size] : copies)
        for (size_t i = begin; i < begin + size; ++i, ++number) {
            arrays[0][i] = static_cast<float>(number) + 0.25f;
            arrays[1][i] = -static_cast<float>(number);
            arrays[2][i] = 1.0f / static_cast<float>(number + 1);
        }
    const std::vector<ElementRange> blocks = parameter_blocks(c);
    const TemporaryFolder folder;
    write_model(folder.path(), c, arrays[0].data(), "");
    for (const auto& [lanes, owners] : {std::pair{1, 1}, {2, 2}, {4, 2}, {4, 4}, {64, 64}}) {
        CAPTURE(lanes, owners);
        std::vector<AdamState<float>> states;
        for (int p = 0; p < owners; ++p) {
            std::vector<ElementRange> ranges;
            for (const ElementRange& block : blocks) {
                const Parts parts = block_parts(block, lanes, owners);
                ranges.push_back({block.begin + parts.begin(p), block.begin + parts.begin(p) + parts.size(p)});
            }
            states.emplace_back(c, 0.1f, ranges);
            AdamState<float>& state = states.back();
            state.master = DeviceArray<float>(state.m.size());  // as where weights are bf16
            for (const auto& part : state.parts)
                for (const auto& [to, from] : {std::pair{&state.m, arrays[0].data()},
                                               {&state.v, arrays[1].data()},
                                               {&state.master, arrays[2].data()}})
                    copy_to_device(to->get() + part.at, from + part.range.begin, part.range.size());
        }
        std::vector<float> collected;
        write_optimizer(folder.path(), c, expected.masters, [&](const OptimizerPiece& piece) {
            collected.assign(piece.range.size(), 0);
            const Parts parts =
                range_parts(piece.range, blocks[piece.block], block_parts(blocks[piece.block], lanes, owners));
            for (int p = 0; p < owners; ++p) {
                const OwnPiece<float> own = own_piece(states[static_cast<size_t>(p)], piece);
                REQUIRE(own.range.size() == parts.size(p));
                if (own.range.size() > 0) REQUIRE(own.range.begin == piece.range.begin + parts.begin(p));
                std::copy_n(own.data, own.range.size(), collected.data() + parts.begin(p));
            }
            return collected.data();
        });
        CHECK(crc32c_file(folder / "optimizer.safetensors") == expected.crc);

        // and every owner finds its own again, the padding zero
        for (const AdamState<float>& state : states) {
            std::vector<ElementRange> ranges;
            for (const auto& part : state.parts) ranges.push_back(part.range);
            Gpt<float> gpt(c);
            AdamState<float> read(c, 0.1f, ranges);
            load_training_state(folder.path(), gpt, read);
            for (const OptimizerPiece& piece : optimizer_pieces(c, false)) {
                const OwnPiece<float> a = own_piece(read, piece), b = own_piece(state, piece);
                REQUIRE(a.range.size() == b.range.size());
                CHECK(std::equal(a.data, a.data + a.range.size(), b.data));
            }
            const auto zeros = [](const DeviceArray<float>& array) {
                return std::count(array.get(), array.get() + array.size(), 0.0f);
            };
            size_t stored = 0;
            for (const OptimizerPiece& piece : optimizer_pieces(c, false))
                if (piece.array == OptimizerArray::M) stored += own_piece(state, piece).range.size();
            CHECK(zeros(read.m) == static_cast<std::ptrdiff_t>(state.m.size() - stored));
        }
    }
}

TEST_CASE("Checkpoint: a large tensor goes into its file in pieces", "[checkpoint]") {
    GptConfig c = config_from_name("gpt2:L2:C8:H2");
    c.V = static_cast<int>(OPTIMIZER_PIECE / 8) + 1;
    c.max_T = 8;
    const std::vector<ElementRange> blocks = parameter_blocks(c);
    size_t at = 0, split = 0;
    const TensorTable table = tensor_table(c);
    for (const OptimizerPiece& piece : optimizer_pieces(c, true)) {
        REQUIRE((piece.range.size() > 0 && piece.range.size() <= OPTIMIZER_PIECE));
        REQUIRE(piece.range.begin >= blocks[piece.block].begin);
        REQUIRE(piece.range.end <= blocks[piece.block].end);
        split += piece.range.size() == OPTIMIZER_PIECE;
        at += piece.range.size();
    }
    CHECK(split == 3);
    size_t stored = 0;
    for (const TensorSpec& spec : table)
        stored += static_cast<size_t>(spec.copies) * static_cast<size_t>(spec.stored_rows(c)) *
                  static_cast<size_t>(spec.cols);
    CHECK(at == 3 * stored);
}

TEST_CASE("Checkpoint: a flipped bit anywhere is noticed", "[checkpoint]") {
    const TemporaryFolder run;
    const std::string path = save_checkpoint(run.path(), 3);
    int tried = 0;
    for (const char* name : {"config.json", "generation_config.json", "model.safetensors", "optimizer.safetensors",
                             "trainer_state.json", "exposures/bio.npy"}) {
        const std::string file = path_join(path, name), good = read_file(file);
        const size_t stride = std::max<size_t>(1, good.size() / 25);
        for (size_t i = 0; i < good.size(); i += stride) {
            std::string bad = good;
            bad[i] = static_cast<char>(bad[i] ^ (1 << tried++ % 8));
            write_file(file, bad);
            REQUIRE_DIES(Exit::Data, "damaged", checkpoint_verify(path));
        }
        write_file(file, good.substr(0, good.size() - 1));
        REQUIRE_DIES(Exit::Data, "bytes, expected", checkpoint_verify(path));
        remove_tree(file);
        REQUIRE_DIES(Exit::Data, "missing", checkpoint_verify(path));
        write_file(file, good);
    }
    checkpoint_verify(path);
    // the read functions check their own file without being asked
    std::string weights = read_file(path_join(path, "model.safetensors"));
    weights.back() = static_cast<char>(weights.back() ^ 1);
    write_file(path_join(path, "model.safetensors"), weights);
    REQUIRE_DIES(Exit::Data, "model.safetensors: damaged", read_weights(path));

    write_file(path_join(path, "COMPLETE"), R"({"format_version": 2, "files": {}})");
    REQUIRE_DIES(Exit::Data, "format_version 2", checkpoint_verify(path));
    write_file(path_join(path, "COMPLETE"), "");
    REQUIRE_DIES(Exit::Data, "not JSON", read_trainer_state(path));
    remove_tree(path_join(path, "COMPLETE"));
    REQUIRE_DIES(Exit::Data, "cut off", read_model_config(path));
    checkpoint_verify(golden("gpt2"));  // nothing to compare
}

TEST_CASE("Checkpoint: trainer_state.json of a newer program is refused", "[checkpoint]") {
    const TemporaryFolder run;
    const std::string folder = checkpoint_begin(run.path(), 1);
    write_file(folder + "/trainer_state.json", R"({"format_version": 2, "step": 1})");
    const std::string newer = checkpoint_finish(folder);
    REQUIRE_DIES(Exit::Data, "format_version 2", read_trainer_state(newer));
    const std::string other = checkpoint_begin(run.path(), 2);
    write_file(other + "/trainer_state.json", R"({"format_version": 1, "step": 1, "tokens": -1})");
    const std::string negative = checkpoint_finish(other);
    REQUIRE_DIES(Exit::Data, "tokens is -1", read_trainer_state(negative));
}

TEST_CASE("Checkpoint: transformers opens what we write, with the same logits", "[checkpoint][live]") {
    const std::string python = python_with("torch, transformers, safetensors");
    if (python.empty()) SKIP_TEST("live export: no Python with torch and transformers");
    for (const char* name : {"gpt2", "gpt2_untied", "gpt2_bf16_shards", "neox", "neox_sequential", "neox_f16",
                             "gpt2_inner", "neox_inner", "llama", "llama_tied_wide_heads", "qwen2", "qwen3"}) {
        const TemporaryFolder folder;
        const GptConfig config = read_model_config(golden(name));
        write_model(folder.path(), config, read_weights(golden(name), config).data(), "");
        std::string output;
        const int status = run_command(python + " " + test_file("../dev/oracle/check_logits.py") + " " + folder.path() +
                                           " " + golden(name) + "/ids.npy " + golden(name) + "/logits.npy",
                                       &output);
        INFO(output);
        CHECK(status == 0);
    }
}
