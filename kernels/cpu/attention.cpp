// attention.cpp - tiles of 64 keys x 64 queries; a tile's probabilities live on the stack.
//
// bf16 as the CUDA kernels do it: scores, softmax and sums over tiles in float; the probabilities and dS are rounded as
// operands of their products, and each output once, when its last tile has been added.
//
// Tiles are kept transposed, a query to a column: maxima and sums over keys then run down the columns, a vector of
// queries at a time, and nothing is ever summed across a register. Only tiles at or below the diagonal are computed:
// about 2 B NH T^2 HS flops without segments, and 2.5 times as many backward, however many heads share keys.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/vmath.h"
#include "util/check.h"

namespace cpu {
namespace {

constexpr int TILE = 64;

// A tile in the type of sums, and once more as operand of a product: the same numbers, or rounded ones.
template <class Real, bool ROUNDED = !std::is_same_v<Real, Stat<Real>>>
struct Tile {
    alignas(64) Stat<Real> sums[TILE * TILE];
    alignas(64) Real operand[TILE * TILE];
};
template <class Real>
struct Tile<Real, false> {
    alignas(64) Real sums[TILE * TILE];
    Real* const operand = sums;
};

// Rows of an output (B, T, .., HS) of which a head has every `stride` elements one, while tiles are being added to
// them: kept in the output itself, or where that is rounded, in own memory until `finish`.
template <class Real>
class Sums {
    using Sum = Stat<Real>;
    static constexpr bool ROUNDED = !std::is_same_v<Real, Sum>;

  public:
    Sums(Real* first, int stride, int rows, int HS) : first_(first), stride_(stride), rows_(rows), HS_(HS) {
        if constexpr (ROUNDED) own_.reset(new Sum[static_cast<size_t>(rows) * HS]);
    }
    Matrix<Sum> from(int row) const {
        if constexpr (ROUNDED)
            return {own_.get() + static_cast<size_t>(row) * HS_, HS_};
        else
            return {first_ + static_cast<size_t>(row) * stride_, stride_};
    }
    // factor(row) * its sums, into the output
    template <class Factor>
    void finish(Factor factor) const {
        for (int row = 0; row < rows_; ++row) {
            const Sum f = factor(row), *sums = from(row).data;
            Real* const to = first_ + static_cast<size_t>(row) * stride_;
            for_vectors<Sum>(HS_, [&](auto get, auto put) { put(to, get(sums) * f); });
        }
    }
    void finish() const {
        if constexpr (ROUNDED) finish([](int) { return Sum(1); });
    }

  private:
    Real* first_;
    int stride_, rows_, HS_;
    std::unique_ptr<Sum[]> own_;
};

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

// The rows from token t of the segment on.
template <class Real>
Matrix<Real> rows_from(Real* first, int stride, int t, bool transposed = false) {
    return {first + static_cast<size_t>(t) * stride, stride, transposed};
}

// s[j,i] = scale * q_i . k_j for a tile, with the keys after the query (on the diagonal tile only) at -inf. Columns up
// to the next whole vector are 0, so that loops over queries need no tails.
template <class Real, class Sum = Stat<Real>>
int scores(Sum* s, const Real* qkv, const Head& h, int q0, int k0, int queries, int keys, int HS, Sum scale) {
    gemm<Real, Sum>({s, TILE}, rows_from(qkv + h.k, h.qkv_stride, k0), rows_from(qkv + h.q, h.qkv_stride, q0, true),
                    keys, queries, HS, scale, 0);
    const int padded = (queries + LANES<Sum> - 1) / LANES<Sum> * LANES<Sum>;
    for (int j = 0; j < keys; ++j) {
        std::fill(s + j * TILE + queries, s + j * TILE + padded, Sum(0));
        if (q0 == k0) std::fill_n(s + j * TILE, std::min(j, queries), -std::numeric_limits<Sum>::infinity());
    }
    return padded;
}

void check_heads(const char* what, int NH, int KV) {
    ENSURE(KV >= 1 && NH >= KV && NH % KV == 0, "%s: NH=%d KV=%d: NH is a multiple of KV", what, NH, KV);
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

// A tile of queries is one thread's: maximum, sum and output row are carried over the key tiles in ascending order.
template <class Real>
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int KV,
                       int HS, stream_t) {
    check_heads("attention_forward", NH, KV);
    using Sum = Stat<Real>;
    struct Work {
        Segment segment;
        int head, q0;
    };
    std::vector<Work> work;
    for (int i = 0; i < schedule[0]; ++i)
        for (int head = 0; head < NH; ++head)
            for (int q0 = 0; q0 < segment_of(schedule, i).length; q0 += TILE)
                work.push_back({segment_of(schedule, i), head, q0});
    const Sum scale = 1 / std::sqrt(Sum(HS));

#pragma omp parallel for schedule(dynamic) if (worth_sharing(B * T, 4 * NH * HS))
    for (size_t w = 0; w < work.size(); ++w) {
        const auto& [segment, head, q0] = work[w];
        const Head h(segment, head, T, NH, KV, HS);
        const int queries = std::min(TILE, segment.length - q0);
        const Sums<Real> rows(rows_from(out + h.out, h.out_stride, q0).data, h.out_stride, queries, HS);
        const Matrix<Sum> o = rows.from(0);
        Tile<Real> p;
        Sum largest[TILE], sum[TILE] = {}, shrink[TILE];
        std::fill_n(largest, TILE, -std::numeric_limits<Sum>::infinity());
        for (int k0 = 0; k0 <= q0; k0 += TILE) {
            const int keys = std::min(TILE, segment.length - k0);
            const int padded = scores<Real>(p.sums, qkv, h, q0, k0, queries, keys, HS, scale);
            for (int i = 0; i < padded; i += LANES<Sum>) {
                const Vector<Sum> before = load(largest + i);
                Vector<Sum> top = before, total{};
                for (int j = 0; j < keys; ++j) {
                    const Vector<Sum> x = load(p.sums + j * TILE + i);
                    top = x > top ? x : top;
                }
                for (int j = 0; j < keys; ++j) {
                    const Vector<Sum> e = exp(load(p.sums + j * TILE + i) - top);
                    store(p.operand + j * TILE + i, e);
                    total += e;
                }
                const Vector<Sum> factor = exp(before - top);
                store(shrink + i, factor);
                store(largest + i, top);
                store(sum + i, load(sum + i) * factor + total);
            }
            if (k0 > 0)
                for (int i = 0; i < queries; ++i)
                    for (int d = 0; d < HS; ++d) o.data[static_cast<size_t>(i) * o.stride + d] *= shrink[i];
            gemm<Real, Sum>(o, {p.operand, TILE, true}, rows_from(qkv + h.v, h.qkv_stride, k0), queries, HS, keys, 1,
                            k0 > 0 ? 1 : 0);
        }
        rows.finish([&](int i) { return 1 / sum[i]; });
        Sum* l = lse + h.statistic + q0;
        for (int i = 0; i < queries; ++i) l[i] = largest[i] + std::log(sum[i]);
    }
}

// One thread walks all tiles of its (row, key/value head, segment): of a tile of keys, those of the group's query heads
// in ascending order, and of each the tiles of queries in ascending order. That is the order in which dk and dv add. dq
// of the group's heads is open until the last tile of keys: NH/KV * T * HS floats a thread where Real is bf16.
template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, int B, int T, int NH, int KV, int HS, stream_t) {
    check_heads("attention_backward", NH, KV);
    using Sum = Stat<Real>;
    const Sum scale = 1 / std::sqrt(Sum(HS));
    const int group = NH / KV;

#pragma omp parallel for schedule(dynamic) if (worth_sharing(B * T, 4 * NH * HS))
    for (int w = 0; w < schedule[0] * KV; ++w) {
        const Segment segment = segment_of(schedule, w / KV);
        std::vector<Head> heads;
        std::vector<Sums<Real>> dq;
        for (int head = w % KV * group; static_cast<int>(heads.size()) < group; ++head) {
            const Head& h = heads.emplace_back(segment, head, T, NH, KV, HS);
            dq.emplace_back(dqkv + h.q, h.qkv_stride, segment.length, HS);
            Sum* D = static_cast<Sum*>(scratch) + h.statistic;
            for (int t = 0; t < segment.length; ++t) {
                Vector<Sum> dot{};
                const Real *a = rows_from(out + h.out, h.out_stride, t).data,
                           *b = rows_from(dout + h.out, h.out_stride, t).data;
                for_vectors<Sum>(HS, [&](auto get, auto) { dot += get(a) * get(b); });
                D[t] = sum_lanes<Sum>(dot);
            }
        }
        Tile<Real> p, ds;
        for (int k0 = 0; k0 < segment.length; k0 += TILE) {
            const int keys = std::min(TILE, segment.length - k0);
            const auto k_rows = [&](auto* first) { return rows_from(first, heads[0].qkv_stride, k0); };
            const Sums<Real> dk(k_rows(dqkv + heads[0].k).data, heads[0].qkv_stride, keys, HS),
                dv(k_rows(dqkv + heads[0].v).data, heads[0].qkv_stride, keys, HS);
            for (int member = 0; member < group; ++member) {
                const Head& h = heads[member];
                const Sum *l = lse + h.statistic, *D = static_cast<Sum*>(scratch) + h.statistic;
                for (int q0 = k0; q0 < segment.length; q0 += TILE) {
                    const int queries = std::min(TILE, segment.length - q0);
                    const Matrix<const Real> do_rows = rows_from(dout + h.out, h.out_stride, q0);
                    scores<Real>(p.sums, qkv, h, q0, k0, queries, keys, HS, scale);
                    gemm<Real, Sum>({ds.sums, TILE}, k_rows(qkv + h.v), {do_rows.data, do_rows.stride, true}, keys,
                                    queries, HS, 1, 0);
                    for (int j = 0; j < keys; ++j) {
                        const Sum *p_j = p.sums + j * TILE, *dp_j = ds.sums + j * TILE;
                        Real *to_p = p.operand + j * TILE, *to_ds = ds.operand + j * TILE;
                        for_vectors<Sum>(queries, [&](auto get, auto put) {
                            const Vector<Sum> probability = exp(get(p_j) - get(l + q0));
                            put(to_p, probability);
                            put(to_ds, probability * (get(dp_j) - get(D + q0)));
                        });
                    }
                    // the first tile that touches a gradient writes it: the first head's diagonal one for dk and dv,
                    // k0 = 0 for dq
                    const Sum later = member > 0 || q0 > k0 ? 1 : 0;
                    gemm<Real, Sum>(dv.from(0), {p.operand, TILE}, do_rows, keys, HS, queries, 1, later);
                    gemm<Real, Sum>(dk.from(0), {ds.operand, TILE}, rows_from(qkv + h.q, h.qkv_stride, q0), keys, HS,
                                    queries, scale, later);
                    gemm<Real, Sum>(dq[member].from(q0), {ds.operand, TILE, true}, k_rows(qkv + h.k), queries, HS, keys,
                                    scale, k0 > 0 ? 1 : 0);
                }
            }
            dk.finish();
            dv.finish();
        }
        for (const Sums<Real>& sums : dq) sums.finish();
    }
}

size_t attention_backward_scratch(int B, int T, int NH, int /*KV*/, int /*HS*/) {  // enough for double
    return static_cast<size_t>(B) * static_cast<size_t>(NH) * static_cast<size_t>(T) * sizeof(double);
}

bool attention_has_head_size(int) { return true; }

#define ATTENTION(Real)                                                                                              \
    template void attention_forward(Real*, Stat<Real>*, const Real*, const int*, int, int, int, int, int, stream_t); \
    template void attention_backward(Real*, void*, const Real*, const Real*, const Stat<Real>*, const Real*,         \
                                     const int*, int, int, int, int, int, stream_t);
ATTENTION(float)
ATTENTION(double)
ATTENTION(bf16)
#undef ATTENTION

}  // namespace cpu
