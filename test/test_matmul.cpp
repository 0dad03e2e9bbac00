// test_matmul.cpp - the matrix product: all transpositions, scalings and strides; and the independence that scores rest
// on.
#include <cstring>
#include <limits>
#include <type_traits>

#include "kernels/cpu/gemm.h"
#include "kernels/operations.h"
#include "test/catch.h"
#include "util/rng.h"

namespace {

using Doubles = std::vector<double>;

// C = alpha op(A) op(B) + beta C, element by element
Doubles formula(bool ta, bool tb, int M, int N, int K, double alpha, const Doubles& A, int lda, const Doubles& B,
                int ldb, double beta, Doubles C, int ldc) {
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) {
            double sum = 0;
            for (int k = 0; k < K; ++k)
                sum += A[ta ? size_t(k) * lda + m : size_t(m) * lda + k] *
                       B[tb ? size_t(n) * ldb + k : size_t(k) * ldb + n];
            double& c = C[size_t(m) * ldc + n];
            c = alpha * sum + (beta == 0 ? 0 : beta * c);
        }
    return C;
}

template <class Real>
std::vector<Real> random_values(size_t n, const char* name) {
    std::vector<Real> x(n);
    for (size_t i = 0; i < n; ++i) x[i] = static_cast<Real>(random_normal(1, hash_name(name), i));
    return x;
}

struct Shape {
    int M, N, K;
};
// one element; less than a register tile; tails everywhere; a block boundary in K, in M, in N
constexpr Shape SHAPES[] = {{1, 1, 1},    {5, 3, 2},      {14, 32, 16}, {15, 33, 17},
                            {61, 67, 71}, {29, 35, 1030}, {2031, 5, 3}, {3, 2053, 4}};

}  // namespace

TEMPLATE_TEST_CASE("gemm agrees with the formula", "[matmul]", float, double) {
    using Real = TestType;
    const double tolerance = std::is_same_v<Real, float> ? 2e-6 : 1e-14;
    for (const auto& [M, N, K] : SHAPES)
        for (int mode = 0; mode < 12; ++mode) {
            const bool ta = mode & 1, tb = mode & 2;
            const Real alpha = mode < 4 ? Real(1) : Real(0.3), beta = mode < 4   ? Real(0)
                                                                      : mode < 8 ? Real(1)
                                                                                 : Real(-0.7);
            const int lda = (ta ? M : K) + 3, ldb = (tb ? K : N) + 1, ldc = N + 2;
            const auto A = random_values<Real>(size_t(ta ? K : M) * lda, "A"),
                       B = random_values<Real>(size_t(tb ? N : K) * ldb, "B");
            auto C = random_values<Real>(size_t(M) * ldc, "C");
            const Doubles want = formula(ta, tb, M, N, K, alpha, Doubles(A.begin(), A.end()), lda,
                                         Doubles(B.begin(), B.end()), ldb, beta, Doubles(C.begin(), C.end()), ldc);
            // with beta = 0 what C holds does not count
            if (beta == 0)
                for (int m = 0; m < M; ++m) std::fill_n(C.begin() + m * ldc, N, std::numeric_limits<Real>::quiet_NaN());
            cpu::gemm<Real>({C.data(), ldc}, {A.data(), lda, ta}, {B.data(), ldb, tb}, M, N, K, alpha, beta);
            double worst = 0;
            bool outside = true;
            for (int m = 0; m < M; ++m) {
                double error = 0, size = 1e-9;
                for (int n = 0; n < ldc; ++n) {
                    const size_t i = size_t(m) * ldc + n;
                    if (n >= N)
                        outside = outside && C[i] == static_cast<Real>(want[i]);  // the gap between rows is not ours
                    error += (C[i] - want[i]) * (C[i] - want[i]);
                    size += want[i] * want[i];
                }
                const double relative = std::sqrt(error / size);
                worst = relative <= worst ? worst : relative;
            }
            INFO("M=" << M << " N=" << N << " K=" << K << " mode " << mode);
            CHECK(worst < tolerance * std::max(1.0, std::sqrt(K / 64.0)));
            CHECK(outside);
        }
}

// Every row computed among M rows equals the same row computed among others, at another place: bit for bit, for both
// products that a forward pass is made of.
TEMPLATE_TEST_CASE("a row of a product does not depend on its company", "[matmul]", float, double) {
    using Real = TestType;
    for (const auto& [N, K] :
         {std::pair{1, 1}, {7, 5}, {32, 64}, {64, 32}, {64, 64}, {128, 100}, {384, 128}, {1031, 67}, {64, 1100}}) {
        const int M = 300;
        const auto A = random_values<Real>(size_t(M) * K, "A"), B = random_values<Real>(size_t(N) * K, "B"),
                   bias = random_values<Real>(N, "b");
        for (const bool tb : {false, true}) {
            std::vector<Real> all(size_t(M) * N), some(all.size());
            const cpu::Matrix<const Real> b{B.data(), tb ? K : N, tb};
            cpu::gemm<Real>({all.data(), N}, {A.data(), K}, b, M, N, K, 1, 0);
            for (const auto& [first, count] :
                 {std::pair{0, 1}, {0, 2}, {1, 13}, {5, 14}, {7, 15}, {100, 64}, {3, 200}, {299, 1}}) {
                cpu::gemm<Real>({some.data(), N}, {&A[size_t(first) * K], K}, b, count, N, K, 1, 0);
                INFO("N=" << N << " K=" << K << " transpose_b=" << tb << " rows " << first << " +" << count);
                CHECK(!std::memcmp(some.data(), &all[size_t(first) * N], size_t(count) * N * sizeof(Real)));
            }
        }
        std::vector<Real> all(size_t(M) * N), some(all.size());
        cpu::matmul_forward<Real>(all.data(), A.data(), B.data(), bias.data(), M, K, N, {});
        for (const auto& [first, count] : {std::pair{0, 2}, {1, 13}, {5, 14}, {298, 2}}) {
            cpu::matmul_forward<Real>(some.data(), &A[size_t(first) * K], B.data(), bias.data(), count, K, N, {});
            INFO("matmul N=" << N << " K=" << K << " rows " << first << " +" << count);
            CHECK(!std::memcmp(some.data(), &all[size_t(first) * N], size_t(count) * N * sizeof(Real)));
        }
    }
}
