// bench_bf16.cpp - the CPU's linear layers and attention in bf16 next to fp32: forward and backward, at one layer's
// shapes of several widths.
//
//   bench_bf16 [ROUNDS]        default 20; OMP_NUM_THREADS as in training
//
// The two precisions alternate, and each line is of the best round of each: a few undisturbed rounds are enough for
// their ratio (ten programs on two cores leave none). GFLOP/s count a product's 2 N C OC flops forward and 4 backward,
// and of attention the causal half of B NH T^2 HS multiply-adds, two forward and five backward.
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/operations.h"
#include "util/rng.h"

namespace {

template <class Real>
std::vector<Real> random_values(size_t n, uint64_t seed) {
    constexpr size_t PERIOD = 1 << 16;
    std::vector<Real> x(n);
    for (size_t i = 0; i < n; ++i)
        x[i] = i < PERIOD ? Real(static_cast<float>(random_normal(seed, 1, i))) : x[i - PERIOD];
    return x;
}

using Runs = std::vector<std::function<void()>>;  // forward, backward

template <class Real>
Runs linear(int N, int C, int OC) {
    struct Tensors {
        std::vector<Real> inp, weight, out, dinp;
        std::vector<float> dweight;
    };
    const auto x = std::make_shared<Tensors>();
    const size_t n = static_cast<size_t>(N), c = static_cast<size_t>(C), oc = static_cast<size_t>(OC);
    *x = {random_values<Real>(n * c, 1), random_values<Real>(oc * c, 2), random_values<Real>(n * oc, 3),
          std::vector<Real>(n * c), std::vector<float>(oc * c)};
    const Real* none = nullptr;
    return {[=] { cpu::matmul_forward(x->out.data(), x->inp.data(), x->weight.data(), none, N, C, OC, {}); },
            [=] {
                cpu::matmul_backward<Real>(x->dinp.data(), x->dweight.data(), nullptr, x->out.data(), x->inp.data(),
                                           x->weight.data(), N, C, OC, {});
            }};
}

template <class Real>
Runs attention(int B, int T, int NH, int HS) {
    struct Tensors {
        std::vector<Real> qkv, dout, out, dqkv;
        std::vector<float> lse;
        std::vector<char> scratch;
        std::vector<int> schedule;
    };
    const auto x = std::make_shared<Tensors>();
    const size_t rows = static_cast<size_t>(B) * T * NH, n = rows * HS;
    *x = {random_values<Real>(3 * n, 1),
          random_values<Real>(n, 2),
          std::vector<Real>(n),
          std::vector<Real>(3 * n),
          std::vector<float>(rows),
          std::vector<char>(cpu::attention_backward_scratch(B, T, NH, NH, HS)),
          std::vector<int>(cpu::attention_schedule_size(B, T))};
    cpu::attention_schedule(x->schedule.data(), nullptr, B, T, {});
    return {[=] {
                cpu::attention_forward(x->out.data(), x->lse.data(), x->qkv.data(), x->schedule.data(), B, T, NH, NH,
                                       HS, {});
            },
            [=] {
                cpu::attention_backward<Real>(x->dqkv.data(), x->scratch.data(), x->dout.data(), x->out.data(),
                                              x->lse.data(), x->qkv.data(), x->schedule.data(), B, T, NH, NH, HS, {});
            }};
}

void compare(const std::string& name, int rounds, const Runs& fp32, const Runs& bf16, double forward_flops,
             double backward_flops) {
    double best[2][2] = {{1e9, 1e9}, {1e9, 1e9}};
    for (int round = 0; round < rounds; ++round)
        for (int pass = 0; pass < 2; ++pass)
            for (int precision = 0; precision < 2; ++precision) {
                const double start = omp_get_wtime();
                (precision == 0 ? fp32 : bf16)[pass]();
                best[pass][precision] = std::min(best[pass][precision], omp_get_wtime() - start);
            }
    printf("%-36s", name.c_str());
    for (int pass = 0; pass < 2; ++pass) {
        const double flops = 1e-9 * (pass == 0 ? forward_flops : backward_flops);
        printf("   %7.0f %7.0f %6.2f", flops / best[pass][0], flops / best[pass][1], best[pass][0] / best[pass][1]);
    }
    printf("\n");
    fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? atoi(argv[1]) : 20;
    if (rounds < 1 || argc > 2) return fprintf(stderr, "bench_bf16 [ROUNDS]\n"), 2;
    printf("%d threads; GFLOP/s in fp32 and bf16, and their ratio\n%-36s   %-24s%s\n", omp_get_max_threads(), "",
           "forward", "backward");
    for (const auto& [N, C] : {std::pair{2048, 64}, {2048, 128}, {1024, 256}, {1024, 384}, {256, 768}})
        for (const auto& [inputs, outputs] : {std::pair{C, 3 * C}, {C, C}, {C, 4 * C}, {4 * C, C}}) {
            const double flops = 2.0 * N * inputs * outputs;
            compare("matmul N=" + std::to_string(N) + " C=" + std::to_string(inputs) + " OC=" + std::to_string(outputs),
                    rounds, linear<float>(N, inputs, outputs), linear<bf16>(N, inputs, outputs), flops, 2 * flops);
        }
    struct Heads {
        int B, T, NH, HS;
    };
    for (const auto& [B, T, NH, HS] :
         {Heads{16, 128, 4, 16}, {16, 128, 4, 32}, {4, 256, 8, 32}, {4, 256, 6, 64}, {1, 1024, 12, 64}}) {
        const double flops = 2.0 * B * NH * T * T * HS;
        compare("attention B=" + std::to_string(B) + " T=" + std::to_string(T) + " NH=" + std::to_string(NH) +
                    " HS=" + std::to_string(HS),
                rounds, attention<float>(B, T, NH, HS), attention<bf16>(B, T, NH, HS), flops, 2.5 * flops);
    }
}
