// gelu_cases.cpp - both forms, forward and backward, with tails and values far from 0.
#include "test/cases/case.h"
#include "test/kernel_reference.h"
#include "util/check.h"

namespace {

struct Shape {
    size_t n;
    bool in_place, timed;
};

// Outputs are held against the size of 16 elements: in one row the large values would hide the others.
constexpr size_t ROW = 16;

// Normal values, and one in each of the first rows where the gate is 0 or 1, or where a cube overflows.
template <class T>
std::vector<T> inputs(size_t n) {
    std::vector<T> x = normal_values<T>(n, 1, 2.0);
    const float FAR[] = {0.0f, -6.0f, 6.0f, -12.0f, 12.0f, -100.0f, 100.0f, -1e15f, 1e15f, 1e30f, -1e30f};
    for (size_t i = 0; i < std::size(FAR) && i * ROW + 3 < n; ++i) x[i * ROW + 3] = static_cast<T>(FAR[i]);
    return x;
}

template <class T>
std::string name_of(const char* kernel, Gelu kind, const Shape& s) {
    return format_text("%s %s %s n=%zu%s", kernel, type_name<T>(), kind == Gelu::Tanh ? "tanh" : "exact", s.n,
                       s.in_place ? " in place" : "");
}

template <class T>
Case forward_case(Gelu kind, const Shape& s) {
    Case result;
    result.name = name_of<T>("gelu_forward", kind, s);
    result.bytes = static_cast<double>(2 * s.n * sizeof(T));
    result.timed = s.timed;
    result.make = [=] {
        const std::vector<T> inp = inputs<T>(s.n);
        const auto d_inp = device_copy(inp);
        const auto out = std::make_shared<DeviceArray<T>>(s.n);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            gpu::gelu_forward<T>(out->get(), d_inp->get(), s.n, kind, stream);
        };
        instance.check = [=] {
            std::vector<double> want = doubles(inp);
            for (double& x : want) x = reference::gelu(x, kind == Gelu::Exact);
            return std::vector<Output>{{"out", ROW, sizeof(T) == 2 ? 4e-3 : 1e-6, host_doubles(*out), want}};
        };
        return instance;
    };
    return result;
}

template <class T>
Case backward_case(Gelu kind, const Shape& s) {
    Case result;
    result.name = name_of<T>("gelu_backward", kind, s);
    result.bytes = static_cast<double>(3 * s.n * sizeof(T));
    result.timed = s.timed;
    result.make = [=] {
        const std::vector<T> inp = inputs<T>(s.n), dout = normal_values<T>(s.n, 2);
        const auto d_inp = device_copy(inp), d_dout = device_copy(dout);
        const auto dinp = s.in_place ? d_dout : std::make_shared<DeviceArray<T>>(s.n);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool fresh) {
            if (fresh) copy_to_device(d_dout->get(), dout.data(), dout.size());
            gpu::gelu_backward<T>(dinp->get(), d_inp->get(), d_dout->get(), s.n, kind, stream);
        };
        instance.check = [=] {
            std::vector<double> want = doubles(dout);
            for (size_t i = 0; i < want.size(); ++i)
                want[i] *= reference::gelu_slope(static_cast<double>(static_cast<float>(inp[i])), kind == Gelu::Exact);
            return std::vector<Output>{{"dinp", ROW, sizeof(T) == 2 ? 4e-3 : 3e-6, host_doubles(*dinp), want}};
        };
        return instance;
    };
    return result;
}

template <class T>
void add_cases(std::vector<Case>& cases) {
    const Shape SHAPES[] = {
        {1, false, false},
        {7, false, false},
        {8, true, false},
        {997, false, false},
        {4 * 61 * 264, true, false},
        {size_t(65536) * 4 * 512, true, true},  // Pythia 70M
        {size_t(65536) * 4 * 128, true, true},  // Pythia 14M
        {size_t(32768) * 4 * 768, true, true},  // GPT-2 124M
    };
    for (const Gelu kind : {Gelu::Tanh, Gelu::Exact})
        for (const Shape& s : SHAPES) {
            if (s.timed && (kind == Gelu::Tanh) != (s.n == size_t(32768) * 4 * 768)) continue;
            cases.push_back(forward_case<T>(kind, {s.n, false, s.timed}));
            cases.push_back(backward_case<T>(kind, s));
        }
}

}  // namespace

std::vector<Case> gelu_cases() {
    std::vector<Case> cases;
    add_cases<bf16>(cases);
    add_cases<float>(cases);
    return cases;
}
