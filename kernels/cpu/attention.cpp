// attention.cpp - tiles of 64 keys x 64 queries; a tile's probabilities stay in the first-level cache.
//
// bf16 as the CUDA kernels do it: scores, softmax and sums over tiles in float; the probabilities and dS are rounded as
// operands of their products, and each output once, when its last tile has been added.
//
// Scores are kept transposed, a query to a column: maxima and sums over keys then run down the columns, a vector of
// queries at a time, and nothing is ever summed across a register. Only tiles at or below the diagonal are computed,
// of those on it only what is below, in blocks of 16 x 16: about 2 B NH T^2 HS flops without segments, and 2.5 times as
// many backward. An exponential takes as long as a product's 32 (bf16: 64) multiply-adds: at HS = 16 it bounds both.
#include "kernels/operations.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/cpu/attention_products.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/vmath.h"
#include "kernels/cpu/workspace.h"
#include "util/check.h"

namespace cpu {
namespace {

constexpr int TILE = 64, BLOCK = 16;
constexpr int up_to_blocks(int n) { return (n + BLOCK - 1) / BLOCK * BLOCK; }

using Memory = Workspace<struct AttentionTiles>;

struct Segment {
    int row, begin, length;  // batch row, first position, positions
};

Segment segment_of(const int* schedule, int i) {
    const int* s = schedule + 1 + 3 * static_cast<size_t>(i);
    return {s[0], s[1], s[2]};
}

// Where one query head of one segment lies in the tensors: the offset of its first token, and how far one token is from
// the next. What the packed layout (B, T, NH+2KV, HS) of qkv and dqkv is, is said here alone.
struct Head {
    size_t q, k, v;    // in qkv and dqkv; k and v of its group
    size_t out;        // in out and dout (B, T, NH, HS)
    size_t statistic;  // in lse (B, NH, T)
    int qkv_stride, out_stride;
    Head(const Segment& s, int head, int T, int NH, int KV, int HS)
        : qkv_stride((NH + 2 * KV) * HS), out_stride(NH * HS) {
        const size_t token = static_cast<size_t>(s.row) * T + s.begin, column = static_cast<size_t>(head) * HS;
        q = token * qkv_stride + column;
        k = token * qkv_stride + static_cast<size_t>(NH + head / (NH / KV)) * HS;
        v = k + static_cast<size_t>(KV) * HS;
        out = token * out_stride + column;
        statistic = (static_cast<size_t>(s.row) * NH + head) * T + s.begin;
    }
};

// to[k, q] = alpha * a_k . b_q for a tile; b[u, q] is unit u of query q, TILE of them a row. On the diagonal only in
// blocks that have a query not before a key.
template <class P, class Sum = typename P::Sum>
void products_of_rows(Sum* to, Left<typename P::Unit> a, const typename P::Unit* b, bool diagonal, int keys,
                      int queries, int units, Sum alpha) {
    for (int k = 0; k < keys; k += diagonal ? BLOCK : TILE) {
        const int first = diagonal ? k : 0;
        multiply<P>(to + k * TILE + first, TILE, a.from(static_cast<size_t>(k), 0), {b + first, TILE},
                    std::min(keys - k, diagonal ? BLOCK : TILE), up_to_blocks(queries) - first, units, alpha, false);
    }
}

// x of the queries from `first` on, with `value` for those before `key`.
template <class Sum>
Vector<Sum> masked(Vector<Sum> x, int first, int key, Sum value) {
    static const auto lanes = [] {
        Vector<Sum> v;
        for (int i = 0; i < LANES<Sum>; ++i) v[i] = static_cast<Sum>(i);
        return v;
    }();
    return lanes < static_cast<Sum>(key - first) ? broadcast(value) : x;
}

}  // namespace

// The segments: their count, then (row, first position, length) of each.
void attention_schedule(int* schedule, const int* segment_start, int B, int T, stream_t) {
    int count = 0;
    for (int b = 0; b < B; ++b) {
        int begin = 0;
        for (int t = 1; t <= T; ++t) {
            if (t < T && (!segment_start || segment_start[static_cast<size_t>(b) * T + t] == begin)) continue;
            int* s = schedule + 1 + 3 * static_cast<size_t>(count++);
            s[0] = b, s[1] = begin, s[2] = t - begin;
            begin = t;
        }
    }
    schedule[0] = count;
}

size_t attention_schedule_size(int B, int T) { return 1 + 3 * static_cast<size_t>(B) * static_cast<size_t>(T); }

namespace {

// A tile of queries: maximum, sum and output row are carried over the key tiles in ascending order.
template <class P, class Real>
void forward_tile(Real* out, typename P::Sum* lse, const Real* qkv, const Head& h, int length, int q0, int HS) {
    using Unit = typename P::Unit;
    using Sum = typename P::Sum;
    const Sum scale = 1 / std::sqrt(Sum(HS));
    const int queries = std::min(TILE, length - q0), units = units_of<Unit>(HS), width = up_to_blocks(HS);
    const size_t row = static_cast<size_t>(h.qkv_stride);
    alignas(64) Sum s[TILE * TILE];
    alignas(64) Unit p[TILE / P::DEPTH * TILE];  // units of keys, queries
    alignas(64) Sum largest[TILE], sum[TILE] = {}, shrink[TILE];
    std::fill_n(largest, TILE, -std::numeric_limits<Sum>::infinity());
    Memory space(2 * Memory::bytes<Unit>(TILE * units) + Memory::bytes<Unit>(TILE * width) +
                 Memory::bytes<Sum>(TILE * width));
    Unit* const q = space.take<Unit>(TILE * units);
    Unit* const k_space = space.take<Unit>(TILE * units);
    Unit* const v_space = space.take<Unit>(TILE * width);
    Sum* const o = space.take<Sum>(TILE * width);

    pack<TILE>(q, Operand<Real>{qkv + h.q + q0 * row, row, true}, 0, queries, 0, HS);
    for (int k0 = 0; k0 <= q0; k0 += TILE) {
        const bool diagonal = k0 == q0;
        const int keys = std::min(TILE, length - k0);
        products_of_rows<P>(s, left_rows<P>(k_space, qkv + h.k + k0 * row, row, keys, HS), q, diagonal, keys, queries,
                            units, scale);
        for (int i = 0; i < queries; i += LANES<Sum>) {
            // the block's last query sees the keys up to itself
            const int end = diagonal ? std::min(keys, i / BLOCK * BLOCK + BLOCK) : keys;
            Sum* const column = s + i;
            if (diagonal)
                for (int j = i + 1; j < end; ++j)
                    store(column + j * TILE,
                          masked<Sum>(load(column + j * TILE), i, j, -std::numeric_limits<Sum>::infinity()));
            const Vector<Sum> before = load(largest + i);
            Vector<Sum> top = before, other = before;  // chains that do not wait for each other
            for (int j = 0; j < end / 2 * 2; j += 2) {
                top = larger(load(column + j * TILE), top);
                other = larger(load(column + (j + 1) * TILE), other);
            }
            top = larger(top, other);
            if (end % 2 != 0) top = larger(load(column + (end - 1) * TILE), top);
            Vector<Sum> total{};
            for (int j = 0; j < end; j += P::DEPTH) {
                Vector<Sum> e[P::DEPTH] = {exp(load(column + j * TILE) - top)};
                total += e[0];
                if constexpr (P::DEPTH == 2)
                    if (j + 1 < end) {
                        e[1] = exp(load(column + (j + 1) * TILE) - top);
                        total += e[1];
                    }
                P::put_across(p + j / P::DEPTH * TILE + i, e);
            }
            const Vector<Sum> factor = exp(before - top);
            store(shrink + i, factor);
            store(largest + i, top);
            store(sum + i, load(sum + i) * factor + total);
        }
        if (k0 > 0)
            for (int i = 0; i < queries; ++i)
                for (int d = 0; d < width; d += LANES<Sum>)
                    store(o + i * width + d, load(o + i * width + d) * shrink[i]);
        const Right<Unit> v = right_rows<P>(v_space, qkv + h.v + k0 * row, row, keys, HS);
        for (int i = 0; i < queries; i += diagonal ? BLOCK : TILE) {
            const int rows = std::min(queries - i, diagonal ? BLOCK : TILE), end = diagonal ? i + BLOCK : keys;
            multiply<P>(o + i * width, width, {p + i, 1, TILE}, v, rows, width, units_of<Unit>(std::min(keys, end)), 1,
                        k0 > 0);
        }
    }
    for (int i = 0; i < queries; ++i) {
        const Sum f = 1 / sum[i], *sums = o + i * width;
        Real* const to = out + h.out + static_cast<size_t>(q0 + i) * h.out_stride;
        for_vectors<Sum>(HS, [&](auto get, auto put) { put(to, get(sums) * f); });
        lse[h.statistic + q0 + i] = largest[i] + std::log(sum[i]);
    }
}

// What every tile of keys needs of a query head: its queries and output gradients as the operands of both kinds of
// products, and the sums of dq.
template <class P>
struct QueryHead {
    const Head* head;
    typename P::Sum* D;  // dO . O of each position
    typename P::Unit *q_columns, *do_columns;
    Right<typename P::Unit> q_rows, do_rows;
    typename P::Sum* dq;
};

// What backward_group takes for `members` query heads: all of their queries and of their gradients packed, as columns
// and as rows, and the sums of dq; a tile of keys and values.
template <class P>
size_t group_bytes(size_t members, int length, int HS) {
    using Unit = typename P::Unit;
    using Sum = typename P::Sum;
    const size_t tiles = static_cast<size_t>((length + TILE - 1) / TILE);
    const size_t columns_size = static_cast<size_t>(TILE * units_of<Unit>(HS)),
                 rows_size = static_cast<size_t>(TILE * up_to_blocks(HS));
    return (2 * members * tiles + 2) * Memory::bytes<Unit>(columns_size) +
           (2 * members * tiles + 1) * Memory::bytes<Unit>(rows_size) +
           (members * tiles + 2) * Memory::bytes<Sum>(rows_size);
}

// All tiles of the query heads that share a head of keys and values, of one segment: a tile of keys after the other; of
// each tile the heads in ascending order, and of each head its queries in ascending order. So dk and dv add.
template <class P, class Real>
void backward_group(Real* dqkv, typename P::Sum* scratch, const Real* dout, const Real* out, const typename P::Sum* lse,
                    const Real* qkv, const std::vector<Head>& heads, int length, int HS) {
    using Unit = typename P::Unit;
    using Sum = typename P::Sum;
    const Sum scale = 1 / std::sqrt(Sum(HS));
    const int units = units_of<Unit>(HS), width = up_to_blocks(HS);
    const size_t row = static_cast<size_t>(heads[0].qkv_stride), out_row = static_cast<size_t>(heads[0].out_stride);
    const size_t tiles = static_cast<size_t>((length + TILE - 1) / TILE);
    const size_t columns_size = static_cast<size_t>(TILE * units), rows_size = static_cast<size_t>(TILE * width);
    // A tile's probabilities and dS: units of queries by key, and of dS also units of keys by query.
    alignas(64) Sum s[TILE * TILE], dp[TILE * TILE];
    alignas(64) Unit p[TILE * TILE / P::DEPTH], ds[TILE * TILE / P::DEPTH];
    alignas(64) Unit ds_across[P::DEPTH == 1 ? 1 : TILE / P::DEPTH * TILE];
    Memory space(group_bytes<P>(heads.size(), length, HS));
    Unit* const k_left = space.take<Unit>(columns_size);
    Unit* const v_left = space.take<Unit>(columns_size);
    Unit* const k_space = space.take<Unit>(rows_size);
    Sum* const dk = space.take<Sum>(rows_size);
    Sum* const dv = space.take<Sum>(rows_size);
    std::vector<QueryHead<P>> queries_of;
    for (const Head& h : heads) {
        Unit* const q_columns = space.take<Unit>(tiles * columns_size);
        Unit* const do_columns = space.take<Unit>(tiles * columns_size);
        for (size_t i = 0; i < tiles; ++i) {
            const int queries = std::min(TILE, length - static_cast<int>(i) * TILE);
            pack<TILE>(q_columns + i * columns_size, Operand<Real>{qkv + h.q + i * TILE * row, row, true}, 0, queries,
                       0, HS);
            pack<TILE>(do_columns + i * columns_size, Operand<Real>{dout + h.out + i * TILE * out_row, out_row, true},
                       0, queries, 0, HS);
        }
        Unit* const q_space = space.take<Unit>(tiles * rows_size);
        Unit* const do_space = space.take<Unit>(tiles * rows_size);
        Sum* const D = scratch + h.statistic;
        for (int t = 0; t < length; ++t) {
            Vector<Sum> dot{};
            const Real *a = out + h.out + t * out_row, *b = dout + h.out + t * out_row;
            for_vectors<Sum>(HS, [&](auto get, auto) { dot += get(a) * get(b); });
            D[t] = sum_lanes<Sum>(dot);
        }
        queries_of.push_back({&h, D, q_columns, do_columns, right_rows<P>(q_space, qkv + h.q, row, length, HS),
                              right_rows<P>(do_space, dout + h.out, out_row, length, HS),
                              space.take<Sum>(tiles * rows_size)});
    }
    const auto write = [&](Real* first, int count, const Sum* sums) {
        for (int r = 0; r < count; ++r) {
            Real* const to = first + r * row;
            const Sum* const from = sums + static_cast<size_t>(r) * width;
            for_vectors<Sum>(HS, [&](auto get, auto put) { put(to, get(from)); });
        }
    };

    // One tile: k, v and k_rows of the keys from k0 on, the queries of `of` from q0 on.
    const auto tile_backward = [&](Left<Unit> k, Left<Unit> v, Right<Unit> k_rows, const QueryHead<P>& of, int k0,
                                   int q0, int keys, bool first_head) {
        const bool diagonal = q0 == k0;
        const int queries = std::min(TILE, length - q0), end = up_to_blocks(queries);
        const size_t tile = static_cast<size_t>(q0 / TILE), step = diagonal ? BLOCK : TILE;
        products_of_rows<P>(s, k, of.q_columns + tile * columns_size, diagonal, keys, queries, units, scale);
        products_of_rows<P>(dp, v, of.do_columns + tile * columns_size, diagonal, keys, queries, units, Sum(1));

        alignas(64) Sum l[TILE] = {}, d[TILE] = {};
        std::copy_n(lse + of.head->statistic + q0, queries, l);
        std::copy_n(of.D + q0, queries, d);
        for (int j = 0; j < keys; j += P::DEPTH)
            for (int i = diagonal ? j / BLOCK * BLOCK : 0; i < end; i += LANES<Sum>) {
                const auto put_key = [&](int key) {  // probability and dS; returns dS
                    const int at = key * TILE + i;
                    Vector<Sum> probability = exp(load(s + at) - load(l + i));
                    if (diagonal) probability = masked<Sum>(probability, i, key, Sum(0));
                    const Vector<Sum> dscore = probability * (load(dp + at) - load(d + i));
                    P::put_along(p + key * (TILE / P::DEPTH), static_cast<size_t>(i), probability);
                    P::put_along(ds + key * (TILE / P::DEPTH), static_cast<size_t>(i), dscore);
                    return dscore;
                };
                Vector<Sum> both[P::DEPTH] = {put_key(j)};
                if constexpr (P::DEPTH == 2)
                    if (j + 1 < keys) both[1] = put_key(j + 1);
                if constexpr (P::DEPTH > 1) P::put_across(ds_across + j / P::DEPTH * TILE + i, both);
            }
        // the first tile that touches a gradient writes it: the first head's diagonal one for dk and dv, k0 = 0 for dq
        for (size_t j = 0; j < static_cast<size_t>(keys); j += step) {
            const size_t first = diagonal ? j : 0;  // of the queries
            const size_t unit = first / P::DEPTH, from = q0 / P::DEPTH + unit;
            const int rows = std::min<int>(static_cast<int>(step), keys - static_cast<int>(j)),
                      depth = units_of<Unit>(queries - static_cast<int>(first));
            multiply<P>(dv + j * width, width, Left<Unit>{p, TILE / P::DEPTH, 1}.from(j, unit),
                        of.do_rows.from(from, 0), rows, width, depth, 1, !diagonal || !first_head);
            multiply<P>(dk + j * width, width, Left<Unit>{ds, TILE / P::DEPTH, 1}.from(j, unit),
                        of.q_rows.from(from, 0), rows, width, depth, scale, !diagonal || !first_head);
        }
        const Left<Unit> across{P::DEPTH == 1 ? ds : ds_across, 1, TILE};
        for (size_t i = 0; i < static_cast<size_t>(queries); i += step) {
            const int rows = std::min<int>(static_cast<int>(step), queries - static_cast<int>(i)),
                      seen = diagonal ? std::min<int>(keys, static_cast<int>(i) + BLOCK) : keys;
            multiply<P>(of.dq + (static_cast<size_t>(q0) + i) * width, width, across.from(i, 0), k_rows, rows, width,
                        units_of<Unit>(seen), scale, k0 > 0);
        }
    };
    for (int k0 = 0; k0 < length; k0 += TILE) {
        const int keys = std::min(TILE, length - k0);
        Real* const dk_rows = dqkv + heads[0].k + k0 * row;
        const Left<Unit> k = left_rows<P>(k_left, qkv + heads[0].k + k0 * row, row, keys, HS),
                         v = left_rows<P>(v_left, qkv + heads[0].v + k0 * row, row, keys, HS);
        const Right<Unit> k_rows = right_rows<P>(k_space, qkv + heads[0].k + k0 * row, row, keys, HS);
        for (const QueryHead<P>& of : queries_of)
            for (int q0 = k0; q0 < length; q0 += TILE)
                tile_backward(k, v, k_rows, of, k0, q0, keys, &of == queries_of.data());
        write(dk_rows, keys, dk);
        write(dqkv + heads[0].v + k0 * row, keys, dv);
    }
    for (const QueryHead<P>& of : queries_of) write(dqkv + of.head->q, length, of.dq);
}

void check_heads(const char* what, int NH, int KV) {
    ENSURE(KV >= 1 && NH >= KV && NH % KV == 0, "%s: NH=%d KV=%d: NH is a multiple of KV", what, NH, KV);
}

}  // namespace

// A tile of queries is one thread's.
template <class Real>
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int KV,
                       int HS, stream_t) {
    check_heads("attention_forward", NH, KV);
    struct Work {
        Segment segment;
        int head, q0;
    };
    std::vector<Work> work;
    for (int i = 0; i < schedule[0]; ++i)
        for (int head = 0; head < NH; ++head)
            for (int q0 = 0; q0 < segment_of(schedule, i).length; q0 += TILE)
                work.push_back({segment_of(schedule, i), head, q0});
    with_products<Real>([&](auto products) {
#pragma omp parallel for schedule(dynamic) if (worth_sharing(B * T, 4 * NH * HS))
        for (size_t w = 0; w < work.size(); ++w) {
            const auto& [segment, head, q0] = work[w];
            const Head h(segment, head, T, NH, KV, HS);
            forward_tile<decltype(products)>(out, lse, qkv, h, segment.length, q0, HS);
        }
    });
}

// A head of keys and values of a segment is one thread's, with the query heads that read it. Of those all queries are
// packed at once: NH / KV * T * (4 HS + HS) numbers a thread (group_bytes). A query head by itself would be NH / KV
// times as many turns, for threads that outnumber segments times KV; but dk and dv of every query head then go through
// memory, which in documents of 100 tokens took 1.1 times as long in fp32 and 1.3 times in bf16 (NH 14, KV 2, HS 64).
template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, int B, int T, int NH, int KV, int HS, stream_t) {
    check_heads("attention_backward", NH, KV);
    with_products<Real>([&](auto products) {
#pragma omp parallel for schedule(dynamic) if (worth_sharing(B * T, 4 * NH * HS))
        for (int w = 0; w < schedule[0] * KV; ++w) {
            const Segment segment = segment_of(schedule, w / KV);
            std::vector<Head> heads;
            for (int member = 0; member < NH / KV; ++member)
                heads.emplace_back(segment, w % KV * (NH / KV) + member, T, NH, KV, HS);
            backward_group<decltype(products)>(dqkv, static_cast<Stat<Real>*>(scratch), dout, out, lse, qkv, heads,
                                               segment.length, HS);
        }
    });
}

size_t attention_backward_scratch(int B, int T, int NH, int /*KV*/, int /*HS*/) {  // enough for double
    return static_cast<size_t>(B) * static_cast<size_t>(NH) * static_cast<size_t>(T) * sizeof(double);
}

template <class Real>
size_t attention_backward_workspaces(int T, int NH, int KV, int HS) {
    size_t bytes = 0;
    with_products<Real>(
        [&](auto products) { bytes = group_bytes<decltype(products)>(static_cast<size_t>(NH / KV), T, HS); });
#ifdef _OPENMP
    bytes *= static_cast<size_t>(omp_get_max_threads());
#endif
    return bytes;
}

bool attention_has_head_size(int) { return true; }

#define ATTENTION(Real)                                                                                              \
    template void attention_forward(Real*, Stat<Real>*, const Real*, const int*, int, int, int, int, int, stream_t); \
    template void attention_backward(Real*, void*, const Real*, const Real*, const Stat<Real>*, const Real*,         \
                                     const int*, int, int, int, int, int, stream_t);                                 \
    template size_t attention_backward_workspaces<Real>(int, int, int, int);
ATTENTION(float)
ATTENTION(double)
ATTENTION(bf16)
#undef ATTENTION

}  // namespace cpu
