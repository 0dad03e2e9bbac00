// rotary_cases.cpp - the table of angles, and the rotation with every width of access that CUDA has: R/2 a multiple of
// 16 bytes, of 8 bytes, of neither; R = HS and R < HS.
#include <algorithm>
#include <cmath>

#include "test/cases/case.h"

namespace {

constexpr double BASE = 10000;

Doubles table_values(int P, int R) {
    Doubles table(product(P, R));
    for (int p = 0; p < P; ++p)
        for (int i = 0; i < R / 2; ++i) {
            const double angle = p * std::pow(BASE, -2.0 * i / R);
            double* row = &table[product(p, R)];
            row[i] = std::cos(angle);
            row[R / 2 + i] = std::sin(angle);
        }
    return table;
}

// qkv (N, NH+2KV, HS); sign -1: the inverse.
Doubles rotate(Doubles qkv, const Ints& positions, int NH, int KV, int HS, int R, double sign) {
    for (size_t n = 0; n < positions.size(); ++n)
        for (int head = 0; head < NH + KV; ++head)  // q's, then k's
            for (int i = 0; i < R / 2; ++i) {
                const double angle = sign * positions[n] * std::pow(BASE, -2.0 * i / R);
                double* x = &qkv[(n * static_cast<size_t>(NH + 2 * KV) + static_cast<size_t>(head)) * size_t(HS)];
                const double u = x[i], w = x[i + R / 2];
                x[i] = u * std::cos(angle) - w * std::sin(angle);
                x[i + R / 2] = w * std::cos(angle) + u * std::sin(angle);
            }
    return qkv;
}

template <class Real>
Case table_case(int P, int R) {
    Case result;
    result.name = format_text("rotary_table %s P=%d R=%d", TYPE_NAME<Real>, P, R);
    result.make = [=] {
        const Tensor<Real> table(product(P, R));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) { backend::rotary_table<Real>(table, P, R, BASE, stream); };
        instance.check = [=] {
            return Outputs{
                {"table", static_cast<size_t>(R), tolerance<Real>(0, 1e-7), table.doubles(), table_values(P, R)}};
        };
        return instance;
    };
    return result;
}

struct Shape {
    int N, NH, KV, HS, R, P;
};

template <class Real>
Case rotation_case(const Shape& s, bool backward) {
    Case result;
    result.name = format_text("rotary_%s %s N=%d NH=%d%s HS=%d R=%d", backward ? "backward" : "forward",
                              TYPE_NAME<Real>, s.N, s.NH, s.KV == s.NH ? "" : format_text(" KV=%d", s.KV), s.HS, s.R);
    // memory moves 32 bytes at a time; the pairs of a head lie in one piece
    const double piece = std::max(32.0, static_cast<double>(sizeof(Real)) * s.R);
    result.bytes = 2.0 * s.N * (s.NH + s.KV) * piece + sizeof(int) * 1.0 * s.N;
    result.make = [=] {
        const Tensor<Real> qkv(normal_values<Real>(product(s.N, (s.NH + 2 * s.KV) * s.HS), 1));
        const Tensor<int> positions(random_ints(static_cast<size_t>(s.N), s.P, 2));
        const Tensor<Stat<Real>> table(converted<Stat<Real>>(table_values(s.P, s.R)));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) qkv.reset();
            const auto rotation = backward ? backend::rotary_backward<Real> : backend::rotary_forward<Real>;
            rotation(qkv, table, positions, s.N, s.NH, s.KV, s.HS, s.R, stream);
        };
        instance.check = [=] {
            return Outputs{{"qkv", static_cast<size_t>(s.HS), tolerance<Real>(4e-3, 2e-7), qkv.doubles(),
                            rotate(doubles(qkv.first()), positions.first(), s.NH, s.KV, s.HS, s.R, backward ? -1 : 1)}};
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> rotary_cases() {
    std::vector<Case> cases;
    for_each_real([&](auto real) {
        using Real = decltype(real);
        if (sizeof(Real) > 2)  // there is none in bf16
            for (const auto& [P, R] : {std::pair{1, 2}, {61, 10}, {2048, 16}})
                cases.push_back(table_case<Stat<Real>>(P, R));
        std::vector<Shape> shapes = {{1, 1, 1, 8, 2, 1},    {5, 3, 3, 16, 16, 40},    {7, 2, 2, 24, 6, 11},
                                     {61, 4, 4, 32, 8, 61}, {13, 3, 3, 80, 20, 2048}, {37, 8, 8, 64, 16, 2048},
                                     {3, 2, 2, 64, 64, 100}};
        // fewer heads of keys: two of four, one of all, those of Qwen2.5-0.5B
        shapes.insert(shapes.end(), {{7, 4, 2, 24, 6, 11}, {5, 3, 1, 128, 128, 40}, {13, 14, 2, 64, 64, 2048}});
        shapes.push_back({5, 2, 2, 8, 0, 5});  // nothing to turn
        if (ON_CPU) shapes.insert(shapes.end(), {{1, 1, 1, 2, 2, 1}, {62, 3, 3, 10, 6, 31}, {62, 6, 2, 10, 6, 31}});
        for (const bool backward : {false, true})
            for (const Shape& s : shapes) cases.push_back(rotation_case<Real>(s, backward));
    });
    return cases;
}

std::vector<Case> rotary_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    if (!step.neox && !step.llama()) return cases;
    const int KV = step.llama() ? step.KV : step.NH;
    for_each_timed_real(step.full, [&](auto real) {
        for (const bool backward : {false, true}) {
            cases.push_back(
                rotation_case<decltype(real)>({step.N(), step.NH, KV, step.HS(), step.R(), step.T}, backward));
            cases.back().calls = step.L;
            // of Llama-3.2-1B: the whole head, four heads of queries to one of keys
            if (step.full && !step.llama())
                cases.push_back(rotation_case<decltype(real)>({step.N(), 32, 8, 64, 64, step.T}, backward));
        }
    });
    return cases;
}
