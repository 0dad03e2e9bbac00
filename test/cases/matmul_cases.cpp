// matmul_cases.cpp - the linear layers: forward with and without bias, backward with and without dinp and dbias.
#include <algorithm>

#include "test/cases/case.h"

namespace {

// Relative to a row of the output. Rounding to bf16 is off by up to 3.9e-3, measured 3.2e-3 in a row of 8; sums in
// float, measured 1.1e-6 in a row of 7 at K = 1031, of another processor.
template <class Real>
constexpr double TOLERANCE = tolerance<Real>(4e-3, 2e-6);
template <class Real>
constexpr double SUM_TOLERANCE = stat_tolerance<Real>(1e-6);

struct Shape {
    int N, C, OC;
};

// C[m,n] = sum_k A[m,k] B[k,n], element (i,j) of a matrix at i * rows + j * columns.
struct Strides {
    size_t rows, columns;
};
Doubles multiply(const Doubles& a, Strides as, const Doubles& b, Strides bs, size_t M, size_t N, size_t K) {
    Doubles c(M * N);
    for (size_t m = 0; m < M; ++m)
        for (size_t n = 0; n < N; ++n)
            for (size_t k = 0; k < K; ++k)
                c[m * N + n] += a[m * as.rows + k * as.columns] * b[k * bs.rows + n * bs.columns];
    return c;
}
// bias empty: none.
Doubles forward(const Doubles& inp, const Doubles& weight, const Doubles& bias, const Shape& s) {
    const size_t N = static_cast<size_t>(s.N), C = static_cast<size_t>(s.C), OC = static_cast<size_t>(s.OC);
    Doubles out = multiply(inp, {C, 1}, weight, {1, C}, N, OC, C);
    for (size_t i = 0; i < out.size() && !bias.empty(); ++i) out[i] += bias[i % OC];
    return out;
}
struct Gradients {
    Doubles inp, weight, bias;
};
Gradients backward(const Doubles& dout, const Doubles& inp, const Doubles& weight, const Shape& s) {
    const size_t N = static_cast<size_t>(s.N), C = static_cast<size_t>(s.C), OC = static_cast<size_t>(s.OC);
    Gradients d{multiply(dout, {OC, 1}, weight, {C, 1}, N, C, OC), multiply(dout, {1, OC}, inp, {C, 1}, OC, C, N),
                Doubles(OC)};
    for (size_t i = 0; i < dout.size(); ++i) d.bias[i % OC] += dout[i];
    return d;
}

std::string name_of(const char* operation, const char* type, const Shape& s) {
    return format_text("%s %s N=%d C=%d OC=%d", operation, type, s.N, s.C, s.OC);
}

template <class Real>
Case forward_case(const Shape& s, bool with_bias, bool timed = false) {
    Case result;
    result.name = name_of("matmul_forward", TYPE_NAME<Real>, s) + (with_bias ? " bias" : "");
    result.bytes = static_cast<double>(sizeof(Real) * (product(s.N, s.C) + product(s.OC, s.C) + product(s.N, s.OC)));
    result.flops = 2.0 * s.N * s.C * s.OC;
    const Once<Doubles> formula;
    result.make = [=] {
        const Tensor<Real> inp(normal_values<Real>(product(s.N, s.C), 1)),
            weight(normal_values<Real>(product(s.OC, s.C), 2, 0.02)),
            bias(normal_values<Real>(with_bias ? product(1, s.OC) : 0, 3, 0.1)), out(product(s.N, s.OC));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::matmul_forward<Real>(out, inp, weight, bias, s.N, s.C, s.OC, stream);
        };
        if (timed) return instance;
        instance.check = [=] {
            const Doubles& want = formula(
                [&] { return forward(doubles(inp.first()), doubles(weight.first()), doubles(bias.first()), s); });
            return Outputs{{"out", static_cast<size_t>(s.OC), TOLERANCE<Real>, out.doubles(), want}};
        };
        return instance;
    };
    return result;
}

// A row's bits are its own: the same rows in other places give the same outputs, in other places.
template <class Real>
Case moved_rows_case(const Shape& s, int shift) {
    Case result;
    result.name = name_of("matmul_forward", TYPE_NAME<Real>, s) + " rows in other places";
    result.make = [=] {
        const auto rotated = [=](auto rows, int width) {
            std::rotate(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(product(shift, width)), rows.end());
            return rows;
        };
        const Tensor<Real> inp(normal_values<Real>(product(s.N, s.C), 1)), moved(rotated(inp.first(), s.C)),
            weight(normal_values<Real>(product(s.OC, s.C), 2, 0.02)), out(product(s.N, s.OC)),
            moved_out(product(s.N, s.OC));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::matmul_forward<Real>(out, inp, weight, nullptr, s.N, s.C, s.OC, stream);
            backend::matmul_forward<Real>(moved_out, moved, weight, nullptr, s.N, s.C, s.OC, stream);
        };
        instance.check = [=] {
            return Outputs{{"out", static_cast<size_t>(s.OC), 0, moved_out.doubles(), rotated(out.doubles(), s.OC)}};
        };
        return instance;
    };
    return result;
}

// dweight and dbias begin with other gradients in them, to which theirs are added. way: to the bias gradient; "": the
// one that is chosen.
template <class Real>
Case backward_case(const Shape& s, bool with_dinp, bool with_dbias, bool timed = false, const std::string& way = "") {
    Case result;
    result.name = name_of("matmul_backward", TYPE_NAME<Real>, s) + (with_dinp ? "" : " no dinp") +
                  (!way.empty() ? " " + way
                   : with_dbias ? " dbias"
                                : "");
    const size_t operands =
        product(s.N, s.OC) + product(s.N, s.C) + (with_dinp ? product(s.N, s.C) + product(s.OC, s.C) : 0);
    result.bytes = static_cast<double>(sizeof(Real) * operands + 2 * sizeof(Stat<Real>) * product(s.OC, s.C));
    result.flops = (with_dinp ? 4.0 : 2.0) * s.N * s.C * s.OC;
    const Once<Gradients> formula;
    result.make = [=] {
        const Tensor<Real> inp(normal_values<Real>(product(s.N, s.C), 1)),
            weight(normal_values<Real>(product(s.OC, s.C), 2, 0.02)), dout(normal_values<Real>(product(s.N, s.OC), 3)),
            dinp(with_dinp ? product(s.N, s.C) : 0);
        const Tensor<Stat<Real>> dweight(normal_values<Stat<Real>>(product(s.OC, s.C), 4)),
            dbias(normal_values<Stat<Real>>(with_dbias ? product(1, s.OC) : 0, 5));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) dweight.reset(), dbias.reset();
            backend::matmul_backward<Real>(dinp, dweight, dbias, dout, inp, weight, s.N, s.C, s.OC,
                                           way.empty() ? stream : preferring(way, stream));
        };
        if (timed) return instance;
        instance.check = [=] {
            const Gradients& want = formula([&] {
                Gradients d = backward(doubles(dout.first()), doubles(inp.first()), doubles(weight.first()), s);
                for (size_t i = 0; i < dweight.size(); ++i) d.weight[i] += to_double(dweight.first()[i]);
                for (size_t i = 0; i < dbias.size(); ++i) d.bias[i] += to_double(dbias.first()[i]);
                return d;
            });
            const size_t columns = static_cast<size_t>(s.C);
            Outputs outputs{{"dweight", columns, SUM_TOLERANCE<Real>, dweight.doubles(), want.weight}};
            if (with_dinp) outputs.push_back({"dinp", columns, TOLERANCE<Real>, dinp.doubles(), want.inp});
            if (with_dbias)
                outputs.push_back(
                    {"dbias", static_cast<size_t>(s.OC), SUM_TOLERANCE<Real>, dbias.doubles(), want.bias});
            return outputs;
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> matmul_cases() {
    std::vector<Case> cases;
    const Shape small{12, 5, 12};
    const Doubles x = normal_doubles(60, 30), w = normal_doubles(60, 31), dout = normal_doubles(144, 32);
    const Gradients gradients = backward(dout, x, w, small);
    cases.push_back(gradient_case(
        "matmul: dinp", [=](const Doubles& v) { return forward(v, w, {}, small); }, x, dout, gradients.inp));
    cases.push_back(gradient_case(
        "matmul: dweight", [=](const Doubles& v) { return forward(x, v, {}, small); }, w, dout, gradients.weight));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        std::vector<Shape> shapes = {{1, 8, 8},     {1, 64, 24},    {3, 16, 8},  {7, 8, 40},
                                     {61, 24, 136}, {64, 128, 384}, {130, 64, 8}};
        if (ON_CPU)
            shapes.insert(shapes.end(), {{1, 1, 1},
                                         {2, 3, 5},
                                         {17, 31, 37},
                                         {61, 67, 131},
                                         {128, 64, 192},
                                         {37, 7, 1031},
                                         {521, 19, 23},
                                         {14, 600, 32}});
        for (const Shape& s : shapes) {
            cases.push_back(forward_case<Real>(s, true));
            cases.push_back(forward_case<Real>(s, false));
            cases.push_back(backward_case<Real>(s, true, true));
            cases.push_back(backward_case<Real>(s, false, true));
            cases.push_back(backward_case<Real>(s, true, false));
        }
        if (!ON_CPU)
            for (const Shape& s : {shapes[3], Shape{61, 24, 136}, Shape{130, 64, 8}})
                for (const char* way : {"column_sum", "epilogue"})
                    cases.push_back(backward_case<Real>(s, false, true, false, way));
        // a pass of questions and a tile of the head: on a GPU, products of several waves
        cases.push_back(moved_rows_case<Real>({1031, 64, 192}, 517));
        cases.push_back(moved_rows_case<Real>({256, 96, 1024}, 65));
    });
    return cases;
}

// The four products of a layer, then the head on a slice of its rows. On a GPU also the weight gradient alone (few
// tiles and a long sum: its speed hangs on how that is split), and with its bias gradient, each way to the latter.
std::vector<Case> matmul_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        // dbias: other operations compute that of a feed-forward's first layer, and a parallel block's projections'
        const auto add = [&](const Shape& s, bool bias, bool dbias, int calls) {
            for (Case c : {forward_case<Real>(s, bias, true), backward_case<Real>(s, true, dbias, true)}) {
                c.calls = calls;
                cases.push_back(std::move(c));
            }
            if (!ON_CPU && sizeof(Real) == 2) cases.push_back(backward_case<Real>(s, false, false, true));
        };
        const int N = step.N(), C = step.C, rows = step.head_rows;
        if (step.llama()) {  // without biases; gate and up in one
            for (const auto& [inputs, outputs] :
                 {std::pair{C, (step.NH + 2 * step.KV) * step.HS()}, {C, C}, {C, 2 * step.F}, {step.F, C}})
                add({N, inputs, outputs}, false, false, step.L);
            add({rows, C, step.Vp()}, false, false, N / rows);
            return;
        }
        add({N, C, 3 * C}, true, true, step.L);
        add({N, C, C}, true, !step.neox, step.L);
        add({N, C, 4 * C}, true, false, step.L);
        add({N, 4 * C, C}, true, !step.neox, step.L);
        add({rows, C, step.Vp()}, false, false, N / rows);
        for (const auto& [inputs, outputs] : {std::pair{C, 3 * C}, {C, C}, {C, 4 * C}, {4 * C, C}})
            for (const char* way : {"column_sum", "epilogue"})
                if (!ON_CPU) cases.push_back(backward_case<Real>({N, inputs, outputs}, false, true, true, way));
    });
    return cases;
}
