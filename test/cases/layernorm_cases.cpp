// layernorm_cases.cpp - layer norm in all its forms, with every team that a row can have (kernels/layernorm.cuh): the
// widths below fill one of them for bf16, another for float. Two more launches in each forward case show what gpu.h
// promises about bits: from the written residual, and for one row alone.
#include <cmath>

#include "test/cases/case.h"
#include "test/kernel_reference.h"
#include "util/check.h"

namespace {

constexpr float EPS = 1e-5f;
constexpr double EXACT = 1e-30;

struct Forward {
    int N, C, terms;  // x = a, a + b, a + b + c
    bool second;      // two affine outputs
    bool in_place;    // residual is a
    double offset;    // added to a: a mean far from 0 must cost no digits
    bool timed;
};

template <class T>
Case forward_case(const Forward& s) {
    Case result;
    result.name = format_text("layernorm_forward %s N=%d C=%d terms=%d outputs=%d%s%s", type_name<T>(), s.N, s.C,
                              s.terms, 1 + s.second, s.in_place ? " in place" : "", s.offset != 0 ? " offset" : "");
    const size_t N = static_cast<size_t>(s.N), C = static_cast<size_t>(s.C), NC = N * C;
    const int tensors = s.terms + (s.terms > 1) + 1 + s.second;
    result.bytes = static_cast<double>(NC * sizeof(T)) * tensors + 2.0 * sizeof(float) * s.N;
    result.timed = s.timed;
    result.make = [=] {
        std::vector<std::vector<T>> terms, affine;
        for (int i = 0; i < 3; ++i)
            terms.push_back(normal_values<T>(i < s.terms ? NC : 0, 10 + static_cast<uint64_t>(i)));
        for (T& x : terms[0]) x = static_cast<T>(static_cast<float>(x) + static_cast<float>(s.offset));
        for (int i = 0; i < 4; ++i) affine.push_back(normal_values<T>(C, 20 + static_cast<uint64_t>(i)));
        std::vector<std::shared_ptr<DeviceArray<T>>> d_terms, d_affine, out, again, alone;
        for (const auto& x : terms) d_terms.push_back(device_copy(x));
        for (const auto& x : affine) d_affine.push_back(device_copy(x));
        for (int i = 0; i < 2; ++i) {
            out.push_back(std::make_shared<DeviceArray<T>>(NC));
            again.push_back(std::make_shared<DeviceArray<T>>(s.timed ? 0 : NC));
            alone.push_back(std::make_shared<DeviceArray<T>>(s.timed ? 0 : C));
        }
        const auto residual = s.in_place ? d_terms[0] : std::make_shared<DeviceArray<T>>(s.terms > 1 ? NC : 0);
        const auto statistics = std::make_shared<DeviceArray<float>>(4 * N + 2);
        const size_t middle = N / 2 * C;

        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool fresh) {
            if (fresh) copy_to_device(d_terms[0]->get(), terms[0].data(), NC);
            const auto affine_of = [&](const std::vector<std::shared_ptr<DeviceArray<T>>>& to, size_t i) {
                return Affine<T>{i == 0 || s.second ? to[i]->get() : nullptr, d_affine[2 * i]->get(),
                                 d_affine[2 * i + 1]->get()};
            };
            float* mean = statistics->get();
            gpu::layernorm_forward<T>(residual->get(), affine_of(out, 0), affine_of(out, 1), mean, mean + N,
                                      d_terms[0]->get(), d_terms[1]->get(), d_terms[2]->get(), s.N, s.C, EPS, stream);
            if (s.timed) return;
            const T *x = s.terms > 1 ? residual->get() : d_terms[0]->get(), *none = nullptr;
            gpu::layernorm_forward<T>(nullptr, affine_of(again, 0), affine_of(again, 1), mean + 2 * N, mean + 3 * N, x,
                                      none, none, s.N, s.C, EPS, stream);
            gpu::layernorm_forward<T>(nullptr, affine_of(alone, 0), affine_of(alone, 1), mean + 4 * N, mean + 4 * N + 1,
                                      x + middle, none, none, 1, s.C, EPS, stream);
        };
        if (s.timed) return instance;
        instance.check = [=] {
            std::vector<T> x = terms[0];
            for (size_t i = 0; i < NC && s.terms > 1; ++i) {
                float sum = static_cast<float>(x[i]) + static_cast<float>(terms[1][i]);
                if (s.terms > 2) sum += static_cast<float>(terms[2][i]);
                x[i] = static_cast<T>(sum);
            }
            const auto part = [](const std::vector<double>& v, size_t begin, size_t n) {
                return std::vector<double>(v.begin() + static_cast<long>(begin),
                                           v.begin() + static_cast<long>(begin + n));
            };
            const std::vector<double> stats = host_doubles(*statistics);
            // an fp32 input keeps 2^-24 of its mean, which is what is left of its deviations' digits
            const double tolerance = (sizeof(T) == 2 ? 4e-3 : 4e-7) + 8e-8 * s.offset;
            std::vector<Output> outputs;
            if (s.terms > 1) outputs.push_back({"residual", C, EXACT, host_doubles(*residual), doubles(x)});
            for (size_t i = 0; i < (s.second ? 2u : 1u); ++i) {
                const reference::Layernorm want = reference::layernorm_forward(
                    doubles(x), doubles(affine[2 * i]), doubles(affine[2 * i + 1]), s.N, s.C, double(EPS));
                const std::vector<double> got = host_doubles(*out[i]);
                const std::string name = i == 0 ? "first" : "second";
                outputs.push_back({name, C, tolerance, got, want.out});
                outputs.push_back({name + ", of the residual", C, EXACT, host_doubles(*again[i]), got});
                outputs.push_back({name + ", one row", C, EXACT, host_doubles(*alone[i]), part(got, middle, C)});
                if (i > 0) continue;
                outputs.push_back({"mean", N, 1e-6, part(stats, 0, N), want.mean});
                outputs.push_back({"rstd", N, 1e-6, part(stats, N, N), want.rstd});
                outputs.push_back(
                    {"statistics, of the residual", N, EXACT, part(stats, 2 * N, 2 * N), part(stats, 0, 2 * N)});
            }
            return outputs;
        };
        return instance;
    };
    return result;
}

struct Backward {
    int N, C;
    bool timed;
};

template <class T>
Case backward_case(const Backward& s) {
    Case result;
    result.name = format_text("layernorm_backward %s N=%d C=%d", type_name<T>(), s.N, s.C);
    const size_t N = static_cast<size_t>(s.N), C = static_cast<size_t>(s.C), NC = N * C;
    result.bytes = static_cast<double>(4 * NC * sizeof(T)) + 2.0 * sizeof(float) * s.N;
    result.timed = s.timed;
    result.make = [=] {
        const auto inp = normal_values<T>(NC, 1), dout = normal_values<T>(NC, 2), weight = normal_values<T>(C, 3),
                   dinp = normal_values<T>(NC, 4);
        const auto dweight = normal_values<float>(C, 5), dbias = normal_values<float>(C, 6);
        const auto d_inp = device_copy(inp), d_dout = device_copy(dout), d_weight = device_copy(weight),
                   d_dinp = device_copy(dinp);
        const auto d_dweight = device_copy(dweight), d_dbias = device_copy(dbias);
        const reference::Layernorm forward = reference::layernorm_forward(
            doubles(inp), std::vector<double>(C, 1.0), std::vector<double>(C, 0.0), s.N, s.C, double(EPS));
        const auto mean = device_copy(std::vector<float>(forward.mean.begin(), forward.mean.end()));
        const auto rstd = device_copy(std::vector<float>(forward.rstd.begin(), forward.rstd.end()));
        const auto scratch = std::make_shared<DeviceArray<char>>(gpu::layernorm_backward_scratch(s.N, s.C));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool fresh) {
            if (fresh) {
                copy_to_device(d_dinp->get(), dinp.data(), NC);
                copy_to_device(d_dweight->get(), dweight.data(), C);
                copy_to_device(d_dbias->get(), dbias.data(), C);
                CUDA_CHECK(cudaMemset(scratch->get(), 0xff, scratch->size()));  // NaN
            }
            gpu::layernorm_backward<T>(d_dinp->get(), d_dweight->get(), d_dbias->get(), scratch->get(), d_dout->get(),
                                       d_inp->get(), d_weight->get(), mean->get(), rstd->get(), s.N, s.C, stream);
        };
        instance.check = [=] {
            reference::LayernormGradients want =
                reference::layernorm_backward(doubles(dout), doubles(inp), doubles(weight), s.N, s.C, double(EPS));
            for (size_t i = 0; i < NC; ++i) want.inp[i] += static_cast<double>(static_cast<float>(dinp[i]));
            for (size_t c = 0; c < C; ++c) want.weight[c] += static_cast<double>(dweight[c]);
            for (size_t c = 0; c < C; ++c) want.bias[c] += static_cast<double>(dbias[c]);
            return std::vector<Output>{{"dinp", C, sizeof(T) == 2 ? 4e-3 : 4e-7, host_doubles(*d_dinp), want.inp},
                                       {"dweight", C, 4e-7, host_doubles(*d_dweight), want.weight},
                                       {"dbias", C, 4e-7, host_doubles(*d_dbias), want.bias}};
        };
        return instance;
    };
    return result;
}

template <class T>
void add_cases(std::vector<Case>& cases) {
    const Forward FORWARD[] = {
        {1, 8, 1, false, false, 0, false},      {19, 64, 2, true, true, 0, false},  // half a warp
        {37, 128, 3, true, false, 0, false},                                        // half a warp, or one
        {9, 256, 1, false, false, 1000, false}, {61, 264, 1, true, false, 0, false},
        {13, 512, 3, true, true, 0, false},                                             // Pythia 70M
        {5, 768, 2, false, false, 0, false},                                            // GPT-2 124M
        {7, 1000, 2, true, false, 0, false},    {3, 1032, 3, true, false, 0, false},    // four warps
        {3, 2056, 2, false, true, 0, false},    {2, 4104, 1, true, false, 100, false},  // sixteen warps
        {2, 8192, 3, false, false, 0, false},   {65536, 512, 3, true, false, 0, true},  // Pythia 70M
        {65536, 512, 1, true, false, 0, true},  {65536, 128, 3, true, false, 0, true},  // Pythia 14M
        {32768, 768, 2, false, false, 0, true},                                         // GPT-2 124M
        {8192, 2048, 3, true, false, 0, true},                                          // Pythia 1B
    };
    const Backward BACKWARD[] = {
        {1, 8, false},      {7, 64, false},     {33, 128, false},   {61, 264, false},   {17, 512, false},
        {24, 768, false},   {5, 1000, false},   {17, 1032, false},  {3, 2056, false},   {2, 4104, false},
        {600, 24, false},   {6353, 16, false},  // more rows than 16 for every chunk
        {65536, 512, true}, {65536, 128, true}, {32768, 768, true}, {8192, 2048, true},
    };
    for (const Forward& s : FORWARD) cases.push_back(forward_case<T>(s));
    for (const Backward& s : BACKWARD) cases.push_back(backward_case<T>(s));
}

}  // namespace

std::vector<Case> layernorm_cases() {
    std::vector<Case> cases;
    add_cases<bf16>(cases);
    add_cases<float>(cases);
    return cases;
}
