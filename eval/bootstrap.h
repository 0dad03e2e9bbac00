// bootstrap.h - how far a figure would move with other people: intervals by resampling entities.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

struct Interval {
    double low, high;
};

inline Interval widest(const Interval& a, const Interval& b) {
    return {std::min(a.low, b.low), std::max(a.high, b.high)};
}

// A statistic is a ratio of sums over entities (right answers / questions, nats / tokens). What one entity adds to one
// of them:
struct RatioEntry {
    uint32_t statistic;
    float numerator, denominator;
};

// Entries of entity e: entries[first[e]] .. entries[first[e + 1] - 1].
struct RatioTable {
    std::vector<RatioEntry> entries;
    std::vector<uint64_t> first = {0};
    size_t entities() const { return first.size() - 1; }
};

// How often sample `r` of as many entities, drawn with replacement (Efron 1979), holds each of them.
std::vector<uint32_t> sample_entities(size_t entities, uint64_t seed, uint64_t r);

// (resamples, statistics): each statistic in samples of entities; all questions of an entity come along, since
// they are not independent. NaN where a sample has nothing of a statistic. A pure function of its arguments: any number
// of threads gives the same bits.
std::vector<double> bootstrap_ratios(const RatioTable& table, uint32_t statistics, int resamples, uint64_t seed);

// The 95 % percentile interval and the standard deviation of `values`, NaN left out; NaN where no two remain.
Interval percentile_interval(std::vector<double> values);
double standard_deviation(const std::vector<double>& values);
