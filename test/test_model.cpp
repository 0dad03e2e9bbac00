// The whole model: gradients against finite differences, float and bf16 against double, parameter counts against the
// published ones, the same bits for any number of threads, and logits against golden ones made by `transformers`.
#include <omp.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "model/checkpoint.h"
#include "model/gpt.cuh"
#include "model/init.h"
#include "model/state.cuh"
#include "test/catch.h"
#include "test/support.h"

namespace {

struct Shape {
    const char* name;
    Family family;
    bool tied, mask;
    void (*change)(GptConfig*) = nullptr;
};

// All four kinds of model the trainer can make, with and without the document mask; then one axis at a time away from
// what the family has.
const Shape shapes[] = {
    {"gpt2 tied", Family::Gpt2, true, false},
    {"gpt2 tied, mask", Family::Gpt2, true, true},
    {"gpt2 untied", Family::Gpt2, false, false},
    {"gpt2 untied, mask", Family::Gpt2, false, true},
    {"neox untied", Family::Neox, false, false},
    {"neox untied, mask", Family::Neox, false, true},
    {"neox tied", Family::Neox, true, false},
    {"neox tied, mask", Family::Neox, true, true},
    {"gpt2, F not 4C", Family::Gpt2, true, false, [](GptConfig* c) { c->F = 13; }},
    {"neox, F not 4C", Family::Neox, false, true, [](GptConfig* c) { c->F = 21; }},
    {"gpt2, heads wider than C / NH", Family::Gpt2, true, true, [](GptConfig* c) { c->HS = 6; }},
    {"neox, heads narrower than C / NH", Family::Neox, false, false, [](GptConfig* c) { c->HS = 4; }},
    {"gpt2 without biases", Family::Gpt2, true, false, [](GptConfig* c) { c->biases = Biases::None; }},
    {"gpt2, parallel residual", Family::Gpt2, true, false, [](GptConfig* c) { c->residual = Residual::Parallel; }},
    {"gpt2, rotary positions", Family::Gpt2, false, true, [](GptConfig* c) { c->positions = Positions::Rotary; }},
    {"neox, learned positions", Family::Neox, true, true, [](GptConfig* c) { c->positions = Positions::Learned; }},
    {"neox, sequential, tanh", Family::Neox, false, false,
     [](GptConfig* c) {
         c->residual = Residual::Sequential;
         c->activation = Activation::GeluTanh;
     }},
    {"llama untied", Family::Llama, false, false},
    {"llama tied, mask", Family::Llama, true, true},
    {"llama, a head of keys for each of q", Family::Llama, false, true, [](GptConfig* c) { c->KV = c->NH; }},
    {"llama, one head of keys", Family::Llama, true, false, [](GptConfig* c) { c->KV = 1; }},
    {"llama, 14 heads over 2", Family::Llama, true, true,
     [](GptConfig* c) {
         c->NH = 14;
         c->HS = 2;
     }},
    {"llama, layer norm", Family::Llama, true, false, [](GptConfig* c) { c->norm = Norm::LayerNorm; }},
    {"llama, not gated", Family::Llama, true, false, [](GptConfig* c) { c->activation = Activation::GeluExact; }},
    {"llama, parallel residual", Family::Llama, true, true, [](GptConfig* c) { c->residual = Residual::Parallel; }},
    {"gpt2, RMS norm", Family::Gpt2, true, false, [](GptConfig* c) { c->norm = Norm::RmsNorm; }},
    {"qwen2", Family::Qwen2, true, true},
    {"qwen3", Family::Qwen3, true, false},
    {"qwen3, mask, heads wider than C / NH", Family::Qwen3, false, true, [](GptConfig* c) { c->HS = 6; }},
};
constexpr int B = 2, T = 9;

GptConfig small_config(const Shape& s) {
    const char* const sizes[] = {"gpt2:L2:C8:H2", "pythia:L2:C16:H2", "llama:L2:C16:H4:KV2:F12",
                                 "qwen2:L2:C16:H4:KV2:F12", "qwen3:L2:C16:H4:KV2:F12"};
    GptConfig c = config_from_name(sizes[static_cast<size_t>(s.family)]);
    c.V = 13;
    c.max_T = 12;
    c.tied = s.tied;
    if (s.family == Family::Neox || s.family == Family::Gpt2) c.rotary_fraction = 0.5f;
    if (s.change) s.change(&c);
    return c;
}

struct Rows {
    std::vector<int> tokens, targets, positions, segment_start;
    GptInput input() const {
        return {tokens.data(), positions.data(), segment_start.empty() ? nullptr : segment_start.data()};
    }
};

// `count` rows of `length` tokens.
Rows make_rows(const GptConfig& c, bool mask, int count = B, int length = T) {
    Rows rows;
    for (int b = 0; b < count; ++b)
        for (int t = 0; t < length; ++t) {
            const uint64_t n = static_cast<uint64_t>(b * length + t);
            const int second = 3 + b % 2;  // where each row's second segment begins; the last token is one by itself
            rows.tokens.push_back(static_cast<int>(random_below(static_cast<uint64_t>(c.V), 1, 2, n)));
            rows.targets.push_back(static_cast<int>(random_below(static_cast<uint64_t>(c.V), 1, 3, n)));
            const int start = mask && t >= second ? (t == length - 1 ? t : second) : 0;
            rows.positions.push_back(t - start);
            if (mask) rows.segment_start.push_back(start);
        }
    return rows;
}

// Random weights large enough that every term of the gradient matters (biases and gains too).
template <class Real>
void randomise(Gpt<Real>& gpt) {
    for (size_t i = 0; i < gpt.memory.size(); ++i)
        gpt.memory.get()[i] += static_cast<Real>(static_cast<float>(0.2 * random_normal(5, 6, i)));
    for (const TensorSpec& t : tensor_table(gpt.config))  // padding stays zero
        if (t.vocabulary_rows && t.present)
            for (size_t i = static_cast<size_t>(gpt.config.V) * static_cast<size_t>(t.cols); i < t.size(); ++i)
                gpt.memory.get()[t.offset(0) + i] = 0;
}

template <class Real>
AdamState<Real>* const no_optimizer = nullptr;

template <class Real>
double mean_loss(const Gpt<Real>& gpt, ActivationMemory<Real>& memory, const Rows& rows) {
    gpt_forward(gpt, memory, rows.input(), {});
    gpt_losses<Real>(gpt, memory, nullptr, rows.targets.data(), 0, {});
    double sum = 0;
    for (int n = 0; n < B * T; ++n) sum += static_cast<double>(memory.a.losses[n]);
    return sum / (B * T);
}

template <class Real>
std::vector<double> gradient(const Gpt<Real>& gpt, const Rows& rows, Keep keep = Keep::All) {
    ActivationMemory<Real> memory(gpt.config, B, T, keep, {});
    Gradients<Real> gradients(gpt.config);
    gpt_forward(gpt, memory, rows.input(), {});
    gpt_losses<Real>(gpt, memory, &gradients, rows.targets.data(), Stat<Real>(1) / (B * T), {});
    gpt_backward(gpt, memory, gradients, rows.input(), {});
    return std::vector<double>(gradients.memory, gradients.memory + parameter_elements(gpt.config));
}

double relative_l2(const double* a, const double* b, size_t n) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; ++i) difference += (a[i] - b[i]) * (a[i] - b[i]), norm += b[i] * b[i];
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

// Every tensor of every layer.
void check_close(const GptConfig& c, const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
    for (const TensorSpec& t : tensor_table(c))
        for (int l = 0; l < t.copies; ++l) {
            INFO(t.name << " of layer " << l);
            CHECK(relative_l2(a.data() + t.offset(l), b.data() + t.offset(l), t.copy_size()) < tolerance);
        }
}

}  // namespace

#ifdef __SANITIZE_ADDRESS__
constexpr size_t STRIDE = 29;  // memory is what is tested there, and it takes twenty times as long
#else
constexpr size_t STRIDE = 1;
#endif

TEST_CASE("gradients agree with central finite differences, every element", "[model]") {
    omp_set_num_threads(1);  // the products are far too small to share
    for (const Shape& shape : shapes) {
        const GptConfig c = small_config(shape);
        Gpt<double> gpt(c);
        initialise_parameters(c, 7, gpt.memory.get());
        randomise(gpt);
        const Rows rows = make_rows(c, shape.mask);
        const std::vector<double> analytic = gradient(gpt, rows);
        REQUIRE(analytic.size() <= 20000);
        ActivationMemory<double> memory(c, B, T, Keep::Nothing, {});
        std::vector<double> numeric = analytic;
        const double h = 1e-5;
        for (size_t i = 0; i < numeric.size(); i += STRIDE) {
            double& weight = gpt.memory.get()[i];
            const double keep = weight;
            weight = keep + h;
            const double above = mean_loss(gpt, memory, rows);
            weight = keep - h;
            const double below = mean_loss(gpt, memory, rows);
            weight = keep;
            numeric[i] = (above - below) / (2 * h);
        }
        INFO(shape.name);
        check_close(c, analytic, numeric, 1e-6);
    }
    omp_set_num_threads(omp_get_num_procs());
}

// Of the weights that Real has: bf16's activations are rounded to 8 bits, in two layers forth and back.
template <class Real>
void check_gradients(double tolerance) {
    for (const Shape& shape : shapes) {
        const GptConfig c = small_config(shape);
        Gpt<double> exact(c);
        initialise_parameters(c, 7, exact.memory.get());
        randomise(exact);
        Gpt<Real> rounded(c);
        for (size_t i = 0; i < exact.memory.size(); ++i) {
            rounded.memory.get()[i] = Real(static_cast<float>(exact.memory.get()[i]));
            exact.memory.get()[i] = static_cast<double>(static_cast<float>(rounded.memory.get()[i]));
        }
        const Rows rows = make_rows(c, shape.mask);
        const std::vector<double> a = gradient(rounded, rows), b = gradient(exact, rows);
        INFO(shape.name);
        check_close(c, a, b, tolerance);
    }
}
TEST_CASE("gradients in float and bf16 agree with those in double", "[model]") {
    check_gradients<float>(1e-4);
    check_gradients<bf16>(5e-2);
}

template <class Real>
void check_recomputed() {
    for (const Shape& shape : shapes) {
        GptConfig c = small_config(shape);
        c.L = 3;
        INFO(shape.name);
        Gpt<Real> gpt(c);
        fill_weights(gpt, no_optimizer<Real>, [&](float* weights) { initialise_parameters(c, 7, weights); });
        const Rows rows = make_rows(c, shape.mask);
        CHECK(gradient(gpt, rows, Keep::Inputs) == gradient(gpt, rows, Keep::All));
        CHECK(ActivationMemory<Real>::bytes(c, B, T, Keep::Inputs) < ActivationMemory<Real>::bytes(c, B, T, Keep::All));
    }
}
TEST_CASE("what is computed again is the same bits as what was kept", "[model]") {
    check_recomputed<float>();
    check_recomputed<bf16>();
}

TEST_CASE("the document mask cuts every path between documents", "[model]") {
    for (const Family family : {Family::Gpt2, Family::Neox, Family::Llama}) {
        const GptConfig c = small_config({"", family, true, true});
        Gpt<double> gpt(c);
        initialise_parameters(c, 7, gpt.memory.get());
        randomise(gpt);
        ActivationMemory<double> memory(c, B, T, Keep::Nothing, {});
        Rows rows = make_rows(c, true);
        mean_loss(gpt, memory, rows);
        const std::vector<double> before(memory.a.losses, memory.a.losses + B * T);
        rows.tokens[1] = (rows.tokens[1] + 1) % c.V;  // in the first row's first segment, which ends at position 3
        mean_loss(gpt, memory, rows);
        for (int n = 0; n < B * T; ++n)
            CHECK((before[static_cast<size_t>(n)] == memory.a.losses[n]) == !(n == 1 || n == 2));
    }
}

TEST_CASE("presets have the published numbers of parameters", "[model]") {
    // gpt2-124m: Hugging Face's count; pythia: EleutherAI's model cards (total, non-embedding)
    CHECK(num_parameters(config_from_name("gpt2-124m")) == 124439808);
    CHECK(num_parameters(config_from_name("gpt2-1558m")) == 1557611200);
    CHECK(num_parameters(config_from_name("pythia-14m")) == 14067712);
    CHECK(num_parameters(config_from_name("pythia-14m"), false) == 1189888);
    CHECK(num_parameters(config_from_name("pythia-70m")) == 70426624);
    CHECK(num_parameters(config_from_name("pythia-70m"), false) == 18915328);
    CHECK(num_parameters(config_from_name("pythia-410m")) == 405334016);
    CHECK(num_parameters(config_from_name("pythia-1b"), false) == 805736448);
    CHECK(num_parameters(config_from_name("pythia-6.9b")) == 6857302016);
    // counted by transformers 5.24 on the published shapes (total, without embeddings and head)
    struct {
        const char* name;
        size_t all, inner;
    } const published[] = {
        {"tinyllama-1.1b", 1100048384, 968976384}, {"smollm2-135m", 134515008, 106203456},
        {"smollm2-360m", 361821120, 314635200},    {"llama-3.2-1b", 1235814400, 973146112},
        {"qwen2.5-0.5b", 494032768, 357898112},    {"qwen3-0.6b", 596049920, 440467456},
    };
    for (const auto& p : published) {
        INFO(p.name);
        CHECK(num_parameters(config_from_name(p.name)) == p.all);
        CHECK(num_parameters(config_from_name(p.name), false) == p.inner);
    }
}

TEST_CASE("FLOPs are llm.c's formula where F is 4C, and follow F", "[model]") {
    for (const std::string& name : preset_names()) {
        GptConfig c = config_from_name(name);
        const double L = c.L, C = c.C, V = c.V, T = 1000;
        if (c.gated()) {  // its matrices one by one
            const double A = c.NH * c.HS, K = c.KV * c.HS;
            CHECK(flops_per_token(c, 1000) ==
                  6 * (L * (2 * A * C + 2 * K * C + 3.0 * c.F * C) + V * C) + 6 * L * A * T);
            continue;
        }
        CHECK(flops_per_token(c, 1000) == 6 * (12 * L * C * C + V * C) + 6 * L * C * T);
        c.F += 8;
        CHECK(flops_per_token(c, 1000) == 6 * (12 * L * C * C + 2 * 8 * L * C + V * C) + 6 * L * C * T);
    }
}

TEST_CASE("shapes that the kernels cannot run are refused", "[model]") {
    const auto refused = [](void (*change)(GptConfig*), const char* part) {
        GptConfig c = config_from_name("pythia-70m");
        validate_config(c);
        change(&c);
        REQUIRE_DIES(Exit::Usage, part, validate_config(c));
    };
    refused([](GptConfig* c) { c->KV = 2; }, "NH=8 heads over KV=2 heads of keys and values");
    refused([](GptConfig* c) { c->HS = 32; }, "HS=32, where C=512 over NH=8 heads is 64");
    refused([](GptConfig* c) { c->F = 0; }, "F=0 hidden channels");
    refused([](GptConfig* c) { c->L = 0; }, "L=0 layers");
    REQUIRE_DIES(Exit::Usage, "multiple of NH", config_from_name("gpt2:L2:C33:H2"));
    REQUIRE_DIES(Exit::Usage, "C=900000000 channels", config_from_name("gpt2:L2:C900000000:H2"));
    CHECK(config_from_name("gpt2:L2:C32:H2:F64").F == 64);
    CHECK(config_from_name("llama:L2:C384:H6").F == 1024);
    CHECK(config_from_name("llama:L2:C32:H4:KV2:HS16:F40").qkv_width() == (4 + 2 * 2) * 16);
    REQUIRE_DIES(Exit::Usage, "as many of both", config_from_name("pythia:L2:C32:H2:KV1"));
    REQUIRE_DIES(Exit::Usage, "NH must be a multiple of KV", config_from_name("llama:L2:C32:H4:KV3"));
    REQUIRE_DIES(Exit::Usage, "no head size of its own", config_from_name("qwen2:L2:C32:H4:HS16"));
    REQUIRE_DIES(Exit::Usage, "or a head size of its own, :HS12", config_from_name("llama:L2:C64:H5"));
    REQUIRE_DIES(Exit::Usage, "HS must be even", config_from_name("llama:L2:C32:H2:HS3"));
}

TEST_CASE("a name that is no model: what it may have meant, and the part of a size that is wrong", "[model]") {
    const std::pair<const char*, const char*> names[] = {
        {"mistral:L2:C32:H2", "not a model; give one of gpt2-124m, "},
        {"mistral-7b", "not a model; give one of"},
        {"", "not a model; give one of"},
        {"qwen3-0.5b", "did you mean qwen3-0.6b? Give one of"},
        {"pythia-70M", "did you mean pythia-70m?"},
        {"HuggingFaceTB/SmolLM2-135M", "did you mean smollm2-135m?"},
        {"meta-llama/Llama-3.2-1B", "did you mean llama-3.2-1b?"},
        {"smollm-360m", "did you mean smollm2-360m?"},
        {"qwen2.5", "did you mean qwen2.5-0.5b?"},
        {"gpt2", "did you mean gpt2-124m?"},
        {"Llama:L2:C32:H4", "did you mean llama:L2:C32:H4?"},
        {"TinyLlama/TinyLlama-1.1B-Chat-v1.0", "did you mean tinyllama-1.1b?"},
        {"qwen:L2:C32:H4:KV2", "did you mean qwen2:L2:C32:H4:KV2?"},
        {"llama:L2:C32:H4:F64:KV2", "'KV2' comes twice or too late; a size is L, C, H and then"},
        {"llama:L2:C32:H4:KV2:KV2", "'KV2' comes twice"},
        {"llama:L2:C32:H4:KV", "'KV' is not KV and a whole number"},
        {"llama:L2:C32:H-4", "'H-4' is not H and a whole number"},
        {"gpt2:L4294967297:C32:H2", "'L4294967297' is not L and a whole number of up to nine digits"},
        {"gpt2:L2:C32:H2:", "'' is none of L, C, H, KV, HS, F and a number"},
        {"gpt2:l2:C32:H2", "'l2' is none of"},
        {"qwen3:L2:C32",
         "H is missing; a size is L, C, H and then, where they are not the family's own, KV, HS, F: "
         "qwen3:L6:C384:H6:KV2:F1024"},
        {"qwen2:L2:C32",
         "H is missing; a size is L, C, H and then, where they are not the family's own, KV, F: "
         "qwen2:L6:C384:H6:KV2:F1024"},
        {"pythia:L2:H2",
         "C is missing before 'H2'; a size is L, C, H and then, where they are not the family's own, F: "
         "pythia:L6:C384:H6"},
        {"llama:", "'' is none of"},
    };
    for (const auto& [name, message] : names) REQUIRE_DIES(Exit::Usage, message, config_from_name(name));
    const TemporaryFolder folder;
    REQUIRE_DIES(Exit::Usage, "a directory; start from its weights by --init", config_from_name(folder.path()));
}

TEST_CASE("parameters lie block after block, every tensor in one place", "[model]") {
    for (const Shape& shape : shapes) {
        GptConfig c = small_config(shape);
        c.L = 3;
        INFO(shape.name);
        const std::vector<ElementRange> blocks = parameter_blocks(c);
        REQUIRE(blocks.size() == 5);
        for (size_t i = 0; i < blocks.size(); ++i) CHECK(blocks[i].begin == (i == 0 ? 0 : blocks[i - 1].end));
        CHECK(blocks.back().end == parameter_elements(c));
        // counted by hand: matrices and vectors of a layer, then what is outside of the layers
        const size_t C = static_cast<size_t>(c.C), F = static_cast<size_t>(c.F),
                     A = static_cast<size_t>(c.NH) * static_cast<size_t>(c.HS), Vp = 128;
        const size_t HS = static_cast<size_t>(c.HS), K = static_cast<size_t>(c.KV) * HS;
        const bool shifted = c.norm == Norm::LayerNorm;
        const size_t layer = 2 * A * C + 2 * K * C + (c.gated() ? 3 : 2) * F * C + (shifted ? 4 : 2) * C +
                             (c.biases == Biases::None ? 0 : A + 2 * K) + (c.qk_norm ? 2 * HS : 0) +
                             (c.biases == Biases::All ? C + F + C : 0);
        const size_t embeddings = Vp * C + (c.positions == Positions::Learned ? 12 * C : 0),
                     head = (shifted ? 2 : 1) * C + (c.tied ? 0 : Vp * C);
        const auto padded = [](size_t size) { return (size + 511) / 512 * 512; };
        CHECK(blocks[0].size() == padded(embeddings));
        for (size_t l = 1; l <= 3; ++l) CHECK(blocks[l].size() == padded(layer));
        CHECK(blocks[4].size() == padded(head));
        for (const ElementRange& block : blocks)
            for (const ElementRange& slice : block_slices(block, 64)) CHECK(slice.size() == block.size() / 64);

        std::vector<int> owners(parameter_elements(c));
        std::vector<float> memory(owners.size());
        const std::vector<Parameters<float>> layers = place_layers(memory.data(), c);
        const TensorTable table = tensor_table(c);
        for (size_t row = 0; row < table.size(); ++row) {
            const TensorSpec& t = table[row];
            INFO(t.name);
            for (int l = 0; l < t.copies; ++l) {
                const ElementRange& block = blocks[t.block == Block::Embeddings ? 0
                                                   : t.block == Block::Layer    ? static_cast<size_t>(l) + 1
                                                                                : 4];
                CHECK((t.offset(l) >= block.begin && t.offset(l) + t.copy_size() <= block.end));
                for (size_t i = 0; i < t.copy_size(); ++i) ++owners[t.offset(l) + i];
            }
            for (int l = 0; l < c.L; ++l) {  // the row's field of Parameters
                const float* const* fields = reinterpret_cast<const float* const*>(&layers[static_cast<size_t>(l)]);
                CHECK(fields[row] == (t.present ? memory.data() + t.offset(t.block == Block::Layer ? l : 0) : nullptr));
            }
        }
        CHECK(std::all_of(owners.begin(), owners.end(), [](int n) { return n <= 1; }));
        CHECK(std::accumulate(owners.begin(), owners.end(), size_t{0}) == embeddings + 3 * layer + head);
    }
}

TEST_CASE("a block is cut into a slice for each lane, whatever the processes", "[model]") {
    for (const size_t size : {size_t{1}, size_t{8}, size_t{63}, size_t{64}, size_t{65}, size_t{1000}, size_t{4096}})
        for (const int lanes : {1, 2, 4, 64}) {
            const ElementRange block{24, 24 + size};
            CAPTURE(size, lanes);
            const std::vector<ElementRange> slices = block_slices(block, lanes);
            REQUIRE(slices.size() == static_cast<size_t>(lanes));
            CHECK(slices.front().begin == block.begin);
            CHECK(slices.back().end == block.end);
            for (size_t i = 1; i < slices.size(); ++i) {
                CHECK(slices[i].begin == slices[i - 1].end);
                CHECK(slices[i].size() <= slices[i - 1].size());
                if (slices[i].size() > 0) CHECK(slices[i].begin == block.begin + i * slices[0].size());
                if (slices[i].size() > 0) CHECK(slices[0].size() % 8 == 0);
            }
            CHECK(slices[0].size() * slices.size() < size + 8 * slices.size());  // nobody has more than is needed
            for (int processes = 1; processes <= lanes; processes *= 2) {
                const Parts parts = block_parts(block, lanes, processes);
                REQUIRE(parts.bounds.size() == static_cast<size_t>(processes) + 1);
                CHECK(parts.total() == size);
                for (int p = 0; p < processes; ++p)
                    CHECK(block.begin + parts.begin(p) == slices[static_cast<size_t>(p * lanes / processes)].begin);
            }
        }
}

TEST_CASE("initial weights have the published deviations and do not depend on threads", "[model]") {
    GptConfig c = config_from_name("pythia:L3:C64:H4");
    c.V = 500;
    Gpt<float> one(c), two(c);
    omp_set_num_threads(1);
    initialise_parameters(c, 3, one.memory.get());
    omp_set_num_threads(3);
    initialise_parameters(c, 3, two.memory.get());
    omp_set_num_threads(omp_get_num_procs());
    CHECK(std::equal(one.memory.get(), one.memory.get() + one.memory.size(), two.memory.get()));
    auto deviation = [](const float* x, size_t n) {
        double sum = 0;
        for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
        return std::sqrt(sum / static_cast<double>(n));
    };
    for (const Parameters<float>& layer : one.layers) {
        CHECK(deviation(layer.qkvw, 3 * 64 * 64) == Approx(std::sqrt(2.0 / (5 * 64))).epsilon(0.03));
        CHECK(deviation(layer.fcprojw, 4 * 64 * 64) == Approx(2.0 / (3 * 8)).epsilon(0.03));
    }
    for (int i = 500 * 64; i < c.Vp() * 64; ++i) REQUIRE(one.params.wte[i] == 0);

    // what the configurations say that SmolLM2 was trained with, and config.json of the others
    const auto of = [](const char* name, Init init) { return init_deviation(config_from_name(name), init); };
    CHECK(of("smollm2-135m", Init::Normal) == Approx(1 / std::sqrt(576.0)));
    CHECK(of("smollm2-135m", Init::Residual) == Approx(1 / std::sqrt(576.0 * 2 * 30)));
    CHECK(of("smollm2-360m", Init::Normal) == Approx(.03227));
    CHECK(of("smollm2-360m", Init::Residual) == Approx(.03227 / 8));
    CHECK(of("gpt2-124m", Init::Residual) == Approx(.02 / std::sqrt(24.0)));
    for (const char* name : {"llama-3.2-1b", "tinyllama-1.1b", "qwen2.5-0.5b", "qwen3-0.6b", "llama:L2:C576:H9"})
        CHECK((of(name, Init::Normal) == .02 && of(name, Init::Residual) == .02));
}

// Runs of one seed are compared across versions: the values are a promise, wherever the memory puts them.
TEST_CASE("an initial weight is a function of the seed, its tensor's row and its index in all layers", "[model]") {
    for (const Family family : {Family::Gpt2, Family::Neox, Family::Llama}) {
        GptConfig c = small_config({"", family, false, false});
        c.L = 3;
        Gpt<float> gpt(c);
        initialise_parameters(c, 7, gpt.memory.get());
        const bool gpt2 = family == Family::Gpt2, llama = family == Family::Llama;
        const double C = c.C, normal = gpt2 || llama ? 0.02 : std::sqrt(2 / (5 * C)),
                     residual = llama  ? 0.02
                                : gpt2 ? 0.02 / std::sqrt(2.0 * 3)
                                       : 2 / (3 * std::sqrt(C));
        const auto drawn = [](double deviation, uint64_t row, size_t index) {
            return static_cast<float>(deviation * random_normal(7, hash_name("initial weights") + row, index));
        };
        const size_t qkvw = static_cast<size_t>(c.qkv_width() * c.C), fcprojw = static_cast<size_t>(c.C * c.F);
        for (const size_t i : {size_t(0), size_t(5), qkvw - 1}) {
            CHECK(gpt.params.wte[i % 100] == drawn(normal, 0, i % 100));
            CHECK(gpt.layers[0].qkvw[i] == drawn(normal, 4, i));
            CHECK(gpt.layers[2].qkvw[i] == drawn(normal, 4, 2 * qkvw + i));
            CHECK(gpt.layers[1].fcprojw[i % fcprojw] == drawn(residual, 12, fcprojw + i % fcprojw));
            CHECK(gpt.params.lmheadw[i % 100] == drawn(normal, 16, i % 100));
        }
        CHECK((gpt.layers[2].ln1w[3] == 1 && (llama || gpt.layers[1].fcb[3] == 0)));
    }
}

TEST_CASE("the backward pass names a block when its gradients are final", "[model]") {
    for (const Shape& shape : shapes) {
        const GptConfig c = small_config(shape);
        INFO(shape.name);
        Gpt<float> gpt(c);
        initialise_parameters(c, 7, gpt.memory.get());
        randomise(gpt);
        const Rows rows = make_rows(c, shape.mask);
        ActivationMemory<float> memory(c, B, T, Keep::All, {});
        Gradients<float> gradients(c);
        gpt_forward(gpt, memory, rows.input(), {});
        gpt_losses<float>(gpt, memory, &gradients, rows.targets.data(), 1.0f / (B * T), {});
        std::vector<size_t> order;
        std::vector<float> seen(parameter_elements(c));
        gpt_backward(gpt, memory, gradients, rows.input(), {}, [&](size_t block) {
            order.push_back(block);
            const ElementRange range = parameter_blocks(c)[block];
            std::copy_n(gradients.memory + range.begin, range.size(), seen.data() + range.begin);
        });
        CHECK(order == std::vector<size_t>{3, 2, 1, 0});
        CHECK(seen == std::vector<float>(gradients.memory, gradients.memory + seen.size()));
    }
}

// Noise of bf16 goes by the element, so that a process that owns a slice rounds as one that owns everything.
template <class Real>
void check_update_in_slices() {
    GptConfig c = config_from_name("gpt2:L2:C24:H2");
    c.V = 301;
    c.F = 88;
    std::vector<ElementRange> slices[2];  // two processes, each with a slice of every block
    for (const ElementRange& block : parameter_blocks(c)) {
        const size_t cut = block.begin + block.size() / 3 / 8 * 8;
        slices[0].push_back({block.begin, cut});
        slices[1].push_back({cut, block.end});
    }
    Gpt<Real> whole(c), sliced(c);
    AdamState<Real> adam(c, 0.1f), first(c, 0.1f, slices[0]), second(c, 0.1f, slices[1]);
    const auto initial = [&](float* weights) { initialise_parameters(c, 3, weights); };
    fill_weights(whole, &adam, initial);
    fill_weights(sliced, &first, initial);
    fill_weights(sliced, &second, initial);
    CHECK(first.m.size() + second.m.size() == adam.m.size());
    Gradients<Real> a(c), b(c);
    const size_t n = whole.memory.size();
    for (int step = 1; step <= 3; ++step) {
        for (const TensorSpec& t : tensor_table(c))
            for (int l = 0; l < t.copies; ++l)
                for (size_t i = t.offset(l); i < t.offset(l) + t.copy_size(); ++i)
                    a.memory[i] = b.memory[i] = static_cast<float>(random_normal(1, static_cast<uint64_t>(step), i));
        double norm_squared = 0;
        backend::global_norm_squared(&norm_squared, nullptr, a.memory, n, {});
        const AdamwSettings settings{1e-2f, 0.9f, 0.95f, 1e-8f, 1.0f, step, 1};
        gpt_update(whole, adam, a, &norm_squared, settings, {});
        gpt_update(sliced, first, b, &norm_squared, settings, {});
        gpt_update(sliced, second, b, &norm_squared, settings, {});
    }
    CHECK(memcmp(whole.memory.get(), sliced.memory.get(), n * sizeof(Real)) == 0);
    CHECK(std::all_of(b.memory, b.memory + n, [](float g) { return g == 0; }));
}
TEST_CASE("updates of slices of the blocks are the bits of one update", "[model]") {
    check_update_in_slices<float>();
    check_update_in_slices<bf16>();
}

// 520 tokens of 64 channels: enough that every loop over them is shared (kernels/cpu/threads.h; the rotation of a
// quarter of each head is the smallest), and three tiles of the attention, the last of them short.
template <class Real>
void check_any_threads(const char* name) {
    constexpr int ROWS = 4, LENGTH = 130;
    INFO(name);
    GptConfig c = config_from_name(name);
    c.V = 301;
    std::vector<std::vector<float>> weights;
    for (const int threads : {1, 2, 3}) {
        omp_set_num_threads(threads);
        Gpt<Real> gpt(c);
        AdamState<Real> adam(c, 0.1f);
        fill_weights(gpt, &adam, [&](float* initial) { initialise_parameters(c, 3, initial); });
        Gradients<Real> gradients(c);
        ActivationMemory<Real> memory(c, ROWS, LENGTH, Keep::All, {});
        for (int step = 1; step <= 2; ++step) {
            const Rows rows = make_rows(c, step == 2, ROWS, LENGTH);
            gpt_forward(gpt, memory, rows.input(), {});
            gpt_losses<Real>(gpt, memory, &gradients, rows.targets.data(), 1.0f / (ROWS * LENGTH), {});
            gpt_backward(gpt, memory, gradients, rows.input(), {});
            double norm_squared = 0;
            backend::global_norm_squared(&norm_squared, nullptr, gradients.memory, parameter_elements(c), {});
            gpt_update(gpt, adam, gradients, &norm_squared, {1e-2f, 0.9f, 0.95f, 1e-8f, 1.0f, step, 1}, {});
        }
        weights.emplace_back();
        for (size_t i = 0; i < gpt.memory.size(); ++i)
            weights.back().push_back(static_cast<float>(gpt.memory.get()[i]));
    }
    omp_set_num_threads(omp_get_num_procs());
    CHECK((weights[0] == weights[1]));
    CHECK((weights[0] == weights[2]));
}
TEST_CASE("training gives the same bits for any number of threads", "[model]") {
    for (const char* name : {"pythia:L2:C64:H4", "qwen3:L2:C64:H4:KV2:HS16:F96"}) {
        check_any_threads<float>(name);
        check_any_threads<bf16>(name);
    }
}
