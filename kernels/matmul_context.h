// matmul_context.h - what the matrix products of one stream need: the library, its workspace, and the algorithm chosen
// for each shape.
//
// The library offers several algorithms for a shape, and their results differ in the last bits: choices.h times them
// and keeps the choice.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <vector>

#include "kernels/choices.h"
#include "kernels/device.h"
#include "kernels/matmul_library.h"  // defines: Product, Storage, ProductShape, ProductOperands

namespace gpu {

class MatmulContext {
  public:
    explicit MatmulContext(Choices& choices);  // which outlives it

    // Starts one product. The first call of a shape for which nothing is loaded or cached times the candidates; every
    // other call looks up a prepared product and starts it. Dies with Exit::Device where the library has no algorithm.
    void multiply(const ProductShape& shape, const ProductOperands& operands, cudaStream_t stream);
    // Whether the library has an algorithm; all that is done at the first call of multiply, but for the product itself.
    // The outputs of `operands` may be written, those that are added to are not.
    bool can_multiply(const ProductShape& shape, const ProductOperands& operands, cudaStream_t stream);

    // Memory for a kernel next to the products, valid until the next call of scratch or multiply; work on one stream
    // only may use it. Grows at the first use of a larger shape; what was given before is not freed, because a captured
    // graph may use it.
    void* scratch(size_t bytes);
    // MAX_BIAS floats in which a product leaves the gradient of a bias; valid until the next such product.
    static constexpr int MAX_BIAS = 1 << 18;
    float* bias_gradient() const { return bias_gradient_.get(); }

  private:
    Choices& choices_;
    MatmulLibrary library_;
    std::vector<DeviceArray<char>> workspaces_;  // the last one is in use
    DeviceArray<float> bias_gradient_;
    int loads_ = 0;  // of the choices that the library has prepared
};

}  // namespace gpu
