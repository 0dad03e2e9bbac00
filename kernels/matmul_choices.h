// matmul_choices.h - the algorithms chosen for matrix products as text, for checkpoints and the cache file:
//   ["gpu NVIDIA H200", "library cublaslt 130001", "forward bf16 1536 65536 512 <algorithm>", ...]
// No CUDA or cuBLAS in here; what is chosen and why, matmul_context.h says.
#pragma once
#include <map>
#include <string>
#include <tuple>

namespace gpu {

// The products of a linear layer. cuBLASLt counts by columns, where a row-major (R, C) matrix is C x R, so each is
// written as D = op(A) op(B) with D of M x N and the inner dimension K:
//   Forward, ForwardBias   M = OC, N = rows, K = C      A = weight, B = inp       (ForwardBias: + bias)
//   InputGradient          M = C, N = rows, K = OC      A = weight, B = dout
//   WeightGradient         M = C, N = OC, K = rows      A = inp, B = dout; D is float and added to
enum class Product { Forward, ForwardBias, InputGradient, WeightGradient };
enum class Storage { Bf16, Fp32 };

struct ProductShape {
    Product product;
    Storage storage;
    int M, N, K;
    bool operator<(const ProductShape& other) const {
        return std::tie(product, storage, M, N, K) < std::tie(other.product, other.storage, other.M, other.N, other.K);
    }
};

std::string words_of(const ProductShape& shape);  // "forward bf16 1536 65536 512"

struct MatmulChoices {
    std::string device, library;                    // of plain_name's characters; both empty: choices of no machine
    std::map<ProductShape, std::string> algorithm;  // in words: hex digits, or "host"
};

std::string to_json(const MatmulChoices& choices);
// "", or what is wrong with text that to_json did not write; it may be laid out as any JSON is.
std::string parse(const std::string& json, MatmulChoices* choices);

// Letters, digits and a few signs, so that a name needs no escapes in JSON or, with '-' for every other character, in a
// file name.
std::string plain_name(const std::string& name, char other);

}  // namespace gpu
