// test_kernels.cpp - every case of test/cases that is small enough, against its double-precision reference. With g++ and
// test/simt under several orders of the threads, which must give the same bits; on a GPU run after run.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>
#include <functional>
#include <set>

#include "kernels/matmul_context.h"
#include "test/cases/case.h"
#include "test/catch.h"
#include "test/support.h"
#ifdef KNAPSACK_SIMT
#include "kernels/simt/runtime.h"
#endif

namespace {

using Outputs = std::vector<Output>;

// Relative L2 norm of the difference in one row; where the row should be zero, the norm itself.
double row_error(const Output& output, size_t begin, size_t end) {
    double difference = 0, size = 0;
    for (size_t i = begin; i < end; ++i) {
        const double d = output.got[i] - output.want[i];
        difference += d * d;
        size += output.want[i] * output.want[i];
    }
    return std::sqrt(size > 0 ? difference / size : difference);
}

struct WorstRow {
    size_t row = 0;
    double error = 0;
};
WorstRow worst_row(const Output& output) {
    WorstRow worst;
    for (size_t row = 0; row * output.row < output.got.size(); ++row) {
        const double error = row_error(output, row * output.row, std::min((row + 1) * output.row, output.got.size()));
        if (!(error <= worst.error)) worst = {row, error};
        if (std::isnan(error)) break;
    }
    return worst;
}

void check_against_reference(const Outputs& outputs) {
    for (const Output& output : outputs) {
        INFO("tensor " << output.name << " of " << output.got.size() << " elements in rows of " << output.row);
        REQUIRE(output.got.size() == output.want.size());
        const WorstRow worst = worst_row(output);
        INFO("row " << worst.row << ": error " << worst.error << ", tolerance " << output.tolerance);
        CHECK(worst.error <= output.tolerance);
    }
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
    return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}
void check_same_bits(const Outputs& first, const Outputs& second) {
    REQUIRE(first.size() == second.size());
    for (size_t i = 0; i < first.size(); ++i) {
        INFO("tensor " << first[i].name << ": the bits of the first run");
        CHECK(same_bits(first[i].got, second[i].got));
    }
}

#ifdef KNAPSACK_SIMT
constexpr size_t SMALL = 20'000;  // threads: cases that are run under some more orders

// Runs `body` under another order and leaves the order as it was.
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
#endif

gpu::stream_t stream() {
    static gpu::MatmulContext context("");
    return {nullptr, &context};
}

#ifdef __SANITIZE_THREAD__
constexpr bool ONE_RUN = true;  // ThreadSanitizer is slow, and sees the races of every order in one
#else
constexpr bool ONE_RUN = false;
#endif

// Every order starts from its own instance, so that what one run leaves unwritten cannot be what another has written.
void check_case(const Case& c) {
    INFO(c.name);
    const auto outputs_of = [](const Instance& instance) {
        instance.run(stream(), true);
        return instance.check();
    };
    const Instance instance = c.make();
    REQUIRE(instance.check);
#ifdef KNAPSACK_SIMT
    const size_t threads_before = simt::counters().threads;
#endif
    const Outputs first = outputs_of(instance);
    check_against_reference(first);
    if (ONE_RUN) return;
#ifdef KNAPSACK_SIMT
    const size_t threads = simt::counters().threads - threads_before;
    with_order(simt::Order::DESCENDING, 0, [&] { check_same_bits(first, outputs_of(c.make())); });
    with_order(simt::Order::SHUFFLED, 1, [&] { check_same_bits(first, outputs_of(c.make())); });
    for (uint64_t seed = 2; seed <= 4 && threads <= SMALL; ++seed)
        with_order(simt::Order::SHUFFLED, seed, [&] { check_same_bits(first, outputs_of(instance)); });
#else
    check_same_bits(first, outputs_of(c.make()));
#endif
    check_same_bits(first, outputs_of(instance));
}

void check_room(const std::vector<Case>& cases) {
    size_t checked = 0;
    for (const Case& c : cases)
        if (!c.timed) check_case(c), ++checked;
    CHECK(checked > 0);
}

}  // namespace

TEST_CASE("kernels: embedding", "[kernels][embedding]") { check_room(embedding_cases()); }
TEST_CASE("kernels: layernorm", "[kernels][layernorm]") { check_room(layernorm_cases()); }
TEST_CASE("kernels: rotary", "[kernels][rotary]") { check_room(rotary_cases()); }
TEST_CASE("kernels: gelu", "[kernels][gelu]") { check_room(gelu_cases()); }
TEST_CASE("kernels: attention", "[kernels][attention]") { check_room(attention_cases()); }
TEST_CASE("kernels: classifier", "[kernels][classifier]") { check_room(classifier_cases()); }
TEST_CASE("kernels: matmul", "[kernels][matmul]") { check_room(matmul_cases()); }
TEST_CASE("kernels: global norm and AdamW", "[kernels][update]") { check_room(update_cases()); }

TEST_CASE("cases: names differ, floors are given", "[cases]") {
    std::set<std::string> names;
    for (const Case& c : all_cases()) {
        INFO(c.name);
        CHECK(names.insert(c.name).second);
        CHECK((!c.timed || c.bytes > 0));
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

// A table of every output's worst row, to set tolerances by. Hidden: run_kernel_tests '[.errors]'
TEST_CASE("errors of all cases", "[.errors]") {
    for (const Case& c : all_cases()) {
        if (c.timed) continue;
        const Instance instance = c.make();
        instance.run(stream(), true);
        for (const Output& output : instance.check()) {
            const WorstRow worst = worst_row(output);
            printf("%-64s %-12s row %-6zu error %.2e  tolerance %.2e\n", c.name.c_str(), output.name.c_str(), worst.row,
                   worst.error, output.tolerance);
        }
    }
}

#ifdef KNAPSACK_SIMT
namespace {

// The names of the kernels that a source defines: what stands before the parameters of a __global__ function.
std::set<std::string> kernels_in(const std::string& source) {
    std::string code;  // without comments
    for (size_t i = 0; i < source.size(); ++i) {
        if (source.compare(i, 2, "//") == 0) i = std::min(source.find('\n', i), source.size() - 1);
        code += source[i];
    }
    const auto skip_spaces = [&](size_t i) {
        while (i < code.size() && isspace(static_cast<unsigned char>(code[i]))) ++i;
        return i;
    };
    const auto word_at = [&](size_t i) {
        size_t end = i;
        while (end < code.size() && (isalnum(static_cast<unsigned char>(code[end])) || code[end] == '_')) ++end;
        return code.substr(i, end - i);
    };
    const auto after_parentheses = [&](size_t i) {
        int depth = 0;
        do depth += code[i] == '(' ? 1 : code[i] == ')' ? -1 : 0;
        while (++i < code.size() && depth > 0);
        return i;
    };
    static const std::string GLOBAL = "__global__";
    std::set<std::string> names;
    for (size_t i = code.find(GLOBAL); i != std::string::npos; i = code.find(GLOBAL, i)) {
        std::string name;
        for (i = skip_spaces(i + GLOBAL.size()); i < code.size() && code[i] != '('; i = skip_spaces(i)) {
            name = word_at(i);
            if (name.empty()) break;
            i = skip_spaces(i + name.size());
            if (name == "__launch_bounds__") i = after_parentheses(i);
        }
        if (!name.empty()) names.insert(name);
    }
    return names;
}

std::set<std::string> kernels_without_a_case() {
    std::set<std::string> names;
    for (const std::string& file : glob_files(test_file("../kernels/*.cu*"))) names.merge(kernels_in(read_file(file)));
    CHECK_FALSE(names.empty());
    for (const std::string& name : simt::launched()) names.erase(name);
    return names;
}

}  // namespace

TEST_CASE("the scan for kernels finds them", "[cases]") {
    const std::string source =
        "// a __global__ void in_a_comment() is none\n"
        "__global__ void plain_kernel(int* x) {}\n"
        "template <class T>\n"
        "__global__ void __launch_bounds__(Row<T>::THREADS(1))\n    bounded_kernel(T* x) {}\n"
        "static __global__ __launch_bounds__ (32) void other_order_kernel ( ) {}\n";
    CHECK(kernels_in(source) == std::set<std::string>{"plain_kernel", "bounded_kernel", "other_order_kernel"});
}

TEST_CASE("every kernel has a case", "[cases][coverage]") {
    if (!kernels_without_a_case().empty())  // this test was started alone
        for (const Case& c : all_cases())
            if (!c.timed) c.make().run(stream(), true);
    for (const std::string& name : kernels_without_a_case()) FAIL_CHECK(name << ": no case of test/cases launches it");
}
#endif
