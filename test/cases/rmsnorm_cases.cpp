// rmsnorm_cases.cpp - RMS norm in all its forms, with every team that a row can have in CUDA (kernels/norm_rows.cuh).
// As in layernorm_cases.cpp, two more launches in each forward case, and one in each backward case, show what
// operations.h promises about bits: from the written residual, and for one row alone.
#include <cmath>
#include <limits>

#include "test/cases/case.h"

namespace {

constexpr double EPS = 1e-5;

struct Rmsnorm {
    Doubles out, rstd;
};
Rmsnorm normalise(const Doubles& inp, const Doubles& weight) {
    const size_t C = weight.size(), N = inp.size() / C;
    Rmsnorm r{Doubles(inp.size()), Doubles(N)};
    for (size_t n = 0; n < N; ++n) {
        double square = EPS;
        for (size_t c = 0; c < C; ++c) square += inp[n * C + c] * inp[n * C + c] / static_cast<double>(C);
        r.rstd[n] = 1 / std::sqrt(square);
        for (size_t c = 0; c < C; ++c) r.out[n * C + c] = inp[n * C + c] * r.rstd[n] * weight[c];
    }
    return r;
}

struct Gradients {
    Doubles inp, weight;
};
// By the chain rule: out = x w with x = inp rstd, and d x_c / d inp_j = rstd ([j = c] - x_c x_j / C).
Gradients gradients_of(const Doubles& dout, const Doubles& inp, const Doubles& weight) {
    const size_t C = weight.size(), N = inp.size() / C;
    const Rmsnorm f = normalise(inp, Doubles(C, 1));
    Gradients d{Doubles(inp.size()), Doubles(C)};
    for (size_t n = 0; n < N; ++n) {
        const double *dy = &dout[n * C], *x = &f.out[n * C];
        double along = 0;  // sum over c of dy_c w_c x_c
        for (size_t c = 0; c < C; ++c) {
            d.weight[c] += dy[c] * x[c];
            along += dy[c] * weight[c] * x[c];
        }
        for (size_t j = 0; j < C; ++j)
            d.inp[n * C + j] = f.rstd[n] * (dy[j] * weight[j] - x[j] * along / static_cast<double>(C));
    }
    return d;
}

struct Forward {
    int N, C, terms;  // x = a, a + b, a + b + c
    bool second;      // two outputs
    bool in_place;    // residual is a
    double scale;     // of a: the statistics of small and large rows keep their digits
};

template <class Real>
Case forward_case(const Forward& s, bool timed = false) {
    Case result;
    result.name = format_text("rmsnorm_forward %s N=%d C=%d terms=%d outputs=%d%s%s", TYPE_NAME<Real>, s.N, s.C,
                              s.terms, 1 + s.second, s.in_place ? " in place" : "",
                              s.scale != 1 ? format_text(" times %g", s.scale).c_str() : "");
    const size_t N = static_cast<size_t>(s.N), C = static_cast<size_t>(s.C), NC = N * C;
    const int tensors = s.terms + (s.terms > 1) + 1 + s.second;
    result.bytes = static_cast<double>(NC * sizeof(Real)) * tensors + 1.0 * sizeof(Stat<Real>) * s.N;
    result.make = [=] {
        const Tensor<Real> a(normal_values<Real>(NC, 10, s.scale)), b(normal_values<Real>(s.terms > 1 ? NC : 0, 11)),
            c(normal_values<Real>(s.terms > 2 ? NC : 0, 12)),
            residual = s.in_place ? a : Tensor<Real>(s.terms > 1 ? NC : 0);
        const std::vector<Tensor<Real>> weight = {Tensor<Real>(normal_values<Real>(C, 20)),
                                                  Tensor<Real>(normal_values<Real>(C, 22))};
        // of all rows; of all rows of the written residual; of the row in the middle alone
        struct Outcome {
            std::vector<Tensor<Real>> out;
            Tensor<Stat<Real>> rstd;
            Outcome(size_t rows, size_t columns)
                : out{Tensor<Real>(rows * columns), Tensor<Real>(rows * columns)}, rstd(rows) {}
        };
        const Outcome all(N, C), again(timed ? 0 : N, C), alone(timed ? 0 : 1, C);
        const size_t middle = N / 2;

        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) a.reset();
            const auto norm = [&](const Outcome& to, Real* sum, const Real* x, const Real* y, const Real* z, int rows) {
                const auto output = [&](size_t i) {
                    return Affine<Real>{i == 0 || s.second ? to.out[i] : static_cast<Real*>(nullptr), weight[i],
                                        nullptr};
                };
                backend::rmsnorm_forward<Real>(sum, output(0), output(1), to.rstd, x, y, z, rows, s.C,
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
            Outputs outputs;
            if (s.terms > 1) outputs.push_back({"residual", C, 0, residual.doubles(), doubles(x)});
            for (size_t i = 0; i < (s.second ? 2u : 1u); ++i) {
                const Rmsnorm want = normalise(doubles(x), doubles(weight[i].first()));
                const Doubles got = all.out[i].doubles();
                const std::string name = i == 0 ? "first" : "second";
                outputs.push_back({name, C, tolerance<Real>(4e-3, 4e-7), got, want.out});
                outputs.push_back({name + ", of the residual", C, 0, again.out[i].doubles(), got});
                outputs.push_back(one_row(name, alone.out[i], all.out[i], middle));
                if (i > 0) continue;
                outputs.push_back({"rstd", 1, stat_tolerance<Real>(1e-6), all.rstd.doubles(), want.rstd});
                outputs.push_back({"rstd, of the residual", N, 0, again.rstd.doubles(), all.rstd.doubles()});
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
    result.name = format_text("rmsnorm_backward %s N=%d C=%d", TYPE_NAME<Real>, rows, columns);
    const size_t N = static_cast<size_t>(rows), C = static_cast<size_t>(columns), NC = N * C;
    result.bytes = static_cast<double>(4 * NC * sizeof(Real)) + 1.0 * sizeof(Stat<Real>) * rows;
    result.make = [=] {
        const Tensor<Real> inp(normal_values<Real>(NC, 1)), dout(normal_values<Real>(NC, 2)),
            weight(normal_values<Real>(C, 3)), dinp(normal_values<Real>(NC, 4));
        const Tensor<Stat<Real>> dweight(normal_values<Stat<Real>>(C, 5)),
            rstd(converted<Stat<Real>>(normalise(doubles(inp.first()), Doubles(C, 1)).rstd));
        const Tensor<char> scratch(backend::rmsnorm_backward_scratch(rows, columns));  // NaN
        const size_t middle = N / 2;
        const Tensor<Real> alone(part(dinp.first(), middle * C, C));  // the row in the middle, alone
        const Tensor<Stat<Real>> its_dweight(dweight.first());
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) dinp.reset(), dweight.reset(), alone.reset();
            backend::rmsnorm_backward<Real>(dinp, dweight, scratch, dout, inp, weight, rstd, rows, columns, stream);
            if (timed) return;
            backend::rmsnorm_backward<Real>(alone, its_dweight, scratch, dout + middle * C, inp + middle * C, weight,
                                            rstd + middle, 1, columns, stream);
        };
        if (timed) return instance;
        instance.check = [=] {
            Gradients want = gradients_of(doubles(dout.first()), doubles(inp.first()), doubles(weight.first()));
            for (size_t i = 0; i < NC; ++i) want.inp[i] += to_double(dinp.first()[i]);
            for (size_t i = 0; i < C; ++i) want.weight[i] += to_double(dweight.first()[i]);
            return Outputs{one_row("dinp", alone, dinp, middle),
                           {"dinp", C, tolerance<Real>(4e-3, 4e-7), dinp.doubles(), want.inp},
                           {"dweight", C, stat_tolerance<Real>(1e-6), dweight.doubles(), want.weight}};
        };
        return instance;
    };
    return result;
}

// A row that holds NaN is NaN, of one that holds an infinity these elements are; a row of zeros is zeros. The rows next
// to them do not see it.
template <class Real>
Case special_rows_case() {
    Case result;
    result.name = format_text("rmsnorm_forward %s NaN, inf and zeros", TYPE_NAME<Real>);
    result.make = [=] {
        constexpr size_t N = 5, C = 264;
        std::vector<Real> first = normal_values<Real>(N * C, 1);
        first[C + 7] = rounded<Real>(std::numeric_limits<double>::quiet_NaN());
        first[2 * C + 1] = rounded<Real>(std::numeric_limits<double>::infinity());
        first[3 * C - 1] = rounded<Real>(-std::numeric_limits<double>::infinity());
        for (size_t c = 0; c < C; ++c) first[3 * C + c] = rounded<Real>(0);
        const Tensor<Real> inp(first), weight(normal_values<Real>(C, 2)), out(N * C);
        const Tensor<Stat<Real>> rstd(N);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::rmsnorm_forward<Real>(nullptr, {out, weight, nullptr}, {}, rstd, inp, nullptr, nullptr, N, C,
                                           static_cast<Stat<Real>>(EPS), stream);
        };
        instance.check = [=] {
            const Rmsnorm want = normalise(doubles(inp.first()), doubles(weight.first()));
            return Outputs{{"out", 1, tolerance<Real>(4e-3, 1e-6), finite(out.doubles()), finite(want.out)},
                           {"rstd", 1, stat_tolerance<Real>(1e-6), finite(rstd.doubles()), finite(want.rstd)}};
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> rmsnorm_cases() {
    std::vector<Case> cases;
    const Doubles x = normal_doubles(60, 30), weight = normal_doubles(12, 31), dout = normal_doubles(60, 32);
    const auto f = [](const Doubles& x, const Doubles& weight) { return normalise(x, weight).out; };
    const Gradients gradients = gradients_of(dout, x, weight);
    cases.push_back(gradient_case(
        "rmsnorm: dinp", [=](const Doubles& v) { return f(v, weight); }, x, dout, gradients.inp));
    cases.push_back(gradient_case(
        "rmsnorm: dweight", [=](const Doubles& v) { return f(x, v); }, weight, dout, gradients.weight));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        std::vector<Forward> forward = {
            {1, 8, 1, false, false, 1},     {19, 64, 2, true, true, 1},  // half a warp
            {37, 128, 3, true, false, 1},                                // or one
            {9, 256, 1, false, false, 1e6}, {61, 264, 1, true, false, 1},
            {13, 384, 2, false, true, 1},   {3, 448, 2, true, false, 1},
            {5, 576, 2, false, false, 1},   {5, 896, 3, true, true, 1e-6},  // SmolLM2, Qwen2
            {7, 1000, 2, true, false, 1},   {3, 1032, 3, true, false, 1},   // four warps
            {3, 2056, 2, false, true, 1},   {2, 4104, 1, true, false, 1},   // sixteen warps
            {2, 8192, 3, false, false, 1},
        };
        std::vector<std::pair<int, int>> backward = {
            {1, 8},    {7, 64},    {33, 128}, {9, 256},  {61, 264}, {17, 384},  {12, 448}, {24, 576},
            {5, 1000}, {17, 1032}, {3, 2056}, {2, 4104}, {600, 24}, {6353, 16},  // more rows than 16 for every chunk
        };
        if (ON_CPU) {
            forward.insert(forward.end(), {{1, 5, 1, false, false, 1},
                                           {67, 37, 1, false, false, 1},
                                           {1, 5, 2, true, true, 1},
                                           {61, 37, 3, true, true, 1},
                                           {96, 256, 2, true, true, 1}});
            backward.insert(backward.end(), {{1, 5}, {67, 37}, {96, 256}});
        }
        for (const Forward& s : forward) cases.push_back(forward_case<Real>(s));
        for (const auto& [N, C] : backward) cases.push_back(backward_case<Real>(N, C));
        cases.push_back(special_rows_case<Real>());
    });
    return cases;
}

// Of Llama: the norm of the embeddings; those before attention and before the feed-forward, of a sum of two.
std::vector<Case> rmsnorm_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    if (!step.llama()) return cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        const int N = step.N(), C = step.C;
        cases.push_back(forward_case<Real>({N, C, 1, false, false, 1}, true));
        cases.back().calls = 1;
        cases.push_back(forward_case<Real>({N, C, 2, false, false, 1}, true));
        cases.back().calls = 2 * step.L;
        cases.push_back(backward_case<Real>(N, C, true));
        cases.back().calls = 2 * step.L + 1;
    });
    return cases;
}
