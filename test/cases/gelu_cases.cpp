// gelu_cases.cpp - both forms, forward and backward, with tails and values far from 0.
#include <cmath>

#include "test/cases/case.h"

namespace {

double gelu(double x, Gelu kind) {
    return kind == Gelu::Exact ? 0.5 * x * std::erfc(-x / std::sqrt(2.0))
                               : 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double gelu_slope(double x, Gelu kind) {
    if (kind == Gelu::Exact)
        return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x), th = std::tanh(u);
    return 0.5 * (1 + th) + 0.5 * x * (1 - th * th) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}
Doubles each(Doubles x, double (*f)(double, Gelu), Gelu kind) {
    for (double& value : x) value = f(value, kind);
    return x;
}

struct Shape {
    int N, F;
    bool in_place, no_bias = false;
};

// Outputs are held against the size of 16 elements: in one row the large values would hide the others.
constexpr size_t ROW = 16;

// Normal values, and one in each of the first rows where the gate is 0 or 1, or where a cube overflows.
template <class Real>
std::vector<Real> inputs(size_t n) {
    std::vector<Real> x = normal_values<Real>(n, 1, 2.0);
    const double FAR[] = {0, -6, 6, -12, 12, -100, 100, -1e15, 1e15, 1e30, -1e30};
    for (size_t i = 0; i < std::size(FAR) && i * ROW + 3 < n; ++i) x[i * ROW + 3] = rounded<Real>(FAR[i]);
    return x;
}

template <class Real>
std::string name_of(const char* operation, Gelu kind) {
    return format_text("%s %s %s", operation, TYPE_NAME<Real>, kind == Gelu::Tanh ? "tanh" : "exact");
}

template <class Real>
Case forward_case(Gelu kind, size_t n) {
    Case result;
    result.name = name_of<Real>("gelu_forward", kind) + format_text(" n=%d", n);
    result.bytes = static_cast<double>(2 * n * sizeof(Real));
    const Once<Doubles> formula;
    result.make = [=] {
        const Tensor<Real> inp(inputs<Real>(n)), out(n);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) { backend::gelu_forward<Real>(out, inp, n, kind, stream); };
        instance.check = [=] {
            const Doubles& want = formula([&] { return each(doubles(inp.first()), gelu, kind); });
            return Outputs{{"out", ROW, tolerance<Real>(4e-3, 1e-6), out.doubles(), want}};
        };
        return instance;
    };
    return result;
}

// Measured: 1.3e-6 on the CPU, which adds up 8300 rows one after another, 2e-7 in CUDA.
template <class Real>
constexpr double SUM_TOLERANCE = stat_tolerance<Real>(ON_CPU ? 3e-6 : 1e-6);

// dbias begins with another gradient in it, to which the sums of dinp's columns are added: of dinp as it came out.
template <class Real>
Case backward_case(Gelu kind, const Shape& s) {
    Case result;
    const size_t n = product(s.N, s.F), columns = static_cast<size_t>(s.F);
    result.name = name_of<Real>("gelu_backward", kind) +
                  format_text(" N=%d F=%d%s%s", s.N, s.F, s.in_place ? " in place" : "", s.no_bias ? " no bias" : "");
    result.bytes = static_cast<double>(3 * n * sizeof(Real));
    const Once<Doubles> formula;
    result.make = [=] {
        const Tensor<Real> inp(inputs<Real>(n)), dout(normal_values<Real>(n, 2)),
            dinp = s.in_place ? dout : Tensor<Real>(n);
        const Tensor<Stat<Real>> dbias(normal_values<Stat<Real>>(columns, 3)), summed(dbias.first());
        const Tensor<char> scratch(backend::bias_backward_scratch(s.N, s.F));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) dout.reset(), dbias.reset();
            Stat<Real>* const sums = s.no_bias ? nullptr : static_cast<Stat<Real>*>(dbias);
            backend::gelu_backward<Real>(dinp, sums, scratch, inp, dout, s.N, s.F, kind, stream);
        };
        instance.check = [=] {
            const Doubles& want = formula([&] {
                Doubles slope = each(doubles(inp.first()), gelu_slope, kind);
                for (size_t i = 0; i < n; ++i) slope[i] *= to_double(dout.first()[i]);
                return slope;
            });
            const Doubles got = dinp.doubles();
            if (s.no_bias) return Outputs{{"dinp", ROW, tolerance<Real>(4e-3, 3e-6), got, want}};
            Doubles sums = doubles(dbias.first());
            for (size_t i = 0; i < n; ++i) sums[i % columns] += got[i];
            summed.reset();
            backend::bias_backward<Real>(summed, nullptr, scratch, dinp, s.N, s.F, case_stream());
            return Outputs{{"dinp", ROW, tolerance<Real>(4e-3, 3e-6), got, want},
                           {"dbias", columns, SUM_TOLERANCE<Real>, dbias.doubles(), sums},
                           {"dbias: that of bias_backward", 1, 0, dbias.doubles(), summed.doubles()}};
        };
        return instance;
    };
    return result;
}

// Every bf16 with 2^-60 <= |x| <= 12: out within a rounding of its own size (2^-8), also where it is 1e-32; the slope
// within one of its neighbours' size, because it passes through 0. Measured: 3.9e-3 both. The tanh form up to 5, where
// the formula above has lost half of its digits.
template <class Real>
Case every_value_case(Gelu kind) {
    Case result;
    const double limit = kind == Gelu::Exact ? 12 : 5;
    result.name = name_of<Real>("gelu", kind) + " every value";
    const Once<std::pair<Doubles, Doubles>> formula;
    result.make = [=] {
        std::vector<Real> x;
        for (const int sign : {-1, 1})
            for (int exponent = -60; exponent < 4; ++exponent)
                for (int i = 128; i < 256; ++i)
                    if (const double value = std::ldexp(sign * i, exponent - 7); std::abs(value) <= limit)
                        x.push_back(rounded<Real>(value));
        x.resize((x.size() + 7) / 8 * 8, x.back());
        const Tensor<Real> inp(x), out(x.size()), slope(std::vector<Real>(x.size(), rounded<Real>(1)));
        const Tensor<Stat<Real>> dbias(8);
        const int N = static_cast<int>(x.size() / 8);
        const Tensor<char> scratch(backend::bias_backward_scratch(N, 8));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            slope.reset();
            backend::gelu_forward<Real>(out, inp, inp.size(), kind, stream);
            backend::gelu_backward<Real>(slope, dbias, scratch, inp, slope, N, 8, kind, stream);
        };
        instance.check = [=] {
            const auto& [values, slopes] = formula([&] {
                return std::pair{each(doubles(inp.first()), gelu, kind), each(doubles(inp.first()), gelu_slope, kind)};
            });
            return Outputs{{"out", 1, 3.95e-3, out.doubles(), values},
                           {"slope", ROW, 3.95e-3, slope.doubles(), slopes}};
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> gelu_cases() {
    std::vector<Case> cases;
    for (const Gelu kind : {Gelu::Tanh, Gelu::Exact}) {
        const auto f = [=](const Doubles& x) { return each(x, gelu, kind); };
        const Doubles x = normal_doubles(60, 3);
        cases.push_back(gradient_case(kind == Gelu::Tanh ? "gelu tanh" : "gelu exact", f, x, Doubles(60, 1),
                                      each(x, gelu_slope, kind)));
        for_each_real([&](auto real) {
            using Real = decltype(real);
            for (const size_t n : {1, 7, 8, 997, 4 * 61 * 264}) cases.push_back(forward_case<Real>(kind, n));
            // one pack; tails of a tile's columns and of a chunk's rows, in chunks of 16 rows and of more
            std::vector<Shape> shapes = {{1, 8, false},    {1, 136, true},   {16, 64, false}, {16, 64, true, true},
                                         {61, 1056, true}, {100, 128, true}, {8300, 8, true}};
            if (ON_CPU) shapes.insert(shapes.end(), {{1, 1, false}, {1, 997, false}, {7, 61, true}});
            for (const Shape& s : shapes) cases.push_back(backward_case<Real>(kind, s));
            if (sizeof(Real) == 2) cases.push_back(every_value_case<Real>(kind));
        });
    }
    return cases;
}

std::vector<Case> gelu_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    if (step.llama()) return cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        const Gelu own = step.neox ? Gelu::Exact : Gelu::Tanh;
        const int N = step.N(), F = 4 * step.C;
        for (const Gelu kind : {Gelu::Exact, Gelu::Tanh})
            for (Case c : {forward_case<Real>(kind, product(N, F)), backward_case<Real>(kind, {N, F, true})}) {
                c.calls = kind == own ? step.L : 0;
                if (ON_CPU || kind == own) cases.push_back(std::move(c));
            }
    });
    return cases;
}
