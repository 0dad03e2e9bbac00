// matmul_context.h - what the matrix products of one stream need: cuBLASLt's handle, its workspace, and the algorithm
// chosen for each shape.
//
// The library offers several algorithms for a shape, and their results differ in the last bits. So a choice is made
// once, by measuring, and then kept: in a cache file for later runs on this machine, and in the checkpoint, so that a
// resumed run goes on with the same bits. In the build for the CPU (KNAPSACK_SIMT) the products are those of
// kernels/cpu/gemm.h and there is one algorithm, but everything that is kept is kept in the same way.
//
// Host code without a CUDA or cuBLAS type beyond the stream, so that any program can include it.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>

#include "kernels/device.h"
#include "kernels/matmul_choices.h"  // defines: Product, Storage, ProductShape

namespace gpu {

// Device memory. out of WeightGradient is float, everything else of the shape's storage; bias null but for ForwardBias.
struct ProductOperands {
    void* out;
    const void *a, *b, *bias;
};

class MatmulContext {
  public:
    // Dies with Exit::Device where cuBLASLt cannot start. cache_folder "": no cache file.
    explicit MatmulContext(const std::string& cache_folder = default_cache_folder());
    ~MatmulContext();
    MatmulContext(const MatmulContext&) = delete;
    MatmulContext& operator=(const MatmulContext&) = delete;

    // Starts one product. The first call of a shape that neither load() nor the cache knows measures the candidates;
    // every other call looks up a prepared product and starts it.
    void multiply(const ProductShape& shape, const ProductOperands& operands, cudaStream_t stream);

    // From now on a shape without a loaded algorithm takes the first one that the library proposes and can run, without
    // measuring and without the cache: a function of shape, GPU model and library, so that several processes agree.
    void choose_by_rule() { by_rule_ = true; }

    // Memory for a kernel next to the products, valid until the next call of scratch or multiply; work on one stream
    // only may use it. Grows at the first use of a larger shape.
    void* scratch(size_t bytes);

    // The algorithms in use, for a checkpoint: a JSON array of strings.
    std::string json() const;
    // Takes the algorithms of json()'s text in place of own choices. Text that json() did not write: Exit::Data.
    // Text of another GPU model or library version: a warning, once, and own choices.
    void load(const std::string& text);

    // $XDG_CACHE_HOME/knapsack or ~/.cache/knapsack; "" where neither is set, and in the build for the CPU, where there
    // is nothing to measure.
    static std::string default_cache_folder();
    static std::string library_name();  // "cublaslt 130001"

  private:
    using Choices = std::map<ProductShape, std::string>;  // an algorithm in words: hex digits, or "host"
    class Library;

    void read_cache(Choices* choices) const;
    void write_cache();

    std::string device_, cache_path_;
    DeviceArray<char> workspace_;
    std::unique_ptr<Library> library_;
    Choices used_;    // by this process
    Choices loaded_;  // of a checkpoint; kept until they are used so that the next checkpoint has them too
    Choices cached_;  // the cache file, as read and then added to
    bool warned_ = false, by_rule_ = false;
};

}  // namespace gpu
