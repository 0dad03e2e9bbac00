// test_coverage.cpp - every CUDA kernel has a case.
#include <algorithm>
#include <cctype>
#include <set>
#include <string>

#include "kernels/simt/runtime.h"
#include "test/cases/case.h"
#include "test/catch.h"
#include "test/support.h"

namespace {

// The names of the kernels that a source defines: what comes before the parameters of a __global__ function.
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
        for (const Case& c : all_cases()) c.make().run(case_stream(), true);
    for (const std::string& name : kernels_without_a_case()) FAIL_CHECK(name << ": no case of test/cases launches it");
}
