// matmul_context.cu - host code.
#include "kernels/matmul_context.h"

#include <algorithm>
#include <string>

#include "util/check.h"

namespace gpu {

std::string words_of(const ProductShape& s) {
    const char* name = "";
    switch (s.product) {
        case Product::Forward:
            name = "forward";
            break;
        case Product::ForwardBias:
            name = "forward+bias";
            break;
        case Product::InputGradient:
            name = "dinp";
            break;
        case Product::WeightGradient:
            name = "dweight";
            break;
        case Product::WeightBiasGradient:
            name = "dweight+dbias";
            break;
    }
    return format_text("%s %s %d %d %d", name, s.storage == Storage::Bf16 ? "bf16" : "fp32", s.M, s.N, s.K);
}

MatmulContext::MatmulContext(Choices& choices) : choices_(choices), bias_gradient_(ready_array<float>(MAX_BIAS)) {
    workspaces_.push_back(ready_array<char>(MatmulLibrary::workspace_bytes()));
}

bool MatmulContext::can_multiply(const ProductShape& shape, const ProductOperands& operands, cudaStream_t stream) {
    if (loads_ != choices_.loads()) library_.forget(), loads_ = choices_.loads();
    if (library_.has(shape)) return true;
    const auto list = [&] {
        return library_.ways(shape, operands, workspaces_.back().get(), stream, choices_.by_rule());
    };
    const auto accepts = [&](const std::string& algorithm) { return library_.prepare(shape, algorithm); };
    const std::string algorithm = choices_.choose(words_of(shape), list, accepts, stream);
    if (algorithm.empty()) return false;
    ENSURE(library_.has(shape) || library_.prepare(shape, algorithm),
           "matmul: the library refuses what it proposed for %s", words_of(shape));
    return true;
}

void MatmulContext::multiply(const ProductShape& shape, const ProductOperands& operands, cudaStream_t stream) {
    if (!can_multiply(shape, operands, stream))
        die(Exit::Device, "%s has no algorithm for the product %s", MatmulLibrary::name(), words_of(shape));
    library_.run(shape, operands, workspaces_.back().get(), stream);
}

void* MatmulContext::scratch(size_t bytes) {
    if (bytes > workspaces_.back().size()) workspaces_.push_back(ready_array<char>(bytes));
    return workspaces_.back().get();
}

}  // namespace gpu
