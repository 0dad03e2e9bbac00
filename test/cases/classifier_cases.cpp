// classifier_cases.cpp - cross-entropy with its gradient, scores, sums of losses by source.
#include <algorithm>
#include <cmath>
#include <limits>

#include "test/cases/case.h"

namespace {

constexpr double INF = std::numeric_limits<double>::infinity(), NOT_A_NUMBER = std::numeric_limits<double>::quiet_NaN();
constexpr double DLOSS = 0.37;

// Measured in CUDA: losses 1.1e-7, gradient 2.8e-3 in bf16 and 9e-8 in float. The GPU's fast exponential may cost a
// little more of the loss.
template <class Real>
constexpr double LOSS_TOLERANCE = stat_tolerance<Real>(4e-7);
template <class Real>
constexpr double GRADIENT_TOLERANCE = tolerance<Real>(4e-3, 4e-7);

struct Shape {
    int N, V, Vp;
};

struct Result {
    Doubles losses, dlogits;
    Ints argmax, rank;
};
Result classify(const Doubles& logits, const Ints& targets, double dloss, const Shape& s) {
    const size_t N = targets.size(), V = static_cast<size_t>(s.V), Vp = static_cast<size_t>(s.Vp);
    Result r{Doubles(N), Doubles(logits.size()), Ints(N), Ints(N, 1)};
    for (size_t n = 0; n < N; ++n) {
        const double *x = &logits[n * Vp], *best = std::max_element(x, x + V);
        const size_t target = static_cast<size_t>(targets[n]);
        double sum = 0;
        for (size_t v = 0; v < V; ++v) sum += std::exp(x[v] - *best);
        r.losses[n] = std::log(sum) + *best - x[target];
        for (size_t v = 0; v < V; ++v) {
            r.dlogits[n * Vp + v] = (std::exp(x[v] - *best) / sum - (v == target)) * dloss;
            r.rank[n] += x[v] > x[target] || (v < target && x[v] == x[target]);
        }
        r.argmax[n] = static_cast<int>(best - x);
    }
    return r;
}

// What a padded column holds must not matter, so it holds the worst.
template <class Real>
std::vector<Real> padded_logits(const Shape& s, uint64_t seed) {
    std::vector<Real> logits = normal_values<Real>(product(s.N, s.Vp), seed, 3);
    for (int n = 0; n < s.N; ++n)
        for (int v = s.V; v < s.Vp; ++v)
            logits[product(n, s.Vp) + static_cast<size_t>(v)] = rounded<Real>(v % 2 ? NOT_A_NUMBER : INF);
    return logits;
}

std::string name_of(const char* operation, const char* type, const Shape& s) {
    return format_text("%s %s N=%d V=%d Vp=%d", operation, type, s.N, s.V, s.Vp);
}

// A batch of logits with what the two operations make of it.
template <class Real>
struct Batch {
    Shape shape;
    Tensor<Real> logits;
    Tensor<int> targets, argmax, rank;
    Tensor<Stat<Real>> losses;
    Batch(const Shape& s, const std::vector<Real>& logits, const Ints& targets)
        : shape(s),
          logits(logits),
          targets(targets),
          argmax(targets.size()),
          rank(targets.size()),
          losses(targets.size()) {}

    void forward(bool write_gradient, backend::stream_t stream) const {
        backend::classifier_forward<Real>(losses, logits, targets, static_cast<Stat<Real>>(DLOSS), write_gradient,
                                          shape.N, shape.V, shape.Vp, stream);
    }
    void score(backend::stream_t stream) const {
        backend::classifier_score<Real>(losses, argmax, rank, logits, targets, shape.N, shape.V, shape.Vp, stream);
    }
};

template <class Real>
Case forward_case(const Shape& s, bool write_gradient) {
    Case result;
    result.name = name_of("classifier_forward", TYPE_NAME<Real>, s) + (write_gradient ? "" : " losses only");
    const Once<Result> formula;
    result.make = [=] {
        const Batch<Real> x(s, padded_logits<Real>(s, 1), random_ints(static_cast<size_t>(s.N), s.V, 2));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) x.logits.reset();
            x.forward(write_gradient, stream);
        };
        instance.check = [=] {
            const Doubles logits = doubles(x.logits.first());
            const Result& want =
                formula([&] { return classify(logits, x.targets.first(), static_cast<Stat<Real>>(DLOSS), s); });
            return Outputs{{"losses", 1, LOSS_TOLERANCE<Real>, x.losses.doubles(), want.losses},
                           {"logits", static_cast<size_t>(s.Vp), write_gradient ? GRADIENT_TOLERANCE<Real> : 0,
                            write_gradient ? x.logits.doubles() : finite(x.logits.doubles()),
                            write_gradient ? want.dlogits : finite(logits)}};
        };
        return instance;
    };
    return result;
}

// Logits rounded to halves, so that many are equal: arg-max is the first of them, rank counts those before the target.
template <class Real>
Case score_case(const Shape& s) {
    Case result;
    result.name = name_of("classifier_score", TYPE_NAME<Real>, s);
    const Once<Result> formula;
    result.make = [=] {
        auto logits = padded_logits<Real>(s, 3);
        for (Real& x : logits) x = rounded<Real>(std::round(2 * to_double(x)) / 2);
        const Ints targets = random_ints(static_cast<size_t>(s.N), s.V, 4);
        const Batch<Real> scored(s, logits, targets), losses_only(s, logits, targets),
            with_gradient(s, logits, targets);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            scored.score(stream);
            losses_only.forward(false, stream);
            with_gradient.logits.reset();
            with_gradient.forward(true, stream);
        };
        instance.check = [=] {
            const Doubles logits = doubles(scored.logits.first()), losses = scored.losses.doubles();
            const Result& want = formula([&] { return classify(logits, targets, 1, s); });
            return Outputs{{"losses", 1, LOSS_TOLERANCE<Real>, losses, want.losses},
                           {"losses: those of classifier_forward", 1, 0, losses, losses_only.losses.doubles()},
                           {"losses: those with the gradient", 1, 0, losses, with_gradient.losses.doubles()},
                           {"argmax", 1, 0, scored.argmax.doubles(), doubles(want.argmax)},
                           {"rank", 1, 0, scored.rank.doubles(), doubles(want.rank)},
                           {"logits", static_cast<size_t>(s.Vp), 0, finite(scored.logits.doubles()), finite(logits)}};
        };
        return instance;
    };
    return result;
}

// Rows with NaN and infinities, the arithmetic of operations.h by hand.
template <class Real>
Case special_case() {
    constexpr int V = 11, Vp = 16;
    struct Row {
        Doubles logits;  // the first ones; the others are 0
        int target;
        double loss;
        int argmax, rank;
    };
    const std::vector<Row> rows = {
        {{}, 3, std::log(11.0), 0, 4},
        {{1, NOT_A_NUMBER}, 2, NOT_A_NUMBER, 0, 2},  // NaN is not above the target
        {{0, INF, 2}, 2, NOT_A_NUMBER, 1, 2},        // +inf: as the logits of a run that diverged
        {{INF, 1, INF}, 0, NOT_A_NUMBER, 0, 1},
        {{-INF, -INF}, 2, std::log(9.0), 2, 1},     // -inf: a probability of 0
        {{-INF, 5, -INF}, 2, INF, 1, 11},           // the target's is 0: an infinite loss
        {Doubles(V, -INF), 4, NOT_A_NUMBER, 0, 5},  // nothing has a probability
        {Doubles(V, NOT_A_NUMBER), 4, NOT_A_NUMBER, 0, 1},
        {Doubles(V, -3e38), 0, std::log(11.0), 0, 1},  // at the end of float's range
    };
    Case result;
    result.name = std::string("classifier_forward ") + TYPE_NAME<Real> + " and score: NaN and infinities";
    result.make = [=] {
        const Shape shape{static_cast<int>(rows.size()), V, Vp};
        Doubles values, losses;
        Ints targets, argmax, rank;
        for (const Row& row : rows) {
            Doubles logits = row.logits;
            logits.resize(V);
            logits.resize(Vp, NOT_A_NUMBER);
            values.insert(values.end(), logits.begin(), logits.end());
            targets.push_back(row.target);
            losses.push_back(row.loss);
            argmax.push_back(row.argmax);
            rank.push_back(row.rank);
        }
        const std::vector<Real> logits = converted<Real>(values);
        const Batch<Real> x(shape, logits, targets), scored(shape, logits, targets);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            x.logits.reset();
            scored.score(stream);
            x.forward(true, stream);
        };
        instance.check = [=] {
            Doubles padding, gradient = x.logits.doubles(), row_is_nan, loss_is_nan;
            for (size_t n = 0; n < rows.size(); ++n) {
                const Doubles row = part(gradient, n * Vp, V), padded = part(gradient, n * Vp + V, Vp - V);
                padding.insert(padding.end(), padded.begin(), padded.end());
                row_is_nan.push_back(std::any_of(row.begin(), row.end(), [](double x) { return std::isnan(x); }));
                loss_is_nan.push_back(std::isnan(losses[n]));
            }
            return Outputs{{"losses", 1, LOSS_TOLERANCE<Real>, finite(x.losses.doubles()), finite(losses)},
                           {"scored losses", 1, 0, finite(scored.losses.doubles()), finite(x.losses.doubles())},
                           {"argmax", 1, 0, scored.argmax.doubles(), doubles(argmax)},
                           {"rank", 1, 0, scored.rank.doubles(), doubles(rank)},
                           {"padded columns", 1, 0, padding, Doubles(padding.size())},
                           {"NaN in the gradient's row", 1, 0, row_is_nan, loss_is_nan}};
        };
        return instance;
    };
    return result;
}

// One NaN or infinity anywhere in a row makes its loss NaN, and no other row's.
template <class Real>
Case diverged_case(bool write_gradient) {
    constexpr int V = 259, Vp = 384;
    Case result;
    result.name = std::string("classifier_forward ") + TYPE_NAME<Real> + " one bad logit a row" +
                  (write_gradient ? "" : ", losses only");
    result.make = [=] {
        const int places[] = {0, 100, V - 1};
        const Shape shape{7, V, Vp};  // the first row is good
        std::vector<Real> logits = padded_logits<Real>(shape, 9);
        for (size_t n = 1; n < 7; ++n)
            logits[n * Vp + static_cast<size_t>(places[n % 3])] = rounded<Real>(n <= 3 ? NOT_A_NUMBER : INF);
        const Batch<Real> x(shape, logits, Ints(7, 7));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            x.logits.reset();
            x.forward(write_gradient, stream);
        };
        instance.check = [=] {
            Doubles is_nan;
            for (const double loss : x.losses.doubles()) is_nan.push_back(std::isnan(loss));
            return Outputs{{"losses are NaN", 1, 0, is_nan, {0, 1, 1, 1, 1, 1, 1}}};
        };
        return instance;
    };
    return result;
}

// A row's loss and gradient alone and as the last of many.
template <class Real>
Case position_case(int V, int Vp) {
    const Shape many{5, V, Vp}, one{1, V, Vp};
    Case result;
    result.name = name_of("classifier_forward", TYPE_NAME<Real>, many) + " one row alone";
    result.make = [=] {
        const size_t columns = static_cast<size_t>(Vp);
        const auto logits = padded_logits<Real>(many, 5);
        const Ints targets = random_ints(5, V, 6);
        const Batch<Real> all(many, logits, targets), alone(one, part(logits, 4 * columns, columns), {targets.back()});
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            for (const auto& x : {all, alone}) {
                x.logits.reset();
                x.forward(true, stream);
            }
        };
        instance.check = [=] {
            return Outputs{
                {"loss", 1, 0, alone.losses.doubles(), {all.losses.doubles().back()}},
                {"gradient", columns, 0, alone.logits.doubles(), part(all.logits.doubles(), 4 * columns, columns)}};
        };
        return instance;
    };
    return result;
}

template <class Real>
Case loss_sums_case(int N, int S) {
    Case result;
    result.name = format_text("loss_sums %s N=%d S=%d", TYPE_NAME<Real>, N, S);
    result.make = [=] {
        const Tensor<Real> losses(normal_values<Real>(static_cast<size_t>(N), 7));
        std::vector<uint16_t> sources;
        for (const int s : random_ints(static_cast<size_t>(N), S, 8)) sources.push_back(static_cast<uint16_t>(s));
        Doubles before, want;
        for (int s = 0; s < S; ++s) before.push_back(s + 0.5);
        want = before;
        for (size_t n = 0; n < sources.size(); ++n) want[sources[n]] += to_double(losses.first()[n]);
        const Tensor<uint16_t> source(sources);
        const Tensor<double> sums(before);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            sums.reset();
            backend::loss_sums<Real>(sums, losses, source, N, S, stream);
        };
        instance.check = [=] { return Outputs{{"sums", static_cast<size_t>(S), 1e-14, sums.doubles(), want}}; };
        return instance;
    };
    return result;
}

template <class Real>
Case timed_case(const Shape& s, bool score) {
    Case result;
    result.name = name_of(score ? "classifier_score" : "classifier_forward", TYPE_NAME<Real>, s);
    // Logits are read once and the gradient written; the second look at a row comes from the caches and is not counted.
    result.bytes = static_cast<double>(s.N) * ((score ? 1.0 : 2.0) * s.Vp * sizeof(Real) + (score ? 16 : 8));
    result.make = [=] {
        const Batch<Real> x(s, normal_values<Real>(product(s.N, s.Vp), 1, 3),
                            random_ints(static_cast<size_t>(s.N), s.V, 2));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) { score ? x.score(stream) : x.forward(true, stream); };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> classifier_cases() {
    std::vector<Case> cases;
    const Shape square{5, 12, 12};
    const Ints targets = {3, 0, 11, 7, 7};
    const Doubles x = normal_doubles(60, 30);
    cases.push_back(gradient_case(
        "cross-entropy", [=](const Doubles& v) { return classify(v, targets, 1, square).losses; }, x, Doubles(5, 0.2),
        classify(x, targets, 0.2, square).dlogits));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        // below one pack, tails in a pack and in a block, several packs a thread, GPT-2's vocabulary
        std::vector<Shape> shapes = {{1, 1, 8},      {3, 5, 8},       {2, 8, 8},         {7, 50, 56},
                                     {5, 997, 1000}, {3, 4097, 4104}, {2, 12289, 12296}, {1, 50257, 50304}};
        if (ON_CPU) shapes.insert(shapes.end(), {{3, 6, 128}, {37, 257, 257}, {5, 50257, 50304}});
        for (const Shape& s : shapes) {
            cases.push_back(forward_case<Real>(s, true));
            cases.push_back(forward_case<Real>(s, false));
            cases.push_back(score_case<Real>(s));
        }
        cases.push_back(forward_case<Real>({11, 300, 320}, true));
        cases.push_back(special_case<Real>());
        for (const bool write_gradient : {false, true}) cases.push_back(diverged_case<Real>(write_gradient));
        cases.push_back(position_case<Real>(997, 1000));
        if (sizeof(Real) == 2) return;  // losses are not in bf16
        for (const int N : {1, 511, 5003})
            for (const int S : {1, 3}) cases.push_back(loss_sums_case<Stat<Real>>(N, S));
        cases.push_back(loss_sums_case<Stat<Real>>(1000, 256));
    });
    return cases;
}

// A slice of the head's rows at training, and one at scoring.
std::vector<Case> classifier_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        cases.push_back(timed_case<Real>({step.head_rows, step.V, step.Vp()}, false));
        cases.back().calls = step.N() / step.head_rows;
        cases.push_back(timed_case<Real>({step.score_rows, step.V, step.Vp()}, true));
    });
    return cases;
}
