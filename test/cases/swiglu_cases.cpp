// swiglu_cases.cpp - forward and backward, with tails, values far from 0, NaN and infinities. Another launch in each
// case shows that a row alone gives the same bits.
#include <cmath>
#include <limits>

#include "test/cases/case.h"

namespace {

constexpr double INF = std::numeric_limits<double>::infinity(), NOT_A_NUMBER = std::numeric_limits<double>::quiet_NaN();

// inp (N, 2F): gates, then what they scale.
Doubles swiglu(const Doubles& inp, size_t F) {
    const size_t N = inp.size() / (2 * F);
    Doubles out(N * F);
    for (size_t n = 0; n < N; ++n)
        for (size_t f = 0; f < F; ++f) {
            const double gate = inp[n * 2 * F + f], up = inp[n * 2 * F + F + f];
            out[n * F + f] = gate * (1 / (1 + std::exp(-gate))) * up;
        }
    return out;
}
Doubles gradient_of(const Doubles& dout, const Doubles& inp, size_t F) {
    Doubles d(inp.size());
    for (size_t n = 0; n < inp.size() / (2 * F); ++n)
        for (size_t f = 0; f < F; ++f) {
            const double gate = inp[n * 2 * F + f], up = inp[n * 2 * F + F + f], dy = dout[n * F + f];
            const double s = 1 / (1 + std::exp(-gate)), not_s = 1 / (1 + std::exp(gate));
            d[n * 2 * F + f] = dy * up * (s + gate * s * not_s);
            d[n * 2 * F + F + f] = dy * gate * s;
        }
    return d;
}

// Outputs are held against the size of 16 elements: in one row the large values would hide the others.
constexpr size_t ROW = 16;

// Normal values, and in each of the first rows a gate where the sigmoid is 0 or 1 or its exponential overflows.
template <class Real>
std::vector<Real> inputs(int N, int F) {
    const size_t width = static_cast<size_t>(F);
    std::vector<Real> x = normal_values<Real>(product(N, 2 * F), 1, 2.0);
    const double FAR[] = {0, -6, 6, -20, 20, -88, 88, -100, 100, -1e15, 1e15, 1e30, -1e30};
    for (size_t i = 0; i < std::size(FAR); ++i)
        if (const size_t at = i * ROW + 3; at < product(N, F))
            x[at / width * 2 * width + at % width] = rounded<Real>(FAR[i]);
    return x;
}

template <class Real>
Case forward_case(int N, int F, bool timed = false) {
    Case result;
    result.name = format_text("swiglu_forward %s N=%d F=%d", TYPE_NAME<Real>, N, F);
    result.bytes = static_cast<double>(3 * product(N, F) * sizeof(Real));
    const Once<Doubles> formula;
    result.make = [=] {
        const size_t width = static_cast<size_t>(F), middle = static_cast<size_t>(N) / 2;
        const Tensor<Real> inp(inputs<Real>(N, F)), out(product(N, F)), alone(width);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::swiglu_forward<Real>(out, inp, N, F, stream);
            if (!timed) backend::swiglu_forward<Real>(alone, inp + middle * 2 * width, 1, F, stream);
        };
        if (timed) return instance;
        instance.check = [=] {
            const Doubles& want = formula([&] { return swiglu(doubles(inp.first()), static_cast<size_t>(F)); });
            return Outputs{{"out", ROW, tolerance<Real>(4e-3, 1e-6), out.doubles(), want},
                           one_row("out", alone, out, middle)};
        };
        return instance;
    };
    return result;
}

template <class Real>
Case backward_case(int N, int F, bool in_place, bool timed = false) {
    Case result;
    result.name = format_text("swiglu_backward %s N=%d F=%d%s", TYPE_NAME<Real>, N, F, in_place ? " in place" : "");
    result.bytes = static_cast<double>(5 * product(N, F) * sizeof(Real));
    const Once<Doubles> formula;
    result.make = [=] {
        const Tensor<Real> inp(inputs<Real>(N, F)), dout(normal_values<Real>(product(N, F), 2)),
            dinp = in_place ? inp : Tensor<Real>(inp.size());
        const size_t width = static_cast<size_t>(F), middle = static_cast<size_t>(N) / 2;
        const Tensor<Real> row(part(inp.first(), middle * 2 * width, 2 * width)),  // the one in the middle
            alone = in_place ? row : Tensor<Real>(2 * width);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) inp.reset(), row.reset();
            backend::swiglu_backward<Real>(dinp, inp, dout, N, F, stream);
            if (!timed) backend::swiglu_backward<Real>(alone, row, dout + middle * width, 1, F, stream);
        };
        if (timed) return instance;
        instance.check = [=] {
            const Doubles& want = formula(
                [&] { return gradient_of(doubles(dout.first()), doubles(inp.first()), static_cast<size_t>(F)); });
            return Outputs{{"dinp", ROW, tolerance<Real>(4e-3, 1e-6), dinp.doubles(), want},
                           one_row("dinp", alone, dinp, middle)};
        };
        return instance;
    };
    return result;
}

// Every bf16 gate with 2^-60 <= |x| <= 80: out within a rounding of its own size (2^-8), also where it is 1e-33; the
// slope within one of its neighbours' size, because it passes through 0.
template <class Real>
Case every_gate_case() {
    Case result;
    result.name = format_text("swiglu %s every gate", TYPE_NAME<Real>);
    const Once<std::pair<Doubles, Doubles>> formula;
    result.make = [=] {
        constexpr size_t F = 16;
        std::vector<Real> gates;
        for (const int sign : {-1, 1})
            for (int exponent = -60; exponent < 7; ++exponent)
                for (int i = 128; i < 256; ++i)
                    if (const double value = std::ldexp(sign * i, exponent - 7); std::abs(value) <= 80)
                        gates.push_back(rounded<Real>(value));
        gates.resize((gates.size() + F - 1) / F * F, gates.back());
        std::vector<Real> first;
        for (size_t i = 0; i < gates.size(); i += F) {
            first.insert(first.end(), &gates[i], &gates[i] + F);
            first.insert(first.end(), F, rounded<Real>(1));
        }
        const Tensor<Real> inp(first), dout(std::vector<Real>(gates.size(), rounded<Real>(1))), out(gates.size()),
            dinp(first.size());
        const int N = static_cast<int>(gates.size() / F);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::swiglu_forward<Real>(out, inp, N, F, stream);
            backend::swiglu_backward<Real>(dinp, inp, dout, N, F, stream);
        };
        instance.check = [=] {
            const auto& [values, gradient] = formula([&] {
                const Doubles x = doubles(inp.first());
                return std::pair{swiglu(x, F), gradient_of(doubles(dout.first()), x, F)};
            });
            return Outputs{{"out", 1, 3.95e-3, out.doubles(), values}, {"slope", F, 3.95e-3, dinp.doubles(), gradient}};
        };
        return instance;
    };
    return result;
}

// NaN and infinities in either half or in dout, each on its own, come out where the arithmetic says, and nowhere else.
template <class Real>
Case special_values_case() {
    Case result;
    result.name = format_text("swiglu %s NaN and infinities", TYPE_NAME<Real>);
    result.make = [=] {
        constexpr size_t N = 3, F = 24;
        std::vector<Real> first = normal_values<Real>(N * 2 * F, 1), gradient = normal_values<Real>(N * F, 2);
        const double SPECIAL[] = {NOT_A_NUMBER, INF, -INF};
        for (size_t n = 0; n < N; ++n) {
            first[n * 2 * F + 1] = rounded<Real>(SPECIAL[n]);       // a gate
            first[n * 2 * F + F + 10] = rounded<Real>(SPECIAL[n]);  // an up
            gradient[n * F + 19] = rounded<Real>(SPECIAL[n]);
        }
        const Tensor<Real> inp(first), dout(gradient), out(N * F), dinp(N * 2 * F);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::swiglu_forward<Real>(out, inp, N, F, stream);
            backend::swiglu_backward<Real>(dinp, inp, dout, N, F, stream);
        };
        instance.check = [=] {
            const Doubles x = doubles(inp.first());
            return Outputs{{"out", 1, tolerance<Real>(4e-3, 1e-6), finite(out.doubles()), finite(swiglu(x, F))},
                           {"dinp", 1, tolerance<Real>(4e-3, 1e-5), finite(dinp.doubles()),
                            finite(gradient_of(doubles(dout.first()), x, F))}};
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> swiglu_cases() {
    std::vector<Case> cases;
    const Doubles x = normal_doubles(60, 3), dout = normal_doubles(30, 4);
    cases.push_back(gradient_case(
        "swiglu", [](const Doubles& v) { return swiglu(v, 6); }, x, dout, gradient_of(dout, x, 6)));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        // one pack; less than a block of threads, more; a row that is no multiple of a warp's
        std::vector<std::pair<int, int>> shapes = {{1, 8}, {7, 24}, {61, 264}, {13, 1024}, {5, 4104}, {2050, 8}};
        if (ON_CPU) shapes.insert(shapes.end(), {{1, 1}, {1, 997}, {7, 61}, {501, 37}});
        for (const auto& [N, F] : shapes) {
            cases.push_back(forward_case<Real>(N, F));
            cases.push_back(backward_case<Real>(N, F, false));
        }
        cases.push_back(backward_case<Real>(61, 264, true));
        cases.push_back(special_values_case<Real>());
        if (sizeof(Real) == 2) cases.push_back(every_gate_case<Real>());
    });
    return cases;
}

std::vector<Case> swiglu_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    if (!step.llama()) return cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        for (Case c :
             {forward_case<Real>(step.N(), step.F, true), backward_case<Real>(step.N(), step.F, false, true)}) {
            c.calls = step.L;
            cases.push_back(std::move(c));
        }
    });
    return cases;
}
