// rotary_cases.cpp - the table of angles, and the rotation with every width of access: R/2 a multiple of 16 bytes, of 8
// bytes, of neither; R = HS and R < HS.
#include <cmath>

#include "test/cases/case.h"
#include "test/kernel_reference.h"
#include "util/check.h"

namespace {

constexpr double BASE = 10000;

std::vector<double> table_values(int P, int R) {
    std::vector<double> table(static_cast<size_t>(P) * static_cast<size_t>(R));
    for (int p = 0; p < P; ++p)
        for (int i = 0; i < R / 2; ++i) {
            const double angle = p * std::pow(BASE, -2.0 * i / R);
            double* row = &table[static_cast<size_t>(p) * static_cast<size_t>(R)];
            row[i] = std::cos(angle);
            row[R / 2 + i] = std::sin(angle);
        }
    return table;
}

Case table_case(int P, int R) {
    Case result;
    result.name = format_text("rotary_table P=%d R=%d", P, R);
    result.bytes = static_cast<double>(sizeof(float)) * P * R;
    result.make = [=] {
        const auto table = std::make_shared<DeviceArray<float>>(static_cast<size_t>(P) * static_cast<size_t>(R));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) { gpu::rotary_table(table->get(), P, R, BASE, stream); };
        instance.check = [=] {
            return std::vector<Output>{
                {"table", static_cast<size_t>(R), 1e-7, host_doubles(*table), table_values(P, R)}};
        };
        return instance;
    };
    return result;
}

struct Shape {
    int N, NH, HS, R, P;
    bool timed;
};

template <class T>
Case rotation_case(const Shape& s, bool backward) {
    Case result;
    result.name = format_text("rotary_%s %s N=%d NH=%d HS=%d R=%d", backward ? "backward" : "forward", type_name<T>(),
                              s.N, s.NH, s.HS, s.R);
    // memory moves 32 bytes at a time; the pairs of a head lie in one piece
    result.bytes = 4.0 * s.N * s.NH * std::max(32.0, static_cast<double>(sizeof(T)) * s.R) + sizeof(int) * 1.0 * s.N;
    result.timed = s.timed;
    result.make = [=] {
        const auto qkv = normal_values<T>(static_cast<size_t>(s.N) * 3 * static_cast<size_t>(s.NH * s.HS), 1);
        const auto positions = random_ints(static_cast<size_t>(s.N), s.P, 2);
        const std::vector<double> angles = table_values(s.P, s.R);
        const auto table = device_copy(std::vector<float>(angles.begin(), angles.end()));
        const auto d_qkv = device_copy(qkv);
        const auto d_positions = device_copy(positions);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool fresh) {
            if (fresh) copy_to_device(d_qkv->get(), qkv.data(), qkv.size());
            const auto rotate = backward ? gpu::rotary_backward<T> : gpu::rotary_forward<T>;
            rotate(d_qkv->get(), table->get(), d_positions->get(), s.N, s.NH, s.HS, s.R, stream);
        };
        instance.check = [=] {
            return std::vector<Output>{
                {"qkv", static_cast<size_t>(s.HS), sizeof(T) == 2 ? 4e-3 : 2e-7, host_doubles(*d_qkv),
                 reference::rotary(doubles(qkv), positions, s.N, s.NH, s.HS, s.R, BASE, backward ? -1 : 1)}};
        };
        return instance;
    };
    return result;
}

template <class T>
void add_cases(std::vector<Case>& cases) {
    const Shape SHAPES[] = {
        {1, 1, 8, 2, 1, false},     {5, 3, 16, 16, 40, false},      {7, 2, 24, 6, 11, false},
        {61, 4, 32, 8, 61, false},  {13, 3, 80, 20, 2048, false},   {37, 8, 64, 16, 2048, false},
        {3, 2, 64, 64, 100, false}, {65536, 8, 64, 16, 2048, true}, {65536, 4, 32, 8, 2048, true},
    };
    for (const bool backward : {false, true})
        for (const Shape& s : SHAPES) cases.push_back(rotation_case<T>(s, backward));
}

}  // namespace

std::vector<Case> rotary_cases() {
    std::vector<Case> cases{table_case(1, 2), table_case(61, 10), table_case(2048, 16)};
    add_cases<bf16>(cases);
    add_cases<float>(cases);
    return cases;
}
