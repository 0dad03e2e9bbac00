#include "eval/share_interval.h"

#include <math.h>  // lgamma_r: std::lgamma writes a global

#include <algorithm>
#include <array>
#include <limits>

namespace {

constexpr int POINTS = 201;      // of the share's logit
constexpr int LIKENESSES = 20;   // nodes, dense near 0 and 1
constexpr double LOGIT = 20;     // where the logits begin and end
constexpr double NOTHING = -20;  // log of a weight next to the largest that no quantile notices

double log_gamma(double x) {
    int sign;
    return lgamma_r(x, &sign);
}

double log_beta(double a, double b) { return log_gamma(a) + log_gamma(b) - log_gamma(a + b); }

double share_of(double logit) { return 1 / (1 + exp(-logit)); }

// Log of the posterior of the logit at `x`, but for a constant.
double log_weight(double x, const std::vector<PeopleAlike>& people) {
    const double share = share_of(x), rest = share_of(-x);
    std::array<double, LIKENESSES> terms;
    for (int i = 0; i < LIKENESSES; ++i) {
        const double t = (i + 0.5) / LIKENESSES, likeness = t * t * (3 - 2 * t), u = 1 / likeness - 1;
        const double a = share * u, b = rest * u, none = log_beta(a, b);
        terms[static_cast<size_t>(i)] = log(t * (1 - t));  // the prior: d likeness / dt
        for (const PeopleAlike& p : people)
            terms[static_cast<size_t>(i)] += p.people * (log_beta(a + p.right, b + p.asked - p.right) - none);
    }
    const double most = *std::max_element(terms.begin(), terms.end());
    double sum = 0;
    for (const double term : terms) sum += exp(term - most);
    return most + log(sum) + 0.5 * (log(share) + log(rest));  // Jeffreys', in steps of the logit
}

}  // namespace

Interval share_interval(const std::vector<PeopleAlike>& people) {
    double right = 0, asked = 0;
    for (const PeopleAlike& p : people) right += p.people * p.right, asked += p.people * p.asked;
    if (!(asked > 0)) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};

    // the logits that matter, found by ever finer grids
    std::array<double, POINTS> weight;
    double low = -LOGIT, step = 2 * LOGIT / (POINTS - 1);
    for (bool narrower = true; narrower;) {
        for (int i = 0; i < POINTS; ++i) weight[static_cast<size_t>(i)] = log_weight(low + i * step, people);
        const double most = *std::max_element(weight.begin(), weight.end());
        const auto matters = [&](double w) { return w > most + NOTHING; };
        const auto first = std::find_if(weight.begin(), weight.end(), matters) - weight.begin();
        const auto last = weight.rend() - std::find_if(weight.rbegin(), weight.rend(), matters) - 1;
        const double from = std::max<double>(0, static_cast<double>(first) - 1),
                     to = std::min<double>(POINTS - 1, static_cast<double>(last) + 1);
        narrower = to - from < 0.5 * (POINTS - 1);
        if (narrower)
            low += from * step, step *= (to - from) / (POINTS - 1);
        else
            for (double& w : weight) w = exp(w - most);
    }
    std::array<double, POINTS> below{};  // trapezoids
    for (size_t i = 1; i < POINTS; ++i) below[i] = below[i - 1] + 0.5 * (weight[i - 1] + weight[i]);
    const auto quantile = [&](double q) {
        const double mass = q * below.back();
        const size_t i = static_cast<size_t>(std::upper_bound(below.begin(), below.end() - 1, mass) - below.begin());
        return share_of(low + step * (static_cast<double>(i) - (below[i] - mass) / (below[i] - below[i - 1])));
    };
    const double share = right / asked;
    return {right <= 0 ? 0 : std::min(share, quantile(0.025)), right >= asked ? 1 : std::max(share, quantile(0.975))};
}
