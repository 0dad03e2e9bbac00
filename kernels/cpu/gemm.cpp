// gemm.cpp - blocked matrix product.
//
// The loops of Goto & van de Geijn (2008): blocks of KC of the inner dimension; op(B) packed into slivers of NR
// columns, k-major (gemm_pack.h), op(A) in panels of MR rows; the micro-kernel (gemm_kernel.h) keeps MR x NR sums in
// registers.
//
// Order of summation: C[m,n] is one chain of multiply-adds over a block of KC, in ascending k (of bf16 in pairs), and
// the blocks' sums are added in ascending k; a C of bf16 is rounded after the last. No step of it knows where in the
// matrix m is, which row shares its panel, or which thread runs: this is where the contract's independence comes from.
//
// op(A) has two forms. Where rows lie along k (every product but dweight's), they are read as rows: where they are, or
// copied next to each other; a kernel broadcasts single elements, which it finds as well in rows as in panels, so
// nothing is transposed. Else the rows are neighbours for each k, and are read there or copied as panels. In place:
// where at most IN_PLACE_SLIVERS slivers read a panel again, unless the copy is needed because rows share sets of the
// cache.
//
// 2 M N K flops. Copying reads each element of op(A) once for every NC columns of C (and once more for every thread
// that shares a group of panels), packing each of op(B) once (for every MC rows where K > KC), and they write as many
// units, of op(A) within the second-level cache; of C, 2 sizeof(C's sums) bytes an element and block of k. What comes
// from memory is asked for before it is needed: the tile of C while its sums are computed, the next block of op(A)
// while this one is multiplied, rows of op(B) while those before them are packed.
#include "kernels/cpu/gemm.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cpu/gemm_kernel.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/workspace.h"
#include "util/check.h"

namespace cpu {
namespace {

constexpr int NC = 2048;   // columns of a packed block of op(B), about 4 MiB
constexpr int MC = 2016;   // rows of C whose sums are kept, where they are; a multiple of every group
constexpr int COPIED = 4;  // panels that a thread copies at once: 86 KiB; fewer where not all threads would have turns
constexpr int IN_PLACE_SLIVERS = 4;  // that read a panel of op(A) where it is, at most
constexpr size_t CACHE_WAY = 4096;   // bytes of the first-level cache: rows as far apart share its sets
constexpr int ROW_PADDING = 16;      // units after a copied row, which keep rows out of each other's sets
constexpr int TURNS = 8;             // a thread's turns, at least, so that all end at about the same time

template <class Real, class Out>
struct Product {
    int M, N, K;
    Operand<Real> A, B;
    const Stat<Real>* bias;
    bool add;
    Out* C;
    size_t ldc;
};

constexpr int blocks_of(int n, int size) { return (n + size - 1) / size; }

// Of the parallel region that the caller is in.
int threads_of_team() {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

struct SharedBlocks;  // uses of a workspace
struct CopiedPanels;

// What all threads of a product share, in the workspace of the one that called: a packed block of op(B), and where C is
// rounded and K is more than one block, the sums of a block of C.
template <class Kernel>
struct Space {
    using Unit = typename Kernel::Unit;
    using Sum = typename Kernel::Sum;
    using Memory = Workspace<SharedBlocks>;
    Unit* b;
    Sum* sums;

    Space(int M, int N, int K, bool rounded) {
        const size_t width = blocks_of(std::min(N, NC), Kernel::NR) * Kernel::NR;
        const size_t units = width * units_of<Unit>(std::min(K, Kernel::KC)),
                     kept = rounded && K > Kernel::KC ? std::min(M, MC) * width : 0;
        Memory memory(Memory::bytes<Unit>(units) + Memory::bytes<Sum>(kept));
        b = memory.take<Unit>(units);
        sums = memory.take<Sum>(kept);
    }
};

// Whether a row of A is a row of units as it is. (double could be, but need not be fast.)
template <class Unit, class Real>
constexpr bool CAN_READ_ROWS = std::is_same_v<Real, float> || std::is_same_v<Unit, Pair>;

// Whether the kernel reads op(A) where it is. Rows that share sets of the cache would push each other out before their
// lines are used up.
template <class Kernel, class Real>
bool reads_in_place(const Operand<Real>& a, int N, int K) {
    using Unit = typename Kernel::Unit;
    if (blocks_of(N, Kernel::NR) > IN_PLACE_SLIVERS || a.ld * sizeof(Real) % CACHE_WAY == 0) return false;
    return a.along_k ? CAN_READ_ROWS<Unit, Real> && K % UNIT_DEPTH<Unit> == 0 : std::is_same_v<Unit, Real>;
}

// `each(count, f)` runs f(0) .. f(count - 1) on `threads` threads, which all come here, and returns when all are done.
//
// A turn is one thread's: it copies a group of panels for itself, into its second-level cache, unless they are read in
// place, and multiplies them by all slivers of op(B), or, where there are few groups, by a part of them.
template <class Kernel, class Real, class Out, class Each>
void blocked_product(const Product<Real, Out>& p, const Space<Kernel>& space, int threads, const Each& each) {
    using Unit = typename Kernel::Unit;
    using Sum = typename Kernel::Sum;
    constexpr int MR = Kernel::MR, NR = Kernel::NR, KC = Kernel::KC;
    constexpr bool ROUNDED = !std::is_same_v<Out, Sum>;
    const bool in_place = reads_in_place<Kernel>(p.A, p.N, p.K);
    constexpr int ROW = KC / UNIT_DEPTH<Unit> + ROW_PADDING;  // units from a copied row to the next
    using Panels = Workspace<CopiedPanels>;
    const size_t copy = in_place ? 0 : COPIED * MR * ROW;
    Unit* const a = Panels(Panels::bytes<Unit>(copy)).take<Unit>(copy);

    for (int n0 = 0; n0 < p.N; n0 += NC) {
        const int width = std::min(NC, p.N - n0), slivers = blocks_of(width, NR);
        for (int m0 = 0; m0 < p.M; m0 += MC) {
            const int height = std::min(MC, p.M - m0);
            int group_panels = COPIED;
            while (threads > 1 && group_panels > 1 && blocks_of(height, group_panels * MR) * slivers < TURNS * threads)
                group_panels /= 2;
            const int group_rows = group_panels * MR, groups = blocks_of(height, group_rows);
            for (int k0 = 0; k0 < p.K; k0 += KC) {
                const int depth = std::min(KC, p.K - k0), units = units_of<Unit>(depth);
                if (m0 == 0 || p.K > KC)
                    each(slivers, [&](int sliver) {
                        pack<NR>(space.b + static_cast<size_t>(sliver) * NR * units, p.B, n0 + sliver * NR,
                                 std::min(NR, width - sliver * NR), k0, depth);
                    });

                const auto multiply = [&](int panel, int rows, int row, int sliver, Ahead& ahead, int lines) {
                    const size_t column = sliver * NR;
                    const auto run = [&](auto* C, size_t ldc, const Sum* base, size_t ldbase) {
                        const Output<Sum, std::remove_pointer_t<decltype(C)>> out{C, ldc, base, ldbase};
                        const auto read = [&](auto from) {
                            run_kernel<Kernel>(rows, units, from, space.b + column * units, out,
                                               std::min(NR, width - sliver * NR), ahead, lines,
                                               std::make_integer_sequence<int, MR>{});
                        };
                        const void* const there = p.A.at(m0 + row, k0);
                        const Unit* const copy =
                            in_place ? nullptr : a + static_cast<size_t>(panel) * MR * (p.A.along_k ? ROW : units);
                        if constexpr (CAN_READ_ROWS<Unit, Real>)
                            if (in_place && p.A.along_k)
                                return read(Along<Unit>{static_cast<const char*>(there), p.A.ld * sizeof(Real)});
                        if (p.A.along_k)
                            read(Copied<Unit, ROW>{copy});
                        else if (in_place)
                            read(Across<Unit>{static_cast<const Unit*>(there), p.A.ld});
                        else
                            read(Across<Unit>{copy, MR});
                    };
                    Out* const C = p.C + (m0 + static_cast<size_t>(row)) * p.ldc + n0 + column;
                    const Sum* const bias = p.bias ? p.bias + n0 + column : nullptr;
                    if constexpr (ROUNDED) {
                        Sum* const sums = space.sums + static_cast<size_t>(row) * width + column;
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
                // the block of op(A) that this thread will probably copy next
                const auto next_block = [&](int group) {
                    group += threads;
                    const bool later = group >= groups;  // in the next block of k
                    const int k = later ? k0 + KC : k0, first = (later ? group - groups : group) * group_rows;
                    if (in_place || k >= p.K || first >= height) return Ahead();
                    return Ahead(p.A, m0 + first, std::min(group_rows, height - first), k, std::min(KC, p.K - k));
                };
                const int parts = std::min(blocks_of(TURNS * threads, groups), slivers);
                int copied = -1;  // the group that is in `a`
                each(groups * parts, [&](int turn) {
                    const int group = turn / parts, part = turn % parts;
                    const int first = group * group_rows, rows = std::min(group_rows, height - first);
                    const int panels = blocks_of(rows, MR);
                    if (group != copied && !in_place) {
                        if (p.A.along_k)
                            copy_rows(a, ROW, p.A, m0 + first, rows, k0, depth);
                        else
                            pack_panels<MR>(a, p.A, m0 + first, rows, k0, depth);
                    }
                    copied = group;
                    const int begin = slivers * part / parts, end = slivers * (part + 1) / parts;
                    Ahead ahead = next_block(group);
                    const int lines =
                        blocks_of(ahead.lines(), (end - begin) * panels * blocks_of(units, Walk<MR, 0>::STRIDE));
                    for (int sliver = begin; sliver < end; ++sliver)
                        for (int panel = 0; panel < panels; ++panel)
                            multiply(panel, std::min(MR, rows - panel * MR), first + panel * MR, sliver, ahead, lines);
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
void gemm(Matrix<Out> C, Matrix<const Real> A, Matrix<const Real> B, int M, int N, int K, const Real* bias, bool add) {
    constexpr bool ROUNDED = !std::is_same_v<Out, Stat<Real>>;
    ENSURE(K > 0, "gemm: an inner dimension of %d", K);
    ENSURE(!ROUNDED || !add, "gemm: nothing can be added to a rounded matrix");
    const Operand<Real> a{A.data, static_cast<size_t>(A.stride), !A.transposed},
        b{B.data, static_cast<size_t>(B.stride), B.transposed};
    const Product<Real, Out> product{M, N, K, a, b, wide_bias(bias, N), add, C.data, static_cast<size_t>(C.stride)};
    with_kernel<Real>([&](auto kernel) {
        using Kernel = decltype(kernel);
        const Space<Kernel> space(M, N, K, ROUNDED);
        const size_t multiply_adds = static_cast<size_t>(M) * static_cast<size_t>(N) * static_cast<size_t>(K);
#pragma omp parallel if (worth_sharing_products(multiply_adds))
        blocked_product(product, space, threads_of_team(), [](int count, const auto& f) {
#pragma omp for schedule(dynamic, 1)
            for (int i = 0; i < count; ++i) f(i);
        });
    });
}

#define GEMM(Real, Out)                                                                                            \
    template void gemm<Real, Out>(Matrix<Out>, Matrix<const Real>, Matrix<const Real>, int, int, int, const Real*, \
                                  bool);
GEMM(float, float)
GEMM(double, double)
GEMM(bf16, bf16)
GEMM(bf16, float)
#undef GEMM

}  // namespace cpu
