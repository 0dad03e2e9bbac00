// norm_rows.h - what the norms share: rows in flight, the sum of the residual stream that a norm reads, sums over rows.
//
// Up to IN_FLIGHT rows at a time are one thread's, summed in vectors (simd.h) while they stay in the first-level cache:
// the sums over a row's lanes and its root take longer than a short row's arithmetic, and those of four rows as long as
// those of one. A row goes through the same operations whichever rows are in flight with it.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"
#include "kernels/types.h"
#include "util/check.h"

namespace cpu {

constexpr int IN_FLIGHT = 4;

// Whether rows of C numbers should be in flight together. Long ones gain nothing by it, and where they are a multiple
// of 4 KiB apart, they push each other out of the cache.
template <class Real>
bool short_rows(size_t C) {
    return C * sizeof(Real) < 2048;
}

constexpr int CHUNK = 32;  // rows
inline int num_chunks(int N) { return (N + CHUNK - 1) / CHUNK; }

// f(integral_constant ROWS, n) for every IN_FLIGHT rows n .., then for two and one; without `in_flight` for each by
// itself.
template <class F>
void for_rows(int begin, int end, bool in_flight, const F& f) {
    const auto rows = [&](auto count, int n) { f(count, static_cast<size_t>(n)); };
    int n = begin;
    if (in_flight) {
        for (; n + IN_FLIGHT <= end; n += IN_FLIGHT) rows(std::integral_constant<int, IN_FLIGHT>{}, n);
        if (n + 2 <= end) rows(std::integral_constant<int, 2>{}, n), n += 2;
    }
    for (; n < end; ++n) rows(std::integral_constant<int, 1>{}, n);
}

// The same for N rows of C elements, on all threads.
template <class F>
void for_shared_rows(int N, int C, bool in_flight, const F& f) {
#pragma omp parallel for schedule(static) if (worth_sharing(N, C))
    for (int chunk = 0; chunk < num_chunks(N); ++chunk)
        for_rows(chunk * CHUNK, std::min(N, (chunk + 1) * CHUNK), in_flight, f);
}

// ---- the sum of the residual stream that a norm reads ---------------------------------------------------------------

// x = a (+ b (+ c)), rounded to Real and written to `residual`; b, c null: no such term; residual null: x is a.
template <class Real>
struct Terms {
    Real* residual;
    const Real *a, *b, *c;

    const Real* x() const { return residual ? residual : a; }
    Terms from(size_t element) const {
        const auto at = [=](auto* p) { return p ? p + element : p; };
        return {at(residual), at(a), at(b), at(c)};
    }
    void check(const char* norm) const {
        ENSURE(residual || !b, "%s: a sum needs a place to be written to", norm);
        ENSURE(b || !c, "%s: a third term without a second one", norm);
    }
};

// The output of the rows from this element on.
template <class Real>
Affine<Real> affine_from(const Affine<Real>& y, size_t element) {
    return {y.out ? y.out + element : nullptr, y.weight, y.bias};
}

// f(r, x) for each vector x of row r < ROWS, C elements a row, from left to right; the last one is padded with zeros.
// Inlined, or what f sums up would be in memory.
template <int ROWS, class Real, class F>
__attribute__((always_inline)) inline void for_sums(const Terms<Real>& terms, size_t C, F f) {
    using Sum = Stat<Real>;
    Real* const residual = terms.residual;
    const Real *const a = terms.a, *const b = terms.b, *const c = terms.c;
    for_vectors<Sum>(C, [&](auto get, auto put) {
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const size_t row = r * C;
            Vector<Sum> total = get(a + row);
            if (residual) {
                if (b) total += get(b + row);
                if (c) total += get(c + row);
                put(residual + row, total);
                total = stored_as(residual, total);
            }
            f(r, total);
        }
    });
}

// ---- sums over rows -------------------------------------------------------------------------------------------------

// to[m][c] += what f(begin, end, sums) adds to sums[m * C + c] for its rows begin <= n < end        m < M, c < C
// f runs once for each chunk of N rows, which have `width` elements. scratch: sums_over_rows_scratch(N, M * C) bytes.
template <class Sum, size_t M, class F>
void sums_over_rows(const std::array<Sum*, M>& to, void* scratch, int N, size_t C, size_t width, const F& f) {
    Sum* const partial = static_cast<Sum*>(scratch);  // (chunk, M, C)
    const int chunks = num_chunks(N);
    const size_t elements = static_cast<size_t>(N) * width;
#pragma omp parallel if (worth_sharing(elements))
    {
#pragma omp for schedule(static)
        for (int chunk = 0; chunk < chunks; ++chunk) {
            Sum* const sums = partial + chunk * M * C;
            std::fill_n(sums, M * C, Sum(0));
            f(chunk * CHUNK, std::min(N, (chunk + 1) * CHUNK), sums);
        }
        // a vector of columns at a time; the loop's barrier above makes the chunks complete
#pragma omp for schedule(static) collapse(2)
        for (size_t m = 0; m < M; ++m)
            for (size_t c = 0; c < C; c += LANES<Sum>) {
                const size_t columns = std::min<size_t>(LANES<Sum>, C - c);
                Vector<Sum> sum{};
                for (int chunk = 0; chunk < chunks; ++chunk)
                    sum += load_some(partial + (chunk * M + m) * C + c, columns);
                store_some(to[m] + c, load_some(to[m] + c, columns) + sum, columns);
            }
    }
}
inline size_t sums_over_rows_scratch(int N, size_t columns) {  // enough for double
    return static_cast<size_t>(num_chunks(N)) * columns * sizeof(double);
}

}  // namespace cpu
