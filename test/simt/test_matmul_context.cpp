// test_matmul_context.cpp - the products among the choices (test_choices.cpp), the memory next to them, and the product
// that gives a bias gradient too. The algorithms of this build are all called "host".
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/matmul_context.h"
#include "test/catch.h"
#include "test/support.h"
#include "util/json.h"

using gpu::Choices;
using gpu::MatmulContext;
using gpu::Product;
using gpu::ProductShape;
using gpu::Storage;

namespace {

const ProductShape SHAPE{Product::Forward, Storage::Fp32, 3, 2, 4};

size_t size(int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); }

DeviceArray<float> on_device(const std::vector<float>& values) {
    DeviceArray<float> array(values.size());
    copy_to_device(array.get(), values.data(), values.size());
    return array;
}
std::vector<float> on_host(const DeviceArray<float>& array) {
    std::vector<float> values(array.size());
    copy_to_host(values.data(), array.get(), values.size());
    return values;
}

// One product of ones: every element is K.
void multiply(MatmulContext& context, const ProductShape& shape) {
    const DeviceArray<float> a = on_device(std::vector<float>(size(shape.M, shape.K), 1.0f)),
                             b = on_device(std::vector<float>(size(shape.N, shape.K), 1.0f)),
                             out(size(shape.M, shape.N));
    context.multiply(shape, {out.get(), a.get(), b.get()}, nullptr);
    CHECK(on_host(out) == std::vector<float>(out.size(), static_cast<float>(shape.K)));
}

// A stopwatch that must not be looked at: one algorithm does not compete.
float unused(const std::function<void()>&, cudaStream_t) {
    FAIL("timed");
    return 0;
}

}  // namespace

TEST_CASE("the algorithm of every product is among the choices, and found in the cache", "[matmul_context]") {
    const TemporaryFolder folder;
    Choices choices(folder.path(), unused);
    MatmulContext context(choices);
    ProductShape gradient = SHAPE;
    gradient.product = Product::WeightGradient;
    for (const ProductShape& shape : {SHAPE, gradient, SHAPE}) multiply(context, shape);
    const nlohmann::json json = parse_json("matmul", choices.json());
    REQUIRE(json.size() == 4);  // two names, two shapes
    CHECK(json[2] == "dweight fp32 3 2 4 host");
    CHECK(json[3] == "forward fp32 3 2 4 host");
    REQUIRE(list_directory(folder.path()).size() == 1);
    CHECK(read_file(folder / list_directory(folder.path())[0]) == choices.json());
}

TEST_CASE("loaded algorithms take the place of prepared ones", "[matmul_context]") {
    Choices choices("", unused);
    MatmulContext context(choices);
    multiply(context, SHAPE);
    const std::string own = choices.json();
    choices.load(own);
    multiply(context, SHAPE);
    CHECK(choices.json() == own);
    std::string other = own;  // not an algorithm of this library: as another version's, it gives way
    choices.load(other.replace(other.find(" host\"]"), 7, " 00ff\"]"));
    CHECK(choices.json() != own);
    multiply(context, SHAPE);
    CHECK(choices.json() == own);
}

TEST_CASE("a checkpoint from before other kernels were chosen among", "[matmul_context]") {
    Choices choices("");
    MatmulContext context(choices);
    const std::string before = "[\"gpu simt\",\n \"library host\",\n \"forward fp32 3 2 4 host\"]\n";
    choices.load(before);
    multiply(context, SHAPE);
    CHECK(choices.json() == before);
}

TEST_CASE("scratch memory of any size next to the products; what was given before stays", "[matmul_context]") {
    Choices choices("");
    MatmulContext context(choices);
    char* first = static_cast<char*>(context.scratch(1));
    copy_to_device(first, "here", 5);
    const size_t large = (size_t{32} << 20) + 8;
    char* memory = static_cast<char*>(context.scratch(large));
    copy_to_device(memory + large - 8, "to here", 8);
    multiply(context, SHAPE);
    CHECK(context.scratch(1) == memory);
    char text[5];
    copy_to_host(text, first, 5);  // a captured graph may still use it
    CHECK(std::string(text) == "here");
}

TEST_CASE("the product with a bias gradient overwrites that and adds to the weight's", "[matmul_context]") {
    Choices choices("");
    MatmulContext context(choices);
    const ProductShape shape{Product::WeightBiasGradient, Storage::Fp32, 2, 3, 4};
    // columns first: A is 2 x 4, B is 3 x 4; D[m,n] = sum_k A[m,k] B[n,k], dbias[n] = sum_k B[n,k]
    const DeviceArray<float> a = on_device({1, 0, 0, 1, 1, 1, 2, 0}),
                             b = on_device({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}),
                             out = on_device(std::vector<float>(6, 100.0f));
    CHECK(context.can_multiply(shape, {out.get(), a.get(), b.get(), nullptr, context.bias_gradient()}, nullptr));
    CHECK(on_host(out) == std::vector<float>(6, 100.0f));
    for (const float times : {1.0f, 2.0f}) {
        context.multiply(shape, {out.get(), a.get(), b.get(), nullptr, context.bias_gradient()}, nullptr);
        std::vector<float> want, dbias(3);
        for (const float d : {28, 11, 32, 13, 36, 15}) want.push_back(100 + times * d);
        CHECK(on_host(out) == want);
        copy_to_host(dbias.data(), context.bias_gradient(), 3);
        CHECK(dbias == std::vector<float>{22, 26, 30});
    }
}
