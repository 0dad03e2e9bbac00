#include "eval/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "util/check.h"
#include "util/rng.h"

std::vector<uint32_t> sample_entities(size_t entities, uint64_t seed, uint64_t r) {
    const uint64_t E = entities, stream = hash_name("bootstrap") + r;
    ENSURE(E < 1ull << 32, "bootstrap: %u entities", E);
    std::vector<uint32_t> times(E);
    for (uint64_t i = 0; i < E; i += 4) {
        const Philox4 draw = philox(seed, stream, i);
        for (uint64_t k = 0; k < std::min<uint64_t>(4, E - i); ++k) ++times[static_cast<uint64_t>(draw.x[k]) * E >> 32];
    }
    return times;
}

std::vector<double> bootstrap_ratios(const RatioTable& table, uint32_t statistics, int resamples, uint64_t seed) {
    const uint64_t E = table.entities();
    std::vector<double> ratios(static_cast<size_t>(resamples) * statistics);
    const double work = static_cast<double>(resamples) * static_cast<double>(E + table.entries.size());
#pragma omp parallel if (work > 1e6)  // threads cost more than they save below
    {
        std::vector<double> numerator(statistics), denominator(statistics);
#pragma omp for schedule(static)
        for (int r = 0; r < resamples; ++r) {
            const std::vector<uint32_t> times = sample_entities(E, seed, static_cast<uint64_t>(r));
            std::fill(numerator.begin(), numerator.end(), 0.0);
            std::fill(denominator.begin(), denominator.end(), 0.0);
            for (uint64_t e = 0; e < E; ++e) {
                if (times[e] == 0) continue;
                const double weight = times[e];
                for (uint64_t i = table.first[e]; i < table.first[e + 1]; ++i) {
                    const RatioEntry& entry = table.entries[i];
                    numerator[entry.statistic] += weight * static_cast<double>(entry.numerator);
                    denominator[entry.statistic] += weight * static_cast<double>(entry.denominator);
                }
            }
            double* to = ratios.data() + static_cast<size_t>(r) * statistics;
            for (uint32_t s = 0; s < statistics; ++s)
                to[s] = denominator[s] > 0 ? numerator[s] / denominator[s] : std::numeric_limits<double>::quiet_NaN();
        }
    }
    return ratios;
}

Interval percentile_interval(std::vector<double> values) {
    values.erase(std::remove_if(values.begin(), values.end(), [](double x) { return std::isnan(x); }), values.end());
    if (values.size() < 2) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
    std::sort(values.begin(), values.end());
    auto quantile = [&](double q) {  // linear between order statistics (Hyndman & Fan 1996, type 7)
        const double at = q * static_cast<double>(values.size() - 1);
        const size_t below = static_cast<size_t>(at);
        const double above = values[std::min(below + 1, values.size() - 1)];
        return values[below] + (at - static_cast<double>(below)) * (above - values[below]);
    };
    return {quantile(0.025), quantile(0.975)};
}

double standard_deviation(const std::vector<double>& values) {
    double n = 0, mean = 0, squares = 0;  // Welford 1962
    for (const double x : values) {
        if (std::isnan(x)) continue;
        n += 1;
        const double step = x - mean;
        mean += step / n;
        squares += step * (x - mean);
    }
    return n < 2 ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(squares / (n - 1));
}
