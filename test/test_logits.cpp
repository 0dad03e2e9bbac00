// Our logits against those of the real `transformers`: small golden directories on every machine, the library itself
// where it can be imported.
#include <algorithm>
#include <cmath>
#include <vector>

#include "model/checkpoint.h"
#include "model/gpt.cuh"
#include "model/init.h"
#include "test/catch.h"
#include "test/support.h"
#include "util/npy.h"

namespace {

constexpr int B = 2, T = 24;  // of every golden file

// Logits (B*T, V) of a directory's model for ids (B, T).
std::vector<float> logits_of(const std::string& directory, const std::vector<int>& ids) {
    const GptConfig c = read_model_config(directory);
    Gpt<float> gpt(c);
    read_model_weights(directory, c, gpt.memory.get());
    ActivationMemory<float> memory(c, B, T, Keep::Nothing, {});
    std::vector<int> positions;
    for (int n = 0; n < B * T; ++n) positions.push_back(n % T);
    gpt_forward(gpt, memory, {ids.data(), positions.data(), nullptr}, {});
    std::vector<float> padded(static_cast<size_t>(B * T) * static_cast<size_t>(c.Vp())), logits;
    const float* head = c.tied ? gpt.params.wte : gpt.params.lmheadw;
    cpu::matmul_forward(padded.data(), memory.a.lnf, head, static_cast<const float*>(nullptr), B * T, c.C, c.Vp(), {});
    for (int n = 0; n < B * T; ++n) {
        const float* row = padded.data() + static_cast<size_t>(n) * static_cast<size_t>(c.Vp());
        logits.insert(logits.end(), row, row + c.V);
    }
    return logits;
}

double largest_difference(const std::vector<float>& a, const float* b) {
    double most = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const double d = std::abs(static_cast<double>(a[i]) - b[i]);
        if (!(d <= most)) most = d;  // NaN too
    }
    return most;
}

std::vector<int> golden_ids(const std::string& directory) {
    const NpyArray file(directory + "/ids.npy", "<u4", 4, T);
    REQUIRE(file.rows() == B);
    const uint32_t* ids = static_cast<const uint32_t*>(file.data());
    return std::vector<int>(ids, ids + B * T);
}

}  // namespace

TEST_CASE("golden directories give the logits of transformers", "[logits]") {
    for (const char* name : {"gpt2", "gpt2_untied", "gpt2_bf16_shards", "neox", "neox_f16", "neox_sequential",
                             "gpt2_inner", "neox_inner", "llama", "llama_tied_wide_heads", "qwen2", "qwen3"}) {
        INFO(name);
        const std::string directory = std::string("test/golden/") + name;
        const GptConfig c = read_model_config(directory);
        const NpyArray golden(directory + "/logits.npy", "<f4", 4, static_cast<uint64_t>(c.V));
        REQUIRE(golden.rows() == static_cast<uint64_t>(B * T));
        const std::vector<float> logits = logits_of(directory, golden_ids(directory));
        CHECK(largest_difference(logits, static_cast<const float*>(golden.data())) < 1e-4);
    }
}

TEST_CASE("directories that we export give transformers our logits", "[logits]") {
    const std::string python = python_with("torch, transformers");
    if (python.empty()) SKIP_TEST("live logits: no Python with torch and transformers (TRANSFORMERS_PYTHON names one)");
    TemporaryFolder folder;
    const std::vector<int> ids = golden_ids("test/golden/gpt2");
    std::vector<uint32_t> words(ids.begin(), ids.end());
    write_npy(folder / "ids.npy", "<u4", 4, {B, T}, words.data());
    struct Model {
        const char *name, *folder;
        int F;
    };
    for (const Model& model :
         {Model{"gpt2:L2:C48:H3", "gpt2", 192}, Model{"pythia:L3:C64:H4", "neox", 256},
          Model{"gpt2:L2:C48:H3", "gpt2_inner", 100}, Model{"pythia:L3:C64:H4", "neox_inner", 90},
          Model{"llama:L2:C48:H6:KV3", "llama", 80}, Model{"llama:L2:C48:H4:KV1:HS16", "llama_wide", 80},
          Model{"qwen2:L2:C56:H14:KV2", "qwen2", 80}, Model{"qwen3:L3:C48:H4:KV4:HS20", "qwen3", 80}}) {
        GptConfig c = config_from_name(model.name);
        c.F = model.F;
        c.V = 131;
        c.max_T = 32;
        c.eot_id = 0;
        Gpt<float> gpt(c);
        initialise_parameters(c, 11, gpt.memory.get());
        // every bias and gain away from 0 and 1, so that a swapped tensor shows; padding stays zero
        for (const TensorSpec& t : tensor_table(c))
            for (int l = 0; l < t.copies; ++l) {
                const size_t begin = t.offset(l), size = size_t(t.stored_rows(c)) * size_t(t.cols);
                for (size_t i = begin; i < begin + size; ++i)
                    gpt.memory.get()[i] += static_cast<float>(0.1 * random_normal(1, 2, i));
            }
        const std::string directory = folder / model.folder;
        make_directories(directory);
        write_model(directory, c, gpt.memory.get(), "");
        const std::vector<float> logits = logits_of(directory, ids);
        write_npy(folder / "logits.npy", "<f4", 4, {B * T, static_cast<uint64_t>(c.V)}, logits.data());
        std::string output;
        const int status = run_command(python + " dev/oracle/check_logits.py " + directory + " " +
                                           (folder / "ids.npy") + " " + (folder / "logits.npy"),
                                       &output);
        INFO(model.name << ": " << output);
        CHECK(status == 0);
    }
}
