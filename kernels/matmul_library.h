// matmul_library.h - the matrix products of linear layers as a library computes them: cuBLASLt (matmul_cublaslt.cu), or
// in the build for the CPU (KNAPSACK_SIMT) kernels/cpu/gemm.h (matmul_host.cu).
//
// Host code without a cuBLAS type, so that any program can include it.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/choices.h"  // defines: Way
#include "kernels/device.h"

namespace gpu {

// cuBLASLt counts by columns, where a row-major (R, C) matrix is C x R, so each product is written as D = op(A) op(B)
// with D of M x N and the inner dimension K:
//   Forward, ForwardBias   M = OC, N = rows, K = C      A = weight, B = inp       (ForwardBias: + bias)
//   InputGradient          M = C, N = rows, K = OC      A = weight, B = dout
//   WeightGradient         M = C, N = OC, K = rows      A = inp, B = dout; D is float and added to
//   WeightBiasGradient     the same, and dbias[n] = sum_k B[n,k], float, overwritten
enum class Product { Forward, ForwardBias, InputGradient, WeightGradient, WeightBiasGradient };
enum class Storage { Bf16, Fp32 };

struct ProductShape {
    Product product;
    Storage storage;
    int M, N, K;
    bool operator<(const ProductShape& other) const {
        return std::tie(product, storage, M, N, K) < std::tie(other.product, other.storage, other.M, other.N, other.K);
    }
    bool is_forward() const { return product == Product::Forward || product == Product::ForwardBias; }
    bool is_weight_gradient() const {
        return product == Product::WeightGradient || product == Product::WeightBiasGradient;
    }
};
std::string words_of(const ProductShape& shape);  // "forward bf16 1536 65536 512": its key among the choices

// Device memory, each on 16 bytes.
struct ProductOperands {
    void* out;  // float of a weight's gradient, else of the shape's storage as a and b are
    const void *a, *b;
    const void* bias = nullptr;  // (M) of the shape's storage: ForwardBias
    float* dbias = nullptr;      // (N): WeightBiasGradient
};

// Memory that work on any stream finds zeroed: the null stream zeroes it, for which not every stream waits.
template <class T>
DeviceArray<T> ready_array(size_t size) {
    DeviceArray<T> array(size);
    CUDA_CHECK(cudaDeviceSynchronize());
    return array;
}

class MatmulLibrary {
  public:
    MatmulLibrary();  // dies with Exit::Device where cuBLASLt cannot start
    ~MatmulLibrary();
    MatmulLibrary(const MatmulLibrary&) = delete;
    MatmulLibrary& operator=(const MatmulLibrary&) = delete;

    static std::string name();        // "cublaslt 130001"
    static std::string version();     // "130001"
    static size_t workspace_bytes();  // that every product is given

    // The algorithms that the library proposes for a shape, its own estimate of the fastest first, each started once:
    // one that fails is left out. Their runs write the outputs, or add to memory of their own. first_only: no more than
    // one.
    std::vector<Way> ways(const ProductShape& shape, const ProductOperands& operands, void* workspace,
                          cudaStream_t stream, bool first_only);
    // From now on the shape's product is this algorithm's. False if that is none, or not one for this shape.
    bool prepare(const ProductShape& shape, const std::string& algorithm);
    bool has(const ProductShape& shape) const;  // prepared
    void forget();                              // everything prepared
    void run(const ProductShape& shape, const ProductOperands& operands, void* workspace, cudaStream_t stream) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace gpu
