// update_cases.cpp - the norm of the gradients, AdamW over groups and steps, its stochastic rounding.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "test/cases/case.h"

namespace {

using Doubles = std::vector<double>;

constexpr size_t PYTHIA_70M = 70426624;  // parameters

// ---- the norm -------------------------------------------------------------------------------------------------------

Case norm_case(size_t n, bool timed = false) {
    Case result;
    result.name = "global_norm_squared n=" + std::to_string(n);
    result.bytes = 4.0 * static_cast<double>(n);
    result.timed = timed;
    result.make = [=]() -> Instance {
        std::vector<float> x(n, 0.25f);
        const std::vector<float> random = normal_values<float>(std::min<size_t>(n, 1 << 17), 1);
        std::copy(random.begin(), random.end(), x.begin());
        long double want = 0;
        for (const float value : x) want += static_cast<long double>(value) * static_cast<long double>(value);
        const auto d_x = device_copy(x);
        const auto d_sum = std::make_shared<DeviceArray<double>>(1);
        const auto scratch = std::make_shared<DeviceArray<char>>(gpu::global_norm_scratch(n));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            gpu::global_norm_squared(d_sum->get(), scratch->get(), d_x->get(), n, stream);
        };
        instance.check = [=] {
            double sum = 0;
            copy_to_host(&sum, d_sum->get(), 1);
            return std::vector<Output>{{"sum", 1, 1e-14, {sum}, {static_cast<double>(want)}}};
        };
        return instance;
    };
    return result;
}

// A NaN in the last element; an infinity; a square beyond float's range.
Case special_norm_case() {
    Case result;
    result.name = "global_norm_squared NaN, inf and 1e30";
    result.make = []() -> Instance {
        constexpr size_t N = 40001;
        const float values[] = {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity(),
                                1e30f};
        std::vector<std::shared_ptr<DeviceArray<float>>> inputs;
        for (const float value : values) {
            std::vector<float> x(N);
            x.back() = value;
            inputs.push_back(device_copy(x));
        }
        const auto d_sums = std::make_shared<DeviceArray<double>>(inputs.size());
        const auto scratch = std::make_shared<DeviceArray<char>>(gpu::global_norm_scratch(N));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            for (size_t i = 0; i < inputs.size(); ++i)
                gpu::global_norm_squared(d_sums->get() + i, scratch->get(), inputs[i]->get(), N, stream);
        };
        instance.check = [=] {
            Doubles sums(inputs.size());
            copy_to_host(sums.data(), d_sums->get(), sums.size());
            return std::vector<Output>{
                {"is NaN", 1, 0, {std::isnan(sums[0]) ? 1.0 : 0.0}, {1}},
                {"is inf", 1, 0, {std::isinf(sums[1]) ? 1.0 : 0.0}, {1}},
                {"1e60", 1, 1e-15, {sums[2]}, {static_cast<double>(1e30f) * static_cast<double>(1e30f)}}};
        };
        return instance;
    };
    return result;
}

// Terms of which each order of adding has another sum: exactly the one from the first to the last.
Case in_order_case(int n) {
    Case result;
    result.name = "add_in_order n=" + std::to_string(n);
    result.make = [=]() -> Instance {
        Doubles terms(static_cast<size_t>(n));
        double want = 0;
        for (size_t i = 0; i < terms.size(); ++i)
            want += terms[i] = std::ldexp(1.0 / static_cast<double>(i + 3), static_cast<int>(i * 7 % 60));
        const auto d_terms = device_copy(terms);
        const auto d_sum = std::make_shared<DeviceArray<double>>(1);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) { gpu::add_in_order(d_sum->get(), d_terms->get(), n, stream); };
        instance.check = [=] { return std::vector<Output>{{"sum", 1, 0, host_doubles(*d_sum), {want}}}; };
        return instance;
    };
    return result;
}

// ---- AdamW ----------------------------------------------------------------------------------------------------------

constexpr float GRAD_CLIP = 0.7f;
constexpr double TOLERANCE = 1.5e-7;  // measured: 6e-8 after four steps

AdamwSettings settings_of_step(int step, uint64_t seed = 42) {
    return {/*lr=*/0.01f / static_cast<float>(step),
            /*beta1=*/0.9f,
            /*beta2=*/0.95f,
            /*eps=*/1e-8f,
            GRAD_CLIP,
            step,
            seed};
}

// The arrays of an update on the device, and how they were at first.
template <class T>
struct Weights {
    static constexpr bool HAS_MASTER = sizeof(T) == 2;
    Weights(size_t n, uint64_t seed) : size(n), start(normal_values<float>(n, seed)), master(HAS_MASTER ? n : 0) {
        for (DeviceArray<float>* array : {&m, &v, &grads}) *array = DeviceArray<float>(n);
        params = DeviceArray<T>(n);
        reset();
    }
    void reset() {
        std::vector<T> rounded(size);
        for (size_t i = 0; i < size; ++i) rounded[i] = T(start[i]);
        copy_to_device(params.get(), rounded.data(), size);
        if (HAS_MASTER) copy_to_device(master.get(), start.data(), size);
        const std::vector<float> zeros(size);
        for (DeviceArray<float>* array : {&m, &v, &grads}) copy_to_device(array->get(), zeros.data(), size);
    }
    void update(const double* norm_squared, const std::vector<AdamwGroup>& groups, const AdamwSettings& settings,
                gpu::stream_t stream) {
        gpu::adamw_update<T>(params.get(), master.get(), m.get(), v.get(), grads.get(), norm_squared, 0, groups.data(),
                             static_cast<int>(groups.size()), settings, stream);
    }
    size_t size;
    std::vector<float> start;
    DeviceArray<float> m, v, grads, master;
    DeviceArray<T> params;
};

struct Expected {
    Doubles w, m, v;
};
// One element after another, in double. Elements outside of the groups stay as they were.
void reference_update(Expected* x, const std::vector<float>& grads, const double* norm_squared,
                      const std::vector<AdamwGroup>& groups, const AdamwSettings& settings) {
    const double beta1 = settings.beta1, beta2 = settings.beta2, clip = settings.grad_clip;
    const double scale = norm_squared ? std::min(1.0, clip / std::sqrt(*norm_squared)) : 1;
    for (const AdamwGroup& group : groups)
        for (size_t i = group.begin; i < group.end; ++i) {
            const double g = scale * static_cast<double>(grads[i]);
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

// Several steps over a few groups that begin past the arrays' begin and end before their end. A step has one norm, so
// that some steps clip and others do not.
template <class T>
Case update_case(const std::vector<AdamwGroup>& groups, size_t n, bool clip) {
    constexpr int STEPS = 4;
    Case result;
    result.name = std::string("adamw_update ") + type_name<T>() + " n=" + std::to_string(n) +
                  " groups=" + std::to_string(groups.size()) + (clip ? "" : " without clipping");
    result.make = [=]() -> Instance {
        const auto weights = std::make_shared<Weights<T>>(n, 1);
        Expected want{Doubles(weights->start.begin(), weights->start.end()), Doubles(n), Doubles(n)};
        std::vector<std::vector<float>> grads;
        const Doubles norms_squared = {4, 1e-4, 0, 0.5};
        for (int step = 1; step <= STEPS; ++step) {
            const auto s = static_cast<size_t>(step);
            grads.push_back(normal_values<float>(n, 10 + s));
            reference_update(&want, grads.back(), clip ? &norms_squared[s - 1] : nullptr, groups,
                             settings_of_step(step));
        }
        const auto d_norms = std::make_shared<DeviceArray<double>>(norms_squared.size());
        copy_to_device(d_norms->get(), norms_squared.data(), norms_squared.size());
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            weights->reset();
            for (int step = 1; step <= STEPS; ++step) {
                const auto s = static_cast<size_t>(step - 1);
                copy_to_device(weights->grads.get(), grads[s].data(), n);
                weights->update(clip ? d_norms->get() + s : nullptr, groups, settings_of_step(step), stream);
            }
        };
        instance.check = [=] {
            Doubles grads_left(grads.back().begin(), grads.back().end());
            for (const AdamwGroup& group : groups)
                std::fill(grads_left.begin() + static_cast<std::ptrdiff_t>(group.begin),
                          grads_left.begin() + static_cast<std::ptrdiff_t>(group.end), 0.0);
            const Doubles params = host_doubles(weights->params);
            std::vector<Output> outputs = {
                {"m", n, TOLERANCE, host_doubles(weights->m), want.m},
                {"v", n, TOLERANCE, host_doubles(weights->v), want.v},
                {"weights", n, TOLERANCE, Weights<T>::HAS_MASTER ? host_doubles(weights->master) : params, want.w},
                {"gradients", n, 0, host_doubles(weights->grads), grads_left}};
            if (Weights<T>::HAS_MASTER) {
                Doubles outside(n);  // 1 where a weight is neither of the neighbours of its master
                const std::vector<float> master = host_copy(weights->master);
                for (const AdamwGroup& group : groups)
                    for (size_t i = group.begin; i < group.end; ++i) {
                        const Bf16Neighbours neighbours(master[i]);
                        outside[i] = params[i] != neighbours.below && params[i] != neighbours.above;
                    }
                outputs.push_back({"params: neighbours of the master", n, 0, outside, Doubles(n)});
            }
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

Case rounding_case() {
    Case result;
    result.name = "adamw_update bf16 stochastic rounding";
    result.make = []() -> Instance {
        const auto weights = std::make_shared<Weights<bf16>>(ROUNDED, 3);
        // what bf16 has stays; a NaN whose upper half would be infinity is still NaN
        constexpr uint32_t NAN_BITS = 0x7F800001u;
        weights->start[0] = 0;
        weights->start[1] = -1.5f;
        weights->start[2] = 0x1p-130f;
        memcpy(&weights->start[3], &NAN_BITS, sizeof NAN_BITS);
        struct Rounding {
            int step;
            uint64_t seed;
        };
        const std::vector<Rounding> roundings = {{1, 42}, {1, 42}, {2, 42}, {1, 43}};
        const auto params = std::make_shared<std::vector<std::vector<bf16>>>(roundings.size());
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            for (size_t i = 0; i < roundings.size(); ++i) {
                weights->reset();
                weights->update(nullptr, {{0, ROUNDED, 0.0f}}, settings_of_step(roundings[i].step, roundings[i].seed),
                                stream);
                (*params)[i] = host_copy(weights->params);
            }
        };
        instance.check = [=] {
            const std::vector<bf16>& first = (*params)[0];
            // In units of the step between the neighbours an error is uniform in (-1, 1) or so: the mean of 1e5
            // has a deviation of 0.41 / sqrt(1e5) = 0.0013. The same for how often it
            // goes up against how often it should.
            double error = 0, rounded_up = 0, expected_up = 0;
            Doubles exact;
            for (size_t i = 0; i < ROUNDED; ++i) {
                const double value = static_cast<double>(__bfloat162float(first[i]));
                const float master = weights->start[i];
                if (i < EXACT) {
                    exact.push_back(std::isnan(value) ? 1e30 : value);
                    continue;
                }
                const Bf16Neighbours neighbours(master);
                const double step = neighbours.above - neighbours.below;
                error += (value - static_cast<double>(master)) / std::abs(step) / ROUNDED;
                rounded_up += (value == neighbours.above ? 1.0 : 0.0) / ROUNDED;
                expected_up += (static_cast<double>(master) - neighbours.below) / step / ROUNDED;
            }
            const auto differing = [&](size_t a, size_t b) {
                double count = 0;
                for (size_t i = EXACT; i < ROUNDED; ++i)
                    count += __bfloat162float((*params)[a][i]) != __bfloat162float((*params)[b][i]);
                return count / ROUNDED;
            };
            // two independent roundings of a fraction f differ with probability 2 f (1 - f): a third on average
            return std::vector<Output>{{"1 + mean error", 1, 0.005, {1 + error}, {1}},
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
template <class T>
Case timed_update_case(size_t n) {
    Case result;
    result.name = std::string("adamw_update ") + type_name<T>() + " n=" + std::to_string(n);
    result.bytes = (sizeof(T) == 2 ? 34.0 : 32.0) * static_cast<double>(n);
    result.timed = true;
    result.make = [=]() -> Instance {
        const size_t period = 1 << 20;
        const auto weights = std::make_shared<Weights<T>>(period, 1);
        const auto repeated = [=](auto* array) {
            using Value = std::remove_pointer_t<decltype(array->get())>;
            const std::vector<Value> values = host_copy(*array);
            *array = DeviceArray<Value>(n);
            for (size_t i = 0; i < n; i += period)
                copy_to_device(array->get() + i, values.data(), std::min(period, n - i));
        };
        for (DeviceArray<float>* array : {&weights->m, &weights->v, &weights->grads}) *array = DeviceArray<float>(n);
        repeated(&weights->params);
        if (Weights<T>::HAS_MASTER) repeated(&weights->master);
        const auto norm = std::make_shared<DeviceArray<double>>(1);
        std::vector<AdamwGroup> groups;  // as many as a table of tensors has
        for (size_t g = 0; g < 16; ++g)
            groups.push_back({g * (n / 128) * 8, g == 15 ? n : (g + 1) * (n / 128) * 8, g % 2 ? 0.1f : 0.0f});
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            weights->update(norm->get(), groups, settings_of_step(1), stream);
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> update_cases() {
    std::vector<Case> cases;
    for (const size_t n : {1, 3, 4, 1023, 1026, 16384, 16387, 100003}) cases.push_back(norm_case(n));
    cases.push_back(norm_case(4300013));  // more chunks than the last block has threads
    cases.push_back(special_norm_case());
    for (const int n : {1, 3, 50}) cases.push_back(in_order_case(n));
    cases.push_back(norm_case(PYTHIA_70M, true));

    const std::vector<AdamwGroup> three = {{16, 24, 0.1f}, {24, 2072, 0.0f}, {2072, 5000, 0.3f}};
    std::vector<AdamwGroup> many;
    for (size_t g = 0; g < MAX_ADAMW_GROUPS; ++g) many.push_back({8 * g, 8 * g + 8, 0.01f * static_cast<float>(g)});
    for (const bool clip : {true, false}) {
        cases.push_back(update_case<bf16>(three, 5008, clip));
        cases.push_back(update_case<float>(three, 5008, clip));
    }
    cases.push_back(update_case<bf16>({{0, 8, 0.1f}}, 8, true));
    cases.push_back(update_case<float>({{0, 8, 0.1f}}, 8, true));
    cases.push_back(update_case<bf16>(many, 8 * MAX_ADAMW_GROUPS, true));
    cases.push_back(update_case<float>(many, 8 * MAX_ADAMW_GROUPS, true));
    cases.push_back(rounding_case());
    cases.push_back(timed_update_case<bf16>(PYTHIA_70M));
    cases.push_back(timed_update_case<float>(PYTHIA_70M));
    return cases;
}
