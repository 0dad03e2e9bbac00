// matmul_cases.cpp - the linear layers: forward with and without bias, backward with and without dinp and dbias.
#include <algorithm>

#include "kernels/matmul_context.h"
#include "test/cases/case.h"
#include "test/kernel_reference.h"

namespace {

using reference::Doubles;

// Relative to a row of the output. Rounding to bf16 is off by up to 3.9e-3, measured 3.2e-3 in a row of 8; sums in
// float, measured 4.2e-7 at K = 384.
template <class T>
constexpr double TOLERANCE = sizeof(T) == 2 ? 4e-3 : 1e-6;
constexpr double SUM_TOLERANCE = 1e-6;

// For the timed shapes, where values made one by one would take longer than the timing: the first million repeated.
template <class T>
std::vector<T> many_values(size_t n, uint64_t seed, double deviation) {
    constexpr size_t PERIOD = 1 << 20;
    std::vector<T> values = normal_values<T>(std::min(n, PERIOD), seed, deviation);
    values.resize(n);
    for (size_t i = PERIOD; i < n; ++i) values[i] = values[i - PERIOD];
    return values;
}

std::string shape_name(int N, int C, int OC) {
    return " N=" + std::to_string(N) + " C=" + std::to_string(C) + " OC=" + std::to_string(OC);
}

size_t product(int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); }

template <class T>
Case forward_case(int N, int C, int OC, bool with_bias, bool timed = false) {
    Case result;
    result.name = std::string("matmul_forward ") + type_name<T>() + shape_name(N, C, OC) + (with_bias ? " bias" : "");
    result.bytes =
        static_cast<double>(sizeof(T)) * static_cast<double>(product(N, C) + product(OC, C) + product(N, OC));
    result.flops = 2.0 * N * C * OC;
    result.timed = timed;
    result.make = [=]() -> Instance {
        const auto inp = many_values<T>(product(N, C), 1, 1), weight = many_values<T>(product(OC, C), 2, 0.02),
                   bias = many_values<T>(with_bias ? product(1, OC) : 0, 3, 0.1);
        const auto d_inp = device_copy(inp), d_weight = device_copy(weight), d_bias = device_copy(bias);
        const auto out = std::make_shared<DeviceArray<T>>(product(N, OC));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            gpu::matmul_forward<T>(out->get(), d_inp->get(), d_weight->get(), with_bias ? d_bias->get() : nullptr, N, C,
                                   OC, stream);
        };
        if (timed) return instance;
        const Doubles want = reference::matmul_forward(doubles(inp), doubles(weight), doubles(bias), N, C, OC);
        instance.check = [=] {
            return std::vector<Output>{{"out", static_cast<size_t>(OC), TOLERANCE<T>, host_doubles(*out), want}};
        };
        return instance;
    };
    return result;
}

// A row's bits are its own: the same rows in other places give the same outputs, in other places.
template <class T>
Case moved_rows_case(int N, int C, int OC, int shift) {
    Case result;
    result.name = std::string("matmul_forward ") + type_name<T>() + shape_name(N, C, OC) + " rows in other places";
    result.make = [=]() -> Instance {
        const auto inp = many_values<T>(product(N, C), 1, 1), weight = many_values<T>(product(OC, C), 2, 0.02);
        std::vector<T> moved(inp.begin() + static_cast<ptrdiff_t>(product(shift, C)), inp.end());
        moved.insert(moved.end(), inp.begin(), inp.begin() + static_cast<ptrdiff_t>(product(shift, C)));
        const auto d_inp = device_copy(inp), d_moved = device_copy(moved), d_weight = device_copy(weight);
        const auto out = std::make_shared<DeviceArray<T>>(product(N, OC)),
                   moved_out = std::make_shared<DeviceArray<T>>(product(N, OC));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            const T* no_bias = nullptr;
            gpu::matmul_forward<T>(out->get(), d_inp->get(), d_weight->get(), no_bias, N, C, OC, stream);
            gpu::matmul_forward<T>(moved_out->get(), d_moved->get(), d_weight->get(), no_bias, N, C, OC, stream);
        };
        instance.check = [=] {
            const Doubles all = host_doubles(*out);
            const auto begin = all.begin() + static_cast<ptrdiff_t>(product(shift, OC));
            Doubles want(begin, all.end());
            want.insert(want.end(), all.begin(), begin);
            return std::vector<Output>{{"out", static_cast<size_t>(OC), 0, host_doubles(*moved_out), want}};
        };
        return instance;
    };
    return result;
}

// dweight and dbias begin with other gradients in them, to which theirs are added.
template <class T>
Case backward_case(int N, int C, int OC, bool with_dinp, bool with_dbias, bool timed = false) {
    Case result;
    result.name = std::string("matmul_backward ") + type_name<T>() + shape_name(N, C, OC) +
                  (with_dinp ? "" : " no dinp") + (with_dbias ? " dbias" : "");
    const size_t operands = product(N, OC) + product(N, C) + (with_dinp ? product(N, C) + product(OC, C) : 0);
    result.bytes = static_cast<double>(sizeof(T) * operands + 2 * sizeof(float) * product(OC, C));
    result.flops = (with_dinp ? 4.0 : 2.0) * N * C * OC;
    result.timed = timed;
    result.make = [=]() -> Instance {
        const auto inp = many_values<T>(product(N, C), 1, 1), weight = many_values<T>(product(OC, C), 2, 0.02),
                   dout = many_values<T>(product(N, OC), 3, 1);
        const auto dweight = many_values<float>(product(OC, C), 4, 1), dbias = many_values<float>(product(1, OC), 5, 1);
        const auto d_inp = device_copy(inp), d_weight = device_copy(weight), d_dout = device_copy(dout);
        const auto d_dinp = std::make_shared<DeviceArray<T>>(product(N, C));
        const auto d_dweight = device_copy(dweight), d_dbias = device_copy(dbias);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool fresh) {
            if (fresh) {
                copy_to_device(d_dweight->get(), dweight.data(), dweight.size());
                copy_to_device(d_dbias->get(), dbias.data(), dbias.size());
            }
            gpu::matmul_backward<T>(with_dinp ? d_dinp->get() : nullptr, d_dweight->get(),
                                    with_dbias ? d_dbias->get() : nullptr, d_dout->get(), d_inp->get(), d_weight->get(),
                                    N, C, OC, stream);
        };
        if (timed) return instance;
        reference::MatmulGradients want =
            reference::matmul_backward(doubles(dout), doubles(inp), doubles(weight), N, C, OC);
        for (size_t i = 0; i < dweight.size(); ++i) want.weight[i] += static_cast<double>(dweight[i]);
        for (size_t i = 0; i < dbias.size(); ++i)
            want.bias[i] = static_cast<double>(dbias[i]) + (with_dbias ? want.bias[i] : 0);
        if (!with_dinp) std::fill(want.inp.begin(), want.inp.end(), 0.0);
        instance.check = [=] {
            const size_t columns = static_cast<size_t>(C);
            return std::vector<Output>{
                {"dinp", columns, TOLERANCE<T>, host_doubles(*d_dinp), want.inp},
                {"dweight", columns, SUM_TOLERANCE, host_doubles(*d_dweight), want.weight},
                {"dbias", static_cast<size_t>(OC), with_dbias ? SUM_TOLERANCE : 0, host_doubles(*d_dbias), want.bias}};
        };
        return instance;
    };
    return result;
}

template <class T>
void add_cases(std::vector<Case>* cases) {
    const int shapes[][3] = {{1, 8, 8},     {1, 64, 24},    {3, 16, 8},  {7, 8, 40},
                             {61, 24, 136}, {64, 128, 384}, {130, 64, 8}};
    for (const auto& [N, C, OC] : shapes) {
        cases->push_back(forward_case<T>(N, C, OC, true));
        cases->push_back(forward_case<T>(N, C, OC, false));
        cases->push_back(backward_case<T>(N, C, OC, true, true));
        cases->push_back(backward_case<T>(N, C, OC, false, true));
        cases->push_back(backward_case<T>(N, C, OC, true, false));
    }
    // a pass of questions and a tile of the head: on a GPU, products of several waves
    cases->push_back(moved_rows_case<T>(1031, 64, 192, 517));
    cases->push_back(moved_rows_case<T>(256, 96, 1024, 65));
}

// The four layers of a block of Pythia 70M, then its head on one chunk of rows.
template <class T>
void add_timed_cases(std::vector<Case>* cases) {
    constexpr int N = 32 * 2048, C = 512, HEAD_ROWS = 8192, V = 50304;
    const int layers[][2] = {{C, 3 * C}, {C, C}, {C, 4 * C}, {4 * C, C}};
    for (const auto& [inputs, outputs] : layers) {
        cases->push_back(forward_case<T>(N, inputs, outputs, true, true));
        cases->push_back(backward_case<T>(N, inputs, outputs, true, true, true));
    }
    cases->push_back(forward_case<T>(HEAD_ROWS, C, V, false, true));
    cases->push_back(backward_case<T>(HEAD_ROWS, C, V, true, false, true));
}

}  // namespace

std::vector<Case> matmul_cases() {
    std::vector<Case> cases;
    add_cases<bf16>(&cases);
    add_cases<float>(&cases);
    add_timed_cases<bf16>(&cases);
    add_timed_cases<float>(&cases);
    return cases;
}
