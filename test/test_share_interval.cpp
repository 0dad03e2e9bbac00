// Intervals of a share of right answers, over people: known counts, coverage of planted shares, all counts alike.
#include <algorithm>
#include <cmath>

#include "eval/share_interval.h"
#include "test/catch.h"
#include "util/rng.h"

namespace {

// Two answers of one person correlate by `likeness`: so often all of them are alike, else each is drawn apart. People
// who differ so are none that a beta distribution has.
int right_answers(double share, double likeness, int asked, uint64_t world, uint64_t person) {
    const auto uniform = [&](uint64_t i) { return static_cast<double>(random_u64(world, person, i) >> 11) * 0x1p-53; };
    if (uniform(0) < likeness) return uniform(1) < share ? asked : 0;
    int right = 0;
    for (int q = 0; q < asked; ++q) right += uniform(2 + static_cast<uint64_t>(q)) < share;
    return right;
}

Interval interval_of(std::vector<int> right, int asked) {
    std::sort(right.begin(), right.end());
    std::vector<PeopleAlike> people;
    for (const int k : right) {
        if (people.empty() || people.back().right != k) people.push_back({static_cast<double>(k), asked * 1.0, 0});
        ++people.back().people;
    }
    return share_interval(people);
}

}  // namespace

TEST_CASE("intervals of shares: counts whose posterior was integrated on a fine grid elsewhere", "[eval]") {
    const auto check = [](const std::vector<PeopleAlike>& people, double low, double high) {
        const Interval interval = share_interval(people);
        CHECK(interval.low == Approx(low).margin(0.002));
        CHECK(interval.high == Approx(high).margin(0.002));
    };
    check({{0, 25, 10}}, 0, 0.1201);
    check({{0, 25, 9}, {1, 25, 1}}, 0.0015, 0.1623);
    check({{0, 25, 9}, {2, 25, 1}}, 0.0019, 0.1694);
    check({{0, 6, 30}}, 0, 0.0467);
    check({{0, 6, 29}, {1, 6, 1}}, 0.0011, 0.0672);
    check({{3, 12, 10}}, 0.1771, 0.3525);
    check({{25, 25, 10}}, 1 - 0.1201, 1);
}

TEST_CASE("intervals of shares: none, one, all but one and all right lie near one another", "[eval]") {
    double before = 0;
    for (const double right : {0.0, 0.01, 0.25, 0.5, 0.75, 1.0}) {  // parts of an answer: a tie of choices
        const Interval interval = share_interval({{0, 25, 9}, {right, 25, 1}});
        CHECK(interval.high > 0.9 * before);
        CHECK(interval.high < 0.2);
        CHECK(interval.low <= right / 250);
        before = interval.high;
    }
    CHECK(before < 1.5 * share_interval({{0, 25, 10}}).high);
    // mirrored
    const Interval few = share_interval({{1, 25, 1}, {0, 25, 9}}), many = share_interval({{24, 25, 1}, {25, 25, 9}});
    CHECK(few.low == Approx(1 - many.high));
    CHECK(few.high == Approx(1 - many.low));
    // more people, narrower; as many answers of fewer people, wider
    CHECK(share_interval({{0, 25, 100}}).high < 0.5 * share_interval({{0, 25, 10}}).high);
    CHECK(share_interval({{0, 250, 1}}).high > 4 * share_interval({{0, 25, 10}}).high);
    // one person, one answer; nobody
    const Interval one = share_interval({{1, 1, 1}});
    CHECK((one.high == 1 && one.low > 0.01 && one.low < 0.25));
    CHECK(std::isnan(share_interval({}).low));
    CHECK(std::isnan(share_interval({{0, 0, 5}}).high));
    // very many people: as wide as independent people say
    const Interval wide = share_interval({{0, 1, 70000}, {1, 1, 30000}});
    const double half = 1.96 * std::sqrt(0.3 * 0.7 / 100000);
    CHECK(wide.low == Approx(0.3 - half).margin(0.05 * half));
    CHECK(wide.high == Approx(0.3 + half).margin(0.05 * half));
}

TEST_CASE("intervals of shares cover planted shares as often as they say", "[eval][frequencies]") {
    constexpr int ASKED = 12;
    constexpr uint64_t WORLDS = 80;
    double all = 0, designs = 0;
    uint64_t world = 0;
    for (const int people : {10, 40})
        for (const double likeness : {0.0, 0.1, 0.6})
            for (const double share : {0.01, 0.08, 0.4, 0.97}) {
                int covered = 0;
                for (uint64_t w = 0; w < WORLDS; ++w, ++world) {
                    std::vector<int> right;
                    for (int p = 0; p < people; ++p)
                        right.push_back(right_answers(share, likeness, ASKED, world, static_cast<uint64_t>(p)));
                    RatioTable table;
                    for (const int k : right) {
                        table.entries.push_back({0, static_cast<float>(k), ASKED});
                        table.first.push_back(table.entries.size());
                    }
                    const Interval interval =
                        widest(percentile_interval(bootstrap_ratios(table, 1, 200, world)), interval_of(right, ASKED));
                    covered += interval.low <= share && share <= interval.high;
                }
                INFO(people << " people, likeness " << likeness << ", share " << share << ": " << covered);
                CHECK(covered >= 0.84 * WORLDS);
                all += covered, designs += 1;
            }
    INFO(all / designs / WORLDS);
    CHECK(all / designs >= 0.94 * WORLDS);
    CHECK(all / designs <= 0.985 * WORLDS);
}
