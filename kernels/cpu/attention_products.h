// attention_products.h - the products of attention's tiles: a few rows times a few vectors of columns at once, with
// operands where they are in memory, or copied once for all the tiles that they meet. Part of attention.cpp.
//
// C[r, c] = alpha * sum_u A[r, u] . B[u, c]  (+ C[r, c])        r < rows, c < columns, a multiple of WIDTH; u < units
//
// A unit is one number of the inner dimension k, or, where the processor multiplies bf16, a Pair of neighbouring ones.
// A sum is one chain of multiply-adds in ascending u: the order and the bits of gemm.h's products.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/gemm.h"       // defines: bf16_products
#include "kernels/cpu/gemm_pack.h"  // defines: Pair, pack, pack_row, units_of
#include "kernels/cpu/simd.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cpu {

// A[r, u] = data[r * row + u * unit]
template <class Unit>
struct Left {
    const Unit* data;
    size_t row, unit;
    Left from(size_t r, size_t u) const { return {data + r * row + u * unit, row, unit}; }
};
// B[u, c] = data[u * ld + c]
template <class Unit>
struct Right {
    const Unit* data;
    size_t ld;
    Right from(size_t u, size_t c) const { return {data + u * ld + c, ld}; }
};

// Products of Real; of bf16 that is widened to Real = float where ROUNDED.
template <class Real, bool ROUNDED = false>
struct VectorProducts {
    using Unit = Real;
    using Sum = Real;
    static constexpr int WIDTH = LANES<Real>, DEPTH = 1;

    // x as operands of a later product: of k = i, i + 1, ..; or (x[0] .. x[DEPTH - 1] of one k each) of columns i ..
    static void put_along(Unit* row, size_t i, Vector<Real> x) { store(row + i, rounded(x)); }
    static void put_across(Unit* units, const Vector<Real> (&x)[1]) { store(units, rounded(x[0])); }

    template <int ROWS, int VECTORS>
    static void run(int units, Left<Real> a, Right<Real> b, Real* c, size_t ldc, Real alpha, bool add) {
        Vector<Real> sums[ROWS][VECTORS] = {};
        for (int u = 0; u < units; ++u, a.data += a.unit, b.data += b.ld) {
            Vector<Real> columns[VECTORS];
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; ++j) columns[j] = load(b.data + j * WIDTH);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; ++j) sums[i][j] += a.data[i * a.row] * columns[j];
        }
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i, c += ldc)
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; ++j) {
                Vector<Real> value = finished(alpha * sums[i][j]);
                if (add) value += load(c + j * WIDTH);
                store(c + j * WIDTH, value);
            }
    }

  private:
    static Vector<Real> rounded(Vector<Real> x) {
        if constexpr (ROUNDED)
            return to_float(round_to_bf16(x));
        else
            return x;
    }
};

// Products of bf16 by vdpbf16ps (gemm_kernel.h says what it does).
#if defined(__x86_64__)
struct PairProducts {
    using Unit = Pair;
    using Sum = float;
    static constexpr int WIDTH = 16, DEPTH = 2;

    static void put_along(Unit* row, size_t i, Vector<float> x) { store(reinterpret_cast<bf16*>(row) + i, x); }
    static void put_across(Unit* units, const Vector<float> (&x)[2]) {
        const Bits<float> pairs = round_to_pairs(x[0], x[1]);
        std::memcpy(units, &pairs, sizeof(pairs));
    }

    template <int ROWS, int VECTORS>
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))) static void run(int units, Left<Pair> a,
                                                                                    Right<Pair> b, float* c, size_t ldc,
                                                                                    float alpha, bool add) {
        __m512 sums[ROWS][VECTORS] = {};
        for (int u = 0; u < units; ++u, a.data += a.unit, b.data += b.ld) {
            __m512bh columns[VECTORS];
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; ++j) columns[j] = (__m512bh)_mm512_loadu_si512(b.data + j * WIDTH);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i) {
                const __m512bh pair = (__m512bh)_mm512_set1_epi32(static_cast<int>(a.data[i * a.row]));
#pragma GCC unroll 4
                for (int j = 0; j < VECTORS; ++j) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], pair, columns[j]);
            }
        }
        const __m512 scale = _mm512_set1_ps(alpha);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i, c += ldc)
#pragma GCC unroll 4
            for (int j = 0; j < VECTORS; ++j) {
                float* const to = c + j * WIDTH;
                _mm512_storeu_ps(to, add ? _mm512_fmadd_ps(scale, sums[i][j], _mm512_loadu_ps(to))
                                         : _mm512_mul_ps(scale, sums[i][j]));
            }
    }
};
#endif

// use(products) with the struct for operands of Real.
template <class Real, class Use>
void with_products(Use use) {
    if constexpr (!std::is_same_v<Real, bf16>) {
        use(VectorProducts<Real>{});
    } else {
#if defined(__x86_64__)
        if (bf16_products() == Bf16Products::Avx512) return use(PairProducts{});
#endif
        use(VectorProducts<float, true>{});
    }
}

// VECTORS columns of vectors; 16 sums in registers or fewer.
template <class P, int VECTORS, int... I>
void product_of_columns(int rows, int units, Left<typename P::Unit> a, Right<typename P::Unit> b, typename P::Sum* c,
                        size_t ldc, typename P::Sum alpha, bool add, std::integer_sequence<int, I...>) {
    constexpr int ROWS = sizeof...(I);
    constexpr decltype(&P::template run<ROWS, VECTORS>) runs[] = {P::template run<I + 1, VECTORS>...};
    for (int r = 0; r < rows; r += ROWS)
        runs[std::min(ROWS, rows - r) - 1](units, a.from(r, 0), b, c + r * ldc, ldc, alpha, add);
}

template <class P>
void multiply(typename P::Sum* c, size_t ldc, Left<typename P::Unit> a, Right<typename P::Unit> b, int rows,
              int columns, int units, typename P::Sum alpha, bool add) {
    constexpr auto eight = std::make_integer_sequence<int, 8>{};
    constexpr auto four = std::make_integer_sequence<int, 4>{};
    for (int first = 0; first < columns; first += 4 * P::WIDTH) {
        const Right<typename P::Unit> right = b.from(0, static_cast<size_t>(first));
        const auto run = [&](auto vectors, auto row_block) {
            product_of_columns<P, vectors>(rows, units, a, right, c + first, ldc, alpha, add, row_block);
        };
        switch (std::min(4, (columns - first) / P::WIDTH)) {
            case 1:
                run(std::integral_constant<int, 1>{}, eight);
                break;
            case 2:
                run(std::integral_constant<int, 2>{}, eight);
                break;
            case 3:
                run(std::integral_constant<int, 3>{}, four);
                break;
            default:
                run(std::integral_constant<int, 4>{}, four);
        }
    }
}

// ---- operands ------------------------------------------------------------------------------------------------------
// Each from `count` rows of `size` numbers, `stride` apart, in `space` where they cannot stay where they are.

// Rows, k along them. space: count * units_of(size)
template <class P, class Real>
Left<typename P::Unit> left_rows(typename P::Unit* space, const Real* from, size_t stride, int count, int size) {
    using Unit = typename P::Unit;
    if constexpr (std::is_same_v<Unit, Real>) {
        return {from, stride, 1};
    } else {
        if (P::DEPTH == 2 && size % 2 == 0) return {reinterpret_cast<const Unit*>(from), stride / 2, 1};
        const size_t units = static_cast<size_t>(units_of<Unit>(size));
        for (int r = 0; r < count; ++r) {
            const Real* row = from + r * stride;
            Unit* const to = space + r * units;
            if constexpr (P::DEPTH == 2) {
                to[units - 1] = 0;
                std::memcpy(to, row, static_cast<size_t>(size) * sizeof(Real));
            } else {
                for_vectors<Unit>(static_cast<size_t>(size), [&](auto get, auto put) { put(to, get(row)); });
            }
        }
        return {space, units, 1};
    }
}

// Rows, k across them: the columns up to the next multiple of 16 are zeros. space: units_of(count) * that many
template <class P, class Real>
Right<typename P::Unit> right_rows(typename P::Unit* space, const Real* from, size_t stride, int count, int size) {
    using Unit = typename P::Unit;
    constexpr int n = 16;
    if constexpr (std::is_same_v<Unit, Real>)
        if (size % n == 0) return {from, stride};
    const size_t ld = static_cast<size_t>((size + n - 1) / n * n);
    for (int r = 0; r < count; r += P::DEPTH)
        for (int first = 0; first < size; first += n) {
            const int width = std::min(n, size - first);
            const Real* rows[2] = {from + r * stride + first, from + (r + 1) * stride + first};
            Real padded[2][n] = {};
            for (int i = 0; i < 2; ++i) {
                const bool there = i < P::DEPTH && r + i < count;
                if (there && width < n) std::copy_n(rows[i], width, padded[i]);
                if (!there || width < n) rows[i] = padded[i];
            }
            pack_row<n>(space + r / P::DEPTH * ld + first, rows[0], rows[1]);
        }
    return {space, ld};
}

}  // namespace cpu
