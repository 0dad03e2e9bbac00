// gemm_kernel.h - the micro-kernels: MR x NR sums in registers over one block of k, and what becomes of them. Part of
// gemm.cpp.
//
// A kernel is a struct with the sizes of its blocks, the type of its packed Unit, and
//     run<ROWS, VECTORS>(units, a, b, out, columns, ahead, lines)    ROWS <= MR, columns <= NR, in 1 or 2 VECTORS
// a: Across, Along or Copied.
#pragma once
#include <algorithm>
#include <type_traits>
#include <utility>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cpu {

// Where a kernel finds unit u of row i of its panel of op(A). Across: the rows are neighbours, in a packed panel or in
// a transposed A. Along: the units are, in A itself.
template <class Unit>
struct Across {
    const Unit* at;
    size_t stride;  // from unit to unit
    Unit operator()(int i) const { return at[i]; }
    void next() { at += stride; }
};
template <class Unit>
struct Along {
    const char* at;
    size_t stride;  // from row to row, in bytes
    Unit operator()(int i) const {
        Unit unit;
        std::memcpy(&unit, at + static_cast<size_t>(i) * stride, sizeof(unit));
        return unit;
    }
    void next() { at += sizeof(Unit); }
};
// The copied rows: their distance is known, so that a kernel needs one address for all.
template <class Unit, int STRIDE>
struct Copied {
    const Unit* at;
    Unit operator()(int i) const { return at[i * STRIDE]; }
    void next() { ++at; }
};

// What happens to a finished block of sums: C[i, j] = sums[i, j] + base[i, j], base null: no such term.
template <class Sum, class Out>
struct Output {
    Out* C;
    size_t ldc;
    const Sum* base;  // an earlier block's result, or with ldbase = 0 the bias
    size_t ldbase;
};

// What a kernel's walk over k asks for on its way, a few lines every STRIDE steps, since many at once would wait for
// each other: its tile of C, ROWS of BYTES, and `lines` of those that `ahead` has. A short walk asks for C at once.
//     for (int k = 0; k < K;) for (const int end = walk.stretch(k); k < end; ++k) ..
template <int ROWS, int BYTES>
class Walk {
  public:
    static constexpr int STRIDE = 8;
    template <class Out>
    inline Walk(int K, const Out* C, size_t ldc, Ahead& ahead, int lines)
        : K_(K), lines_(lines), ahead_(ahead), tile_(C, ldc * sizeof(Out), BYTES, ROWS) {
        if (!is_short()) return;
#pragma GCC unroll 14
        for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
            for (int byte = 0; byte < BYTES; byte += LINE)
                __builtin_prefetch(reinterpret_cast<const char*>(C + static_cast<size_t>(i) * ldc) + byte, 1);
    }
    // The end of the stretch from k on.
    inline int stretch(int k) {
        if (is_short()) return K_;
        tile_.template fetch<1, 3>((BYTES + LINE - 1) / LINE);
        ahead_.template fetch<0, 2>(lines_);
        return std::min(K_, k + STRIDE);
    }

  private:
    bool is_short() const { return K_ < ROWS * STRIDE; }
    const int K_, lines_;
    Ahead& ahead_;
    Ahead tile_;
};

// ---- sums of Real in Real, by the compiler's vectors ----------------------------------------------------------------
template <class Real>
struct VectorKernel {
    using Unit = Real;
    using Sum = Real;
    static constexpr int MR = VECTOR_BYTES == 64 ? 14 : 6;  // 28 of 32 registers, or 12 of 16, hold sums
    static constexpr int NR = 2 * LANES<Real>;
    static constexpr int KC = 384;  // a sliver of op(B) is 48 KiB, a panel of op(A) 21: from the second-level cache

    template <int ROWS, int VECTORS, class Rows, class Out>
    static void run(int K, Rows a, const Real* b, const Output<Real, Out>& out, int columns, Ahead& ahead, int lines) {
        constexpr int n = LANES<Real>;
        Vector<Real> sums[ROWS][VECTORS] = {};
        Walk<ROWS, VECTORS * n * sizeof(Out)> walk(K, out.C, out.ldc, ahead, lines);
        for (int k = 0; k < K;)
            for (const int end = walk.stretch(k); k < end; ++k, a.next(), b += NR) {
                const Vector<Real> b0 = load(b), b1 = VECTORS == 2 ? load(b + n) : b0;
#pragma GCC unroll 14
                for (int i = 0; i < ROWS; ++i) {
                    sums[i][0] += a(i) * b0;
                    if constexpr (VECTORS == 2) sums[i][1] += a(i) * b1;
                }
            }
#pragma GCC unroll 14
        for (int i = 0; i < ROWS; ++i) {
            Out* to = out.C + i * out.ldc;
            const Real* base = out.base ? out.base + i * out.ldbase : nullptr;
#pragma GCC unroll 2
            for (int j = 0; j < VECTORS; ++j, to += n) {
                const int width = std::min(n, columns - j * n);
                if (width <= 0) break;
                Vector<Real> value = sums[i][j];
                if (base) value += width == n ? load(base + j * n) : load_some(base + j * n, width);
                if (width == n)
                    store(to, value);
                else
                    store_some(to, value, width);
            }
        }
    }
};

// ---- sums of products of bf16 in float, by vdpbf16ps ----------------------------------------------------------------
// In the build whatever its -march, run where the processor has it.
//
// The instruction adds two products of a pair to a sum, each addition rounded to the nearest even, and none of its
// roundings is that of a fused multiply-add: the products are exact anyway. NaN and infinity come through. Numbers
// below 2^-126 count as 0, in the operands, the sums and the rounded C: less than anything that float sums of usual
// size could hold.
#if defined(__x86_64__)
#define AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

struct PairKernel {
    using Unit = Pair;
    using Sum = float;
    static constexpr int MR = 14, NR = 32;
    static constexpr int KC = 768;  // in units as deep as VectorKernel's

    // Whole vectors without a mask: what is stored through one is slow to be loaded again.
    AVX512_BF16 static void put(float* to, __m512 value, int width) {
        if (width == 16)
            _mm512_storeu_ps(to, value);
        else
            _mm512_mask_storeu_ps(to, first_lanes(width), value);
    }
    AVX512_BF16 static void put(bf16* to, __m512 value, int width) {
        const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(value);
        if (width == 16)
            _mm256_storeu_si256((__m256i*)to, rounded);
        else
            _mm256_mask_storeu_epi16(to, first_lanes(width), rounded);
    }
    AVX512_BF16 static __m512 get(const float* from, int width) {
        return width == 16 ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(first_lanes(width), from);
    }
    static __mmask16 first_lanes(int width) { return static_cast<__mmask16>((1u << width) - 1); }

    template <int ROWS, int VECTORS, class Rows, class Out>
    AVX512_BF16 static void run(int units, Rows a, const Pair* b, const Output<float, Out>& out, int columns,
                                Ahead& ahead, int lines) {
        __m512 sums[ROWS][VECTORS] = {};
        Walk<ROWS, VECTORS * 16 * sizeof(Out)> walk(units, out.C, out.ldc, ahead, lines);
        for (int u = 0; u < units;)
            for (const int end = walk.stretch(u); u < end; ++u, a.next(), b += NR) {
                const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b),
                               b1 = VECTORS == 2 ? (__m512bh)_mm512_loadu_si512(b + 16) : b0;
#pragma GCC unroll 14
                for (int i = 0; i < ROWS; ++i) {
                    const __m512bh pair = (__m512bh)_mm512_set1_epi32(static_cast<int>(a(i)));
                    sums[i][0] = _mm512_dpbf16_ps(sums[i][0], pair, b0);
                    if constexpr (VECTORS == 2) sums[i][1] = _mm512_dpbf16_ps(sums[i][1], pair, b1);
                }
            }
#pragma GCC unroll 14
        for (int i = 0; i < ROWS; ++i) {
            Out* to = out.C + i * out.ldc;
            const float* base = out.base ? out.base + i * out.ldbase : nullptr;
#pragma GCC unroll 2
            for (int j = 0; j < VECTORS; ++j, to += 16) {
                const int width = std::min(16, columns - j * 16);
                if (width <= 0) break;
                put(to, base ? sums[i][j] + get(base + j * 16, width) : sums[i][j], width);
            }
        }
    }
};
#undef AVX512_BF16
#endif

// A panel with fewer than MR rows, a sliver with columns in its first vector only: they run in the instance of their
// size; the same operations for each element, none for rows and vectors that are not there.
template <class Kernel, class Rows, class Out, int... I>
void run_kernel(int rows, int units, Rows a, const typename Kernel::Unit* b,
                const Output<typename Kernel::Sum, Out>& out, int columns, Ahead& ahead, int lines,
                std::integer_sequence<int, I...>) {
    using Run =
        void (*)(int, Rows, const typename Kernel::Unit*, const Output<typename Kernel::Sum, Out>&, int, Ahead&, int);
    static constexpr Run runs[2][sizeof...(I)] = {{Kernel::template run<I + 1, 1, Rows, Out>...},
                                                  {Kernel::template run<I + 1, 2, Rows, Out>...}};
    runs[2 * columns > Kernel::NR][rows - 1](units, a, b, out, columns, ahead, lines);
}

}  // namespace cpu
