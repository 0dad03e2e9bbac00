// test_matmul.cpp - the matrix product: all transpositions and strides, with a bias or added; and the independence that
// scores rest on.
#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/machine.h"
#include "kernels/operations.h"
#include "test/catch.h"
#include "test/skip.h"
#include "util/rng.h"

namespace {

using Doubles = std::vector<double>;

// C = op(A) op(B) + bias [n], or C += op(A) op(B), element by element
Doubles formula(bool ta, bool tb, int M, int N, int K, const Doubles& A, int lda, const Doubles& B, int ldb,
                const Doubles& bias, bool add, Doubles C, int ldc) {
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) {
            // pointers: this test is compiled without optimisation
            const double *a = A.data() + (ta ? m : size_t(m) * lda), *b = B.data() + (tb ? size_t(n) * ldb : n);
            const size_t a_step = ta ? lda : 1, b_step = tb ? 1 : ldb;
            double sum = 0;
            for (int k = 0; k < K; ++k, a += a_step, b += b_step) sum += *a * *b;
            double& c = C[size_t(m) * ldc + n];
            c = sum + (add ? c : bias.empty() ? 0 : bias[size_t(n)]);
        }
    return C;
}

template <class Real>
std::vector<Real> random_values(size_t n, const char* name) {
    std::vector<Real> x(n);
    for (size_t i = 0; i < n; ++i) x[i] = Real(static_cast<Stat<Real>>(random_normal(1, hash_name(name), i)));
    return x;
}
template <class Real>
Doubles doubles(const std::vector<Real>& x) {
    Doubles y;
    for (const Real& v : x) y.push_back(static_cast<double>(static_cast<Stat<Real>>(v)));
    return y;
}

// Products of In with a result of type Of; of bf16 in this way.
template <class In, class Of = In, cpu::Bf16Products BF16 = cpu::Bf16Products::Widened>
struct Products {
    using Real = In;
    using Out = Of;
    static constexpr cpu::Bf16Products WAY = BF16;
    static constexpr bool ROUNDED = !std::is_same_v<Out, Stat<Real>>;
};
using Float = Products<float>;
using Double = Products<double>;
using Widened = Products<cpu::bf16>;
using WidenedToFloat = Products<cpu::bf16, float>;
using Avx512 = Products<cpu::bf16, cpu::bf16, cpu::Bf16Products::Avx512>;
using Avx512ToFloat = Products<cpu::bf16, float, cpu::Bf16Products::Avx512>;
#define ALL_PRODUCTS Float, Double, Widened, WidenedToFloat, Avx512, Avx512ToFloat
#define BF16_PRODUCTS Widened, WidenedToFloat, Avx512, Avx512ToFloat

struct InWay {
    const cpu::Bf16Products usual = cpu::bf16_products();
    explicit InWay(cpu::Bf16Products way) { cpu::set_bf16_products(way); }
    ~InWay() { cpu::set_bf16_products(usual); }
};
// Sets the number of threads, and at its end what it was.
struct Threads {
#ifdef _OPENMP
    const int usual = omp_get_max_threads();
    static void set(int threads) { omp_set_num_threads(threads); }
    ~Threads() { set(usual); }
#else
    static void set(int) {}
#endif
};
#define SKIP_WITHOUT(way) \
    if (!cpu::has_bf16_products(way)) SKIP_TEST("products of bf16 by AVX-512: this processor has none")

struct Shape {
    int M, N, K;
};
// one element; less than a register tile; tails everywhere; a block boundary in K, in M, in N,
// in M and K
constexpr Shape SHAPES[] = {{1, 1, 1},      {5, 3, 2},    {14, 32, 16}, {15, 33, 17},  {61, 67, 71},
                            {29, 35, 1030}, {2031, 5, 3}, {3, 2053, 4}, {2031, 7, 771}};

}  // namespace

// With a bias, without, and added; to a rounded C nothing is added.
TEMPLATE_TEST_CASE("gemm agrees with the formula", "[matmul]", ALL_PRODUCTS) {
    using Real = typename TestType::Real;
    using Out = typename TestType::Out;
    using Sum = Stat<Real>;
    SKIP_WITHOUT(TestType::WAY);
    const InWay way(TestType::WAY);
    const double tolerance = TestType::ROUNDED ? 4e-3 : std::is_same_v<Sum, float> ? 2e-6 : 1e-14;
    for (const auto& [M, N, K] : SHAPES)
        for (int mode = 0; mode < (TestType::ROUNDED ? 8 : 12); ++mode) {
            if (size_t(M) * K > 1'000'000 && mode % 5 != 0) continue;  // drawing so many numbers takes long
            const bool ta = mode & 1, tb = mode & 2, add = mode >= 8;
            const int lda = (ta ? M : K) + 3, ldb = (tb ? K : N) + 1, ldc = N + 2;
            const auto A = random_values<Real>(size_t(ta ? K : M) * lda, "A"),
                       B = random_values<Real>(size_t(tb ? N : K) * ldb, "B"),
                       bias = random_values<Real>(mode / 4 == 1 ? size_t(N) : 0, "b");
            auto C = random_values<Out>(size_t(M) * ldc, "C");
            const Doubles want =
                formula(ta, tb, M, N, K, doubles(A), lda, doubles(B), ldb, doubles(bias), add, doubles(C), ldc);
            // where nothing is added, what C holds does not count
            const Out nan = Out(std::numeric_limits<Stat<Out>>::quiet_NaN());
            if (!add)
                for (int m = 0; m < M; ++m) std::fill_n(C.begin() + m * ldc, N, nan);
            cpu::gemm<Real, Out>({C.data(), ldc}, {A.data(), lda, ta}, {B.data(), ldb, tb}, M, N, K,
                                 bias.empty() ? nullptr : bias.data(), add);
            const Doubles got = doubles(C);
            double worst = 0;
            bool outside = true;
            for (int m = 0; m < M; ++m) {
                double error = 0, size = 1e-9;
                for (int n = 0; n < ldc; ++n) {
                    const size_t i = size_t(m) * ldc + n;
                    if (n >= N) outside = outside && got[i] == want[i];  // the gap between rows is not ours
                    error += (got[i] - want[i]) * (got[i] - want[i]);
                    size += want[i] * want[i];
                }
                const double relative = std::sqrt(error / size);
                worst = relative <= worst ? worst : relative;
            }
            INFO("M=" << M << " N=" << N << " K=" << K << " mode " << mode);
            CHECK(worst < tolerance * (TestType::ROUNDED ? 1 : std::max(1.0, std::sqrt(K / 64.0))));
            CHECK(outside);
        }
}

// Every row computed among M rows equals the same row computed among others, at another place: bit for bit, for all
// products that a forward pass is made of.
TEMPLATE_TEST_CASE("a row of a product does not depend on its company", "[matmul]", ALL_PRODUCTS) {
    using Real = typename TestType::Real;
    using Out = typename TestType::Out;
    SKIP_WITHOUT(TestType::WAY);
    const InWay way(TestType::WAY);
    for (const auto& [N, K] :
         {std::pair{1, 1}, {7, 5}, {32, 64}, {64, 32}, {64, 64}, {128, 100}, {384, 128}, {1031, 67}, {64, 1100}}) {
        const int M = 300;
        const auto A = random_values<Real>(size_t(M) * K, "A"), B = random_values<Real>(size_t(N) * K, "B"),
                   bias = random_values<Real>(N, "b");
        const auto same = [&, N = N](const auto& some, const auto& all, int first, int count) {
            return !std::memcmp(some.data(), &all[size_t(first) * N], size_t(count) * N * sizeof(all[0]));
        };
        for (const bool tb : {false, true})
            for (const bool add : {false, true}) {
                if (TestType::ROUNDED && add) continue;
                const auto before = random_values<Out>(size_t(M) * N, "C");
                auto all = before, some = before;
                const cpu::Matrix<const Real> b{B.data(), tb ? K : N, tb};
                cpu::gemm<Real, Out>({all.data(), N}, {A.data(), K}, b, M, N, K, nullptr, add);
                for (const auto& [first, count] :
                     {std::pair{0, 1}, {0, 2}, {1, 13}, {5, 14}, {7, 15}, {100, 64}, {3, 200}, {299, 1}}) {
                    std::copy_n(&before[size_t(first) * N], size_t(count) * N, some.begin());
                    cpu::gemm<Real, Out>({some.data(), N}, {&A[size_t(first) * K], K}, b, count, N, K, nullptr, add);
                    INFO("N=" << N << " K=" << K << " transpose_b=" << tb << " added=" << add << " rows " << first
                              << " +" << count);
                    CHECK(same(some, all, first, count));
                }
            }
        std::vector<Out> all(size_t(M) * N), some(all.size());
        cpu::gemm<Real, Out>({all.data(), N}, {A.data(), K}, {B.data(), K, true}, M, N, K, bias.data(), false);
        for (const auto& [first, count] : {std::pair{0, 2}, {1, 13}, {5, 14}, {298, 2}}) {
            cpu::gemm<Real, Out>({some.data(), N}, {&A[size_t(first) * K], K}, {B.data(), K, true}, count, N, K,
                                 bias.data(), false);
            INFO("with bias, N=" << N << " K=" << K << " rows " << first << " +" << count);
            CHECK(same(some, all, first, count));
        }
    }
}

TEMPLATE_TEST_CASE("a product on any number of threads", "[matmul]", ALL_PRODUCTS) {
    using Real = typename TestType::Real;
    using Out = typename TestType::Out;
    SKIP_WITHOUT(TestType::WAY);
    const InWay way(TestType::WAY);
    const int M = 131, N = 97, K = 1601;
    const auto A = random_values<Real>(size_t(M) * K, "A"), B = random_values<Real>(size_t(N) * K, "B");
    const Threads usual;
    for (const bool transposed : {false, true}) {
        const cpu::Matrix<const Real> a{A.data(), transposed ? M : K, transposed},
            b{B.data(), transposed ? N : K, !transposed};
        std::vector<Out> first;
        for (const int threads : {1, 2, 3, 5}) {
            std::vector<Out> C(size_t(M) * N);
            usual.set(threads);
            cpu::gemm<Real, Out>({C.data(), N}, a, b, M, N, K, nullptr, false);
            if (first.empty()) first = C;
            INFO(threads << " threads");
            CHECK(!std::memcmp(first.data(), C.data(), C.size() * sizeof(Out)));
        }
    }
}

TEMPLATE_TEST_CASE("NaN and infinity come through products of bf16", "[matmul]", BF16_PRODUCTS) {
    using Out = typename TestType::Out;
    using cpu::bf16;
    SKIP_WITHOUT(TestType::WAY);
    const InWay way(TestType::WAY);
    constexpr float INF = std::numeric_limits<float>::infinity(), NOT = std::numeric_limits<float>::quiet_NaN();
    constexpr float LARGEST = 3.38953139e38f;
    const int M = 4, N = 17, K = 3;  // an odd K: what fills the last pair adds nothing, not even to infinity
    const float rows[M][K] = {{1, 2, INF}, {NOT, 0, 1}, {LARGEST, LARGEST, 0}, {1, -1, 0.5f}};
    std::vector<bf16> A, B(size_t(N) * K, bf16(1.0f));
    for (const auto& row : rows)
        for (const float x : row) A.push_back(bf16(x));
    std::vector<Out> C(size_t(M) * N);
    cpu::gemm<bf16, Out>({C.data(), N}, {A.data(), K}, {B.data(), K, true}, M, N, K, nullptr, false);
    const Doubles got = doubles(C);
    for (int n = 0; n < N; ++n) {
        CHECK(got[n] == INF);
        CHECK(std::isnan(got[N + n]));
        CHECK(got[2 * N + n] == INF);
        CHECK(got[3 * N + n] == 0.5);
    }
}

TEST_CASE("how bf16 is multiplied is no part of the text of fp32's products", "[matmul]") {
    const cpu::Machine machine;
    const std::string fp32 = machine.matmul_library(false), bf16 = machine.matmul_library(true);
    const InWay widened(cpu::Bf16Products::Widened);
    CHECK(machine.matmul_library(false) == fp32);
    CHECK((machine.matmul_library(true) == bf16) == (widened.usual == cpu::Bf16Products::Widened));
}
