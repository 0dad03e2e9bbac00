// qk_norm_cases.cpp - the norm of queries and keys by head, with every team that a head can have in CUDA
// (kernels/qk_norm.cuh), and as many key/value heads as queries' or fewer. Another launch in each case shows that a
// row alone gives the same bits.
#include <algorithm>
#include <cmath>
#include <limits>

#include "test/cases/case.h"

namespace {

constexpr double EPS = 1e-6;

struct Shape {
    int N, NH, KV, HS;
    size_t heads() const { return static_cast<size_t>(NH + 2 * KV); }
    size_t normed() const { return static_cast<size_t>(NH + KV); }
    size_t size() const { return static_cast<size_t>(HS); }
    size_t row() const { return heads() * size(); }
    size_t all() const { return static_cast<size_t>(N) * row(); }
};

struct Normed {
    Doubles out, rstd;
};
Normed forward(const Doubles& inp, const Doubles& qweight, const Doubles& kweight, const Shape& s) {
    Normed r{inp, {}};  // of v a copy
    for (size_t n = 0; n < static_cast<size_t>(s.N); ++n)
        for (size_t head = 0; head < s.normed(); ++head) {
            double square = EPS;
            double* x = &r.out[n * s.row() + head * s.size()];
            for (size_t d = 0; d < s.size(); ++d) square += x[d] * x[d] / s.HS;
            r.rstd.push_back(1 / std::sqrt(square));
            const Doubles& weight = head < static_cast<size_t>(s.NH) ? qweight : kweight;
            for (size_t d = 0; d < s.size(); ++d) x[d] *= r.rstd.back() * weight[d];
        }
    return r;
}

struct Gradients {
    Doubles inp, qweight, kweight;
};
// By the chain rule: out = x w with x = inp rstd, and d x_d / d inp_j = rstd ([j = d] - x_d x_j / HS).
Gradients backward(const Doubles& dout, const Doubles& inp, const Doubles& qweight, const Doubles& kweight,
                   const Shape& s) {
    const Doubles ones(s.size(), 1);
    const Normed f = forward(inp, ones, ones, s);
    Gradients g{dout, Doubles(s.size()), Doubles(s.size())};  // of v that of out
    for (size_t n = 0; n < static_cast<size_t>(s.N); ++n)
        for (size_t head = 0; head < s.normed(); ++head) {
            const bool q = head < static_cast<size_t>(s.NH);
            const Doubles& weight = q ? qweight : kweight;
            const size_t at = n * s.row() + head * s.size();
            const double *dy = &dout[at], *x = &f.out[at], rstd = f.rstd[n * s.normed() + head];
            double along = 0;
            for (size_t d = 0; d < s.size(); ++d) {
                (q ? g.qweight : g.kweight)[d] += dy[d] * x[d];
                along += dy[d] * weight[d] * x[d] / s.HS;
            }
            for (size_t d = 0; d < s.size(); ++d) g.inp[at + d] = rstd * (dy[d] * weight[d] - x[d] * along);
        }
    return g;
}

template <class Real>
std::string name_of(const char* operation, const Shape& s) {
    return format_text("%s %s N=%d NH=%d KV=%d HS=%d", operation, TYPE_NAME<Real>, s.N, s.NH, s.KV, s.HS);
}

template <class Real>
Case forward_case(const Shape& s, bool timed = false) {
    Case result;
    result.name = name_of<Real>("qk_norm_forward", s);
    result.bytes = static_cast<double>(2 * s.all() * sizeof(Real));
    result.make = [=] {
        const Tensor<Real> inp(normal_values<Real>(s.all(), 1)), qweight(normal_values<Real>(s.size(), 2)),
            kweight(normal_values<Real>(s.size(), 3)), out(s.all()), alone(s.row());
        const size_t N = static_cast<size_t>(s.N), middle = N / 2;
        const Tensor<Stat<Real>> rstd(N * s.normed()), rstd_alone(s.normed());
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            const auto norm = [&](Real* to, Stat<Real>* scales, const Real* from, int rows) {
                backend::qk_norm_forward<Real>(to, scales, from, qweight, kweight, rows, s.NH, s.KV, s.HS,
                                               static_cast<Stat<Real>>(EPS), stream);
            };
            norm(out, rstd, inp, s.N);
            if (!timed) norm(alone, rstd_alone, inp + middle * s.row(), 1);
        };
        if (timed) return instance;
        instance.check = [=] {
            const Normed want = forward(doubles(inp.first()), doubles(qweight.first()), doubles(kweight.first()), s);
            const Doubles got = out.doubles();
            Doubles v, v_first;
            for (size_t n = 0; n < N; ++n)
                for (size_t i = s.normed() * s.size(); i < s.row(); ++i) {
                    v.push_back(got[n * s.row() + i]);
                    v_first.push_back(to_double(inp.first()[n * s.row() + i]));
                }
            return Outputs{{"out", s.size(), tolerance<Real>(4e-3, 4e-7), got, want.out},
                           {"v", s.size(), 0, v, v_first},
                           {"rstd", 1, stat_tolerance<Real>(1e-6), rstd.doubles(), want.rstd},
                           one_row("out", alone, out, middle),
                           one_row("rstd", rstd_alone, rstd, middle)};
        };
        return instance;
    };
    return result;
}

template <class Real>
Case backward_case(const Shape& s, bool timed = false) {
    Case result;
    result.name = name_of<Real>("qk_norm_backward", s);
    result.bytes = 3.0 * s.N * static_cast<double>(s.normed() * s.size() * sizeof(Real));
    result.make = [=] {
        const Tensor<Real> inp(normal_values<Real>(s.all(), 1)), qweight(normal_values<Real>(s.size(), 2)),
            kweight(normal_values<Real>(s.size(), 3)), dqkv(normal_values<Real>(s.all(), 4));
        const Tensor<Stat<Real>> dqweight(normal_values<Stat<Real>>(s.size(), 5)),
            dkweight(normal_values<Stat<Real>>(s.size(), 6)),
            rstd(converted<Stat<Real>>(
                forward(doubles(inp.first()), doubles(qweight.first()), doubles(kweight.first()), s).rstd));
        const Tensor<char> scratch(backend::qk_norm_backward_scratch(s.N, s.NH, s.KV, s.HS));  // NaN
        const size_t middle = static_cast<size_t>(s.N) / 2;
        const Tensor<Real> alone(part(dqkv.first(), middle * s.row(), s.row()));  // the row in the middle, alone
        const Tensor<Stat<Real>> its_dqweight(dqweight.first()), its_dkweight(dkweight.first());
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) dqkv.reset(), dqweight.reset(), dkweight.reset(), alone.reset();
            backend::qk_norm_backward<Real>(dqkv, dqweight, dkweight, scratch, inp, qweight, kweight, rstd, s.N, s.NH,
                                            s.KV, s.HS, stream);
            if (timed) return;
            backend::qk_norm_backward<Real>(alone, its_dqweight, its_dkweight, scratch, inp + middle * s.row(), qweight,
                                            kweight, rstd + middle * s.normed(), 1, s.NH, s.KV, s.HS, stream);
        };
        if (timed) return instance;
        instance.check = [=] {
            Gradients want = backward(doubles(dqkv.first()), doubles(inp.first()), doubles(qweight.first()),
                                      doubles(kweight.first()), s);
            for (size_t d = 0; d < s.size(); ++d) want.qweight[d] += to_double(dqweight.first()[d]);
            for (size_t d = 0; d < s.size(); ++d) want.kweight[d] += to_double(dkweight.first()[d]);
            return Outputs{one_row("dqkv", alone, dqkv, middle),
                           {"dqkv", s.size(), tolerance<Real>(4e-3, 1e-6), dqkv.doubles(), want.inp},
                           {"dqweight", s.size(), stat_tolerance<Real>(8e-7), dqweight.doubles(), want.qweight},
                           {"dkweight", s.size(), stat_tolerance<Real>(8e-7), dkweight.doubles(), want.kweight}};
        };
        return instance;
    };
    return result;
}

// A head that holds NaN is NaN, of one that holds an infinity this element is; v is copied whatever it holds. The heads
// next to them do not see it.
template <class Real>
Case special_heads_case() {
    Case result;
    result.name = format_text("qk_norm_forward %s NaN and infinities", TYPE_NAME<Real>);
    result.make = [=] {
        const Shape s{3, 4, 2, 16};
        const double NOT_A_NUMBER = std::numeric_limits<double>::quiet_NaN(),
                     INF = std::numeric_limits<double>::infinity();
        std::vector<Real> first = normal_values<Real>(s.all(), 1);
        const auto put = [&](size_t n, size_t head, size_t d, double x) {
            first[n * s.row() + head * s.size() + d] = rounded<Real>(x);
        };
        put(0, 1, 3, NOT_A_NUMBER), put(0, 5, 15, -INF);  // of q, of k
        put(1, 0, 0, INF), put(1, 4, 8, NOT_A_NUMBER);
        put(2, 6, 1, NOT_A_NUMBER), put(2, 7, 2, INF);  // of v
        const Tensor<Real> inp(first), qweight(normal_values<Real>(s.size(), 2)),
            kweight(normal_values<Real>(s.size(), 3)), out(s.all());
        const Tensor<Stat<Real>> rstd(static_cast<size_t>(s.N) * s.normed());
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::qk_norm_forward<Real>(out, rstd, inp, qweight, kweight, s.N, s.NH, s.KV, s.HS,
                                           static_cast<Stat<Real>>(EPS), stream);
        };
        instance.check = [=] {
            const Normed want = forward(doubles(inp.first()), doubles(qweight.first()), doubles(kweight.first()), s);
            return Outputs{{"out", 1, tolerance<Real>(4e-3, 1e-6), finite(out.doubles()), finite(want.out)},
                           {"rstd", 1, stat_tolerance<Real>(1e-6), finite(rstd.doubles()), finite(want.rstd)}};
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> qk_norm_cases() {
    std::vector<Case> cases;
    const Shape small{2, 2, 1, 6};
    const Doubles x = normal_doubles(small.all(), 30), q = normal_doubles(6, 31), k = normal_doubles(6, 32),
                  dout = normal_doubles(small.all(), 33);
    const Gradients gradients = backward(dout, x, q, k, small);
    cases.push_back(gradient_case(
        "qk_norm: dinp", [=](const Doubles& v) { return forward(v, q, k, small).out; }, x, dout, gradients.inp));
    cases.push_back(gradient_case(
        "qk_norm: dqweight", [=](const Doubles& v) { return forward(x, v, k, small).out; }, q, dout,
        gradients.qweight));
    cases.push_back(gradient_case(
        "qk_norm: dkweight", [=](const Doubles& v) { return forward(x, q, v, small).out; }, k, dout,
        gradients.kweight));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        // teams of 4 to 16 threads, in float to 32; fewer heads than a block has teams, and more
        std::vector<Shape> shapes = {{1, 1, 1, 8},     {5, 3, 1, 24},   {19, 9, 3, 64}, {7, 4, 4, 80},
                                     {13, 14, 2, 64},  {6, 16, 8, 128}, {3, 6, 2, 200}, {2, 2, 1, 256},
                                     {37, 2, 1, 32},   {6353, 1, 1, 8},  // more rows than 16 for every chunk
                                     {2200, 2, 1, 136}};
        if (ON_CPU) shapes.insert(shapes.end(), {{1, 1, 1, 5}, {67, 3, 1, 10}, {33, 7, 1, 37}});
        for (const Shape& s : shapes) {
            cases.push_back(forward_case<Real>(s));
            cases.push_back(backward_case<Real>(s));
        }
        cases.push_back(special_heads_case<Real>());
    });
    return cases;
}

// Of a Llama's shape, which does not have it; Qwen3 has it once a layer.
std::vector<Case> qk_norm_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    if (!step.llama()) return cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        const Shape s{step.N(), step.NH, step.KV, step.HS()};
        cases.push_back(forward_case<Real>(s, true));
        cases.push_back(backward_case<Real>(s, true));
    });
    return cases;
}
