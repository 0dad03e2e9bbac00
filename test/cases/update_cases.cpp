// update_cases.cpp - the norm of the gradients, AdamW over groups and steps, its stochastic rounding.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "test/cases/case.h"
#include "util/rng.h"

namespace {

// ---- the norm -------------------------------------------------------------------------------------------------------

template <class Real>
Case norm_case(size_t n) {
    Case result;
    result.name = format_text("global_norm_squared %s n=%zu", TYPE_NAME<Real>, n);
    result.bytes = static_cast<double>(sizeof(Real) * n);
    const Once<double> formula;
    result.make = [=] {
        std::vector<Real> values(n, Real(0.25));
        const std::vector<Real> random = normal_values<Real>(std::min<size_t>(n, 1 << 17), 1);
        std::copy(random.begin(), random.end(), values.begin());
        const Tensor<Real> x(values);
        const Tensor<double> sum(1);
        const Tensor<char> scratch(backend::global_norm_scratch(n));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::global_norm_squared<Real>(sum, scratch, x, n, stream);
        };
        instance.check = [=] {
            const double want = formula([&] {
                long double total = 0;
                for (const long double value : x.first()) total += value * value;
                return static_cast<double>(total);
            });
            return Outputs{{"sum", 1, 1e-14, sum.doubles(), {want}}};
        };
        return instance;
    };
    return result;
}

// A NaN, an infinity, a square beyond float's range: in the first element, in the middle and in the last.
template <class Real>
Case special_norm_case() {
    Case result;
    result.name = std::string("global_norm_squared ") + TYPE_NAME<Real> + " NaN, inf and 1e30";
    result.make = [] {
        constexpr size_t N = 100001;
        using Limits = std::numeric_limits<Real>;
        std::vector<Tensor<Real>> inputs;
        for (const Real value : {Limits::quiet_NaN(), -Limits::infinity(), Real(1e30)})
            for (const size_t place : {size_t(0), size_t(70000), N - 1}) {
                std::vector<Real> x(N);
                x[place] = value;
                inputs.emplace_back(x);
            }
        const Tensor<double> sums(inputs.size());
        const Tensor<char> scratch(backend::global_norm_scratch(N));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            for (size_t i = 0; i < inputs.size(); ++i)
                backend::global_norm_squared<Real>(sums + i, scratch, inputs[i], N, stream);
        };
        instance.check = [=] {
            Outputs outputs{{"is NaN", 1, 0, {}, Doubles(3, 1)},
                            {"is inf", 1, 0, {}, Doubles(3, 1)},
                            {"1e60", 1, 1e-15, {}, Doubles(3, std::pow(to_double(Real(1e30)), 2))}};
            const Doubles all = sums.doubles();
            for (size_t i = 0; i < 3; ++i) {
                outputs[0].got.push_back(std::isnan(all[i]));
                outputs[1].got.push_back(std::isinf(all[3 + i]));
                outputs[2].got.push_back(all[6 + i]);
            }
            return outputs;
        };
        return instance;
    };
    return result;
}

// Terms of which each order of adding has another sum: exactly the one from the first to the last.
Case in_order_case(int n) {
    Case result;
    result.name = format_text("add_in_order n=%d", n);
    result.make = [=] {
        Doubles terms(static_cast<size_t>(n));
        double want = 0;
        for (size_t i = 0; i < terms.size(); ++i)
            want += terms[i] = std::ldexp(1.0 / static_cast<double>(i + 3), static_cast<int>(i * 7 % 60));
        const Tensor<double> d_terms(terms), sum(1);
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) { backend::add_in_order(sum, d_terms, n, stream); };
        instance.check = [=] { return Outputs{{"sum", 1, 0, sum.doubles(), {want}}}; };
        return instance;
    };
    return result;
}

// ---- AdamW ----------------------------------------------------------------------------------------------------------

constexpr float GRAD_CLIP = 0.7f;

AdamwSettings settings_of_step(int step, uint64_t seed = 42) {
    return {/*lr=*/0.01f / static_cast<float>(step),
            /*beta1=*/0.9f,
            /*beta2=*/0.95f,
            /*eps=*/1e-8f,
            GRAD_CLIP,
            step,
            seed};
}

// The arrays of an update, and the values that the weights begin with.
template <class Real>
struct Weights {
    static constexpr bool HAS_MASTER = sizeof(Real) == 2;
    explicit Weights(const std::vector<Stat<Real>>& start)
        : start(std::make_shared<const std::vector<Stat<Real>>>(start)),
          params(converted<Real>(start)),
          master(HAS_MASTER ? start : std::vector<Stat<Real>>()),
          m(std::vector<Stat<Real>>(start.size())),
          v(m.first()),
          grads(m.first()) {}
    void reset() const { params.reset(), master.reset(), m.reset(), v.reset(), grads.reset(); }
    void update(const double* norm_squared, size_t first, const std::vector<AdamwGroup>& groups,
                const AdamwSettings& settings, backend::stream_t stream) const {
        backend::adamw_update<Real>(params, master, m, v, grads, norm_squared, first, groups.data(),
                                    static_cast<int>(groups.size()), settings, stream);
    }
    std::shared_ptr<const std::vector<Stat<Real>>> start;
    Tensor<Real> params;
    Tensor<Stat<Real>> master, m, v, grads;
};

struct Expected {
    Doubles w, m, v;
};
// One element after another, in double. Elements outside of the groups stay as they were.
void reference_update(Expected* x, const Doubles& grads, const double* norm_squared,
                      const std::vector<AdamwGroup>& groups, const AdamwSettings& settings) {
    const double beta1 = settings.beta1, beta2 = settings.beta2, clip = settings.grad_clip;
    const double scale = norm_squared ? std::min(1.0, clip / std::sqrt(*norm_squared)) : 1;
    for (const AdamwGroup& group : groups)
        for (size_t i = group.begin; i < group.end; ++i) {
            const double g = scale * grads[i];
            x->m[i] = beta1 * x->m[i] + (1 - beta1) * g;
            x->v[i] = beta2 * x->v[i] + (1 - beta2) * g * g;
            const double m_hat = x->m[i] / (1 - std::pow(beta1, settings.step)),
                         v_hat = x->v[i] / (1 - std::pow(beta2, settings.step));
            x->w[i] -= settings.lr * (m_hat / (std::sqrt(v_hat) + settings.eps) + group.weight_decay * x->w[i]);
        }
}

// Both neighbours of a float among the numbers of bf16: truncated towards zero, and one step further.
struct Bf16Neighbours {
    double below, above;
    explicit Bf16Neighbours(float x) {
        int exponent = 0;
        const double mantissa = std::frexp(static_cast<double>(x), &exponent);  // 8 bits of it stay
        below = std::ldexp(std::trunc(std::ldexp(mantissa, 8)), exponent - 8);
        above = below + std::ldexp(std::copysign(1.0, mantissa), exponent - 8);
    }
};

// 16 bits of noise: of a seed, a step, an element. The weights of both backends hang on them bit for bit.
uint32_t noise_of(uint64_t seed, int step, size_t i) {
    const uint64_t stream =
        hash_name("adamw: stochastic rounding") + 0x9E3779B97F4A7C15ull * static_cast<uint64_t>(step);
    return philox(seed, stream, i / 8).x[i % 8 / 2] >> (i % 2 ? 16 : 0) & 0xFFFF;
}
// The neighbour away from zero, for as much of the noise as the master is past the other one.
double rounded_master(float master, uint32_t noise) {
    const Bf16Neighbours neighbours(master);
    const double past = (static_cast<double>(master) - neighbours.below) / (neighbours.above - neighbours.below);
    return past * 65536 + noise >= 65536 ? neighbours.above : neighbours.below;
}

// Several steps over a few groups that begin past the arrays' begin and end before their end. A step has one norm, so
// that some steps clip and others do not.
template <class Real>
Case update_case(const std::vector<AdamwGroup>& groups, size_t n, bool clip) {
    constexpr int STEPS = 4;
    Case result;
    result.name = format_text("adamw_update %s n=%zu groups=%zu%s", TYPE_NAME<Real>, n, groups.size(),
                              clip ? "" : " without clipping");
    result.make = [=] {
        const Weights<Real> weights(normal_values<Stat<Real>>(n, 1));
        std::vector<std::vector<Stat<Real>>> grads;
        for (uint64_t step = 1; step <= STEPS; ++step) grads.push_back(normal_values<Stat<Real>>(n, 10 + step));
        const Tensor<double> norms(Doubles{4, 1e-4, 0, 0.5});
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            weights.reset();
            for (int step = 1; step <= STEPS; ++step) {
                copy_to_device<Stat<Real>>(weights.grads, grads[static_cast<size_t>(step - 1)].data(), n);
                weights.update(clip ? norms + (step - 1) : nullptr, 0, groups, settings_of_step(step), stream);
            }
        };
        instance.check = [=] {
            Expected want{doubles(*weights.start), Doubles(n), Doubles(n)};
            for (int step = 1; step <= STEPS; ++step)
                reference_update(&want, doubles(grads[static_cast<size_t>(step - 1)]),
                                 clip ? &norms.first()[static_cast<size_t>(step - 1)] : nullptr, groups,
                                 settings_of_step(step));
            Doubles grads_left = doubles(grads.back());
            for (const AdamwGroup& group : groups)
                for (size_t i = group.begin; i < group.end; ++i) grads_left[i] = 0;
            const Doubles params = weights.params.doubles();
            const double close = stat_tolerance<Real>(1.5e-7);  // measured: 6e-8 after four steps
            Outputs outputs = {
                {"m", n, close, weights.m.doubles(), want.m},
                {"v", n, close, weights.v.doubles(), want.v},
                {"weights", n, close, Weights<Real>::HAS_MASTER ? weights.master.doubles() : params, want.w},
                {"gradients", n, 0, weights.grads.doubles(), grads_left}};
            if (Weights<Real>::HAS_MASTER) {
                Doubles rounded = doubles(weights.params.first());
                const auto master = weights.master.now();
                for (const AdamwGroup& group : groups)
                    for (size_t i = group.begin; i < group.end; ++i) {
                        const uint32_t noise = noise_of(settings_of_step(STEPS).seed, STEPS, i);
                        rounded[i] = rounded_master(static_cast<float>(master[i]), noise);
                    }
                outputs.push_back({"params: rounded masters", n, 0, params, rounded});
            }
            return outputs;
        };
        return instance;
    };
    return result;
}

// Arrays that hold a range of the parameters are updated to the bits that the range has among all.
template <class Real>
Case range_case() {
    constexpr size_t ALL = 5008, FIRST = 2048, SIZE = 1600;
    Case result;
    result.name = format_text("adamw_update %s a range", TYPE_NAME<Real>);
    result.make = [] {
        const auto start = normal_values<Stat<Real>>(ALL, 1), grads = normal_values<Stat<Real>>(ALL, 2);
        const Weights<Real> all(start), range(part(start, FIRST, SIZE));
        const Tensor<double> norm(Doubles{4});
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            all.reset();
            range.reset();
            copy_to_device<Stat<Real>>(all.grads, grads.data(), ALL);
            copy_to_device<Stat<Real>>(range.grads, grads.data() + FIRST, SIZE);
            all.update(norm, 0, {{0, 2072, 0.1f}, {2072, ALL, 0.3f}}, settings_of_step(1), stream);
            range.update(norm, FIRST, {{FIRST, 2072, 0.1f}, {2072, FIRST + SIZE, 0.3f}}, settings_of_step(1), stream);
        };
        instance.check = [=] {
            Outputs outputs{{"params", SIZE, 0, range.params.doubles(), part(all.params.doubles(), FIRST, SIZE)},
                            {"m", SIZE, 0, range.m.doubles(), part(all.m.doubles(), FIRST, SIZE)},
                            {"v", SIZE, 0, range.v.doubles(), part(all.v.doubles(), FIRST, SIZE)}};
            if (Weights<Real>::HAS_MASTER)
                outputs.push_back({"master", SIZE, 0, range.master.doubles(), part(all.master.doubles(), FIRST, SIZE)});
            return outputs;
        };
        return instance;
    };
    return result;
}

// Rounding errors of many elements, of steps and of seeds: right on average, the same for the same seed and step,
// others for another; numbers that bf16 has and NaN stay what they are. No gradient and no weight decay: nothing else
// moves.
constexpr size_t ROUNDED = 100000, EXACT = 4;

template <class Real>
Case rounding_case() {
    Case result;
    result.name = format_text("adamw_update %s stochastic rounding", TYPE_NAME<Real>);
    result.make = [] {
        // what bf16 has stays; a NaN whose upper half would be infinity is still NaN
        std::vector<Stat<Real>> start = normal_values<Stat<Real>>(ROUNDED, 3);
        constexpr uint32_t NAN_BITS = 0x7F800001u;
        float nan;
        std::memcpy(&nan, &NAN_BITS, sizeof nan);
        start[0] = 0;
        start[1] = -1.5f;
        start[2] = 0x1p-130f;
        start[3] = nan;
        const Weights<Real> weights(start);
        struct Rounding {
            int step;
            uint64_t seed;
        };
        const std::vector<Rounding> roundings = {{1, 42}, {1, 42}, {2, 42}, {1, 43}};
        const auto params = std::make_shared<std::vector<Doubles>>(roundings.size());
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            for (size_t i = 0; i < roundings.size(); ++i) {
                weights.reset();
                weights.update(nullptr, 0, {{0, ROUNDED, 0.0f}}, settings_of_step(roundings[i].step, roundings[i].seed),
                               stream);
                (*params)[i] = weights.params.doubles();
            }
        };
        instance.check = [=] {
            const Doubles& first = (*params)[0];
            // In units of the step between the neighbours an error is uniform in (-1, 1) or so: the mean of 1e5 has a
            // deviation of 0.41 / sqrt(1e5) = 0.0013. The same for how often it goes up against how often it should.
            double error = 0, rounded_up = 0, expected_up = 0;
            Doubles exact;
            for (size_t i = 0; i < ROUNDED; ++i) {
                if (i < EXACT) {
                    exact.push_back(std::isnan(first[i]) ? 1e30 : first[i]);
                    continue;
                }
                const double master = to_double((*weights.start)[i]);
                const Bf16Neighbours neighbours(static_cast<float>(master));
                const double step = neighbours.above - neighbours.below;
                error += (first[i] - master) / std::abs(step) / ROUNDED;
                rounded_up += (first[i] == neighbours.above ? 1.0 : 0.0) / ROUNDED;
                expected_up += (master - neighbours.below) / step / ROUNDED;
            }
            const auto differing = [&](size_t a, size_t b) {
                double count = 0;
                for (size_t i = EXACT; i < ROUNDED; ++i) count += (*params)[a][i] != (*params)[b][i];
                return count / ROUNDED;
            };
            // two independent roundings of a fraction f differ with probability 2 f (1 - f): a third on average
            return Outputs{{"1 + mean error", 1, 0.005, {1 + error}, {1}},
                           {"share rounded away from zero", 1, 0.01, {rounded_up}, {expected_up}},
                           {"differing, same seed and step", 1, 0, {differing(0, 1)}, {0}},
                           {"differing, another step", 1, 0.03, {differing(0, 2)}, {1.0 / 3}},
                           {"differing, another seed", 1, 0.03, {differing(0, 3)}, {1.0 / 3}},
                           {"exact values, NaN", 1, 0, exact, {0, -1.5, 0x1p-130, 1e30}}};
        };
        return instance;
    };
    return result;
}

// Bytes a parameter: bf16 34 (weight written 2; master, m and v read and written 24; gradient read and zeroed 8), float
// 32. Counted without the zeroing of the gradient, as is usual elsewhere, bf16 would be 30.
template <class Real>
Case timed_update_case(size_t n) {
    Case result;
    result.name = format_text("adamw_update %s n=%zu", TYPE_NAME<Real>, n);
    result.bytes = (sizeof(Real) == 2 ? 34.0 : 32.0) * static_cast<double>(n);
    result.make = [=] {
        const Weights<Real> weights(normal_values<Stat<Real>>(n, 1));
        const Tensor<double> norm(Doubles(1));
        std::vector<AdamwGroup> groups;  // as many as a table of tensors has
        for (size_t g = 0; g < 16; ++g)
            groups.push_back({g * (n / 128) * 8, g == 15 ? n : (g + 1) * (n / 128) * 8, g % 2 ? 0.1f : 0.0f});
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            weights.update(norm, 0, groups, settings_of_step(1), stream);
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> update_cases() {
    std::vector<Case> cases;
    const std::vector<AdamwGroup> three = {{16, 24, 0.1f}, {24, 2072, 0.0f}, {2072, 5000, 0.3f}};
    std::vector<AdamwGroup> many;
    for (size_t g = 0; g < MAX_ADAMW_GROUPS; ++g) many.push_back({8 * g, 8 * g + 8, 0.01f * static_cast<float>(g)});
    for (const int n : {1, 3, 50}) cases.push_back(in_order_case(n));
    for_each_real([&](auto real) {
        using Real = decltype(real);
        if (sizeof(Real) > 2) {  // there are no gradients in bf16
            // 4300013: more chunks than CUDA's last block has threads
            for (const size_t n : {1, 3, 4, 1023, 1026, 16384, 16387, 100003, 200003, 4300013})
                cases.push_back(norm_case<Stat<Real>>(n));
            cases.push_back(special_norm_case<Stat<Real>>());
        }
        for (const bool clip : {true, false}) cases.push_back(update_case<Real>(three, 5008, clip));
        cases.push_back(update_case<Real>({{0, 8, 0.1f}}, 8, true));
        cases.push_back(update_case<Real>(many, 8 * MAX_ADAMW_GROUPS, true));
        cases.push_back(range_case<Real>());
        if (sizeof(Real) == 2) cases.push_back(rounding_case<Real>());
        if (ON_CPU)
            for (const size_t n : {1, 1009, 40000})
                cases.push_back(update_case<Real>({{0, n / 3, 0.1f}, {n / 3, n, 0.0f}}, n, true));
    });
    return cases;
}

std::vector<Case> update_timed_cases(const TrainingStep& step) {
    const size_t C = static_cast<size_t>(step.C), L = static_cast<size_t>(step.L), V = static_cast<size_t>(step.Vp()),
                 T = static_cast<size_t>(step.T);
    // embeddings (NeoX's head has weights of its own), layers, the last norm
    const size_t keys = static_cast<size_t>(step.KV * step.HS()), F = static_cast<size_t>(step.F);
    const size_t parameters = step.llama() ? V * C + L * (2 * C + 2 * keys + 3 * F + 2) * C + C
                                           : (step.neox ? 2 * V : V + T) * C + L * (12 * C + 13) * C + 2 * C;
    std::vector<Case> cases;
    if (!ON_CPU && !step.full) return cases;  // of other models it would show nothing new
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        if (sizeof(Real) == 2) {  // the gradients are float whatever the weights are
            cases.push_back(norm_case<Stat<Real>>(parameters));
            cases.back().calls = 1;
        }
        cases.push_back(timed_update_case<Real>(parameters));
        cases.back().calls = 1;
    });
    return cases;
}
