// test_kernels.cpp - every case of test/cases on the kernels of this build, against the formula in double. And again in
// other ways that must give the same bits: the CPU's kernels on more threads, the CUDA kernels on kernels/simt (as g++
// compiles them, and from nvcc's PTX) in other orders of theirs, on a GPU once more.
#include <cmath>
#include <cstring>
#include <functional>
#include <set>

#include "test/cases/case.h"
#include "test/catch.h"
#if defined(KNAPSACK_SIMT) || defined(KNAPSACK_PTX)
#include "kernels/simt/runtime.h"
#elif defined(_OPENMP)
#include <omp.h>
#endif
#ifdef KNAPSACK_PTX
#include "test/ptx/launch.h"
#endif

namespace {

using Again = std::function<void(const Instance&)>;  // runs it, and compares with the first run

// Each other way, with a new instance where what one run leaves unwritten could be what another has written.
#if defined(KNAPSACK_SIMT) || defined(KNAPSACK_PTX)
// Runs `body` with the threads in another order and leaves the order as it was.
void with_order(simt::Order order, uint64_t seed, const std::function<void()>& body) {
    struct Restore {
        simt::Order order = simt::order;
        uint64_t seed = simt::seed;
        ~Restore() { simt::order = order, simt::seed = seed; }
    } restore;
    simt::order = order;
    simt::seed = seed;
    INFO("threads " << (order == simt::Order::ASCENDING    ? "ascending"
                        : order == simt::Order::DESCENDING ? "descending"
                                                           : "shuffled by seed " + std::to_string(seed)));
    body();
}

// ThreadSanitizer sees the races of every order in one; what AddressSanitizer sees hardly depends on it.
void repeat(const Case& c, const Instance& instance, size_t switches, const Again& again) {
    constexpr size_t SMALL = 100'000;  // switches between threads: cases that are run in some more orders
#ifdef __SANITIZE_THREAD__
    return;
#endif
    with_order(simt::Order::SHUFFLED, 1, [&] { again(c.make()); });
    if (under_sanitizer()) return;
#ifdef KNAPSACK_PTX
    if (switches > SMALL) return;  // the other orders of the same source are kernels/simt's
#endif
    with_order(simt::Order::DESCENDING, 0, [&] { again(c.make()); });
    for (uint64_t seed = 2; seed <= 4 && switches <= SMALL; ++seed)
        with_order(simt::Order::SHUFFLED, seed, [&] { again(instance); });
    again(instance);
}
size_t work_so_far() { return simt::counters().switches; }
struct FirstRun {};

#elif defined(KNAPSACK_CPU)
#ifdef _OPENMP
struct FirstRun {  // on one thread, and as many as before when the case is over
    const int usual = omp_get_max_threads();
    FirstRun() { omp_set_num_threads(1); }
    ~FirstRun() { omp_set_num_threads(usual); }
};
void set_threads(int threads) { omp_set_num_threads(threads); }
#else
struct FirstRun {};
void set_threads(int) {}
#endif
void repeat(const Case& c, const Instance&, size_t, const Again& again) {
    for (const int threads : under_sanitizer() ? Ints{3} : Ints{2, 3, 4}) {
        INFO(threads << " threads");
        set_threads(threads);
        again(c.make());
    }
}
size_t work_so_far() { return 0; }

#else
void repeat(const Case& c, const Instance& instance, size_t, const Again& again) {
    again(c.make());
    again(instance);
}
size_t work_so_far() { return 0; }
struct FirstRun {};
#endif

void check_against_formula(const Outputs& outputs) {
    for (const Output& output : outputs) {
        INFO("tensor " << output.name << " of " << output.got.size() << " elements in rows of " << output.row);
        REQUIRE(output.got.size() == output.want.size());
        const WorstRow worst = worst_row(output);
        INFO("row " << worst.row << ": error " << worst.error << ", tolerance " << output.tolerance);
        CHECK(worst.error <= output.tolerance);
    }
}

bool same_bits(const Doubles& a, const Doubles& b) {
    return a.size() == b.size() && (a.empty() || memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

// False: it launches a kernel that the translation of nvcc's PTX left out, for its head size.
bool runs(const Instance& instance) {
#ifdef KNAPSACK_PTX
    try {
        instance.run(case_stream(), true);
    } catch (const ptx::LeftOut&) {
        return false;
    }
#else
    instance.run(case_stream(), true);
#endif
    return true;
}

void check_case(const Case& c) {
    INFO(c.name);
    const FirstRun setting;
    (void)setting;
    const size_t before = work_so_far();
    const Instance instance = c.make();
    REQUIRE(instance.check);
    if (!runs(instance)) return;
    const Outputs first = instance.check();
    check_against_formula(first);
    repeat(c, instance, work_so_far() - before, [&](const Instance& other) {
        other.run(case_stream(), true);
        const Outputs outputs = other.check();
        REQUIRE(outputs.size() == first.size());
        for (size_t i = 0; i < first.size(); ++i) {
            INFO("tensor " << first[i].name << ": the bits of the first run");
            CHECK(same_bits(first[i].got, outputs[i].got));
        }
    });
}

void check_room(const std::vector<Case>& cases) {
    REQUIRE_FALSE(cases.empty());
    for (const Case& c : cases) check_case(c);
}

}  // namespace

#define ROOM_TEST(name) \
    TEST_CASE("kernels: " #name, "[kernels][" #name "]") { check_room(name##_cases()); }
CASE_ROOMS(ROOM_TEST)

TEST_CASE("cases: names differ, floors are given", "[cases]") {
    std::set<std::string> names;
    for (const Case& c : all_cases()) {
        INFO(c.name);
        CHECK(names.insert(c.name).second);
    }
    for (const TrainingStep& step : {TrainingStep{2, 64, 2, 32, 2, 100, 64, 8, false, true},
                                     {2, 64, 2, 32, 2, 100, 64, 8, true, true},
                                     {2, 64, 2, 32, 2, 300, 64, 8, false, true, 1, 96}}) {
        names.clear();
        int calls = 0;
        for (const Case& c : timed_cases(step)) {
            INFO(c.name);
            CHECK(names.insert(c.name).second);
            CHECK(c.bytes > 0);
            calls += c.calls;
        }
        CHECK(calls > 0);
    }
}

TEST_CASE("the comparison sees a wrong tail, NaN and a wrong bit", "[cases]") {
    Output output{"x", 3, 1e-6, {1, 2, 3, 0, 0, 0, 7, 8}, {1, 2, 3, 0, 0, 0, 7, 8}};
    CHECK(worst_row(output).error == 0);
    output.got[7] = 8.1;
    CHECK(worst_row(output).row == 2);
    CHECK(worst_row(output).error == Approx(0.1 / std::sqrt(49.0 + 64.0)));
    output.got[4] = 1;
    CHECK(worst_row(output).row == 1);
    CHECK(worst_row(output).error == 1);
    output.got[0] = NAN;
    CHECK(worst_row(output).row == 0);
    CHECK_FALSE(worst_row(output).error <= output.tolerance);
    CHECK_FALSE(same_bits({0.0}, {-0.0}));
}

// A table of every output's worst row, to set tolerances by. Hidden: run_tests or run_kernel_tests '[.errors]'
TEST_CASE("errors of all cases", "[.errors]") {
    for (const Case& c : all_cases()) {
        const Instance instance = c.make();
        if (!runs(instance)) continue;
        for (const Output& output : instance.check()) {
            const WorstRow worst = worst_row(output);
            printf("%-64s %-12s row %-6zu error %.2e  tolerance %.2e\n", c.name.c_str(), output.name.c_str(), worst.row,
                   worst.error, output.tolerance);
        }
    }
}
