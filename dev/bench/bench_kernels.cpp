// bench_kernels.cpp - every CPU kernel at the shapes of one training step (the timed cases of test/cases): what it
// reaches, against the machine and against the step.
//
//   bench_kernels [L C NH T B V [KV F]]     default 4 256 8 256 4 50304, a NeoX model; with KV and F a Llama
//
// OMP_NUM_THREADS as in training.
// A table for each precision. A line: calls a step, median time of a call, GFLOP/s or GB/s and the share of this
// machine's best (a 1024^3 product and a copy of 256 MB, measured first), and the share of the step. Arrays are used
// in turn by no one else, so small ones are found in the caches: as in training, where the previous kernel has just
// written them.
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "test/cases/case.h"

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

Tensor<float> random_matrix(int rows, int columns) {
    return Tensor<float>(normal_values<float>(product(rows, columns), 1));
}

template <class Real>
double product_rate() {
    const int n = 1024;
    const Tensor<Real> a(normal_values<Real>(product(n, n), 1)), b(a.first()), c(a.first());
    return 2.0 * n * n * n /
           median_seconds([&] { cpu::matmul_forward<Real>(c, a, b, nullptr, n, n, n, case_stream()); });
}

void copy_doubled(float* to, const float* from, size_t n) {  // a plain copy would become memcpy with streaming stores
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < n; ++i) to[i] = 2 * from[i];
}

double copy_rate() {
    const auto from = random_matrix(4096, 8192), to = random_matrix(4096, 8192);
    return 8.0 * static_cast<double>(from.size()) / median_seconds([&] { copy_doubled(to, from, from.size()); });
}

// The cases of one precision, with what they reach of these FLOP/s and bytes a second.
void print_table(const char* precision, const TrainingStep& step, double flops, double bandwidth) {
    std::vector<Case> cases;
    for (Case& c : timed_cases(step))
        if (c.name.find(precision) != std::string::npos) cases.push_back(std::move(c));
    std::vector<double> seconds;
    double all = 0, products = 0;
    for (const Case& c : cases) {
        const Instance instance = c.make();
        seconds.push_back(median_seconds([&] { instance.run(case_stream(), false); }));
        all += c.calls * seconds.back();
        if (c.name.compare(0, 6, "matmul") == 0) products += c.calls * seconds.back();
    }
    printf("\n%s, products %.0f GFLOP/s\n%-56s %6s %10s %10s %8s %8s %7s\n", precision, 1e-9 * flops, "kernel", "calls",
           "ms", "GFLOP/s", "GB/s", "of best", "of step");
    for (size_t i = 0; i < cases.size(); ++i) {
        const Case& c = cases[i];
        const bool arithmetic = c.flops / flops > c.bytes / bandwidth;  // what the machine's best is bound by
        const double rate = (arithmetic ? c.flops : c.bytes) / seconds[i];
        const std::string text = format_text("%.0f", 1e-9 * rate);
        printf("%-56s %6d %10.3f %10s %8s %7.0f%% %6.1f%%\n", c.name.c_str(), c.calls, seconds[i] * 1e3,
               arithmetic ? text.c_str() : "", arithmetic ? "" : text.c_str(),
               100 * rate / (arithmetic ? flops : bandwidth), 100 * c.calls * seconds[i] / all);
    }
    printf("%-56s %6s %10.3f, products %.1f%%: %.0f tokens/s\n", "a step", "", all * 1e3, 100 * products / all,
           step.N() / all);
}

#ifdef KNAPSACK_CBLAS
// The same three products by OpenBLAS with as many threads, for the yardstick.
void compare_with_cblas(const char* name, int N, int C, int OC) {
    const auto x = random_matrix(N, C), w = random_matrix(OC, C), y = random_matrix(N, OC), dy = random_matrix(N, OC);
    using Out = cpu::Matrix<float>;
    using In = cpu::Matrix<const float>;
    const auto line = [&](Out out, In a, In b, int rows, int columns, int inner, bool add) {
        const auto blas = [](bool transposed) { return transposed ? CblasTrans : CblasNoTrans; };
        const double own = median_seconds([&] { cpu::gemm<float>(out, a, b, rows, columns, inner, nullptr, add); }),
                     theirs = median_seconds([&] {
                         cblas_sgemm(CblasRowMajor, blas(a.transposed), blas(b.transposed), rows, columns, inner, 1,
                                     a.data, a.stride, b.data, b.stride, add ? 1 : 0, out.data, out.stride);
                     });
        const double gflops = 2e-9 * N * C * OC;
        printf("  %6.1f / %6.1f = %4.2f", gflops / own, gflops / theirs, theirs / own);
    };
    printf("%-28s", name);
    line({y, OC}, {x, C}, {w, C, true}, N, OC, C, false);
    line({x, C}, {y, OC}, {w, C}, N, C, OC, false);
    line({w, C}, {dy, OC, true}, {x, C}, OC, C, N, true);
    printf("\n");
}
#endif

}  // namespace

int main(int argc, char** argv) {
    int size[] = {4, 256, 8, 256, 4, 50304, 0, 0};
    for (int i = 1; i < argc && i <= 8; ++i) size[i - 1] = atoi(argv[i]);
    const auto [L, C, NH, T, B, V, KV, F] = size;
    if (std::min({L, C, NH, T, B, V}) < 1 || C % NH != 0 || (KV > 0) != (F > 0) || (KV > 0 && NH % KV != 0))
        return fprintf(stderr, "bench_kernels [L C NH T B V [KV F]]\n"), 2;
    const int head_rows = std::min(B * T, MAX_HEAD_ROWS);
    const TrainingStep step{L, C, NH, T, B, V, head_rows, SCORE_ROWS, /*neox=*/F == 0, /*full=*/true, KV, F};

    const double bandwidth = copy_rate();
    printf("L%d C%d NH%d T%d B%d V%d, %d threads: copy %.1f GB/s\n", L, C, NH, T, B, V, omp_get_max_threads(),
           1e-9 * bandwidth);
    print_table("bf16", step, product_rate<bf16>(), bandwidth);
    print_table("fp32", step, product_rate<float>(), bandwidth);

#ifdef KNAPSACK_CBLAS
    openblas_set_num_threads(omp_get_max_threads());
    printf("\nown / OpenBLAS in GFLOP/s:   %-25s%-25s%s\n", "forward", "dinp", "dweight");
    compare_with_cblas("head", step.head_rows, C, V);
    compare_with_cblas("qkv", step.N(), C, 3 * C);
    compare_with_cblas("fc", step.N(), C, 4 * C);
    compare_with_cblas("fcproj", step.N(), 4 * C, C);
#endif
}
