// bench_kernels.cpp - every CPU kernel at the shapes of one training step: what it reaches, against the machine and
// against the step.
//
//   bench_kernels [L C NH T B V]        default 4 256 8 256 4 50304, a NeoX model; OMP_NUM_THREADS as in training
//
// A line: calls a step, median time of a call, GFLOP/s or GB/s with its share of this machine's best (a 1024^3 product
// and a copy of 256 MB, measured first), and the share of the step. Arrays are used in turn by no one else, so small
// ones are found in the caches: as in training, where the previous kernel has just written them.
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/gemm.h"
#include "kernels/device.h"
#include "util/rng.h"

#ifdef KNAPSACK_CBLAS
#include <cblas.h>
#endif

namespace {

double median_seconds(const std::function<void()>& f) {
    f();
    std::vector<double> times;
    const double begin = omp_get_wtime();
    while (times.size() < 5 || (omp_get_wtime() - begin < 0.3 && times.size() < 1000)) {
        const double start = omp_get_wtime();
        f();
        times.push_back(omp_get_wtime() - start);
    }
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    return times[times.size() / 2];
}

DeviceArray<float> random_array(size_t n) {
    DeviceArray<float> x(n);
    for (size_t i = 0; i < n; ++i)
        x.get()[i] = static_cast<float>(random_u64(1, n, i) >> 40) * 0x1p-23f - 1;  // uniform in [-1, 1)
    return x;
}

struct Line {
    std::string kernel;
    int calls;            // a step
    double flops, bytes;  // of one call; the larger share of the machine's best is printed
    std::function<void()> run;
};

double product_rate() {
    const int n = 1024;
    const auto a = random_array(n * n), b = random_array(n * n), c = random_array(n * n);
    return 2.0 * n * n * n / median_seconds([&] {
               cpu::gemm_threads<float>(false, true, n, n, n, a.get(), n, b.get(), n, nullptr, false, c.get(), n);
           });
}

void copy_doubled(float* to, const float* from, size_t n) {  // a plain copy would become memcpy with streaming stores
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; ++i) to[i] = 2 * from[i];
}

double copy_rate() {
    const size_t n = 32 << 20;
    const auto from = random_array(n), to = random_array(n);
    return 8.0 * n / median_seconds([&] { copy_doubled(to.get(), from.get(), n); });
}

#ifdef KNAPSACK_CBLAS
// The same three products by OpenBLAS with as many threads, for the yardstick.
void compare_with_cblas(const char* name, int N, int C, int OC) {
    const auto x = random_array(size_t(N) * C), w = random_array(size_t(OC) * C), y = random_array(size_t(N) * OC);
    const double flops = 2.0 * N * C * OC;
    auto rates = [&](const std::function<void()>& ours, const std::function<void()>& theirs) {
        const double a = median_seconds(ours), b = median_seconds(theirs);
        printf("  %6.1f / %6.1f = %4.2f", flops / a / 1e9, flops / b / 1e9, b / a);
    };
    auto blas = [](bool ta, bool tb, int M, int N, int K, const float* A, int lda, const float* B, int ldb, float beta,
                   float* out, int ldc) {
        cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, M, N, K, 1, A, lda,
                    B, ldb, beta, out, ldc);
    };
    auto own = cpu::gemm_threads<float>;
    printf("%-28s", name);
    rates([&] { own(false, true, N, OC, C, x.get(), C, w.get(), C, nullptr, false, y.get(), OC); },
          [&] { blas(false, true, N, OC, C, x.get(), C, w.get(), C, 0, y.get(), OC); });
    rates([&] { own(false, false, N, C, OC, y.get(), OC, w.get(), C, nullptr, false, x.get(), C); },
          [&] { blas(false, false, N, C, OC, y.get(), OC, w.get(), C, 0, x.get(), C); });
    const auto dy = random_array(size_t(N) * OC);
    rates([&] { own(true, false, OC, C, N, dy.get(), OC, x.get(), C, nullptr, true, w.get(), C); },
          [&] { blas(true, false, OC, C, N, dy.get(), OC, x.get(), C, 1, w.get(), C); });
    printf("\n");
}
#endif

}  // namespace

int main(int argc, char** argv) {
    int size[] = {4, 256, 8, 256, 4, 50304};
    for (int i = 1; i < argc && i <= 6; ++i) size[i - 1] = atoi(argv[i]);
    const auto [L, C, NH, T, B, V] = size;
    const int N = B * T, HS = C / NH, R = HS / 4 / 2 * 2;
    if (L < 1 || NH < 1 || HS < 1 || N < 1 || V < 1 || HS * NH != C)
        return fprintf(stderr, "bench_kernels [L C NH T B V]\n"), 2;
    const size_t nc = size_t(N) * C, nv = size_t(N) * V,
                 params = 2 * size_t(V) * C + size_t(L) * (12 * size_t(C) * C + 13 * C);

    const double gflops = product_rate() / 1e9, bandwidth = copy_rate() / 1e9;
    printf("L%d C%d NH%d T%d B%d V%d, %d threads: products %.0f GFLOP/s, copy %.1f GB/s\n\n", L, C, NH, T, B, V,
           omp_get_max_threads(), gflops, bandwidth);

    const auto x = random_array(4 * nc), y = random_array(4 * nc), dx = random_array(4 * nc), dy = random_array(4 * nc);
    const auto weight = random_array(4 * size_t(C) * C), dweight = random_array(4 * size_t(C) * C),
               bias = random_array(4 * C);
    const auto wte = random_array(size_t(V) * C), dwte = random_array(size_t(V) * C), logits = random_array(nv);
    const auto mean = random_array(N), rstd = random_array(N), losses = random_array(N), dbias = random_array(4 * C);
    const DeviceArray<char> ln_scratch(cpu::layernorm_backward_scratch(N, C)),
        att_scratch(cpu::attention_backward_scratch(B, T, NH, HS));
    const auto lse = random_array(size_t(N) * NH), table = random_array(size_t(T) * R);
    std::vector<int> schedule(cpu::attention_schedule_size(B, T));
    cpu::attention_schedule(schedule.data(), nullptr, B, T, {});
    const auto p = random_array(params), m = random_array(params), v = random_array(params), g = random_array(params);
    std::vector<int> tokens(N), positions(N);
    for (int n = 0; n < N; ++n) tokens[n] = static_cast<int>(random_below(V, 1, 1, n)), positions[n] = n % T;
    for (size_t i = 0; i < params; ++i) v.get()[i] *= v.get()[i];
    const AdamwGroup all{0, params, 0.1f};
    double norm;

    std::vector<Line> lines;
    auto linear = [&](const std::string& name, int calls, int in, int out, const float* w, float* dw, float* result,
                      bool biased) {
        const double flops = 2.0 * N * in * out;
        const float* b = biased ? bias.get() : nullptr;
        float* db = biased ? dbias.get() : nullptr;
        lines.push_back({"matmul_forward " + name, calls, flops, 0,
                         [=, &x] { cpu::matmul_forward(result, x.get(), w, b, N, in, out, {}); }});
        lines.push_back({"matmul_backward " + name, calls, 2 * flops, 0,
                         [=, &x, &dx] { cpu::matmul_backward(dx.get(), dw, db, result, x.get(), w, N, in, out, {}); }});
    };
    linear("head", 1, C, V, wte.get(), dwte.get(), logits.get(), false);
    linear("qkv", L, C, 3 * C, weight.get(), dweight.get(), y.get(), true);
    linear("attproj", L, C, C, weight.get(), dweight.get(), y.get(), true);
    linear("fc", L, C, 4 * C, weight.get(), dweight.get(), y.get(), true);
    linear("fcproj", L, 4 * C, C, weight.get(), dweight.get(), y.get(), true);
    const double scores = 4.0 * B * NH * T * (T + 1) / 2 * HS;  // flops at or below the diagonal
    lines.push_back({"attention_forward", L, scores, 0,
                     [&] { cpu::attention_forward(y.get(), lse.get(), x.get(), schedule.data(), B, T, NH, HS, {}); }});
    lines.push_back({"attention_backward", L, 2.5 * scores, 0, [&] {
                         cpu::attention_backward(dx.get(), att_scratch.get(), dy.get(), y.get(), lse.get(), x.get(),
                                                 schedule.data(), B, T, NH, HS, {});
                     }});
    lines.push_back({"classifier_forward", 1, 0, 8.0 * nv, [&] {
                         cpu::classifier_forward(losses.get(), logits.get(), tokens.data(), 1.0f, true, N, V, V, {});
                     }});
    lines.push_back({"classifier_score", 0, 0, 4.0 * nv, [&] {
                         static std::vector<int> argmax(N), rank(N);
                         cpu::classifier_score(losses.get(), argmax.data(), rank.data(), logits.get(), tokens.data(), N,
                                               V, V, {});
                     }});
    for (const Gelu kind : {Gelu::Exact, Gelu::Tanh}) {
        const std::string name = kind == Gelu::Exact ? " exact" : " tanh";
        const int calls = kind == Gelu::Exact ? L : 0;
        lines.push_back({"gelu_forward" + name, calls, 0, 32.0 * nc,
                         [&, kind] { cpu::gelu_forward(y.get(), x.get(), 4 * nc, kind, {}); }});
        lines.push_back({"gelu_backward" + name, calls, 0, 48.0 * nc,
                         [&, kind] { cpu::gelu_backward(dx.get(), x.get(), dy.get(), 4 * nc, kind, {}); }});
    }
    const float* const none = nullptr;
    lines.push_back({"layernorm_forward", 1, 0, 8.0 * nc, [&] {
                         cpu::layernorm_forward<float>(nullptr, {y.get(), weight.get(), bias.get()}, {}, mean.get(),
                                                       rstd.get(), x.get(), none, none, N, C, 1e-5f, {});
                     }});
    lines.push_back({"layernorm_forward a+b+c, two", L, 0, 24.0 * nc, [&] {
                         cpu::layernorm_forward<float>(dx.get(), {y.get(), weight.get(), bias.get()},
                                                       {y.get() + nc, weight.get(), bias.get()}, mean.get(), rstd.get(),
                                                       x.get(), dy.get(), dy.get() + nc, N, C, 1e-5f, {});
                     }});
    lines.push_back({"layernorm_backward", 2 * L + 1, 0, 16.0 * nc, [&] {
                         cpu::layernorm_backward(dx.get(), dweight.get(), dbias.get(), ln_scratch.get(), dy.get(),
                                                 x.get(), weight.get(), mean.get(), rstd.get(), N, C, {});
                     }});
    lines.push_back({"rotary_forward", L, 0, 16.0 * nc * R / HS,
                     [&] { cpu::rotary_forward(x.get(), table.get(), positions.data(), N, NH, HS, R, {}); }});
    lines.push_back({"rotary_backward", L, 0, 16.0 * nc * R / HS,
                     [&] { cpu::rotary_backward(x.get(), table.get(), positions.data(), N, NH, HS, R, {}); }});
    lines.push_back({"embedding_forward", 1, 0, 8.0 * nc, [&] {
                         cpu::embedding_forward<float>(y.get(), tokens.data(), positions.data(), wte.get(), nullptr, N,
                                                       C, {});
                     }});
    lines.push_back({"embedding_backward", 1, 0, 12.0 * nc, [&] {
                         cpu::embedding_backward<float>(dwte.get(), nullptr, nullptr, dy.get(), tokens.data(),
                                                        positions.data(), N, C, V, T, {});
                     }});
    lines.push_back({"global_norm_squared", 1, 0, 4.0 * params,
                     [&] { cpu::global_norm_squared(&norm, nullptr, g.get(), params, {}); }});
    lines.push_back({"adamw_update", 1, 0, 32.0 * params, [&] {
                         cpu::adamw_update<float>(p.get(), nullptr, m.get(), v.get(), g.get(), nullptr, 0, &all, 1,
                                                  {1e-3f, 0.9f, 0.95f, 1e-8f, 1.0f, 10, 0}, {});
                     }});

    double step = 0, products = 0;
    std::vector<double> seconds;
    for (const Line& line : lines) {
        seconds.push_back(median_seconds(line.run));
        step += line.calls * seconds.back();
        if (line.kernel.compare(0, 6, "matmul") == 0) products += line.calls * seconds.back();
    }
    printf("%-28s %6s %10s %10s %8s %8s %7s\n", "kernel", "calls", "ms", "GFLOP/s", "GB/s", "of best", "of step");
    for (size_t i = 0; i < lines.size(); ++i) {
        const Line& line = lines[i];
        const double rate = (line.flops ? line.flops : line.bytes) / seconds[i] / 1e9;
        printf("%-28s %6d %10.3f %10s %8s %7.0f%% %6.1f%%\n", line.kernel.c_str(), line.calls, seconds[i] * 1e3,
               line.flops ? std::to_string(static_cast<int>(rate)).c_str() : "",
               line.flops ? "" : std::to_string(static_cast<int>(rate)).c_str(),
               100 * rate / (line.flops ? gflops : bandwidth), 100 * line.calls * seconds[i] / step);
    }
    printf("%-28s %6s %10.3f, products %.1f%%: %.0f tokens/s\n", "a step", "", step * 1e3, 100 * products / step,
           N / step);

#ifdef KNAPSACK_CBLAS
    openblas_set_num_threads(omp_get_max_threads());
    printf("\nown / OpenBLAS in GFLOP/s:   %-25s%-25s%s\n", "forward", "dinp", "dweight");
    compare_with_cblas("head", N, C, V);
    compare_with_cblas("qkv", N, C, 3 * C);
    compare_with_cblas("fc", N, C, 4 * C);
    compare_with_cblas("fcproj", N, 4 * C, C);
#endif
}
