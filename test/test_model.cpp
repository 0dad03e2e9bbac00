// The whole model: gradients against finite differences, float against double, parameter counts against the published
// ones, the same bits for any number of threads, and logits against golden ones made by `transformers`.
#include <omp.h>

#include <cmath>
#include <vector>

#include "model/checkpoint.h"
#include "model/gpt.cuh"
#include "model/init.h"
#include "test/catch.h"
#include "util/files.h"
#include "util/npy.h"

namespace {

struct Shape {
    const char* name;
    Family family;
    bool tied, mask;
};

// All four kinds of model the trainer can make, with and without the document mask.
const Shape shapes[] = {
    {"gpt2 tied", Family::Gpt2, true, false},    {"gpt2 tied, mask", Family::Gpt2, true, true},
    {"gpt2 untied", Family::Gpt2, false, false}, {"gpt2 untied, mask", Family::Gpt2, false, true},
    {"neox untied", Family::Neox, false, false}, {"neox untied, mask", Family::Neox, false, true},
    {"neox tied", Family::Neox, true, false},    {"neox tied, mask", Family::Neox, true, true},
};
constexpr int B = 2, T = 9;

GptConfig small_config(const Shape& s) {
    GptConfig c = config_from_name(s.family == Family::Gpt2 ? "gpt2:L2:C8:H2" : "pythia:L2:C16:H2");
    c.V = 13;
    c.max_T = 12;
    c.tied = s.tied;
    if (s.family == Family::Neox) c.rotary_fraction = 0.5f;
    return c;
}

struct Rows {
    std::vector<int> tokens, targets, positions, segment_start;
    GptInput input() const {
        return {tokens.data(), positions.data(), segment_start.empty() ? nullptr : segment_start.data()};
    }
};

Rows make_rows(const GptConfig& c, bool mask) {
    Rows rows;
    const int starts[2] = {3, 4};  // each row's second segment, one of them short
    for (int b = 0; b < B; ++b)
        for (int t = 0; t < T; ++t) {
            const uint64_t n = static_cast<uint64_t>(b * T + t);
            rows.tokens.push_back(static_cast<int>(random_below(static_cast<uint64_t>(c.V), 1, 2, n)));
            rows.targets.push_back(static_cast<int>(random_below(static_cast<uint64_t>(c.V), 1, 3, n)));
            const int start = mask && t >= starts[b] ? (t == T - 1 ? T - 1 : starts[b]) : 0;
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
    size_t at = 0;
    for (const TensorSpec& t : tensor_table(gpt.config)) {  // padding stays zero
        if (t.vocabulary_rows && t.layers)
            for (size_t i = static_cast<size_t>(gpt.config.V) * static_cast<size_t>(t.cols); i < t.size(); ++i)
                gpt.memory.get()[at + i] = 0;
        at += t.size();
    }
}

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
    Optimizer<Real> optimizer(gpt.config, 0);
    gpt_forward(gpt, memory, rows.input(), {});
    gpt_losses<Real>(gpt, memory, &optimizer, rows.targets.data(), Real(1) / (B * T), {});
    gpt_backward(gpt, memory, optimizer, rows.input(), {});
    return std::vector<double>(optimizer.grads_memory.get(),
                               optimizer.grads_memory.get() + optimizer.grads_memory.size());
}

double relative_l2(const double* a, const double* b, size_t n) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; ++i) difference += (a[i] - b[i]) * (a[i] - b[i]), norm += b[i] * b[i];
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
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
        size_t at = 0;
        for (const TensorSpec& t : tensor_table(c)) {
            INFO(shape.name << ": " << t.name);
            if (t.layers) CHECK(relative_l2(analytic.data() + at, numeric.data() + at, t.size()) < 1e-6);
            at += t.size();
        }
    }
    omp_set_num_threads(omp_get_num_procs());
}

TEST_CASE("float gradients agree with double ones", "[model]") {
    for (const Shape& shape : shapes) {
        const GptConfig c = small_config(shape);
        Gpt<double> exact(c);
        initialise_parameters(c, 7, exact.memory.get());
        randomise(exact);
        Gpt<float> single(c);
        for (size_t i = 0; i < exact.memory.size(); ++i)
            single.memory.get()[i] = static_cast<float>(exact.memory.get()[i]);
        const Rows rows = make_rows(c, shape.mask);
        const std::vector<double> a = gradient(single, rows), b = gradient(exact, rows);
        size_t at = 0;
        for (const TensorSpec& t : tensor_table(c)) {
            INFO(shape.name << ": " << t.name);
            if (t.layers) CHECK(relative_l2(a.data() + at, b.data() + at, t.size()) < 1e-4);
            at += t.size();
        }
    }
}

TEST_CASE("what is computed again is the same bits as what was kept", "[model]") {
    for (const Shape& shape : shapes) {
        GptConfig c = small_config(shape);
        c.L = 3;
        INFO(shape.name);
        Gpt<float> gpt(c);
        initialise_parameters(c, 7, gpt.memory.get());
        const Rows rows = make_rows(c, shape.mask);
        CHECK(gradient(gpt, rows, Keep::Inputs) == gradient(gpt, rows, Keep::All));
        CHECK(ActivationMemory<float>::bytes(c, B, T, Keep::Inputs) <
              ActivationMemory<float>::bytes(c, B, T, Keep::All));
    }
}

TEST_CASE("the document mask cuts every path between documents", "[model]") {
    for (const Family family : {Family::Gpt2, Family::Neox}) {
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
    CHECK(deviation(one.params.qkvw, 3 * 3 * 64 * 64) == Approx(std::sqrt(2.0 / (5 * 64))).epsilon(0.02));
    CHECK(deviation(one.params.fcprojw, 3 * 4 * 64 * 64) == Approx(2.0 / (3 * 8)).epsilon(0.02));
    for (int i = 500 * 64; i < c.Vp() * 64; ++i) REQUIRE(one.params.wte[i] == 0);
}

TEST_CASE("training gives the same bits for any number of threads", "[model]") {
    GptConfig c = config_from_name("pythia:L2:C48:H3");
    c.V = 301;
    std::vector<std::vector<float>> weights;
    for (const int threads : {1, 2, 3}) {
        omp_set_num_threads(threads);
        Gpt<float> gpt(c);
        initialise_parameters(c, 3, gpt.memory.get());
        Optimizer<float> optimizer(c, 0.1f);
        ActivationMemory<float> memory(c, B, T, Keep::All, {});
        for (int step = 1; step <= 3; ++step) {
            const Rows rows = make_rows(c, step == 2);
            gpt_forward(gpt, memory, rows.input(), {});
            gpt_losses<float>(gpt, memory, &optimizer, rows.targets.data(), 1.0f / (B * T), {});
            gpt_backward(gpt, memory, optimizer, rows.input(), {});
            gpt_gradient_norm(optimizer, {});
            gpt_update(gpt, optimizer, {1e-2f, 0.9f, 0.95f, 1e-8f, 1.0f, step, 1}, {});
        }
        weights.emplace_back(gpt.memory.get(), gpt.memory.get() + gpt.memory.size());
    }
    omp_set_num_threads(omp_get_num_procs());
    CHECK(weights[0] == weights[1]);
    CHECK(weights[0] == weights[2]);
}
