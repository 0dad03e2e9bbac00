// gemm.cpp - packed, blocked matrix product.
//
// The loops of Goto & van de Geijn (2008): blocks of KC of the inner dimension; op(B) packed into slivers of NR
// columns, op(A) into panels of MR rows, both k-major (gemm_pack.h), so that the micro-kernel (gemm_kernel.h) reads two
// streams; it keeps MR x NR sums in registers.
//
// Order of summation: C[m,n] is one chain of multiply-adds over a block of KC, in ascending k (of bf16 in pairs), and
// the blocks' sums are added in ascending k; a C of bf16 is rounded after the last. No step of it knows where in the
// matrix m is, which row shares its panel, or which thread runs: this is where the contract's independence comes from.
//
// 2 M N K flops. Packing reads each element of op(A) once for every NC columns of C and each of op(B) once (for every
// MC rows where K > KC), and writes as many units; of C, 2 sizeof(C's sums) bytes an element and block of k.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cpu/gemm_kernel.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {
namespace {

constexpr int MC_PANELS = 144, NC = 2048;  // packed blocks of about 4 MiB each, shared by all threads
constexpr int TILE_PANELS = 4;             // a tile is one thread's turn: 56 x 64 sums, some 30 us
constexpr int TILE_SLIVERS = 2;

template <class Real, class Out>
struct Product {
    int M, N, K;
    Operand<Real> A, B;
    Stat<Real> alpha;
    const Stat<Real>* bias;
    bool add;
    Out* C;
    size_t ldc;
};

int blocks_of(int n, int size) { return (n + size - 1) / size; }

// Memory for packed blocks and sums, kept by each thread for its next product.
class Workspace {
  public:
    Workspace() = default;
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    ~Workspace() { std::free(data_); }
    char* reserve(size_t bytes) {
        if (bytes > size_) {
            std::free(data_);
            data_ = static_cast<char*>(std::aligned_alloc(64, bytes));
            ENSURE(data_, "out of memory: %zu bytes to pack a matrix", bytes);
            size_ = bytes;
        }
        return data_;
    }

  private:
    char* data_ = nullptr;
    size_t size_ = 0;
};

// A product's part of the calling thread's workspace: one block of op(A), one of op(B), and where C is rounded and K is
// more than one block, the sums of a block of C.
template <class Kernel>
struct Space {
    typename Kernel::Unit *a, *b;
    typename Kernel::Sum* sums;

    Space(int M, int N, int K, bool rounded) {
        static thread_local Workspace workspace;
        const auto lines = [](size_t count, size_t size) { return (count * size + 63) / 64 * 64; };
        const int panels = std::min(blocks_of(M, Kernel::MR), MC_PANELS), width = std::min(N, NC);
        const size_t depth = units_of<typename Kernel::Unit>(std::min(K, Kernel::KC));
        const size_t a_bytes = lines(panels * Kernel::MR * depth, sizeof(*a)),
                     b_bytes = lines(blocks_of(width, Kernel::NR) * Kernel::NR * depth, sizeof(*b));
        const size_t sum_count = rounded && K > Kernel::KC ? static_cast<size_t>(panels) * Kernel::MR * width : 0;
        char* const data = workspace.reserve(a_bytes + b_bytes + lines(sum_count, sizeof(*sums)));
        a = reinterpret_cast<decltype(a)>(data);
        b = reinterpret_cast<decltype(b)>(data + a_bytes);
        sums = reinterpret_cast<decltype(sums)>(data + a_bytes + b_bytes);
    }
};

// `each(count, f)` runs f(0) .. f(count - 1) on the caller's threads and returns when all are done.
template <class Kernel, class Real, class Out, class Each>
void blocked_product(const Product<Real, Out>& p, const Space<Kernel>& space, const Each& each) {
    using Unit = typename Kernel::Unit;
    using Sum = typename Kernel::Sum;
    constexpr int MR = Kernel::MR, NR = Kernel::NR, KC = Kernel::KC, MC = MC_PANELS * MR;
    constexpr bool ROUNDED = !std::is_same_v<Out, Sum>;
    for (int n0 = 0; n0 < p.N; n0 += NC) {
        const int width = std::min(NC, p.N - n0), slivers = blocks_of(width, NR);
        for (int m0 = 0; m0 < p.M; m0 += MC) {
            const int height = std::min(MC, p.M - m0), panels = blocks_of(height, MR);
            for (int k0 = 0; k0 < p.K; k0 += KC) {
                const int depth = std::min(KC, p.K - k0), units = units_of<Unit>(depth);
                const bool b_is_packed = m0 > 0 && p.K <= KC;
                each(b_is_packed ? panels : panels + slivers, [&](int i) {
                    if (i < panels)
                        pack<MR>(space.a + static_cast<size_t>(i) * MR * units, p.A, m0 + i * MR,
                                 std::min(MR, height - i * MR), k0, depth);
                    else
                        pack<NR>(space.b + static_cast<size_t>(i - panels) * NR * units, p.B, n0 + (i - panels) * NR,
                                 std::min(NR, width - (i - panels) * NR), k0, depth);
                });
                const auto tile = [&](int panel, int sliver) {
                    const size_t row = m0 + static_cast<size_t>(panel) * MR, column = n0 + sliver * NR;
                    const auto run = [&](auto* C, size_t ldc, const Sum* base, size_t ldbase) {
                        run_kernel<Kernel>(
                            std::min(MR, height - panel * MR), units, space.a + static_cast<size_t>(panel) * MR * units,
                            space.b + static_cast<size_t>(sliver) * NR * units,
                            Output<Sum, std::remove_pointer_t<decltype(C)>>{C, ldc, p.alpha, base, ldbase},
                            std::min(NR, width - sliver * NR), std::make_integer_sequence<int, MR>{});
                    };
                    Out* const C = p.C + row * p.ldc + column;
                    const Sum* const bias = p.bias ? p.bias + column : nullptr;
                    if constexpr (ROUNDED) {
                        Sum* const sums = space.sums + static_cast<size_t>(panel) * MR * width + sliver * NR;
                        const Sum* const base = k0 > 0 ? sums : bias;
                        const size_t ldbase = k0 > 0 ? width : 0;
                        if (k0 + depth < p.K)
                            run(sums, width, base, ldbase);
                        else
                            run(C, p.ldc, base, ldbase);
                    } else {
                        const bool adds = p.add || k0 > 0;
                        run(C, p.ldc, adds ? C : bias, adds ? p.ldc : 0);
                    }
                };
                const int tiles_across = blocks_of(slivers, TILE_SLIVERS);
                each(blocks_of(panels, TILE_PANELS) * tiles_across, [&](int i) {
                    const int first_panel = i / tiles_across * TILE_PANELS,
                              first_sliver = i % tiles_across * TILE_SLIVERS;
                    for (int sliver = first_sliver; sliver < std::min(slivers, first_sliver + TILE_SLIVERS); ++sliver)
                        for (int panel = first_panel; panel < std::min(panels, first_panel + TILE_PANELS); ++panel)
                            tile(panel, sliver);
                });
            }
        }
    }
}

// use(kernel) with the micro-kernel for products of Real.
template <class Real, class Use>
void with_kernel(Use use) {
    if constexpr (!std::is_same_v<Real, bf16>) {
        use(VectorKernel<Real>{});
    } else {
#if defined(__x86_64__)
        if (bf16_products() == Bf16Products::Avx512) return use(PairKernel{});
#endif
        use(VectorKernel<float>{});
    }
}

template <class Real, class Out>
Product<Real, Out> make_product(Matrix<Out> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K,
                                Stat<Real> alpha, Stat<Real> beta, const Stat<Real>* bias) {
    ENSURE(K > 0, "gemm: an inner dimension of %d", K);
    const size_t stride = static_cast<size_t>(C.stride);
    if constexpr (std::is_same_v<Out, Stat<Real>>) {
        if (beta != 0 && beta != 1)
            for (int m = 0; m < M; ++m)
                for (int n = 0; n < N; ++n) C.data[m * stride + n] *= beta;
    } else {
        ENSURE(beta == 0, "gemm: nothing can be added to a rounded matrix");
    }
    const Operand<Real> a{A.data, static_cast<size_t>(A.stride), !A.transposed},
        b{B.data, static_cast<size_t>(B.stride), B.transposed};
    return {M, N, K, a, b, alpha, bias, beta != 0, C.data, stride};
}

// The bias as it is added; of bf16 a copy.
template <class Real>
const Real* wide_bias(const Real* bias, int) {
    return bias;
}
const float* wide_bias(const bf16* bias, int N) {
    if (!bias) return nullptr;
    static thread_local std::vector<float> wide;
    wide.assign(static_cast<size_t>(N), 0.0f);
    for (int n = 0; n < N; ++n) wide[n] = to_float(bias[n]);
    return wide.data();
}

Bf16Products fastest_bf16_products() {
    return has_bf16_products(Bf16Products::Avx512) ? Bf16Products::Avx512 : Bf16Products::Widened;
}
Bf16Products chosen_bf16_products = fastest_bf16_products();

}  // namespace

bool has_bf16_products(Bf16Products way) {
    if (way == Bf16Products::Widened) return true;
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}
Bf16Products bf16_products() { return chosen_bf16_products; }
void set_bf16_products(Bf16Products way) {
    ENSURE(has_bf16_products(way), "products of bf16: this processor has no AVX-512 BF16");
    chosen_bf16_products = way;
}

template <class Real, class Out>
void gemm(Matrix<Out> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, Stat<Real> alpha,
          Stat<Real> beta) {
    const auto product = make_product<Real, Out>(C, A, B, M, N, K, alpha, beta, nullptr);
    with_kernel<Real>([&](auto kernel) {
        using Kernel = decltype(kernel);
        const Space<Kernel> space(M, N, K, !std::is_same_v<Out, Stat<Real>>);
        blocked_product(product, space, [](int count, const auto& f) {
            for (int i = 0; i < count; ++i) f(i);
        });
    });
}

template <class Real, class Out>
void gemm_threads(Matrix<Out> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, const Real* bias,
                  bool add) {
    const auto product = make_product<Real, Out>(C, A, B, M, N, K, 1, add ? 1 : 0, wide_bias(bias, N));
    with_kernel<Real>([&](auto kernel) {
        using Kernel = decltype(kernel);
        const Space<Kernel> space(M, N, K, !std::is_same_v<Out, Stat<Real>>);
#pragma omp parallel if (worth_sharing_products(static_cast <size_t>(M) * static_cast <size_t>(N) * \
                                                static_cast <size_t>(K)))
        blocked_product(product, space, [](int count, const auto& f) {
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < count; ++i) f(i);
        });
    });
}

#define GEMM(Real, Out)                                                                                           \
    template void gemm<Real, Out>(Matrix<Out>, Matrix<const Real>, Matrix<const Real>, int, int, int, Stat<Real>, \
                                  Stat<Real>);                                                                    \
    template void gemm_threads<Real, Out>(Matrix<Out>, Matrix<const Real>, Matrix<const Real>, int, int, int,     \
                                          const Real*, bool);
GEMM(float, float)
GEMM(double, double)
GEMM(bf16, bf16)
GEMM(bf16, float)
#undef GEMM

}  // namespace cpu
