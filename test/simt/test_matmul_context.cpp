// test_matmul_context.cpp - which algorithms a context uses, keeps for a checkpoint, takes from one, and finds in its
// cache file. The algorithms of this build are all called "host"; everything around them is what runs on a GPU.
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/matmul_context.h"
#include "test/catch.h"
#include "test/support.h"
#include "util/json.h"

using gpu::MatmulContext;
using gpu::Product;
using gpu::ProductShape;
using gpu::Storage;

namespace {

const ProductShape SHAPE{Product::Forward, Storage::Fp32, 3, 2, 4};

// One product of ones: every element is K.
void multiply(MatmulContext& context, const ProductShape& shape) {
    const auto size = [](int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); };
    const DeviceArray<float> a(size(shape.M, shape.K)), b(size(shape.N, shape.K)), out(size(shape.M, shape.N));
    for (const DeviceArray<float>* array : {&a, &b})
        copy_to_device(array->get(), std::vector<float>(array->size(), 1.0f).data(), array->size());
    context.multiply(shape, {out.get(), a.get(), b.get(), nullptr}, nullptr);
    std::vector<float> got(out.size());
    copy_to_host(got.data(), out.get(), got.size());
    CHECK(got == std::vector<float>(got.size(), static_cast<float>(shape.K)));
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

std::string json_of(const std::vector<ProductShape>& shapes) {
    MatmulContext context("");
    for (const ProductShape& shape : shapes) multiply(context, shape);
    return context.json();
}

// The only file of the cache's folder.
std::string cache_file(const TemporaryFolder& folder) {
    const std::vector<std::string> names = list_directory(folder.path());
    REQUIRE(names.size() == 1);
    return folder / names[0];
}

}  // namespace

TEST_CASE("the algorithms in use as JSON: every shape once, read again as they were written", "[matmul_context]") {
    ProductShape gradient = SHAPE;
    gradient.product = Product::WeightGradient;
    const std::string text = json_of({SHAPE, gradient, SHAPE});
    const nlohmann::json json = parse_json("matmul", text);
    REQUIRE(json.is_array());
    REQUIRE(json.size() == 4);  // two names, two shapes
    CHECK(json[2] == "forward fp32 3 2 4 host");
    CHECK(json[3] == "dweight fp32 3 2 4 host");

    MatmulContext context("");
    context.load(text);
    CHECK(context.json() == text);  // kept although no product has run
    multiply(context, gradient);
    CHECK(context.json() == text);
    context.load(json.dump(4));  // as a checkpoint's file may lay it out
    CHECK(context.json() == text);
    context.load("[]");
    context.load(json_of({}));
    CHECK(context.json() == text);
}

TEST_CASE("algorithms of another GPU or library are left aside", "[matmul_context]") {
    const std::string text = json_of({SHAPE}), none = json_of({});
    for (const std::string& foreign :
         {replaced(text, "\"gpu ", "\"gpu another "), replaced(text, "\"library host", "\"library cublaslt 1"),
          replaced(replaced(text, "\"gpu ", "\"gpu another "), " host\"]", " 00ff\"]")}) {
        MatmulContext context("");
        context.load(foreign);
        context.load(foreign);
        CHECK(context.json() == none);
        multiply(context, SHAPE);
        CHECK(context.json() == text);
    }
}

TEST_CASE("text that no checkpoint has is refused", "[matmul_context]") {
    const std::string text = json_of({SHAPE});
    MatmulContext context("");
    const std::vector<std::string> damaged = {
        "",
        "null",
        "{}",
        "[1]",
        "[\"",
        "[\"gpu x\"",
        "[\"gpu x\" \"library y\"]",
        "[\"gpu x\",]",
        "[] []",
        "[\"gpu \\u0041\", \"library y\"]",
        "[\"library host\", \"gpu x\"]",
        "[\"gpu x\"]",
        text + "x",
        text.substr(0, text.size() / 2),
        replaced(text, "forward", "backward"),
        replaced(text, "fp32", "fp8"),
        replaced(text, " 3 ", " 0 "),
        replaced(text, " 3 ", " -3 "),
        replaced(text, " 3 ", " 99999999999 "),
        replaced(text, " 3 ", " "),
        replaced(text, " host\"]", " host more\"]"),
        replaced(text, " host\"]", " guest\"]"),
        replaced(text, " host\"]", "\"]"),
    };
    for (const std::string& wrong : damaged) {
        INFO(wrong);
        REQUIRE_DIES(Exit::Data, "damaged", context.load(wrong));
    }
    CHECK(context.json() == json_of({}));
}

TEST_CASE("the cache file gathers the choices of many runs; damage costs measuring again", "[matmul_context]") {
    const TemporaryFolder folder;
    {
        MatmulContext first(folder.path()), second(folder.path());
        multiply(first, SHAPE);
        CHECK(read_file(cache_file(folder)) == first.json());
        ProductShape wider = SHAPE;
        wider.N = 5;
        multiply(second, wider);  // began before the first wrote, yet loses nothing of it
        CHECK(read_file(cache_file(folder)) == json_of({SHAPE, wider}));
    }
    const std::string path = cache_file(folder), text = read_file(path);
    for (const std::string& damaged :
         {std::string("rubbish"), std::string(), text.substr(0, text.size() - 9),
          replaced(text, "\"gpu ", "\"gpu another "), replaced(text, " host", " guest"), std::string(100, '\0')}) {
        INFO(damaged);
        write_file(path, damaged);
        MatmulContext context(folder.path());
        multiply(context, SHAPE);
        CHECK(context.json() == json_of({SHAPE}));
        CHECK(read_file(path).find("forward fp32 3 2 4 host") != std::string::npos);
    }
    write_file(folder / "a file", "");
    MatmulContext nowhere(folder / "a file/below");  // cannot be made
    multiply(nowhere, SHAPE);
    CHECK(nowhere.json() == json_of({SHAPE}));
}

TEST_CASE("scratch memory of any size next to the products", "[matmul_context]") {
    MatmulContext context("");
    const size_t large = (size_t{32} << 20) + 8;
    char* memory = static_cast<char*>(context.scratch(large));
    copy_to_device(memory + large - 8, "to here", 8);
    multiply(context, SHAPE);
    CHECK(context.scratch(1) == memory);
}

TEST_CASE("by rule: no cache is read or written, a checkpoint's algorithms are", "[matmul_context]") {
    TemporaryFolder folder;
    MatmulContext by_rule(folder.path());
    by_rule.choose_by_rule();
    multiply(by_rule, SHAPE);
    CHECK(list_directory(folder.path()).empty());
    MatmulContext other("");
    other.load(by_rule.json());
    CHECK(other.json() == by_rule.json());
}
