// test_kernels.cpp - every CPU kernel against kernel_reference.h, in float and double, with 1 to 4 threads.
//
// A case fills inputs, names its outputs and says how far each may lie from the reference: the largest relative L2
// error of any row. Shapes: smaller than a vector or tile, with a tail in each, prime, real.
#ifdef _OPENMP
#include <omp.h>
#else
static void omp_set_num_threads(int) {}
static int omp_get_max_threads() { return 1; }
#endif

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/cpu/vmath.h"
#include "kernels/operations.h"
#include "test/catch.h"
#include "test/kernel_reference.h"
#include "util/rng.h"

using reference::Doubles;
using reference::Ints;

namespace {

constexpr cpu::stream_t STREAM{};
constexpr double INF = std::numeric_limits<double>::infinity();

template <class Real>
std::vector<Real> random_values(size_t n, const char* name, double scale = 1) {
    std::vector<Real> x(n);
    for (size_t i = 0; i < n; ++i) x[i] = static_cast<Real>(scale * random_normal(1, hash_name(name), i));
    return x;
}
Ints random_ints(size_t n, int below, const char* name) {
    Ints x(n);
    for (size_t i = 0; i < n; ++i) x[i] = static_cast<int>(random_below(below, 2, hash_name(name), i));
    return x;
}
template <class T>
Doubles wide(const std::vector<T>& x) {
    return Doubles(x.begin(), x.end());
}
// Positions restart at every segment; lengths come from `lengths` in turn, cut at the row's end.
Ints segment_starts(int B, int T, const Ints& lengths) {
    Ints start(static_cast<size_t>(B) * T);
    size_t next = 0;
    for (int b = 0; b < B; ++b)
        for (int t = 0, length; t < T; t += length) {
            length = std::min(lengths[next++ % lengths.size()], T - t);
            std::fill_n(start.begin() + b * T + t, length, t);
        }
    return start;
}

// The worst row's ||got - want|| / ||want||; NaN anywhere gives inf. Rows that nearly vanish by cancellation (the
// gradient of a query that sees one key) are held against a tenth of the typical row.
double row_error(const Doubles& got, const Doubles& want, size_t row) {
    if (got.size() != want.size()) return INF;
    double total = 0, worst = 0;
    for (const double x : want) total += x * x;
    const double floor = 1e-2 * total * static_cast<double>(row) / static_cast<double>(want.size());
    for (size_t begin = 0; begin < got.size(); begin += row) {
        double error = 0, size = 0;
        for (size_t i = begin; i < std::min(got.size(), begin + row); ++i) {
            error += (got[i] - want[i]) * (got[i] - want[i]);
            size += want[i] * want[i];
        }
        const double relative = error == 0 ? 0 : std::sqrt(error / std::max(size, floor));
        if (!(relative <= worst)) worst = std::isnan(relative) ? INF : relative;
    }
    return worst;
}

struct Output {
    std::string name;
    Doubles values;
    int row;  // elements
};
using Outputs = std::vector<Output>;
struct Case {
    std::string name;
    double tolerance;                 // in float; double must be better by 2^-28
    std::function<Outputs()> run;     // the kernel
    std::function<Outputs()> expect;  // the reference, in the same order
};

bool same_bits(const Doubles& a, const Doubles& b) {
    return a.size() == b.size() && (a.empty() || !std::memcmp(a.data(), b.data(), a.size() * sizeof(double)));
}

template <class Real>
void check(const Case& c) {
    const double tolerance = std::is_same_v<Real, float> ? c.tolerance : c.tolerance * 0x1p-28;
    const Outputs want = c.expect();
    const int usual = omp_get_max_threads();
    omp_set_num_threads(1);
    const Outputs got = c.run();
    REQUIRE(got.size() == want.size());
    for (size_t i = 0; i < got.size(); ++i) {
        INFO(c.name << (std::is_same_v<Real, float> ? " float " : " double ") << got[i].name);
        CHECK(row_error(got[i].values, want[i].values, got[i].row) / tolerance <= 1);
    }
    for (int threads = 2; threads <= 4; ++threads) {
        omp_set_num_threads(threads);
        const Outputs again = c.run();
        for (size_t i = 0; i < got.size(); ++i) {
            INFO(c.name << " " << got[i].name << ", " << threads << " threads");
            CHECK(same_bits(again[i].values, got[i].values));
        }
    }
    omp_set_num_threads(usual);
}

std::string shape(const char* kernel, std::initializer_list<std::pair<const char*, int>> sizes) {
    std::string text = kernel;
    for (const auto& [name, size] : sizes) text += std::string(" ") + name + "=" + std::to_string(size);
    return text;
}

// ---- cases ----

template <class Real>
Case embedding_case(int N, int C, int V, int T, bool learned) {
    const auto wte = random_values<Real>(V * C, "wte"), wpe = random_values<Real>(learned ? T * C : 0, "wpe");
    const auto dout = random_values<Real>(N * C, "dout"), dwte = random_values<Real>(V * C, "dwte");
    const auto tokens = random_ints(N, V, "tokens"), positions = random_ints(N, T, "positions");
    auto run = [=] {
        std::vector<Real> out(N * C), dw = dwte, dp(wpe.size());
        const Real* p = learned ? wpe.data() : nullptr;
        cpu::embedding_forward<Real>(out.data(), tokens.data(), positions.data(), wte.data(), p, N, C, STREAM);
        cpu::embedding_backward<Real>(dw.data(), learned ? dp.data() : nullptr, nullptr, dout.data(), tokens.data(),
                                      positions.data(), N, C, V, T, STREAM);
        return Outputs{{"out", wide(out), C}, {"dwte", wide(dw), C}, {"dwpe", wide(dp), C}};
    };
    auto expect = [=] {
        Doubles dw = wide(dwte), dp(wpe.size());
        for (int n = 0; n < N; ++n)
            for (int c = 0; c < C; ++c) {
                dw[tokens[n] * C + c] += dout[n * C + c];
                if (learned) dp[positions[n] * C + c] += dout[n * C + c];
            }
        return Outputs{{"", reference::embedding_forward(tokens, positions, wide(wte), wide(wpe), C), C},
                       {"", dw, C},
                       {"", dp, C}};
    };
    return {shape("embedding", {{"N", N}, {"C", C}, {"V", V}}), 1e-6, run, expect};
}

template <class Real>
Case layernorm_case(int N, int C, double mean) {
    auto inp = random_values<Real>(N * C, "inp");
    for (Real& x : inp) x += static_cast<Real>(mean);
    const auto weight = random_values<Real>(C, "weight"), bias = random_values<Real>(C, "bias"),
               dout = random_values<Real>(N * C, "dout");
    const auto dinp = random_values<Real>(N * C, "dinp"), dweight = random_values<Real>(C, "dweight");
    const Real eps = static_cast<Real>(1e-5);
    auto run = [=] {
        std::vector<Real> out(N * C), mean(N), rstd(N), dx = dinp, dw = dweight, db(C);
        std::vector<char> scratch(cpu::layernorm_backward_scratch(N, C));
        cpu::layernorm_forward<Real>(nullptr, {out.data(), weight.data(), bias.data()}, {}, mean.data(), rstd.data(),
                                     inp.data(), nullptr, nullptr, N, C, eps, STREAM);
        cpu::layernorm_backward<Real>(dx.data(), dw.data(), db.data(), scratch.data(), dout.data(), inp.data(),
                                      weight.data(), mean.data(), rstd.data(), N, C, STREAM);
        return Outputs{{"out", wide(out), C}, {"mean", wide(mean), 1},  {"rstd", wide(rstd), 1},
                       {"dinp", wide(dx), C}, {"dweight", wide(dw), C}, {"dbias", wide(db), C}};
    };
    auto expect = [=] {
        const auto f = reference::layernorm_forward(wide(inp), wide(weight), wide(bias), N, C, eps);
        auto d = reference::layernorm_backward(wide(dout), wide(inp), wide(weight), N, C, eps);
        for (size_t i = 0; i < dinp.size(); ++i) d.inp[i] += dinp[i];
        for (int c = 0; c < C; ++c) d.weight[c] += dweight[c];
        return Outputs{{"", f.out, C}, {"", f.mean, 1},   {"", f.rstd, 1},
                       {"", d.inp, C}, {"", d.weight, C}, {"", d.bias, C}};
    };
    return {shape("layernorm", {{"N", N}, {"C", C}}), 4e-6 * (1 + mean), run, expect};
}

// x = a + b (+ c) written in place of a, and two norms of it.
template <class Real>
Case sum_norm_case(int N, int C, bool three) {
    const auto a = random_values<Real>(N * C, "a"), b = random_values<Real>(N * C, "b"),
               c = random_values<Real>(N * C, "c");
    const auto w1 = random_values<Real>(C, "w1"), b1 = random_values<Real>(C, "b1"), w2 = random_values<Real>(C, "w2"),
               b2 = random_values<Real>(C, "b2");
    const Real eps = static_cast<Real>(1e-5);
    auto run = [=] {
        std::vector<Real> x = a, out1(N * C), out2(N * C), mean(N), rstd(N);
        cpu::layernorm_forward<Real>(x.data(), {out1.data(), w1.data(), b1.data()}, {out2.data(), w2.data(), b2.data()},
                                     mean.data(), rstd.data(), x.data(), b.data(), three ? c.data() : nullptr, N, C,
                                     eps, STREAM);
        return Outputs{{"x", wide(x), C}, {"out1", wide(out1), C}, {"out2", wide(out2), C}, {"mean", wide(mean), N}};
    };
    auto expect = [=] {
        Doubles x(N * C);
        for (size_t i = 0; i < x.size(); ++i) x[i] = double(a[i]) + b[i] + (three ? c[i] : 0);
        const auto one = reference::layernorm_forward(x, wide(w1), wide(b1), N, C, eps),
                   two = reference::layernorm_forward(x, wide(w2), wide(b2), N, C, eps);
        return Outputs{{"", x, C}, {"", one.out, C}, {"", two.out, C}, {"", one.mean, N}};
    };
    return {shape("sum and two norms", {{"N", N}, {"C", C}}), 1e-5, run, expect};
}

template <class Real>
Case loss_sums_case(int N, int S) {
    const auto losses = random_values<Real>(N, "losses");
    const auto source = random_ints(N, S, "source");
    auto run = [=] {
        Doubles sums(S, 1.0);
        const std::vector<uint16_t> narrow_source(source.begin(), source.end());
        cpu::loss_sums(sums.data(), losses.data(), narrow_source.data(), N, S, STREAM);
        return Outputs{{"sums", sums, 1}};
    };
    auto expect = [=] {
        Doubles sums(S, 1.0);
        for (int n = 0; n < N; ++n) sums[source[n]] += losses[n];
        return Outputs{{"", sums, 1}};
    };
    return {shape("loss_sums", {{"N", N}, {"S", S}}), 1e-12, run, expect};
}

template <class Real>
Case matmul_case(int N, int C, int OC, bool bias) {
    const auto inp = random_values<Real>(N * C, "inp"), weight = random_values<Real>(OC * C, "weight");
    const auto b = random_values<Real>(bias ? OC : 0, "bias"), dout = random_values<Real>(N * OC, "dout");
    const auto dweight = random_values<Real>(OC * C, "dweight");
    auto run = [=] {
        std::vector<Real> out(N * OC), dinp(N * C), dw = dweight, db(OC);
        cpu::matmul_forward<Real>(out.data(), inp.data(), weight.data(), bias ? b.data() : nullptr, N, C, OC, STREAM);
        cpu::matmul_backward<Real>(dinp.data(), dw.data(), bias ? db.data() : nullptr, dout.data(), inp.data(),
                                   weight.data(), N, C, OC, STREAM);
        Outputs outputs{{"out", wide(out), OC}, {"dinp", wide(dinp), C}, {"dweight", wide(dw), C}};
        if (bias) outputs.push_back({"dbias", wide(db), OC});
        return outputs;
    };
    auto expect = [=] {
        auto d = reference::matmul_backward(wide(dout), wide(inp), wide(weight), N, C, OC);
        for (size_t i = 0; i < dweight.size(); ++i) d.weight[i] += dweight[i];
        Outputs outputs{{"", reference::matmul_forward(wide(inp), wide(weight), wide(b), N, C, OC), OC},
                        {"", d.inp, C},
                        {"", d.weight, C}};
        if (bias) outputs.push_back({"", d.bias, OC});
        return outputs;
    };
    return {shape("matmul", {{"N", N}, {"C", C}, {"OC", OC}}), 3e-6, run, expect};
}

template <class Real>
Case rotary_case(int B, int T, int NH, int HS, int R) {
    const int N = B * T;
    const auto qkv = random_values<Real>(N * 3 * NH * HS, "qkv"), dqkv = random_values<Real>(N * 3 * NH * HS, "dqkv");
    Ints positions(N);
    for (int n = 0; n < N; ++n) positions[n] = n % T;
    auto run = [=] {
        auto x = qkv, d = dqkv;
        std::vector<Real> table(T * R);
        cpu::rotary_table<Real>(table.data(), T, R, 10000, STREAM);
        cpu::rotary_forward<Real>(x.data(), table.data(), positions.data(), N, NH, HS, R, STREAM);
        cpu::rotary_backward<Real>(d.data(), table.data(), positions.data(), N, NH, HS, R, STREAM);
        return Outputs{{"qkv", wide(x), HS}, {"dqkv", wide(d), HS}};
    };
    auto expect = [=] {
        return Outputs{{"", reference::rotary(wide(qkv), positions, N, NH, HS, R, 10000, 1), HS},
                       {"", reference::rotary(wide(dqkv), positions, N, NH, HS, R, 10000, -1), HS}};
    };
    return {shape("rotary", {{"N", N}, {"NH", NH}, {"HS", HS}, {"R", R}}), 1e-6, run, expect};
}

template <class Real>
Case gelu_case(size_t n, Gelu kind) {
    const auto inp = random_values<Real>(n, "inp", 3), dout = random_values<Real>(n, "dout");
    auto run = [=] {
        std::vector<Real> out(n), dinp = dout;
        cpu::gelu_forward<Real>(out.data(), inp.data(), n, kind, STREAM);
        cpu::gelu_backward<Real>(dinp.data(), inp.data(), dinp.data(), n, kind, STREAM);
        return Outputs{{"out", wide(out), 8}, {"dinp", wide(dinp), 8}};
    };
    auto expect = [=] {
        Doubles out(n), dinp(n);
        for (size_t i = 0; i < n; ++i) {
            out[i] = reference::gelu(inp[i], kind == Gelu::Exact);
            dinp[i] = dout[i] * reference::gelu_slope(inp[i], kind == Gelu::Exact);
        }
        return Outputs{{"", out, 8}, {"", dinp, 8}};
    };
    return {shape(kind == Gelu::Exact ? "gelu exact" : "gelu tanh", {{"n", int(n)}}), 4e-6, run, expect};
}

template <class Real>
Case attention_case(int B, int T, int NH, int HS, const Ints& lengths = {}) {
    const int C = NH * HS;
    const auto qkv = random_values<Real>(B * T * 3 * C, "qkv", 1.5), dout = random_values<Real>(B * T * C, "dout");
    const Ints start = lengths.empty() ? Ints{} : segment_starts(B, T, lengths);
    auto run = [=] {
        std::vector<Real> out(B * T * C), lse(B * NH * T), dqkv(qkv.size());
        std::vector<char> scratch(cpu::attention_backward_scratch(B, T, NH, HS));
        Ints schedule(cpu::attention_schedule_size(B, T));
        cpu::attention_schedule(schedule.data(), start.empty() ? nullptr : start.data(), B, T, STREAM);
        cpu::attention_forward<Real>(out.data(), lse.data(), qkv.data(), schedule.data(), B, T, NH, HS, STREAM);
        cpu::attention_backward<Real>(dqkv.data(), scratch.data(), dout.data(), out.data(), lse.data(), qkv.data(),
                                      schedule.data(), B, T, NH, HS, STREAM);
        return Outputs{{"out", wide(out), HS}, {"lse", wide(lse), T}, {"dqkv", wide(dqkv), HS}};
    };
    auto expect = [=] {
        const auto r = reference::attention(wide(qkv), wide(dout), start, B, T, NH, HS);
        return Outputs{{"", r.out, HS}, {"", r.lse, T}, {"", r.dqkv, HS}};
    };
    return {
        shape(lengths.empty() ? "attention" : "attention in segments", {{"B", B}, {"T", T}, {"NH", NH}, {"HS", HS}}),
        2e-5, run, expect};
}

template <class Real>
Case classifier_case(int N, int V, int Vp) {
    auto logits = random_values<Real>(N * Vp, "logits", 3);
    for (int n = 0; n < N; ++n)
        std::fill_n(logits.begin() + n * Vp + V, Vp - V, static_cast<Real>(100));        // padding counts for nothing
    for (int n = 0; n + 1 < N; n += 2) logits[n * Vp + V / 2] = logits[n * Vp + V / 3];  // ties
    auto targets = random_ints(N, V, "targets");
    targets[0] = V / 2;
    const Real dloss = static_cast<Real>(1.0 / N);
    auto run = [=] {
        std::vector<Real> losses(N), only(N), score(N), x = logits, y = logits;
        Ints argmax(N), rank(N);
        cpu::classifier_forward<Real>(losses.data(), x.data(), targets.data(), dloss, true, N, V, Vp, STREAM);
        cpu::classifier_forward<Real>(only.data(), y.data(), targets.data(), dloss, false, N, V, Vp, STREAM);
        cpu::classifier_score<Real>(score.data(), argmax.data(), rank.data(), logits.data(), targets.data(), N, V, Vp,
                                    STREAM);
        CHECK(same_bits(wide(losses), wide(only)));
        CHECK(same_bits(wide(losses), wide(score)));
        CHECK(y == logits);
        return Outputs{{"losses", wide(losses), N},
                       {"dlogits", wide(x), Vp},
                       {"argmax", wide(argmax), 1},
                       {"rank", wide(rank), 1}};
    };
    auto expect = [=] {
        const auto r = reference::classifier(wide(logits), targets, dloss, N, V, Vp);
        return Outputs{{"", r.losses, N}, {"", r.dlogits, Vp}, {"", wide(r.argmax), 1}, {"", wide(r.rank), 1}};
    };
    return {shape("classifier", {{"N", N}, {"V", V}, {"Vp", Vp}}), 2e-6, run, expect};
}

template <class Real>
Case adamw_case(size_t n, int steps) {
    const auto params = random_values<Real>(n, "params"), grads = random_values<Real>(n * steps, "grads");
    const std::vector<AdamwGroup> groups{{0, n / 3, 0.1f}, {n / 3, n, 0.0f}};
    const float lr = 1e-2f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-8f, grad_clip = 0.7f;
    const double norm_squared = 1;  // so that the gradient is scaled by grad_clip
    auto run = [=] {
        std::vector<Real> p = params, m(n), v(n), g(n);
        for (int step = 1; step <= steps; ++step) {
            std::copy_n(grads.begin() + (step - 1) * n, n, g.begin());
            cpu::adamw_update<Real>(p.data(), nullptr, m.data(), v.data(), g.data(), &norm_squared, groups.data(), 2,
                                    {lr, beta1, beta2, eps, grad_clip, step, 0}, STREAM);
        }
        return Outputs{{"params", wide(p), 16}, {"m", wide(m), 16}, {"v", wide(v), 16}, {"grads", wide(g), 16}};
    };
    auto expect = [=] {
        Doubles p = wide(params), m(n), v(n);
        for (int step = 1; step <= steps; ++step)
            for (size_t i = 0; i < n; ++i) {
                const double g = double(grads[(step - 1) * n + i]) * grad_clip;
                m[i] = double(beta1) * m[i] + (1 - double(beta1)) * g;
                v[i] = double(beta2) * v[i] + (1 - double(beta2)) * g * g;
                const double m_hat = m[i] / (1 - std::pow(double(beta1), step)),
                             v_hat = v[i] / (1 - std::pow(double(beta2), step));
                p[i] -= double(lr) * (m_hat / (std::sqrt(v_hat) + double(eps)) +
                                      double(groups[i < n / 3 ? 0 : 1].weight_decay) * p[i]);
            }
        return Outputs{{"", p, 16}, {"", m, 16}, {"", v, 16}, {"", Doubles(n), 16}};
    };
    return {shape("adamw", {{"n", int(n)}}), 2e-6, run, expect};
}

template <class Real>
Case global_norm_case(size_t n) {
    const auto x = random_values<Real>(n, "x");
    auto run = [=] {
        double sum;
        cpu::global_norm_squared<Real>(&sum, nullptr, x.data(), n, STREAM);
        return Outputs{{"sum", {sum}, 1}};
    };
    auto expect = [=] {
        double sum = 0;
        for (const Real v : x) sum += double(v) * v;
        return Outputs{{"", {sum}, 1}};
    };
    return {shape("global_norm", {{"n", int(n)}}), 1e-6, run, expect};
}

// ---- references by finite differences ----

// Error of `gradient` as the derivative of sum_i weights[i] * f(x)[i].
double difference_error(const std::function<Doubles(const Doubles&)>& f, const Doubles& x, const Doubles& weights,
                        const Doubles& gradient) {
    Doubles numeric(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
        Doubles up = x, down = x;
        up[i] += 1e-5;
        down[i] -= 1e-5;
        const Doubles a = f(up), b = f(down);
        for (size_t j = 0; j < a.size(); ++j) numeric[i] += weights[j] * (a[j] - b[j]) / 2e-5;
    }
    return row_error(gradient, numeric, x.size());
}

}  // namespace

TEST_CASE("reference gradients are derivatives", "[kernels]") {
    const Doubles x = random_values<double>(60, "x"), w = random_values<double>(60, "w"),
                  r = random_values<double>(180, "r");
    SECTION("matmul") {
        const auto d = reference::matmul_backward(r, x, w, 12, 5, 12);
        CHECK(difference_error([&](const Doubles& v) { return reference::matmul_forward(v, w, {}, 12, 5, 12); }, x, r,
                               d.inp) < 1e-8);
        CHECK(difference_error([&](const Doubles& v) { return reference::matmul_forward(x, v, {}, 12, 5, 12); }, w, r,
                               d.weight) < 1e-8);
    }
    SECTION("layernorm") {
        const Doubles weight(w.begin(), w.begin() + 12), bias(12);
        const auto d = reference::layernorm_backward(r, x, weight, 5, 12, 1e-5);
        auto f = [&](const Doubles& v, const Doubles& weight) {
            return reference::layernorm_forward(v, weight, bias, 5, 12, 1e-5).out;
        };
        CHECK(difference_error([&](const Doubles& v) { return f(v, weight); }, x, r, d.inp) < 1e-8);
        CHECK(difference_error([&](const Doubles& v) { return f(x, v); }, weight, r, d.weight) < 1e-8);
    }
    SECTION("attention") {
        for (const Ints& start : {Ints{}, Ints{0, 0, 2, 3, 3}}) {
            const Doubles dout(r.begin(), r.begin() + 20);
            auto f = [&](const Doubles& v) { return reference::attention(v, {}, start, 1, 5, 2, 2).out; };
            CHECK(difference_error(f, x, dout, reference::attention(x, dout, start, 1, 5, 2, 2).dqkv) < 1e-8);
        }
    }
    SECTION("classifier") {
        auto f = [&](const Doubles& v) { return reference::classifier(v, {3, 0, 11, 7, 7}, 1, 5, 12, 12).losses; };
        CHECK(difference_error(f, x, Doubles(5, 0.2),
                               reference::classifier(x, {3, 0, 11, 7, 7}, 0.2, 5, 12, 12).dlogits) < 1e-8);
    }
    SECTION("gelu") {
        for (const bool exact : {false, true}) {
            auto each = [&](const Doubles& v, double (*g)(double, bool)) {
                Doubles y(v.size());
                for (size_t i = 0; i < v.size(); ++i) y[i] = g(v[i], exact);
                return y;
            };
            auto f = [&](const Doubles& v) { return each(v, reference::gelu); };
            CHECK(difference_error(f, x, Doubles(60, 1), each(x, reference::gelu_slope)) < 1e-8);
        }
    }
}

TEMPLATE_TEST_CASE("kernels agree with their references on any number of threads", "[kernels]", float, double) {
    using Real = TestType;
    // clang-format off
    const Case cases[] = {
        embedding_case<Real>(1, 1, 1, 1, true), embedding_case<Real>(61, 40, 7, 5, true),
        embedding_case<Real>(512, 128, 300, 64, false),
        layernorm_case<Real>(1, 5, 0), layernorm_case<Real>(67, 37, 0), layernorm_case<Real>(96, 256, 100),
        sum_norm_case<Real>(1, 5, false), sum_norm_case<Real>(61, 37, true), sum_norm_case<Real>(96, 256, false),
        loss_sums_case<Real>(1, 1), loss_sums_case<Real>(1009, 3),
        matmul_case<Real>(1, 1, 1, true), matmul_case<Real>(2, 3, 5, false), matmul_case<Real>(17, 31, 37, true),
        matmul_case<Real>(61, 67, 131, true), matmul_case<Real>(128, 64, 192, true),
        matmul_case<Real>(37, 7, 1031, false), matmul_case<Real>(521, 19, 23, true),
        matmul_case<Real>(14, 600, 32, false),
        rotary_case<Real>(1, 1, 1, 2, 2), rotary_case<Real>(2, 31, 3, 10, 6), rotary_case<Real>(2, 64, 4, 64, 16),
        rotary_case<Real>(1, 5, 2, 8, 0),
        gelu_case<Real>(3, Gelu::Exact), gelu_case<Real>(1009, Gelu::Exact), gelu_case<Real>(20000, Gelu::Exact),
        gelu_case<Real>(3, Gelu::Tanh), gelu_case<Real>(1009, Gelu::Tanh), gelu_case<Real>(20000, Gelu::Tanh),
        attention_case<Real>(1, 1, 1, 8), attention_case<Real>(2, 7, 3, 10), attention_case<Real>(1, 64, 2, 32),
        attention_case<Real>(2, 67, 1, 34), attention_case<Real>(1, 211, 2, 64), attention_case<Real>(1, 65, 1, 256),
        attention_case<Real>(3, 29, 2, 16, {1, 5, 1, 1, 13}), attention_case<Real>(2, 160, 2, 32, {70, 1, 64, 129}),
        classifier_case<Real>(3, 2, 128), classifier_case<Real>(37, 257, 384), classifier_case<Real>(5, 50257, 50304),
        adamw_case<Real>(1, 3), adamw_case<Real>(1009, 3), adamw_case<Real>(40000, 2),
        global_norm_case<Real>(1), global_norm_case<Real>(1009), global_norm_case<Real>(200003),
    };
    // clang-format on
    for (const Case& c : cases) check<Real>(c);
}

TEMPLATE_TEST_CASE("attention's bits do not depend on where a segment stands", "[kernels]", float, double) {
    using Real = TestType;
    const int NH = 2, HS = 34, length = 131, C = NH * HS;
    const auto segment = random_values<Real>(length * 3 * C, "segment"),
               dsegment = random_values<Real>(length * C, "dsegment");
    auto run = [&](int before, int after) {  // the segment alone, or between others
        const int T = before + length + after;
        auto qkv = random_values<Real>(T * 3 * C, "others"), dout = random_values<Real>(T * C, "dothers");
        std::copy(segment.begin(), segment.end(), qkv.begin() + before * 3 * C);
        std::copy(dsegment.begin(), dsegment.end(), dout.begin() + before * C);
        Ints start(T);
        std::fill_n(start.begin() + before, length, before);
        std::fill(start.begin() + before + length, start.end(), before + length);
        std::vector<Real> out(T * C), lse(NH * T), dqkv(T * 3 * C);
        std::vector<char> scratch(cpu::attention_backward_scratch(1, T, NH, HS));
        Ints schedule(cpu::attention_schedule_size(1, T));
        cpu::attention_schedule(schedule.data(), start.data(), 1, T, STREAM);
        cpu::attention_forward<Real>(out.data(), lse.data(), qkv.data(), schedule.data(), 1, T, NH, HS, STREAM);
        cpu::attention_backward<Real>(dqkv.data(), scratch.data(), dout.data(), out.data(), lse.data(), qkv.data(),
                                      schedule.data(), 1, T, NH, HS, STREAM);
        Doubles result(out.begin() + before * C, out.begin() + (before + length) * C);
        result.insert(result.end(), dqkv.begin() + before * 3 * C, dqkv.begin() + (before + length) * 3 * C);
        return result;
    };
    const Doubles alone = run(0, 0);
    CHECK(same_bits(run(1, 0), alone));
    CHECK(same_bits(run(77, 200), alone));
}

TEMPLATE_TEST_CASE("NaN and inf come through", "[kernels]", float, double) {
    using Real = TestType;
    const int V = 259, Vp = 384;
    const Real nan = std::numeric_limits<Real>::quiet_NaN(), inf = std::numeric_limits<Real>::infinity();
    for (const Real bad : {nan, inf})
        for (const int where : {0, 100, V - 1})
            for (const bool write : {false, true}) {
                auto logits = random_values<Real>(2 * Vp, "logits");
                logits[Vp + where] = bad;
                Real losses[2];
                const int targets[2] = {5, 7};
                cpu::classifier_forward<Real>(losses, logits.data(), targets, 1, write, 2, V, Vp, STREAM);
                CHECK(std::isfinite(losses[0]));
                CHECK_FALSE(std::isfinite(losses[1]));
            }
    for (const size_t where : {size_t(0), size_t(70000), size_t(100000)}) {
        auto x = random_values<Real>(100001, "x");
        double sum;
        x[where] = nan;
        cpu::global_norm_squared<Real>(&sum, nullptr, x.data(), x.size(), STREAM);
        CHECK(std::isnan(sum));
        x[where] = inf;
        cpu::global_norm_squared<Real>(&sum, nullptr, x.data(), x.size(), STREAM);
        CHECK(std::isinf(sum));
    }
}

TEST_CASE("vmath is accurate to a few ulp", "[kernels]") {
    constexpr int n = cpu::LANES<float>;
    auto ulps = [](float got, double want) {
        const float rounded = static_cast<float>(want);
        return std::abs(got - want) /
               (std::nextafter(std::abs(rounded), std::numeric_limits<float>::infinity()) - std::abs(rounded));
    };
    double exp_error = 0, cdf_error = 0, bell_error = 0;
    for (double at = -87; at < 88.7; at += n * 1e-3) {
        float x[n], y[n], cdf[n], bell[n];
        for (int i = 0; i < n; ++i) x[i] = static_cast<float>(at + i * 1e-3);
        cpu::store(y, cpu::exp(cpu::load(x)));
        for (int i = 0; i < n; ++i) exp_error = std::max(exp_error, ulps(y[i], std::exp(double(x[i]))));
        for (float& v : x) v /= 25;
        cpu::store(cdf, cpu::normal(cpu::load(x)).cdf);
        cpu::store(bell, cpu::normal(cpu::load(x)).bell);
        for (int i = 0; i < n; ++i) {
            cdf_error = std::max(cdf_error, ulps(cdf[i], 0.5 * std::erfc(-x[i] / std::sqrt(2.0))));
            bell_error = std::max(bell_error, ulps(bell[i], std::exp(-0.5 * x[i] * x[i])));
        }
    }
    CHECK(exp_error < 2);
    CHECK(cdf_error < 12);  // at |x| = 3.5; half an ulp of the exponential's argument is 6 of the result
    CHECK(bell_error < 8);
    const float inf = std::numeric_limits<float>::infinity();
    float special[n] = {inf, -inf, 200, -200};
    cpu::store(special, cpu::exp(cpu::load(special)));
    CHECK(special[0] == inf);
    CHECK(special[1] == 0);
    CHECK(special[2] == inf);
    CHECK(special[3] == 0);
    CHECK(std::isnan(cpu::exp(cpu::broadcast(std::numeric_limits<float>::quiet_NaN()))[0]));
}
