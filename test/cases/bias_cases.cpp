// bias_cases.cpp - the sums over rows that are the gradient of one bias, or of two.
#include "test/cases/case.h"

namespace {

struct Shape {
    int N, OC;
};

// Measured: 1.3e-6 on the CPU, which adds up 8300 rows one after another, 2e-7 in CUDA.
template <class Real>
constexpr double SUM_TOLERANCE = stat_tolerance<Real>(ON_CPU ? 3e-6 : 1e-6);

// Both begin with other gradients in them, to which the sums are added.
template <class Real>
Case backward_case(const Shape& s, bool two) {
    Case result;
    result.name = format_text("bias_backward %s N=%d OC=%d%s", TYPE_NAME<Real>, s.N, s.OC, two ? " two biases" : "");
    result.bytes = static_cast<double>(product(s.N, s.OC) * sizeof(Real));
    const Once<Doubles> formula;
    result.make = [=] {
        const size_t columns = static_cast<size_t>(s.OC);
        const Tensor<Real> dout(normal_values<Real>(product(s.N, s.OC), 1));
        const Tensor<Stat<Real>> dbias(normal_values<Stat<Real>>(columns, 2)),
            also(normal_values<Stat<Real>>(two ? columns : 0, 3));
        const Tensor<char> scratch(backend::bias_backward_scratch(s.N, s.OC));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) dbias.reset(), also.reset();
            backend::bias_backward<Real>(dbias, also, scratch, dout, s.N, s.OC, stream);
        };
        instance.check = [=] {
            const Doubles& sums = formula([&] {
                Doubles sums(columns);
                for (size_t i = 0; i < dout.size(); ++i) sums[i % columns] += to_double(dout.first()[i]);
                return sums;
            });
            Outputs outputs;
            const auto check = [&](const char* name, const Tensor<Stat<Real>>& to) {
                Doubles want = doubles(to.first());
                for (size_t i = 0; i < want.size(); ++i) want[i] += sums[i];
                outputs.push_back({name, columns, SUM_TOLERANCE<Real>, to.doubles(), want});
            };
            check("dbias", dbias);
            if (two) check("also", also);
            return outputs;
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> bias_cases() {
    std::vector<Case> cases;
    for_each_real([&](auto real) {
        using Real = decltype(real);
        // a tile of columns is 128 of bf16 and 64 of float, a chunk of rows 16 and, from 8193 rows on, more
        std::vector<Shape> shapes = {{1, 8}, {7, 40}, {61, 136}, {130, 64}, {8300, 8}};
        if (ON_CPU) shapes.insert(shapes.end(), {{1, 1}, {37, 7}, {61, 131}});
        for (const Shape& s : shapes)
            for (const bool two : {false, true}) cases.push_back(backward_case<Real>(s, two));
    });
    return cases;
}

std::vector<Case> bias_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    if (step.llama()) return cases;
    for_each_timed_real(step.full, [&](auto real) {
        cases.push_back(backward_case<decltype(real)>({step.N(), step.C}, true));
        cases.back().calls = step.neox ? step.L : 0;
    });
    return cases;
}
