// gemm_pack.h - blocks of op(A) and op(B), copied into the order in which a micro-kernel reads them. Part of gemm.cpp.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/simd.h"

namespace cpu {

using Pair = uint32_t;  // two bf16 of neighbouring k, the first in the lower half
template <>
struct Simd<Pair> {
    typedef Pair Vector __attribute__((vector_size(VECTOR_BYTES)));
};

// op(X) seen by its packing: element (i, k) with i a row of op(A) or a column of op(B).
template <class Real>
struct Operand {
    const Real* data;
    size_t ld;
    bool along_k;  // neighbours in memory are neighbours in k
    const Real* at(size_t i, size_t k) const { return along_k ? data + i * ld + k : data + k * ld + i; }
};

constexpr int LINE = 64;       // bytes of a cache line
constexpr int PACK_AHEAD = 8;  // rows that are asked for before they are packed

// What a packed block is made of: a float, a double (one k), or a Pair (two, the second of an odd K's last is 0). bf16
// is packed as Pair, or as float.
template <class Unit>
constexpr int UNIT_DEPTH = std::is_same_v<Unit, Pair> ? 2 : 1;
template <class Unit>
int units_of(int K) {
    return (K + UNIT_DEPTH<Unit> - 1) / UNIT_DEPTH<Unit>;
}

template <class Unit, int FROM, int... I>
inline Vector<Unit> interleave(Vector<Unit> a, Vector<Unit> b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (FROM + I / 2 + (I % 2) * LANES<Unit>)...);
}

// A square of LANES x LANES, by log2(LANES) perfect shuffles of its rows.
template <class Unit>
inline void transpose(Vector<Unit> (&rows)[LANES<Unit>]) {
    constexpr int n = LANES<Unit>;
    constexpr auto lanes = std::make_integer_sequence<int, n>{};
    for (int stage = 1; stage < n; stage *= 2) {
        Vector<Unit> next[n];
        for (int i = 0; i < n / 2; ++i) {
            next[2 * i] = interleave<Unit, 0>(rows[i], rows[i + n / 2], lanes);
            next[2 * i + 1] = interleave<Unit, n / 2>(rows[i], rows[i + n / 2], lanes);
        }
        for (int i = 0; i < n; ++i) rows[i] = next[i];
    }
}

// `count` numbers along k, as units; then zeros.
template <class Unit, class Real>
inline Vector<Unit> units_along_k(const Real* from, int count) {
    if constexpr (std::is_same_v<Unit, Pair>) {
        Vector<Pair> pairs{};
        if (count == 2 * LANES<Pair>)
            std::memcpy(&pairs, from, sizeof(pairs));
        else if (count == LANES<Pair>)  // half a vector: what is left of many head sizes
            std::memcpy(&pairs, from, sizeof(pairs) / 2);
        else
            std::memcpy(&pairs, from, static_cast<size_t>(count) * sizeof(Real));
        return pairs;
    } else {
        return count == LANES<Unit> ? load(from) : load_some(from, static_cast<size_t>(count));
    }
}

template <int N>
struct Widening {
    typedef uint16_t Narrow __attribute__((vector_size(2 * N)));
    typedef uint32_t Wide __attribute__((vector_size(4 * N)));
};

// to[i] = the unit of from[i] and, if it is a Pair, of next[i], a number of the next k; i < W. In vectors of a power of
// two, the last of which ends with the row.
template <int W, class Unit>
inline void pack_row(Unit* to, const bf16* from, const bf16* next) {
    constexpr int n = W >= 16 ? LANES<Unit> : W >= 8 ? 8 : 4;
    using Narrow = typename Widening<n>::Narrow;
    using Wide = typename Widening<n>::Wide;
    static_assert(n <= W && sizeof(Unit) == sizeof(uint32_t));
    for (int start = 0; start < W; start += n) {
        const int i = std::min(start, W - n);
        Narrow first, second;
        std::memcpy(&first, from + i, sizeof(first));
        Wide units = __builtin_convertvector(first, Wide);
        if constexpr (std::is_same_v<Unit, Pair>) {
            std::memcpy(&second, next + i, sizeof(second));
            units |= __builtin_convertvector(second, Wide) << 16;
        } else {
            units <<= 16;  // a float
        }
        std::memcpy(to + i, &units, sizeof(units));
    }
}
template <int W, class Real>
inline void pack_row(Real* to, const Real* from, const Real*) {
    std::memcpy(to, from, W * sizeof(Real));
}

// Rows of op(A) whose neighbours are neighbours in k, copied as they are, so that they are close to each other:
// to[i * stride + u] = unit u of x(first + i, k0 ..) for i < count; u < units_of(K).
template <class Unit, class Real>
void copy_rows(Unit* to, size_t stride, const Operand<Real>& x, size_t first, int count, size_t k0, int K) {
    for (int i = 0; i < count; ++i, to += stride) {
        const Real* const from = x.at(first + i, k0);
        if constexpr (std::is_same_v<Unit, float> && std::is_same_v<Real, bf16>) {
            for_vectors<float>(static_cast<size_t>(K), [&](auto get, auto put) { put(to, get(from)); });
        } else {
            if (UNIT_DEPTH<Unit> == 2 && K % 2 == 1) to[K / 2] = 0;
            std::memcpy(to, from, static_cast<size_t>(K) * sizeof(Real));
        }
    }
}

// Asks for cache lines that will be needed, a few at a time, while others are computed with: `runs` of `bytes`,
// `stride` bytes apart.
class Ahead {
  public:
    Ahead() = default;
    Ahead(const void* at, size_t stride, size_t bytes, int runs)
        : at_(static_cast<const char*>(at)), stride_(stride), bytes_(bytes), runs_(runs) {}
    // A block of op(X).
    template <class Real>
    Ahead(const Operand<Real>& x, size_t first, int count, size_t k0, int K)
        : Ahead(x.at(first, k0), x.ld * sizeof(Real), static_cast<size_t>(x.along_k ? K : count) * sizeof(Real),
                x.along_k ? count : K) {}
    int lines() const { return runs_ * static_cast<int>((bytes_ + LINE - 1) / LINE); }
    // WRITE, LEVEL: __builtin_prefetch's
    template <int WRITE, int LEVEL>
    inline void fetch(int lines) {
        for (; lines > 0 && runs_ > 0; --lines) {
            __builtin_prefetch(at_ + byte_, WRITE, LEVEL);
            byte_ += LINE;
            if (byte_ < bytes_) continue;
            byte_ = 0;
            at_ += stride_;
            --runs_;
        }
    }

  private:
    const char* at_ = nullptr;
    size_t stride_ = 0, bytes_ = 0, byte_ = 0;
    int runs_ = 0;
};

// to[u * W + i] = unit u of x(first + i, k0 ..) for i < count; u < units_of(K). Up to the end of a vector follow zeros;
// what is beyond no kernel reads.
template <int W, class Unit, class Real>
void pack(Unit* to, const Operand<Real>& x, size_t first, int count, size_t k0, int K) {
    constexpr int n = LANES<Unit>, DEPTH = UNIT_DEPTH<Unit>;
    constexpr int HALF = W % (2 * n) == 0 ? W / 2 : W;  // columns of a sliver's first vector, or half of them
    if (!x.along_k) {
        const Real zeros[W] = {};
        for (int k = 0; k < K; k += DEPTH, to += W) {
            const Real *from = x.at(first, k0 + k), *next = k + 1 < K ? from + x.ld : zeros;
            for (int d = 0; d < DEPTH; ++d)
                for (int i = 0; i < W; i += LINE / sizeof(Real)) __builtin_prefetch(from + (PACK_AHEAD + d) * x.ld + i);
            if (count == W) {
                pack_row<W>(to, from, next);
            } else if (count == HALF) {
                pack_row<HALF>(to, from, next);
            } else {
                Real rows[2][W] = {};
                std::copy_n(from, count, rows[0]);
                if (DEPTH == 2) std::copy_n(next, count, rows[1]);
                pack_row<W>(to, rows[0], rows[1]);
            }
        }
        return;
    }
    for (int k = 0; k < K; k += n * DEPTH) {
        const int depth = std::min(n * DEPTH, K - k), units = units_of<Unit>(depth);
        for (int group = 0; group < std::min(W, count); group += n) {
            Vector<Unit> rows[n];
            for (int i = 0; i < n; ++i) __builtin_prefetch(x.at(first + group + n + i, k0 + k), 0, 3);
            for (int i = 0; i < n; ++i)
                rows[i] =
                    group + i < count ? units_along_k<Unit>(x.at(first + group + i, k0 + k), depth) : Vector<Unit>{};
            transpose<Unit>(rows);
            Unit* const column = to + static_cast<size_t>(k) / DEPTH * W + group;
            const auto put = [&](int u) {
                std::memcpy(column + static_cast<size_t>(u) * W, &rows[u], std::min(n, W - group) * sizeof(Unit));
            };
            if (units == n)  // where the number is known, rows stay in registers
                for (int u = 0; u < n; ++u) put(u);
            else if (units == n / 2)
                for (int u = 0; u < n / 2; ++u) put(u);
            else
                for (int u = 0; u < units; ++u) put(u);
        }
    }
}

// A group of panels of W rows of op(A), whose rows are neighbours in memory: pack's panels, one after the other.
template <int W, class Unit, class Real>
void pack_panels(Unit* to, const Operand<Real>& x, size_t first, int count, size_t k0, int K) {
    const int panels = (count + W - 1) / W;
    const size_t size = static_cast<size_t>(W) * units_of<Unit>(K);
    if constexpr (std::is_same_v<Unit, Real>) {
        const int whole = count / W;
        for (int k = 0; k < K; ++k) {
            const Real* const from = x.at(first, k0 + k);
            for (int i = 0; i < count; i += LINE / sizeof(Real)) __builtin_prefetch(from + PACK_AHEAD * x.ld + i);
            for (int panel = 0; panel < whole; ++panel)
                std::memcpy(to + panel * size + static_cast<size_t>(k) * W, from + panel * W, W * sizeof(Real));
        }
        if (whole < panels) pack<W>(to + whole * size, x, first + whole * W, count - whole * W, k0, K);
    } else {
        for (int panel = 0; panel < panels; ++panel)
            pack<W>(to + panel * size, x, first + panel * W, std::min(W, count - panel * W), k0, K);
    }
}

}  // namespace cpu
