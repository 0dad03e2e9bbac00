// attention.cpp - tiles of 64 keys x 64 queries; a tile's probabilities live on the stack.
//
// Tiles are kept transposed, a query to a column: maxima and sums over keys then run down the columns, a vector of
// queries at a time, and nothing is ever summed across a register. Only tiles at or below the diagonal are computed:
// about 2 B NH T^2 HS flops without segments, and 2.5 times as many backward.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/vmath.h"

namespace cpu {
namespace {

constexpr int TILE = 64;
template <class Real>
using Tile = Real[TILE * TILE];

struct Segment {
    int row, begin, length;  // batch row, first position, positions
};

Segment segment_of(const int* schedule, int i) {
    const int* s = schedule + 1 + 3 * static_cast<size_t>(i);
    return {s[0], s[1], s[2]};
}

// Where one head of one segment lies in the tensors: the offset of its first token, and how far one token is from the
// next. What the packed layout (B, T, 3, NH, HS) of qkv and dqkv is, is said here alone.
struct Head {
    size_t q, k, v;    // in qkv and dqkv
    size_t out;        // in out and dout (B, T, NH, HS)
    size_t statistic;  // in lse (B, NH, T)
    int qkv_stride, out_stride;
    Head(const Segment& s, int head, int T, int NH, int HS) : qkv_stride(3 * NH * HS), out_stride(NH * HS) {
        const size_t token = static_cast<size_t>(s.row) * T + s.begin, column = static_cast<size_t>(head) * HS;
        q = token * qkv_stride + column;
        k = q + static_cast<size_t>(NH) * HS;
        v = k + static_cast<size_t>(NH) * HS;
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
template <class Real>
int scores(Real* s, const Real* qkv, const Head& h, int q0, int k0, int queries, int keys, int HS, Real scale) {
    gemm<Real>({s, TILE}, rows_from(qkv + h.k, h.qkv_stride, k0), rows_from(qkv + h.q, h.qkv_stride, q0, true), keys,
               queries, HS, scale, 0);
    const int padded = (queries + LANES<Real> - 1) / LANES<Real> * LANES<Real>;
    for (int j = 0; j < keys; ++j) {
        std::fill(s + j * TILE + queries, s + j * TILE + padded, Real(0));
        if (q0 == k0) std::fill_n(s + j * TILE, std::min(j, queries), -std::numeric_limits<Real>::infinity());
    }
    return padded;
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
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int HS,
                       stream_t) {
    struct Work {
        Segment segment;
        int head, q0;
    };
    std::vector<Work> work;
    for (int i = 0; i < schedule[0]; ++i)
        for (int head = 0; head < NH; ++head)
            for (int q0 = 0; q0 < segment_of(schedule, i).length; q0 += TILE)
                work.push_back({segment_of(schedule, i), head, q0});
    const Real scale = 1 / std::sqrt(Real(HS));

#pragma omp parallel for schedule(dynamic) if (worth_sharing(B * T, 4 * NH * HS))
    for (size_t w = 0; w < work.size(); ++w) {
        const auto& [segment, head, q0] = work[w];
        const Head h(segment, head, T, NH, HS);
        const int queries = std::min(TILE, segment.length - q0);
        const Matrix<Real> o = rows_from(out + h.out, h.out_stride, q0);
        alignas(64) Tile<Real> p;
        Real largest[TILE], sum[TILE] = {}, shrink[TILE];
        std::fill_n(largest, TILE, -std::numeric_limits<Real>::infinity());
        for (int k0 = 0; k0 <= q0; k0 += TILE) {
            const int keys = std::min(TILE, segment.length - k0);
            const int padded = scores(p, qkv, h, q0, k0, queries, keys, HS, scale);
            for (int i = 0; i < padded; i += LANES<Real>) {
                const Vector<Real> before = load(largest + i);
                Vector<Real> top = before, total{};
                for (int j = 0; j < keys; ++j) {
                    const Vector<Real> x = load(p + j * TILE + i);
                    top = x > top ? x : top;
                }
                for (int j = 0; j < keys; ++j) {
                    const Vector<Real> e = exp(load(p + j * TILE + i) - top);
                    store(p + j * TILE + i, e);
                    total += e;
                }
                const Vector<Real> factor = exp(before - top);
                store(shrink + i, factor);
                store(largest + i, top);
                store(sum + i, load(sum + i) * factor + total);
            }
            if (k0 > 0)
                for (int i = 0; i < queries; ++i)
                    for (int d = 0; d < HS; ++d) o.data[static_cast<size_t>(i) * o.stride + d] *= shrink[i];
            gemm<Real>(o, {p, TILE, true}, rows_from(qkv + h.v, h.qkv_stride, k0), queries, HS, keys, 1,
                       k0 > 0 ? 1 : 0);
        }
        Real* l = lse + h.statistic + q0;
        for (int i = 0; i < queries; ++i) {
            const Real inverse = 1 / sum[i];
            for (int d = 0; d < HS; ++d) o.data[static_cast<size_t>(i) * o.stride + d] *= inverse;
            l[i] = largest[i] + std::log(sum[i]);
        }
    }
}

// One thread walks all tiles of its (row, head, segment) in order.
template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, int B, int T, int NH, int HS, stream_t) {
    const Real scale = 1 / std::sqrt(Real(HS));

#pragma omp parallel for schedule(dynamic) if (worth_sharing(B * T, 4 * NH * HS))
    for (int w = 0; w < schedule[0] * NH; ++w) {
        const Segment segment = segment_of(schedule, w / NH);
        const int head = w % NH;
        const Head h(segment, head, T, NH, HS);
        const Real* l = lse + h.statistic;
        Real* D = static_cast<Real*>(scratch) + h.statistic;
        for (int t = 0; t < segment.length; ++t) {
            Vector<Real> dot{};
            const Real *a = rows_from(out + h.out, h.out_stride, t).data,
                       *b = rows_from(dout + h.out, h.out_stride, t).data;
            for_vectors<Real>(HS, [&](auto get, auto) { dot += get(a) * get(b); });
            D[t] = sum_lanes<Real>(dot);
        }
        alignas(64) Tile<Real> p;
        alignas(64) Tile<Real> ds;
        for (int k0 = 0; k0 < segment.length; k0 += TILE) {
            const int keys = std::min(TILE, segment.length - k0);
            const auto k_rows = [&](auto* first) { return rows_from(first, h.qkv_stride, k0); };
            for (int q0 = k0; q0 < segment.length; q0 += TILE) {
                const int queries = std::min(TILE, segment.length - q0);
                const auto q_rows = [&](auto* first) { return rows_from(first, h.qkv_stride, q0); };
                const Matrix<const Real> do_rows = rows_from(dout + h.out, h.out_stride, q0);
                scores(p, qkv, h, q0, k0, queries, keys, HS, scale);
                gemm<Real>({ds, TILE}, k_rows(qkv + h.v), {do_rows.data, do_rows.stride, true}, keys, queries, HS, 1,
                           0);
                for (int j = 0; j < keys; ++j) {
                    Real *p_j = p + j * TILE, *ds_j = ds + j * TILE;
                    for_vectors<Real>(queries, [&](auto get, auto put) {
                        const Vector<Real> probability = exp(get(p_j) - get(l + q0));
                        put(p_j, probability);
                        put(ds_j, probability * (get(ds_j) - get(D + q0)));
                    });
                }
                // the first tile that touches a gradient writes it: the diagonal one for dk and dv, k0 = 0 for dq
                const Real later = q0 > k0 ? 1 : 0;
                gemm<Real>(k_rows(dqkv + h.v), {p, TILE}, do_rows, keys, HS, queries, 1, later);
                gemm<Real>(k_rows(dqkv + h.k), {ds, TILE}, q_rows(qkv + h.q), keys, HS, queries, scale, later);
                gemm<Real>(q_rows(dqkv + h.q), {ds, TILE, true}, k_rows(qkv + h.k), queries, HS, keys, scale,
                           k0 > 0 ? 1 : 0);
            }
        }
    }
}

size_t attention_backward_scratch(int B, int T, int NH, int) {  // enough for double
    return static_cast<size_t>(B) * static_cast<size_t>(NH) * static_cast<size_t>(T) * sizeof(double);
}

bool attention_has_head_size(int) { return true; }

template void attention_forward(float*, float*, const float*, const int*, int, int, int, int, stream_t);
template void attention_forward(double*, double*, const double*, const int*, int, int, int, int, stream_t);
template void attention_backward(float*, void*, const float*, const float*, const float*, const float*, const int*, int,
                                 int, int, int, stream_t);
template void attention_backward(double*, void*, const double*, const double*, const double*, const double*, const int*,
                                 int, int, int, int, stream_t);

static std::vector<float> floats(const bf16* x, size_t n) {
    std::vector<float> y(n);
    for (size_t i = 0; i < n; ++i) y[i] = to_float(x[i]);
    return y;
}
template <>
void attention_forward(bf16* out, float* lse, const bf16* qkv, const int* schedule, int B, int T, int NH, int HS,
                       stream_t s) {
    const size_t n = static_cast<size_t>(B) * T * NH * HS;
    std::vector<float> y(n);
    attention_forward<float>(y.data(), lse, floats(qkv, 3 * n).data(), schedule, B, T, NH, HS, s);
    for (size_t i = 0; i < n; ++i) out[i] = bf16(y[i]);
}
template <>
void attention_backward(bf16* dqkv, void* scratch, const bf16* dout, const bf16* out, const float* lse, const bf16* qkv,
                        const int* schedule, int B, int T, int NH, int HS, stream_t s) {
    const size_t n = static_cast<size_t>(B) * T * NH * HS;
    std::vector<float> y(3 * n);
    attention_backward<float>(y.data(), scratch, floats(dout, n).data(), floats(out, n).data(), lse,
                              floats(qkv, 3 * n).data(), schedule, B, T, NH, HS, s);
    for (size_t i = 0; i < 3 * n; ++i) dqkv[i] = bf16(y[i]);
}

}  // namespace cpu
