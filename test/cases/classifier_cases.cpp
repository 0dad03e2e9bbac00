// classifier_cases.cpp - cross-entropy with its gradient, scores, sums of losses by source.
#include <algorithm>
#include <cmath>
#include <limits>

#include "test/cases/case.h"
#include "test/kernel_reference.h"

namespace {

using reference::Doubles;
using reference::Ints;

constexpr float INF = std::numeric_limits<float>::infinity(), NOT_A_NUMBER = std::numeric_limits<float>::quiet_NaN();
constexpr float DLOSS = 0.37f;

// Losses are float whatever the storage; the gradient is rounded to it. Measured: 1.1e-7, and 2.8e-3 in bf16, 9e-8 in
// float. The GPU's fast exponential may cost a little more of the loss.
constexpr double LOSS_TOLERANCE = 4e-7;
template <class T>
constexpr double GRADIENT_TOLERANCE = sizeof(T) == 2 ? 4e-3 : 4e-7;

std::string shape_name(int N, int V, int Vp) {
    return " N=" + std::to_string(N) + " V=" + std::to_string(V) + " Vp=" + std::to_string(Vp);
}
size_t product(int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); }

// What a padded column holds must not matter, so it holds the worst.
template <class T>
std::vector<T> padded_logits(int N, int V, int Vp, uint64_t seed) {
    std::vector<T> logits = normal_values<T>(product(N, Vp), seed, 3);
    for (int n = 0; n < N; ++n)
        for (int v = V; v < Vp; ++v) logits[product(n, Vp) + static_cast<size_t>(v)] = T(v % 2 ? NOT_A_NUMBER : INF);
    return logits;
}

template <class T>
std::vector<T> values_of(const Doubles& doubles) {
    std::vector<T> values;
    for (const double x : doubles) values.push_back(T(static_cast<float>(x)));
    return values;
}

// Doubles that can be compared: NaN and infinities as numbers that nothing else is.
Doubles finite(Doubles x) {
    for (double& value : x)
        if (!std::isfinite(value)) value = std::isnan(value) ? 1e30 : std::copysign(1e31, value);
    return x;
}
Doubles wide(const Ints& x) { return Doubles(x.begin(), x.end()); }

template <class T>
Case forward_case(int N, int V, int Vp, bool write_gradient) {
    Case result;
    result.name = std::string("classifier_forward ") + type_name<T>() + shape_name(N, V, Vp) +
                  (write_gradient ? "" : " losses only");
    result.make = [=]() -> Instance {
        const auto logits = padded_logits<T>(N, V, Vp, 1);
        const Ints targets = random_ints(static_cast<size_t>(N), V, 2);
        const auto d_logits = device_copy(logits);
        const auto d_targets = device_copy(targets);
        const auto d_losses = std::make_shared<DeviceArray<float>>(static_cast<size_t>(N));
        reference::Classifier want =
            reference::classifier(doubles(logits), targets, static_cast<double>(DLOSS), N, V, Vp);
        if (!write_gradient) want.dlogits = finite(doubles(logits));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool fresh) {
            if (fresh) copy_to_device(d_logits->get(), logits.data(), logits.size());
            gpu::classifier_forward<T>(d_losses->get(), d_logits->get(), d_targets->get(), DLOSS, write_gradient, N, V,
                                       Vp, stream);
        };
        instance.check = [=] {
            return std::vector<Output>{
                {"losses", 1, LOSS_TOLERANCE, host_doubles(*d_losses), want.losses},
                {"logits", static_cast<size_t>(Vp), write_gradient ? GRADIENT_TOLERANCE<T> : 0,
                 write_gradient ? host_doubles(*d_logits) : finite(host_doubles(*d_logits)), want.dlogits}};
        };
        return instance;
    };
    return result;
}

// Logits rounded to halves, so that many are equal: arg-max is the first of them, rank counts those before the target.
template <class T>
Case score_case(int N, int V, int Vp) {
    Case result;
    result.name = std::string("classifier_score ") + type_name<T>() + shape_name(N, V, Vp);
    result.make = [=]() -> Instance {
        auto logits = padded_logits<T>(N, V, Vp, 3);
        for (T& x : logits) x = T(std::round(2 * static_cast<float>(x)) / 2);
        const Ints targets = random_ints(static_cast<size_t>(N), V, 4);
        const auto d_logits = device_copy(logits), d_overwritten = device_copy(logits);
        const auto d_targets = device_copy(targets);
        const auto size = static_cast<size_t>(N);
        const auto d_losses = std::make_shared<DeviceArray<float>>(size),
                   d_forward_losses = std::make_shared<DeviceArray<float>>(size);
        const auto d_argmax = std::make_shared<DeviceArray<int>>(size),
                   d_rank = std::make_shared<DeviceArray<int>>(size);
        const reference::Classifier want = reference::classifier(doubles(logits), targets, 1, N, V, Vp);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            gpu::classifier_score<T>(d_losses->get(), d_argmax->get(), d_rank->get(), d_logits->get(), d_targets->get(),
                                     N, V, Vp, stream);
            copy_to_device(d_overwritten->get(), logits.data(), logits.size());
            gpu::classifier_forward<T>(d_forward_losses->get(), d_overwritten->get(), d_targets->get(), DLOSS, true, N,
                                       V, Vp, stream);
        };
        instance.check = [=] {
            return std::vector<Output>{
                {"losses", 1, LOSS_TOLERANCE, host_doubles(*d_losses), want.losses},
                {"losses: those of classifier_forward", 1, 0, host_doubles(*d_losses), host_doubles(*d_forward_losses)},
                {"argmax", 1, 0, wide(host_copy(*d_argmax)), wide(want.argmax)},
                {"rank", 1, 0, wide(host_copy(*d_rank)), wide(want.rank)}};
        };
        return instance;
    };
    return result;
}

// Rows with NaN and infinities, the arithmetic of gpu.h by hand.
template <class T>
Case special_case() {
    constexpr int V = 11, Vp = 16;
    struct Row {
        Doubles logits;  // the first ones; the others are 0
        int target;
        double loss;
        int argmax, rank;
    };
    const double nan = static_cast<double>(NOT_A_NUMBER), inf = static_cast<double>(INF);
    const std::vector<Row> rows = {
        {{}, 3, std::log(11.0), 0, 4},    {{1, nan}, 2, nan, 0, 2},  // NaN is not above the target; the 1 is
        {{0, inf, 2}, 2, nan, 1, 2},                                 // +inf: as the logits of a run that diverged
        {{inf, 1, inf}, 0, nan, 0, 1},    {{-inf, -inf}, 2, std::log(9.0), 2, 1},  // -inf: a probability of 0
        {{-inf, 5, -inf}, 2, inf, 1, 11},  // the target's is 0: an infinite loss
        {Doubles(V, -inf), 4, nan, 0, 5},  // nothing has a probability
        {Doubles(V, nan), 4, nan, 0, 1},  {Doubles(V, -3e38), 0, std::log(11.0), 0, 1},  // at the end of the range
    };
    Case result;
    result.name = std::string("classifier_forward ") + type_name<T>() + " and score: NaN and infinities";
    result.make = [=]() -> Instance {
        const int N = static_cast<int>(rows.size());
        Doubles values, losses;
        Ints targets, argmax, rank;
        for (const Row& row : rows) {
            Doubles logits = row.logits;
            logits.resize(V);
            logits.resize(Vp, nan);
            values.insert(values.end(), logits.begin(), logits.end());
            targets.push_back(row.target);
            losses.push_back(row.loss);
            argmax.push_back(row.argmax);
            rank.push_back(row.rank);
        }
        const std::vector<T> logits = values_of<T>(values);
        const auto d_logits = device_copy(logits);
        const auto d_targets = device_copy(targets);
        const auto size = static_cast<size_t>(N);
        const auto d_losses = std::make_shared<DeviceArray<float>>(size),
                   d_scored = std::make_shared<DeviceArray<float>>(size);
        const auto d_argmax = std::make_shared<DeviceArray<int>>(size),
                   d_rank = std::make_shared<DeviceArray<int>>(size);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            copy_to_device(d_logits->get(), logits.data(), logits.size());
            gpu::classifier_score<T>(d_scored->get(), d_argmax->get(), d_rank->get(), d_logits->get(), d_targets->get(),
                                     N, V, Vp, stream);
            gpu::classifier_forward<T>(d_losses->get(), d_logits->get(), d_targets->get(), DLOSS, true, N, V, Vp,
                                       stream);
        };
        instance.check = [=] {
            Doubles padding, gradient = host_doubles(*d_logits), row_is_nan, loss_is_nan;
            for (int n = 0; n < N; ++n) {
                const auto row = gradient.begin() + n * Vp;
                padding.insert(padding.end(), row + V, row + Vp);
                row_is_nan.push_back(std::any_of(row, row + V, [](double x) { return std::isnan(x); }));
                loss_is_nan.push_back(std::isnan(losses[static_cast<size_t>(n)]));
            }
            return std::vector<Output>{
                {"losses", 1, LOSS_TOLERANCE, finite(host_doubles(*d_losses)), finite(losses)},
                {"scored losses", 1, 0, finite(host_doubles(*d_scored)), finite(host_doubles(*d_losses))},
                {"argmax", 1, 0, wide(host_copy(*d_argmax)), wide(argmax)},
                {"rank", 1, 0, wide(host_copy(*d_rank)), wide(rank)},
                {"padded columns", 1, 0, padding, Doubles(padding.size())},
                {"NaN in the gradient's row", 1, 0, row_is_nan, loss_is_nan}};
        };
        return instance;
    };
    return result;
}

// A row's loss and gradient alone and as the last of many.
template <class T>
Case position_case(int V, int Vp) {
    constexpr int N = 5;
    Case result;
    result.name = std::string("classifier_forward ") + type_name<T>() + shape_name(N, V, Vp) + " one row alone";
    result.make = [=]() -> Instance {
        const auto logits = padded_logits<T>(N, V, Vp, 5);
        const std::vector<T> last(logits.end() - Vp, logits.end());
        const Ints targets = random_ints(N, V, 6);
        const auto d_logits = device_copy(logits), d_alone = device_copy(last);
        const auto d_targets = device_copy(targets);
        const auto d_losses = std::make_shared<DeviceArray<float>>(N), d_loss = std::make_shared<DeviceArray<float>>(1);
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            copy_to_device(d_logits->get(), logits.data(), logits.size());
            copy_to_device(d_alone->get(), last.data(), last.size());
            gpu::classifier_forward<T>(d_losses->get(), d_logits->get(), d_targets->get(), DLOSS, true, N, V, Vp,
                                       stream);
            gpu::classifier_forward<T>(d_loss->get(), d_alone->get(), d_targets->get() + N - 1, DLOSS, true, 1, V, Vp,
                                       stream);
        };
        instance.check = [=] {
            const Doubles gradient = host_doubles(*d_logits);
            return std::vector<Output>{{"loss", 1, 0, host_doubles(*d_loss), {host_doubles(*d_losses).back()}},
                                       {"gradient",
                                        static_cast<size_t>(Vp),
                                        0,
                                        host_doubles(*d_alone),
                                        {gradient.end() - Vp, gradient.end()}}};
        };
        return instance;
    };
    return result;
}

Case loss_sums_case(int N, int S) {
    Case result;
    result.name = "loss_sums N=" + std::to_string(N) + " S=" + std::to_string(S);
    result.make = [=]() -> Instance {
        const auto losses = normal_values<float>(static_cast<size_t>(N), 7);
        std::vector<uint16_t> source;
        for (const int s : random_ints(static_cast<size_t>(N), S, 8)) source.push_back(static_cast<uint16_t>(s));
        Doubles before, want;
        for (int s = 0; s < S; ++s) before.push_back(s + 0.5);
        want = before;
        for (size_t n = 0; n < losses.size(); ++n) want[source[n]] += static_cast<double>(losses[n]);
        const auto d_losses = device_copy(losses);
        const auto d_source = std::make_shared<DeviceArray<uint16_t>>(source.size());
        copy_to_device(d_source->get(), source.data(), source.size());
        const auto d_sums = std::make_shared<DeviceArray<double>>(before.size());
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            copy_to_device(d_sums->get(), before.data(), before.size());
            gpu::loss_sums(d_sums->get(), d_losses->get(), d_source->get(), N, S, stream);
        };
        instance.check = [=] {
            Doubles sums(before.size());
            copy_to_host(sums.data(), d_sums->get(), sums.size());
            return std::vector<Output>{{"sums", static_cast<size_t>(S), 1e-14, sums, want}};
        };
        return instance;
    };
    return result;
}

// One chunk of the head's rows at training and one at scoring. Logits are read once and the gradient written; the
// second look at a row comes from the caches and is not counted.
template <class T>
Case timed_case(bool score, int N, int V, int Vp) {
    Case result;
    result.name =
        std::string(score ? "classifier_score " : "classifier_forward ") + type_name<T>() + shape_name(N, V, Vp);
    result.bytes = static_cast<double>(N) * ((score ? 1.0 : 2.0) * Vp * sizeof(T) + (score ? 16 : 8));
    result.timed = true;
    result.make = [=]() -> Instance {
        std::vector<T> logits = normal_values<T>(1 << 20, 1, 3);
        const size_t period = logits.size();
        logits.resize(product(N, Vp));
        for (size_t i = period; i < logits.size(); ++i) logits[i] = logits[i - period];
        const auto d_logits = device_copy(logits);
        const auto d_targets = device_copy(random_ints(static_cast<size_t>(N), V, 2));
        const auto d_losses = std::make_shared<DeviceArray<float>>(static_cast<size_t>(N));
        const auto d_argmax = std::make_shared<DeviceArray<int>>(static_cast<size_t>(N)),
                   d_rank = std::make_shared<DeviceArray<int>>(static_cast<size_t>(N));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            if (score)
                gpu::classifier_score<T>(d_losses->get(), d_argmax->get(), d_rank->get(), d_logits->get(),
                                         d_targets->get(), N, V, Vp, stream);
            else
                gpu::classifier_forward<T>(d_losses->get(), d_logits->get(), d_targets->get(), DLOSS, true, N, V, Vp,
                                           stream);
        };
        return instance;
    };
    return result;
}

template <class T>
void add_cases(std::vector<Case>* cases) {
    // below one pack, tails in a pack and in a block, several packs a thread, GPT-2's vocabulary
    const int shapes[][3] = {{1, 1, 8},      {3, 5, 8},       {2, 8, 8},         {7, 50, 56},
                             {5, 997, 1000}, {3, 4097, 4104}, {2, 12289, 12296}, {1, 50257, 50304}};
    for (const auto& [N, V, Vp] : shapes) {
        cases->push_back(forward_case<T>(N, V, Vp, true));
        cases->push_back(forward_case<T>(N, V, Vp, false));
        cases->push_back(score_case<T>(N, V, Vp));
    }
    cases->push_back(forward_case<T>(11, 300, 320, true));
    cases->push_back(special_case<T>());
    cases->push_back(position_case<T>(997, 1000));
    for (const bool score : {false, true}) {
        const int N = score ? 1024 : 8192;
        cases->push_back(timed_case<T>(score, N, 50304, 50304));
        cases->push_back(timed_case<T>(score, N, 50257, 50304));
    }
}

}  // namespace

std::vector<Case> classifier_cases() {
    std::vector<Case> cases;
    add_cases<bf16>(&cases);
    add_cases<float>(&cases);
    for (const int N : {1, 511, 5003})
        for (const int S : {1, 3}) cases.push_back(loss_sums_case(N, S));
    cases.push_back(loss_sums_case(1000, 256));
    return cases;
}
