// layernorm_cases.cpp - layer norm in all its forms, with every team that a row can have in CUDA
// (kernels/layernorm.cuh): the widths below fill one of them for bf16, another for float. Two more launches in each
// forward case, and one in each backward case, show what operations.h promises about bits: from the written residual,
// and for one row alone.
#include <cmath>

#include "test/cases/case.h"

namespace {

constexpr double EPS = 1e-5;

struct Layernorm {
    Doubles out, mean, rstd;
};
Layernorm normalise(const Doubles& inp, const Doubles& weight, const Doubles& bias) {
    const size_t C = weight.size(), N = inp.size() / C;
    Layernorm r{Doubles(inp.size()), Doubles(N), Doubles(N)};
    for (size_t n = 0; n < N; ++n) {
        const double *x = &inp[n * C], width = static_cast<double>(C);
        double mean = 0, var = 0;
        for (size_t c = 0; c < C; ++c) mean += x[c] / width;
        for (size_t c = 0; c < C; ++c) var += (x[c] - mean) * (x[c] - mean) / width;
        r.mean[n] = mean;
        r.rstd[n] = 1 / std::sqrt(var + EPS);
        for (size_t c = 0; c < C; ++c) r.out[n * C + c] = (x[c] - mean) * r.rstd[n] * weight[c] + bias[c];
    }
    return r;
}

struct Gradients {
    Doubles inp, weight, bias;
};
// By the chain rule through mean and variance: out = x w with x = (inp - mean) rstd, and
// d x_c / d inp_j = rstd ([j = c] - 1/C - x_c x_j / C).
Gradients gradients_of(const Doubles& dout, const Doubles& inp, const Doubles& weight) {
    const size_t C = weight.size(), N = inp.size() / C;
    const Layernorm f = normalise(inp, Doubles(C, 1), Doubles(C, 0));
    Gradients d{Doubles(inp.size()), Doubles(C), Doubles(C)};
    for (size_t n = 0; n < N; ++n) {
        const double *dy = &dout[n * C], *x = &f.out[n * C];
        double all = 0, along = 0;  // sums over c of dy_c w_c, and of dy_c w_c x_c
        for (size_t c = 0; c < C; ++c) {
            d.weight[c] += dy[c] * x[c];
            d.bias[c] += dy[c];
            all += dy[c] * weight[c];
            along += dy[c] * weight[c] * x[c];
        }
        for (size_t j = 0; j < C; ++j)
            d.inp[n * C + j] = f.rstd[n] * (dy[j] * weight[j] - (all + x[j] * along) / static_cast<double>(C));
    }
    return d;
}

struct Forward {
    int N, C, terms;  // x = a, a + b, a + b + c
    bool second;      // two affine outputs
    bool in_place;    // residual is a
    double offset;    // added to a: a mean far from 0 must cost no digits
};

template <class Real>
Case forward_case(const Forward& s, bool timed = false) {
    Case result;
    result.name = format_text("layernorm_forward %s N=%d C=%d terms=%d outputs=%d%s%s", TYPE_NAME<Real>, s.N, s.C,
                              s.terms, 1 + s.second, s.in_place ? " in place" : "", s.offset != 0 ? " offset" : "");
    const size_t N = static_cast<size_t>(s.N), C = static_cast<size_t>(s.C), NC = N * C;
    const int tensors = s.terms + (s.terms > 1) + 1 + s.second;
    result.bytes = static_cast<double>(NC * sizeof(Real)) * tensors + 2.0 * sizeof(Stat<Real>) * s.N;
    result.make = [=] {
        std::vector<Real> first = normal_values<Real>(NC, 10);
        if (s.offset != 0)
            for (Real& x : first) x = rounded<Real>(to_double(x) + s.offset);
        const Tensor<Real> a(first), b(normal_values<Real>(s.terms > 1 ? NC : 0, 11)),
            c(normal_values<Real>(s.terms > 2 ? NC : 0, 12)),
            residual = s.in_place ? a : Tensor<Real>(s.terms > 1 ? NC : 0);
        const std::vector<Tensor<Real>> weight = {Tensor<Real>(normal_values<Real>(C, 20)),
                                                  Tensor<Real>(normal_values<Real>(C, 22))},
                                        bias = {Tensor<Real>(normal_values<Real>(C, 21)),
                                                Tensor<Real>(normal_values<Real>(C, 23))};
        // of all rows; of all rows of the written residual; of the row in the middle alone
        struct Outcome {
            std::vector<Tensor<Real>> out;
            Tensor<Stat<Real>> mean, rstd;
            Outcome(size_t rows, size_t columns)
                : out{Tensor<Real>(rows * columns), Tensor<Real>(rows * columns)}, mean(rows), rstd(rows) {}
        };
        const Outcome all(N, C), again(timed ? 0 : N, C), alone(timed ? 0 : 1, C);
        const size_t middle = N / 2;

        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) a.reset();
            const auto norm = [&](const Outcome& to, Real* sum, const Real* x, const Real* y, const Real* z, int rows) {
                const auto affine = [&](size_t i) {
                    return Affine<Real>{i == 0 || s.second ? to.out[i] : static_cast<Real*>(nullptr), weight[i],
                                        bias[i]};
                };
                backend::layernorm_forward<Real>(sum, affine(0), affine(1), to.mean, to.rstd, x, y, z, rows, s.C,
                                                 static_cast<Stat<Real>>(EPS), stream);
            };
            norm(all, residual, a, b, c, s.N);
            if (timed) return;
            const Real* x = s.terms > 1 ? residual : a;
            norm(again, nullptr, x, nullptr, nullptr, s.N);
            norm(alone, nullptr, x + middle * C, nullptr, nullptr, 1);
        };
        if (timed) return instance;
        instance.check = [=] {
            using Sum = Stat<Real>;
            std::vector<Real> x = a.first();
            for (size_t i = 0; i < NC && s.terms > 1; ++i) {
                Sum sum = static_cast<Sum>(x[i]) + static_cast<Sum>(b.first()[i]);
                if (s.terms > 2) sum += static_cast<Sum>(c.first()[i]);
                x[i] = static_cast<Real>(sum);
            }
            // a float input keeps 2^-24 of its mean, which is what is left of its deviations' digits
            const double close = tolerance<Real>(4e-3 + 8e-8 * s.offset, 4e-7 + 8e-8 * s.offset),
                         statistics = stat_tolerance<Real>(1e-6);
            Outputs outputs;
            if (s.terms > 1) outputs.push_back({"residual", C, 0, residual.doubles(), doubles(x)});
            for (size_t i = 0; i < (s.second ? 2u : 1u); ++i) {
                const Layernorm want = normalise(doubles(x), doubles(weight[i].first()), doubles(bias[i].first()));
                const Doubles got = all.out[i].doubles();
                const std::string name = i == 0 ? "first" : "second";
                outputs.push_back({name, C, close, got, want.out});
                outputs.push_back({name + ", of the residual", C, 0, again.out[i].doubles(), got});
                outputs.push_back(one_row(name, alone.out[i], all.out[i], middle));
                if (i > 0) continue;
                outputs.push_back({"mean", N, statistics, all.mean.doubles(), want.mean});
                outputs.push_back({"rstd", N, statistics, all.rstd.doubles(), want.rstd});
                outputs.push_back({"mean, of the residual", N, 0, again.mean.doubles(), all.mean.doubles()});
                outputs.push_back({"rstd, of the residual", N, 0, again.rstd.doubles(), all.rstd.doubles()});
                outputs.push_back(one_row("mean", alone.mean, all.mean, middle));
                outputs.push_back(one_row("rstd", alone.rstd, all.rstd, middle));
            }
            return outputs;
        };
        return instance;
    };
    return result;
}

template <class Real>
Case backward_case(int rows, int columns, bool timed = false) {
    Case result;
    result.name = format_text("layernorm_backward %s N=%d C=%d", TYPE_NAME<Real>, rows, columns);
    const size_t N = static_cast<size_t>(rows), C = static_cast<size_t>(columns), NC = N * C;
    result.bytes = static_cast<double>(4 * NC * sizeof(Real)) + 2.0 * sizeof(Stat<Real>) * rows;
    result.make = [=] {
        const Tensor<Real> inp(normal_values<Real>(NC, 1)), dout(normal_values<Real>(NC, 2)),
            weight(normal_values<Real>(C, 3)), dinp(normal_values<Real>(NC, 4));
        const Tensor<Stat<Real>> dweight(normal_values<Stat<Real>>(C, 5)), dbias(normal_values<Stat<Real>>(C, 6));
        const Layernorm forward = normalise(doubles(inp.first()), Doubles(C, 1), Doubles(C, 0));
        const Tensor<Stat<Real>> mean(converted<Stat<Real>>(forward.mean)), rstd(converted<Stat<Real>>(forward.rstd));
        const Tensor<char> scratch(backend::layernorm_backward_scratch(rows, columns));  // NaN
        const size_t middle = static_cast<size_t>(rows / 2);
        const Tensor<Real> alone(part(dinp.first(), middle * C, C));  // the row in the middle, alone
        const Tensor<Stat<Real>> its_dweight(dweight.first()), its_dbias(dbias.first());
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) dinp.reset(), dweight.reset(), dbias.reset(), alone.reset();
            backend::layernorm_backward<Real>(dinp, dweight, dbias, scratch, dout, inp, weight, mean, rstd, rows,
                                              columns, stream);
            if (timed) return;
            backend::layernorm_backward<Real>(alone, its_dweight, its_dbias, scratch, dout + middle * C,
                                              inp + middle * C, weight, mean + middle, rstd + middle, 1, columns,
                                              stream);
        };
        if (timed) return instance;
        instance.check = [=] {
            Gradients want = gradients_of(doubles(dout.first()), doubles(inp.first()), doubles(weight.first()));
            for (size_t i = 0; i < NC; ++i) want.inp[i] += to_double(dinp.first()[i]);
            for (size_t i = 0; i < C; ++i) want.weight[i] += to_double(dweight.first()[i]);
            for (size_t i = 0; i < C; ++i) want.bias[i] += to_double(dbias.first()[i]);
            return Outputs{one_row("dinp", alone, dinp, middle),
                           {"dinp", C, tolerance<Real>(4e-3, 4e-7), dinp.doubles(), want.inp},
                           {"dweight", C, stat_tolerance<Real>(4e-7), dweight.doubles(), want.weight},
                           {"dbias", C, stat_tolerance<Real>(4e-7), dbias.doubles(), want.bias}};
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> layernorm_cases() {
    std::vector<Case> cases;
    const Doubles x = normal_doubles(60, 30), weight = normal_doubles(12, 31), dout = normal_doubles(60, 32);
    const auto f = [](const Doubles& x, const Doubles& weight) { return normalise(x, weight, Doubles(12)).out; };
    const Gradients gradients = gradients_of(dout, x, weight);
    cases.push_back(gradient_case(
        "layernorm: dinp", [=](const Doubles& v) { return f(v, weight); }, x, dout, gradients.inp));
    cases.push_back(gradient_case(
        "layernorm: dweight", [=](const Doubles& v) { return f(x, v); }, weight, dout, gradients.weight));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        std::vector<Forward> forward = {
            {1, 8, 1, false, false, 0},      {19, 64, 2, true, true, 0},  // half a warp
            {37, 128, 3, true, false, 0},                                 // half a warp, or one
            {9, 256, 1, false, false, 1000}, {61, 264, 1, true, false, 0},   {13, 512, 3, true, true, 0},  // Pythia 70M
            {5, 768, 2, false, false, 0},                                                                  // GPT-2 124M
            {7, 1000, 2, true, false, 0},    {3, 1032, 3, true, false, 0},                                 // four warps
            {3, 2056, 2, false, true, 0},    {2, 4104, 1, true, false, 100},  // sixteen warps
            {2, 8192, 3, false, false, 0},
        };
        std::vector<std::pair<int, int>> backward = {
            {1, 8},    {7, 64},    {33, 128}, {9, 256},  {61, 264}, {17, 512},  {24, 768},
            {5, 1000}, {17, 1032}, {3, 2056}, {2, 4104}, {600, 24}, {6353, 16},  // more rows than 16 for every chunk
        };
        if (ON_CPU) {
            forward.insert(forward.end(), {{1, 5, 1, false, false, 0},
                                           {67, 37, 1, false, false, 0},
                                           {96, 256, 1, false, false, 100},
                                           {1, 5, 2, true, true, 0},
                                           {61, 37, 3, true, true, 0},
                                           {96, 256, 2, true, true, 0}});
            backward.insert(backward.end(), {{1, 5}, {67, 37}, {96, 256}});
        }
        for (const Forward& s : forward) cases.push_back(forward_case<Real>(s));
        for (const auto& [N, C] : backward) cases.push_back(backward_case<Real>(N, C));
    });
    return cases;
}

// The norms of the last layer's output, and those of a layer's input on its way: two of one sum of three where the
// residual is parallel, one of a sum of two before attention and before the feed-forward where it is not.
std::vector<Case> layernorm_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    if (step.llama()) return cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        const int N = step.N(), C = step.C;
        cases.push_back(forward_case<Real>({N, C, 1, false, false, 0}, true));
        cases.back().calls = 1;
        cases.push_back(forward_case<Real>({N, C, step.neox ? 3 : 2, step.neox, false, 0}, true));
        cases.back().calls = step.neox ? step.L : 2 * step.L;
        cases.push_back(backward_case<Real>(N, C, true));
        cases.back().calls = 2 * step.L + 1;
    });
    return cases;
}
