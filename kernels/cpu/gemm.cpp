// gemm.cpp - packed, blocked matrix product.
//
// The loops of Goto & van de Geijn (2008): blocks of KC of the inner dimension; op(B) packed into slivers of NR
// columns, op(A) into panels of MR rows, both k-major, so that the micro-kernel reads two streams; it keeps MR x NR
// sums in registers.
//
// Order of summation: C[m,n] is one fused multiply-add chain over a block of KC, and the blocks' sums are added in
// ascending k. No step of it knows where in the matrix m is, which row shares its panel, or which thread runs:
// this is where the contract's independence comes from.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <type_traits>
#include <utility>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {
namespace {

constexpr int MR = VECTOR_BYTES == 64 ? 14 : 6;  // 28 of 32 registers, or 12 of 16, hold sums
template <class Real>
constexpr int NR = 2 * LANES<Real>;
constexpr int KC = 384;  // a sliver of op(B) is 48 KiB, a panel of op(A) 21: from the second-level cache
constexpr int MC = 144 * MR, NC = 2048;  // packed blocks of about 4 MiB each, shared by all threads
constexpr int TILE_PANELS = 4;           // a tile is one thread's turn: 56 x 64 sums, some 30 us
constexpr int TILE_SLIVERS = 2;

// op(X) seen by its packing: element (i, k) with i a row of op(A) or a column of op(B).
template <class Real>
struct Operand {
    const Real* data;
    size_t ld;
    bool along_k;  // neighbours in memory are neighbours in k
    const Real* at(size_t i, size_t k) const { return along_k ? data + i * ld + k : data + k * ld + i; }
};

template <class Real, int FROM, int... I>
inline Vector<Real> interleave(Vector<Real> a, Vector<Real> b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (FROM + I / 2 + (I % 2) * LANES<Real>)...);
}

// A square of LANES x LANES, by log2(LANES) perfect shuffles of its rows.
template <class Real>
inline void transpose(Vector<Real> (&rows)[LANES<Real>]) {
    constexpr int n = LANES<Real>;
    constexpr auto lanes = std::make_integer_sequence<int, n>{};
    for (int stage = 1; stage < n; stage *= 2) {
        Vector<Real> next[n];
        for (int i = 0; i < n / 2; ++i) {
            next[2 * i] = interleave<Real, 0>(rows[i], rows[i + n / 2], lanes);
            next[2 * i + 1] = interleave<Real, n / 2>(rows[i], rows[i + n / 2], lanes);
        }
        for (int i = 0; i < n; ++i) rows[i] = next[i];
    }
}

// to[k * W + i] = x(first + i, k0 + k) for i < count, 0 for count <= i < W.
template <int W, class Real>
void pack(Real* to, const Operand<Real>& x, size_t first, int count, size_t k0, int K) {
    constexpr int n = LANES<Real>;
    if (!x.along_k) {
        for (int k = 0; k < K; ++k, to += W) {
            const Real* from = x.at(first, k0 + k);
            if (count == W) {
                std::memcpy(to, from, W * sizeof(Real));
            } else {
                for (int i = 0; i < W; ++i) to[i] = i < count ? from[i] : 0;
            }
        }
        return;
    }
    for (int k = 0; k < K; k += n) {
        const int depth = std::min(n, K - k);
        for (int group = 0; group < W; group += n) {
            Vector<Real> rows[n];
            for (int i = 0; i < n; ++i) {
                const bool inside = group + i < count;
                const Real* from = inside ? x.at(first + group + i, k0 + k) : nullptr;
                rows[i] = !inside ? Vector<Real>{} : depth == n ? load(from) : load_some(from, depth);
            }
            transpose<Real>(rows);
            Real* column = to + static_cast<size_t>(k) * W + group;
            for (int kk = 0; kk < depth; ++kk, column += W)
                std::memcpy(column, &rows[kk], std::min(n, W - group) * sizeof(Real));
        }
    }
}

// What happens to a finished block of sums: C = alpha * sums + bias for the first block of k, C += alpha * sums for the
// others.
template <class Real>
struct Output {
    Real* C;
    size_t ldc;
    Real alpha;
    const Real* bias;  // of the first column of the block, or null
    bool add;
};

template <class Real, int ROWS>
void micro_kernel(int K, const Real* a, const Real* b, const Output<Real>& out, int columns) {
    constexpr int n = LANES<Real>;
    Vector<Real> sums[ROWS][2] = {};
    for (int k = 0; k < K; ++k, a += MR, b += NR<Real>) {
        const Vector<Real> b0 = load(b), b1 = load(b + n);
#pragma GCC unroll 14
        for (int i = 0; i < ROWS; ++i) {
            sums[i][0] += a[i] * b0;
            sums[i][1] += a[i] * b1;
        }
    }
#pragma GCC unroll 14
    for (int i = 0; i < ROWS; ++i) {
        Real* to = out.C + i * out.ldc;
#pragma GCC unroll 2
        for (int j = 0; j < 2; ++j, to += n) {
            const int width = std::min(n, columns - j * n);
            if (width <= 0) break;
            Vector<Real> value = out.alpha * sums[i][j];
            const Real* base = out.add ? to : out.bias ? out.bias + j * n : nullptr;
            if (base) value = out.alpha * sums[i][j] + (width == n ? load(base) : load_some(base, width));
            if (width == n)
                store(to, value);
            else
                store_some(to, value, width);
        }
    }
}

// A panel with fewer than MR rows runs in the instance of its height: same operations per row, none for rows that are
// not there.
template <class Real, int... I>
void run_micro_kernel(int rows, int K, const Real* a, const Real* b, const Output<Real>& out, int columns,
                      std::integer_sequence<int, I...>) {
    using Kernel = void (*)(int, const Real*, const Real*, const Output<Real>&, int);
    static constexpr Kernel kernels[] = {micro_kernel<Real, I + 1>...};
    kernels[rows - 1](K, a, b, out, columns);
}

template <class Real>
struct Product {
    int M, N, K;
    Operand<Real> A, B;
    Real alpha;
    const Real* bias;
    bool add;
    Real* C;
    size_t ldc;
};

int blocks_of(int n, int size) { return (n + size - 1) / size; }

// `each(count, f)` runs f(0) .. f(count - 1) on the caller's threads and returns when all are done.
template <class Real, class Each>
void blocked_product(const Product<Real>& p, Real* packed_a, Real* packed_b, const Each& each) {
    constexpr int nr = NR<Real>;
    for (int n0 = 0; n0 < p.N; n0 += NC) {
        const int width = std::min(NC, p.N - n0), slivers = blocks_of(width, nr);
        for (int k0 = 0; k0 < p.K; k0 += KC) {
            const int depth = std::min(KC, p.K - k0);
            for (int m0 = 0; m0 < p.M; m0 += MC) {
                const int height = std::min(MC, p.M - m0), panels = blocks_of(height, MR);
                each(m0 == 0 ? panels + slivers : panels, [&](int i) {
                    if (i < panels)
                        pack<MR>(packed_a + static_cast<size_t>(i) * MR * depth, p.A, m0 + i * MR,
                                 std::min(MR, height - i * MR), k0, depth);
                    else
                        pack<nr>(packed_b + static_cast<size_t>(i - panels) * nr * depth, p.B, n0 + (i - panels) * nr,
                                 std::min(nr, width - (i - panels) * nr), k0, depth);
                });
                const int tiles_across = blocks_of(slivers, TILE_SLIVERS);
                each(blocks_of(panels, TILE_PANELS) * tiles_across, [&](int tile) {
                    const int first_panel = tile / tiles_across * TILE_PANELS,
                              first_sliver = tile % tiles_across * TILE_SLIVERS;
                    for (int j = first_sliver; j < std::min(slivers, first_sliver + TILE_SLIVERS); ++j) {
                        for (int i = first_panel; i < std::min(panels, first_panel + TILE_PANELS); ++i) {
                            const size_t column = n0 + j * nr;
                            const Output<Real> out{p.C + (m0 + static_cast<size_t>(i) * MR) * p.ldc + column, p.ldc,
                                                   p.alpha, p.bias ? p.bias + column : nullptr, p.add || k0 > 0};
                            run_micro_kernel<Real>(std::min(MR, height - i * MR), depth,
                                                   packed_a + static_cast<size_t>(i) * MR * depth,
                                                   packed_b + static_cast<size_t>(j) * nr * depth, out,
                                                   std::min(nr, width - j * nr), std::make_integer_sequence<int, MR>{});
                        }
                    }
                });
            }
        }
    }
}

// Packing space, kept by each thread for its next product.
template <class Real>
class Workspace {
  public:
    Workspace() = default;
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    ~Workspace() { std::free(data_); }
    Real* reserve(size_t size) {
        if (size > size_) {
            std::free(data_);
            const size_t bytes = (size * sizeof(Real) + 63) / 64 * 64;
            data_ = static_cast<Real*>(std::aligned_alloc(64, bytes));
            ENSURE(data_, "out of memory: %zu bytes to pack a matrix", bytes);
            size_ = size;
        }
        return data_;
    }

  private:
    Real* data_ = nullptr;
    size_t size_ = 0;
};

template <class Real>
Product<Real> make_product(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, Real alpha,
                           Real beta, const Real* bias) {
    ENSURE(K > 0, "gemm: an inner dimension of %d", K);
    const size_t stride = static_cast<size_t>(C.stride);
    if (beta != 0 && beta != 1)
        for (int m = 0; m < M; ++m)
            for (int n = 0; n < N; ++n) C.data[m * stride + n] *= beta;
    const Operand<Real> a{A.data, static_cast<size_t>(A.stride), !A.transposed},
        b{B.data, static_cast<size_t>(B.stride), B.transposed};
    return {M, N, K, a, b, alpha, bias, beta != 0, C.data, stride};
}

// Room for one block of op(A), then one of op(B); the two begin on a cache line.
template <class Real>
std::pair<Real*, Real*> packing_space(int M, int N, int K) {
    static thread_local Workspace<Real> workspace;
    const size_t depth = std::min(K, KC);
    const size_t a = (blocks_of(std::min(M, MC), MR) * MR * depth + 15) / 16 * 16;
    const size_t b = blocks_of(std::min(N, NC), NR<Real>) * NR<Real> * depth;
    Real* space = workspace.reserve(a + b);
    return {space, space + a};
}

}  // namespace

template <class Real>
void gemm(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, Real alpha, Real beta) {
    const auto product = make_product<Real>(C, A, B, M, N, K, alpha, beta, nullptr);
    const auto [packed_a, packed_b] = packing_space<Real>(M, N, K);
    blocked_product(product, packed_a, packed_b, [](int count, const auto& f) {
        for (int i = 0; i < count; ++i) f(i);
    });
}

template <class Real>
void gemm_threads(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, const Real* bias,
                  bool add) {
    const auto product = make_product<Real>(C, A, B, M, N, K, 1, add ? 1 : 0, bias);
    const auto space = packing_space<Real>(M, N, K);
#pragma omp parallel if (worth_sharing_products(static_cast <size_t>(M) * static_cast <size_t>(N) * \
                                                static_cast <size_t>(K)))
    blocked_product(product, space.first, space.second, [](int count, const auto& f) {
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < count; ++i) f(i);
    });
}

template void gemm(Matrix<float>, Matrix<const float>, Matrix<const float>, int, int, int, float, float);
template void gemm(Matrix<double>, Matrix<const double>, Matrix<const double>, int, int, int, double, double);
template void gemm_threads(Matrix<float>, Matrix<const float>, Matrix<const float>, int, int, int, const float*, bool);
template void gemm_threads(Matrix<double>, Matrix<const double>, Matrix<const double>, int, int, int, const double*,
                           bool);

}  // namespace cpu
