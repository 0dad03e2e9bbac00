// attention_cases.cpp - the schedule of what there is to do, attention forward and backward, and that the bits of a
// segment do not depend on where it is.
#include <algorithm>
#include <cmath>

#include "test/cases/case.h"
#ifndef KNAPSACK_CPU
#include "kernels/attention_blocks.h"
#endif

namespace {

// Segments in each of the rows, one after another; what is left of a row is one more. The lengths begin one further on
// in each row, so that rows differ. Empty: no document mask.
struct Shape {
    int B, T, NH, KV, HS;
    Ints lengths = {};
};

Ints segment_starts(const Shape& s) {
    if (s.lengths.empty()) return {};
    Ints start;
    for (int b = 0; b < s.B; ++b) {
        int begin = 0;
        for (size_t i = 0; begin < s.T; ++i) {
            const int length =
                i < s.lengths.size() ? std::min(s.lengths[(i + b) % s.lengths.size()], s.T - begin) : s.T - begin;
            start.insert(start.end(), length, begin);
            begin += length;
        }
    }
    return start;
}

std::string name_of(std::string name, const Ints& lengths) {
    for (size_t i = 0; i < lengths.size(); ++i) name += (i ? "," : " segments=") + std::to_string(lengths[i]);
    return name;
}
std::string name_of(const char* operation, const char* type, const Shape& s) {
    const std::string kv = s.KV == s.NH ? "" : format_text(" KV=%d", s.KV);
    return name_of(format_text("%s %s B=%d T=%d NH=%d%s HS=%d", operation, type, s.B, s.T, s.NH, kv, s.HS), s.lengths);
}

// The whole T x T matrix of probabilities, one row and head at a time. dout empty: no gradient.
struct Result {
    Doubles out, lse, dqkv;
};
Result attend(const Doubles& qkv, const Doubles& dout, const Ints& segment_start, const Shape& s) {
    const int B = s.B, T = s.T, NH = s.NH, KV = s.KV, HS = s.HS;
    const size_t tokens = product(B, T), width = product(NH, HS);
    Result r{Doubles(tokens * width), Doubles(tokens * NH), Doubles(dout.empty() ? 0 : qkv.size())};
    const double scale = 1 / std::sqrt(double(HS));
    // of query head h: its q, and the k and v of its group
    const auto at = [&](int b, int t, int part, int h) {
        const int head = part == 0 ? h : NH + (part - 1) * KV + h / (NH / KV);
        return ((size_t(b) * T + t) * (NH + 2 * KV) + head) * HS;
    };
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < NH; ++h)
            for (int t = 0; t < T; ++t) {
                const int first = segment_start.empty() ? 0 : segment_start[size_t(b) * T + t];
                const size_t row = ((size_t(b) * T + t) * NH + h) * HS;
                Doubles p(T);
                double sum = 0;
                for (int j = first; j <= t; ++j) {
                    for (int d = 0; d < HS; ++d) p[j] += scale * qkv[at(b, t, 0, h) + d] * qkv[at(b, j, 1, h) + d];
                    sum += std::exp(p[j]);
                }
                r.lse[(size_t(b) * NH + h) * T + t] = std::log(sum);
                for (int j = first; j <= t; ++j) {
                    p[j] = std::exp(p[j]) / sum;
                    for (int d = 0; d < HS; ++d) r.out[row + d] += p[j] * qkv[at(b, j, 2, h) + d];
                }
                if (dout.empty()) continue;
                double mean = 0;  // sum_j p_j dp_j
                Doubles dp(T);
                for (int j = first; j <= t; ++j) {
                    for (int d = 0; d < HS; ++d) dp[j] += dout[row + d] * qkv[at(b, j, 2, h) + d];
                    mean += p[j] * dp[j];
                }
                for (int j = first; j <= t; ++j)
                    for (int d = 0; d < HS; ++d) {
                        const double ds = p[j] * (dp[j] - mean) * scale;
                        r.dqkv[at(b, t, 0, h) + d] += ds * qkv[at(b, j, 1, h) + d];
                        r.dqkv[at(b, j, 1, h) + d] += ds * qkv[at(b, t, 0, h) + d];
                        r.dqkv[at(b, j, 2, h) + d] += p[j] * dout[row + d];
                    }
            }
    return r;
}

// The length of a CUDA kernel's blocks: as it chooses, or as given.
enum class Blocks { Any, Short, Long };

// Attention with all its tensors on the device.
template <class Real>
struct Attention {
    Shape shape;
    Tensor<int> start, schedule;
    Tensor<Real> qkv, dout, out, dqkv;
    Tensor<Stat<Real>> lse;
    Tensor<char> scratch;

    Attention(const Shape& s, const std::vector<Real>& qkv, const std::vector<Real>& dout)
        : shape(s),
          start(segment_starts(s)),
          schedule(backend::attention_schedule_size(s.B, s.T)),
          qkv(qkv),
          dout(dout),
          out(dout.size()),
          dqkv(qkv.size()),
          lse(product(s.B * s.T, s.NH)),
          scratch(backend::attention_backward_scratch(s.B, s.T, s.NH, s.KV, s.HS)) {
        backend::attention_schedule(schedule, start, s.B, s.T, case_stream());
    }
    explicit Attention(const Shape& s)
        : Attention(s, normal_values<Real>(product(s.B * s.T, (s.NH + 2 * s.KV) * s.HS), 1),
                    normal_values<Real>(product(s.B * s.T, s.NH * s.HS), 2)) {}

    void forward(backend::stream_t stream, Blocks blocks = Blocks::Any) const {
        const auto& [B, T, NH, KV, HS, lengths] = shape;
#ifndef KNAPSACK_CPU
        if (blocks != Blocks::Any)
            return gpu::attention_forward<Real>(out, lse, qkv, schedule, given(blocks), B, T, NH, KV, HS, stream);
#endif
        (void)blocks;
        backend::attention_forward<Real>(out, lse, qkv, schedule, B, T, NH, KV, HS, stream);
    }
    void backward(backend::stream_t stream, Blocks blocks = Blocks::Any) const {
        const auto& [B, T, NH, KV, HS, lengths] = shape;
#ifndef KNAPSACK_CPU
        if (blocks != Blocks::Any)
            return gpu::attention_backward<Real>(dqkv, scratch, dout, out, lse, qkv, schedule, given(blocks), B, T, NH,
                                                 KV, HS, stream);
#endif
        (void)blocks;
        backend::attention_backward<Real>(dqkv, scratch, dout, out, lse, qkv, schedule, B, T, NH, KV, HS, stream);
    }
#ifndef KNAPSACK_CPU
    static gpu::AttentionBlocks given(Blocks blocks) {
        return blocks == Blocks::Long ? gpu::AttentionBlocks::Long : gpu::AttentionBlocks::Short;
    }
#endif
    Result expected(bool gradient) const {
        return attend(doubles(qkv.first()), gradient ? doubles(dout.first()) : Doubles{}, start.first(), shape);
    }
    // (B, T, NH+2KV, HS) -> (B, T, KV, NH/KV+2, HS): a token's gradients of a group, those of its queries, its key and
    // its value, become one row of errors. Alone, dq and dk of a segment's first token have nothing to be compared
    // with: they are 0.
    Doubles by_group(const Doubles& x) const {
        Doubles y;
        y.reserve(x.size());
        const size_t NH = shape.NH, KV = shape.KV, HS = shape.HS;
        for (size_t token = 0; token < product(shape.B, shape.T); ++token)
            for (size_t g = 0; g < KV; ++g) {
                const auto add = [&](size_t head) {
                    const double* from = &x[(token * (NH + 2 * KV) + head) * HS];
                    y.insert(y.end(), from, from + HS);
                };
                for (size_t head = g * (NH / KV); head < (g + 1) * (NH / KV); ++head) add(head);
                add(NH + g);
                add(NH + KV + g);
            }
        return y;
    }
};

// Tolerances are about twice the worst row of all cases: out 4.6e-3 (bf16) and 1.4e-6 (float), lse of a row of tokens
// 1.6e-7; dqkv 1.4e-2 and 1.9e-6, at tokens whose gradient nearly cancels (D comes out of the rounded output), and over
// a row of tokens 2.8e-3 and 5.4e-7.

const char* name_of(Blocks blocks) {
    return blocks == Blocks::Any ? "" : blocks == Blocks::Long ? " long blocks" : " short blocks";
}

template <class Real>
Case forward_case(const Shape& s, bool timed = false, Blocks blocks = Blocks::Any) {
    Case c;
    c.name = name_of("attention_forward", TYPE_NAME<Real>, s) + name_of(blocks);
    const double N = static_cast<double>(s.B) * s.T, channels = static_cast<double>(s.NH) * s.HS;
    c.bytes = 2 * N * (s.NH + s.KV) * s.HS * sizeof(Real) + sizeof(Stat<Real>) * N * s.NH;
    c.flops = 2 * N * s.T * channels;
    const Once<Result> formula;
    c.make = [=] {
        const Attention<Real> a(s);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) { a.forward(stream, blocks); };
        if (!timed)
            instance.check = [=] {
                const Result& want = formula([&] { return a.expected(false); });
                return Outputs{
                    {"out", static_cast<size_t>(s.HS), tolerance<Real>(1e-2, 3e-6), a.out.doubles(), want.out},
                    {"lse", product(s.NH, s.T), stat_tolerance<Real>(5e-7), a.lse.doubles(), want.lse}};
            };
        return instance;
    };
    return c;
}

template <class Real>
Case backward_case(const Shape& s, bool timed = false, Blocks blocks = Blocks::Any) {
    Case c;
    c.name = name_of("attention_backward", TYPE_NAME<Real>, s) + name_of(blocks);
    const double N = static_cast<double>(s.B) * s.T, channels = static_cast<double>(s.NH) * s.HS;
    c.bytes = 4 * N * (s.NH + s.KV) * s.HS * sizeof(Real) + sizeof(Stat<Real>) * N * s.NH;
    c.flops = 5 * N * s.T * channels;
    const Once<Result> formula;
    c.make = [=] {
        Attention<Real> a(s);
        Doubles want;
        if (timed) {
            a.forward(case_stream());
        } else {
            const Result& result = formula([&] { return a.expected(true); });
            a.out = Tensor<Real>(converted<Real>(result.out));
            a.lse = Tensor<Stat<Real>>(converted<Stat<Real>>(result.lse));
            want = a.by_group(result.dqkv);
        }
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) { a.backward(stream, blocks); };
        if (!timed)
            instance.check = [=] {
                const Doubles got = a.by_group(a.dqkv.doubles());
                return Outputs{{"dqkv", product(s.NH / s.KV + 2, s.HS), tolerance<Real>(3e-2, 4e-6), got, want},
                               {"dqkv of a row of tokens", got.size() / s.B, tolerance<Real>(6e-3, 1.2e-6), got, want}};
            };
        return instance;
    };
    return c;
}

// The same segment as the only row of a batch, and in the middle of the second of two rows: the same bits.
template <class Real>
Case placement_case(int length, int NH, int KV, int HS) {
    const Shape shape{2, length + 67, NH, KV, HS, {9, 37, length}};  // row 1 begins with 37
    const int begin = 37;
    Case c;
    c.name = name_of("attention_placement", TYPE_NAME<Real>, shape);
    c.make = [=] {
        const Attention<Real> there(shape);
        const size_t width = product(NH, HS), qkv_width = product(NH + 2 * KV, HS);
        // tokens `begin` to `begin + length` of row 1, of a tensor with `width` values a token
        const auto cut = [=](const auto& x, size_t width) {
            return part(x, static_cast<size_t>(shape.T + begin) * width, static_cast<size_t>(length) * width);
        };
        const Attention<Real> alone(Shape{1, length, NH, KV, HS}, cut(there.qkv.first(), qkv_width),
                                    cut(there.dout.first(), width));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            for (const auto& a : {there, alone}) {
                a.forward(stream);
                a.backward(stream);
            }
        };
        instance.check = [=] {
            const Doubles lse = there.lse.doubles();
            Doubles lse_there;
            for (int h = 0; h < NH; ++h)
                for (const double x : part(lse, static_cast<size_t>((NH + h) * shape.T + begin), length))
                    lse_there.push_back(x);
            return Outputs{{"out", length * width, 0, cut(there.out.doubles(), width), alone.out.doubles()},
                           {"lse", lse_there.size(), 0, lse_there, alone.lse.doubles()},
                           {"dqkv", length * qkv_width, 0, cut(there.dqkv.doubles(), qkv_width), alone.dqkv.doubles()}};
        };
        return instance;
    };
    return c;
}

#ifndef KNAPSACK_CPU
// Short blocks and long ones: the same bits.
template <class Real>
Case blocks_case(const Shape& s) {
    Case c;
    c.name = name_of("attention_blocks", TYPE_NAME<Real>, s);
    c.make = [=] {
        const Attention<Real> with_short(s), with_long(s);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            with_short.forward(stream, Blocks::Short);
            with_short.backward(stream, Blocks::Short);
            with_long.forward(stream, Blocks::Long);
            with_long.backward(stream, Blocks::Long);
        };
        instance.check = [=] {
            const size_t row = static_cast<size_t>(s.HS);
            return Outputs{{"out", row, 0, with_long.out.doubles(), with_short.out.doubles()},
                           {"lse", 1, 0, with_long.lse.doubles(), with_short.lse.doubles()},
                           {"dqkv", row, 0, with_long.dqkv.doubles(), with_short.dqkv.doubles()}};
        };
        return instance;
    };
    return c;
}
#endif

// What each backend lists. CUDA: (row, begin, length, first query) of every tile of 128 queries, by groups of rows that
// have 32,768 tokens, in a group by falling distance from the segment's start, then by row, then by position. The CPU:
// (row, begin, length) of every segment.
Doubles entries_of(const Ints& start, int B, int T) {
    struct Entry {
        int row, begin, length, query;
    };
    std::vector<Entry> entries;
    for (int b = 0; b < B; ++b)
        for (int begin = 0, end; begin < T; begin = end) {
            end = begin + 1;
            while (end < T && (start.empty() || start[static_cast<size_t>(b) * T + end] == begin)) ++end;
            for (int query = 0; query < (ON_CPU ? 1 : end - begin); query += 128)
                entries.push_back({b, begin, end - begin, query});
        }
    const int group = std::max(32768 / T, 1);
    std::stable_sort(entries.begin(), entries.end(), [=](const Entry& a, const Entry& b) {
        return a.row / group != b.row / group ? a.row < b.row : a.query > b.query;
    });
    Doubles list{static_cast<double>(entries.size())};
    for (const Entry& e : entries) {
        for (const int x : {e.row, e.begin, e.length}) list.push_back(x);
        if (!ON_CPU) list.push_back(e.query);
    }
    return list;
}

Case schedule_case(const Shape& s) {
    Case c;
    c.name = name_of(format_text("attention_schedule B=%d T=%d", s.B, s.T), s.lengths);
    c.bytes = (s.lengths.empty() ? 0 : 4.0 * s.B * s.T) + 16.0 * s.B * s.T / 128;
    c.make = [=] {
        const Tensor<int> start(segment_starts(s)), schedule(backend::attention_schedule_size(s.B, s.T));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::attention_schedule(schedule, start, s.B, s.T, stream);
        };
        instance.check = [=] {
            const Doubles want = entries_of(start.first(), s.B, s.T);
            return Outputs{{"count and entries", 1, 0, part(schedule.doubles(), 0, want.size()), want}};
        };
        return instance;
    };
    return c;
}

// Every head size, one row of a full tile and a tail. Under a sanitizer one that is common and one that is no power of
// two (80), since what it looks for hardly depends on the size.
std::vector<Shape> shapes() {
    std::vector<Shape> shapes;
    for (const int HS : under_sanitizer() ? Ints{64, 80} : Ints{16, 32, 64, 80, 128, 256})
        shapes.push_back({1, 65, 1, 1, HS});
    for (const int length : {1, 2, 15}) shapes.push_back({2, length, 3, 3, under_sanitizer() ? 80 : 32});
    shapes.push_back({2, 65, 2, 2, under_sanitizer() ? 64 : 32, {1, 5, 1, 1, 13}});  // more tiles than blocks
    // one across 64, one of exactly 64, a ragged end
    shapes.push_back({2, 160, 1, 1, under_sanitizer() ? 64 : 16, {70, 1, 64}});
    shapes.push_back({2, 150, 1, 1, 64, {40, 100}});
    shapes.push_back({1, 97, 1, 1, 80, {97}});
    if (!under_sanitizer()) {
        for (const int length : {63, 64}) shapes.push_back({1, length, 1, 1, 32});
        shapes.push_back({2, 193, 1, 1, 16});
        shapes.push_back({1, 130, 1, 1, 64});
        shapes.push_back({1, 130, 1, 1, 128});
        shapes.push_back({1, 90, 1, 1, 256, {20, 66}});
    }
    // blocks of 128 rows: a warp's rows of the last one beyond the end, and segments that begin anywhere
    shapes.push_back({1, 193, 1, 1, 64});
    shapes.push_back({2, 300, 1, 1, under_sanitizer() ? 64 : 32, {37, 129, 1, 64}});
    if (!under_sanitizer()) {
        shapes.push_back({1, 129, 1, 1, 80});
        shapes.push_back({1, 193, 1, 1, 32});
        shapes.push_back({1, 257, 1, 1, 64});
    }
    // query heads that share keys and values: two, four, seven (Qwen2.5-0.5B), and all of them over one
    shapes.push_back({2, 65, 4, 2, under_sanitizer() ? 80 : 32});
    shapes.push_back({1, 150, 4, 1, 64, {40, 3, 100}});
    if (!under_sanitizer()) {
        for (const int HS : {16, 32, 80, 128, 256}) shapes.push_back({1, 70, 4, 2, HS, {5}});
        shapes.push_back({1, 70, 14, 2, 64});
        shapes.push_back({1, 193, 8, 2, 64, {37, 129}});
        shapes.push_back({1, 129, 3, 1, 128});
        shapes.push_back({3, 1, 6, 3, 16});
    }
    if (ON_CPU) {
        shapes.insert(shapes.end(), {{1, 1, 1, 1, 8}, {2, 7, 3, 3, 10}, {2, 67, 1, 1, 34}, {1, 211, 2, 2, 64}});
        shapes.push_back({2, 160, 2, 2, 32, {70, 1, 64, 129}});
        shapes.push_back({2, 67, 6, 2, 34, {3, 64}});
    }
    return shapes;
}

}  // namespace

std::vector<Case> attention_cases() {
    std::vector<Case> cases;
    for (const Ints& start : {Ints{}, Ints{0, 0, 2, 3, 3}})
        for (const int KV : {4, 2, 1}) {
            const Shape s{1, 5, 4, KV, 2};
            const Doubles qkv = normal_doubles(product(5, (4 + 2 * KV) * 2), 30), dout = normal_doubles(40, 31);
            cases.push_back(gradient_case(
                format_text("attention KV=%d%s", KV, start.empty() ? "" : " in segments"),
                [=](const Doubles& x) { return attend(x, {}, start, s).out; }, qkv, dout,
                attend(qkv, dout, start, s).dqkv));
        }
    for (const Shape& s : std::vector<Shape>{{1, 1, 0, 0, 0},
                                             {3, 64, 0, 0, 0},
                                             {2, 65, 0, 0, 0},
                                             {410, 400, 0, 0, 0},  // more rows and levels than one pass of the scan
                                             {1, 1, 0, 0, 0, {1}},
                                             {3, 200, 0, 0, 0, {1, 1, 64, 65, 1}},
                                             {2, 300, 0, 0, 0, {300}},
                                             {410, 400, 0, 0, 0, {1, 130, 2, 100}}})
        cases.push_back(schedule_case(s));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        for (const Shape& s : shapes()) {
            cases.push_back(forward_case<Real>(s));
            cases.push_back(backward_case<Real>(s));
        }
        if (!under_sanitizer()) cases.push_back(placement_case<Real>(100, 2, 2, 16));
        cases.push_back(placement_case<Real>(70, 1, 1, 64));
        cases.push_back(placement_case<Real>(33, 1, 1, 80));
        if (!under_sanitizer()) cases.push_back(placement_case<Real>(200, 1, 1, 64));
        if (!under_sanitizer()) cases.push_back(placement_case<Real>(70, 4, 2, 64));
        if (ON_CPU) cases.push_back(placement_case<Real>(131, 2, 2, 34));
    });
#ifndef KNAPSACK_CPU
    for (const int T : {1, 127, 128, 129, 193, 257})
        if (!under_sanitizer() || T == 193) cases.push_back(blocks_case<bf16>({1, T, 1, 1, 64}));
    if (!under_sanitizer())
        for (const int HS : {32, 80, 128}) cases.push_back(blocks_case<bf16>({1, 193, 2, 2, HS}));
    cases.push_back(blocks_case<bf16>({2, 300, 1, 1, 64, {37, 129, 1, 64, 2}}));
    cases.push_back(blocks_case<bf16>({1, 193, 4, 2, 64, {37, 129, 1}}));
    if (!under_sanitizer()) cases.push_back(blocks_case<bf16>({1, 193, 3, 1, 80}));
#endif
    return cases;
}

std::vector<Case> attention_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    const Shape s{step.B, step.T, step.NH, step.llama() ? step.KV : step.NH, step.HS()};
    cases.push_back(schedule_case(s));
    cases.back().calls = 1;
    for_each_timed_real(false, [&](auto real) {
        using Real = decltype(real);
        for (Case c : {forward_case<Real>(s, true), backward_case<Real>(s, true)}) {
            c.calls = step.L;
            cases.push_back(std::move(c));
        }
    });
    // a layer of Llama-3.2-1B: four queries' heads to one of keys and values; on the CPU a sixteenth of it
    const Shape llama = ON_CPU ? Shape{1, s.T, 8, 2, 64} : Shape{8, s.T, 32, 8, 64};
    if (!step.llama())
        for_each_timed_real(false, [&](auto real) {
            using Real = decltype(real);
            for (Case& c : std::vector<Case>{forward_case<Real>(llama, true), backward_case<Real>(llama, true)})
                cases.push_back(std::move(c));
        });
#ifndef KNAPSACK_CPU
    // the micro-batch of an 80 GB GPU, whose keys and values are more than the L2 cache holds
    if (step.full)
        for (const Blocks blocks : {Blocks::Any, Blocks::Short, Blocks::Long})
            for (Case& c : std::vector<Case>{forward_case<bf16>({256, s.T, s.NH, s.KV, s.HS}, true, blocks),
                                             backward_case<bf16>({256, s.T, s.NH, s.KV, s.HS}, true, blocks)})
                cases.push_back(std::move(c));
#endif
    return cases;
}
