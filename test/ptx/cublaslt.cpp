// The calls of cuBLASLt that our products make, as the documentation (cublasLt.h) defines them, computed by
// kernels/cpu/gemm.h: linked in place of libcublasLt, so that the very descriptions that a GPU gets are what is tested.
// Column-major matrices with leading dimensions, transposes, beta C; the epilogues BIAS and BGRADB. What is asked for
// beyond that is refused, as the library refuses what it has no kernel for. Two algorithms: one sum over k, and one in
// two parts, which needs workspace for them.
#include <cublasLt.h>

#include <cstring>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/simt/runtime.h"
#include "test/ptx/scalar.h"

// The handles' types, whose content is the library's own.
struct cublasLtContext {};

namespace {

struct Description {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    cublasOperation_t a = CUBLAS_OP_N, b = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    void* bias = nullptr;
};
struct Layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t leading;
};
struct Preference {
    uint64_t workspace = 0;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignments[4] = {256, 256, 256, 256};
};
// What a handle of cuBLASLt points to is ours.
template <class Ours, class Handle>
void make(Handle* handle, const Ours& value) {
    *handle = reinterpret_cast<Handle>(new Ours(value));
}
template <class Ours, class Handle>
Ours& ours(Handle handle) {
    return *reinterpret_cast<Ours*>(handle);
}

enum AlgorithmId : uint64_t { WHOLE = 0x10001, SPLIT = 0x10002 };

cublasStatus_t take(void* field, size_t field_bytes, const void* value, size_t bytes) {
    if (bytes != field_bytes) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

// A product that was described: copies, which hold when the handles are gone.
struct Product {
    Description description;
    Layout a, b, c, d;
    uint64_t M, N, K;

    Product(cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
            cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d)
        : description(ours<Description>(description)),
          a(ours<Layout>(a)),
          b(ours<Layout>(b)),
          c(ours<Layout>(c)),
          d(ours<Layout>(d)),
          M(this->d.rows),
          N(this->d.columns),
          K(this->description.a == CUBLAS_OP_N ? this->a.columns : this->a.rows) {}

    bool fits() const {
        const auto is = [](const Layout& layout, bool transposed, uint64_t rows, uint64_t columns) {
            return layout.leading >= static_cast<int64_t>(layout.rows) &&
                   (layout.type == CUDA_R_32F || layout.type == CUDA_R_16BF) &&
                   (transposed ? layout.columns == rows && layout.rows == columns
                               : layout.rows == rows && layout.columns == columns);
        };
        const bool shapes = is(a, description.a != CUBLAS_OP_N, M, K) && is(b, description.b != CUBLAS_OP_N, K, N) &&
                            is(c, false, M, N) && is(d, false, M, N) && c.leading == d.leading;
        // the table of types under cublasLtMatmul, for CUBLAS_COMPUTE_32F and scales in float
        const bool types = description.compute == CUBLAS_COMPUTE_32F && description.scale == CUDA_R_32F &&
                           a.type == b.type && c.type == d.type && (a.type == CUDA_R_16BF || d.type == CUDA_R_32F);
        const bool epilogue = description.epilogue == CUBLASLT_EPILOGUE_DEFAULT ||
                              description.epilogue == CUBLASLT_EPILOGUE_BIAS ||
                              description.epilogue == CUBLASLT_EPILOGUE_BGRADB;
        return shapes && types && epilogue;
    }
    size_t workspace(uint64_t algorithm) const { return algorithm == SPLIT ? 2 * M * N * sizeof(float) : 0; }
};

bool knows(uint64_t algorithm) { return algorithm == WHOLE || algorithm == SPLIT; }

cublasLtMatmulHeuristicResult_t result_of(const Product& product, uint64_t algorithm) {
    cublasLtMatmulHeuristicResult_t result{};
    result.algo.data[0] = algorithm;
    result.workspaceSize = product.workspace(algorithm);
    result.state = CUBLAS_STATUS_SUCCESS;
    result.wavesCount = 1;
    return result;
}

// The elements of a column-major matrix, column by column without gaps.
std::vector<float> read(const Layout& layout, const void* data) {
    std::vector<float> values(layout.rows * layout.columns);
    for (uint64_t column = 0; column < layout.columns; ++column)
        for (uint64_t row = 0; row < layout.rows; ++row) {
            const uint64_t from = column * static_cast<uint64_t>(layout.leading) + row;
            values[column * layout.rows + row] = layout.type == CUDA_R_32F
                                                     ? static_cast<const float*>(data)[from]
                                                     : ptx::of_bf16(static_cast<const uint16_t*>(data)[from]);
        }
    return values;
}
void write(const Layout& layout, void* data, uint64_t at, float value) {
    if (layout.type == CUDA_R_32F)
        static_cast<float*>(data)[at] = value;
    else
        static_cast<uint16_t*>(data)[at] = ptx::to_bf16(value);
}

// Everything that the product needs, to be run now or kept.
struct Call {
    Product product;
    uint64_t algorithm;
    float alpha, beta;
    const void *A, *B, *C;
    void* D;
    float* workspace;
};

void compute(const Call& call) {
    const Product& p = call.product;
    const bool transposed_a = p.description.a != CUBLAS_OP_N, transposed_b = p.description.b != CUBLAS_OP_N;
    const std::vector<float> left = read(p.a, call.A), right = read(p.b, call.B);
    const int M = static_cast<int>(p.M), N = static_cast<int>(p.N), K = static_cast<int>(p.K);
    const int a_rows = static_cast<int>(p.a.rows), b_rows = static_cast<int>(p.b.rows);
    // Row-major, the transpose: D' (N x M) = op(B)' (N x K) op(A)' (K x M), here its terms from `first` on.
    const auto sum_of = [&](float* sum, int first, int terms) {
        const float* from_b = right.data() + static_cast<size_t>(first) * (transposed_b ? p.b.rows : 1);
        const float* from_a = left.data() + static_cast<size_t>(first) * (transposed_a ? 1 : p.a.rows);
        cpu::gemm<float>({sum, M}, {from_b, b_rows, transposed_b}, {from_a, a_rows, transposed_a}, N, M, terms, nullptr,
                         false);
    };
    std::vector<float> sum(p.M * p.N);
    if (call.algorithm == SPLIT) {
        float *const first = call.workspace, *const second = first + sum.size();
        sum_of(first, 0, K / 2);
        sum_of(second, K / 2, K - K / 2);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] = first[i] + second[i];
    } else {
        sum_of(sum.data(), 0, K);
    }
    const std::vector<float> old = call.beta != 0 ? read(p.c, call.C) : std::vector<float>();
    const Layout vector{p.d.type, p.M, 1, static_cast<int64_t>(p.M)};
    const std::vector<float> bias =
        p.description.epilogue == CUBLASLT_EPILOGUE_BIAS ? read(vector, p.description.bias) : std::vector<float>();
    for (uint64_t column = 0; column < p.N; ++column)
        for (uint64_t row = 0; row < p.M; ++row) {
            const uint64_t i = column * p.M + row;
            float value = call.alpha * sum[i];
            if (!old.empty()) value += call.beta * old[i];
            if (!bias.empty()) value += bias[row];
            write(p.d, call.D, column * static_cast<uint64_t>(p.d.leading) + row, value);
        }
    if (p.description.epilogue == CUBLASLT_EPILOGUE_BGRADB)  // of each column of D the sum of B over k, of D's type
        for (uint64_t column = 0; column < p.N; ++column) {
            float total = 0;
            for (uint64_t k = 0; k < p.K; ++k)
                total += right[transposed_b ? k * p.b.rows + column : column * p.b.rows + k];
            write(p.d, p.description.bias, column, total);
        }
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
    *handle = new cublasLtContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}
size_t cublasLtGetVersion() { return 1; }
const char* cublasLtGetStatusString(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_SUCCESS:
            return "CUBLAS_STATUS_SUCCESS";
        case CUBLAS_STATUS_INVALID_VALUE:
            return "CUBLAS_STATUS_INVALID_VALUE";
        case CUBLAS_STATUS_NOT_SUPPORTED:
            return "CUBLAS_STATUS_NOT_SUPPORTED";
        default:
            return "another status";
    }
}

// ---- descriptions ---------------------------------------------------------------------------------------------------

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* handle, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
    make(handle, Description{compute, scale});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t handle) {
    delete &ours<Description>(handle);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t handle, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
    Description& d = ours<Description>(handle);
    switch (attribute) {
        case CUBLASLT_MATMUL_DESC_TRANSA:
            return take(&d.a, sizeof d.a, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB:
            return take(&d.b, sizeof d.b, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE:
            return take(&d.epilogue, sizeof d.epilogue, value, bytes);
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
            return take(&d.bias, sizeof d.bias, value, bytes);
        default:
            return CUBLAS_STATUS_INVALID_VALUE;
    }
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* handle, cudaDataType_t type, uint64_t rows,
                                          uint64_t columns, int64_t leading) {
    make(handle, Layout{type, rows, columns, leading});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t handle) {
    delete &ours<Layout>(handle);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* handle) {
    make(handle, Preference{});
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t handle) {
    delete &ours<Preference>(handle);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t handle,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
    Preference& p = ours<Preference>(handle);
    switch (attribute) {
        case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
            return take(&p.workspace, sizeof p.workspace, value, bytes);
        case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
            return take(&p.reductions, sizeof p.reductions, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
            return take(&p.alignments[0], 4, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
            return take(&p.alignments[1], 4, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
            return take(&p.alignments[2], 4, value, bytes);
        case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
            return take(&p.alignments[3], 4, value, bytes);
        default:
            return CUBLAS_STATUS_INVALID_VALUE;
    }
}

// ---- algorithms -----------------------------------------------------------------------------------------------------

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t handle, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* count) {
    *count = 0;
    const Product product(description, a, b, c, d);
    const Preference& preference = ours<Preference>(handle);
    if (requested < 1) return CUBLAS_STATUS_INVALID_VALUE;
    if (!product.fits()) return CUBLAS_STATUS_NOT_SUPPORTED;
    results[(*count)++] = result_of(product, WHOLE);
    const bool split = preference.reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE && product.K > 1 &&
                       product.workspace(SPLIT) <= preference.workspace;
    if (split && *count < requested) results[(*count)++] = result_of(product, SPLIT);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algorithm, cublasLtMatmulHeuristicResult_t* result) {
    const Product product(description, a, b, c, d);
    if (!knows(algorithm->data[0])) return CUBLAS_STATUS_INVALID_VALUE;
    if (!product.fits()) return CUBLAS_STATUS_NOT_SUPPORTED;
    *result = result_of(product, algorithm->data[0]);
    return CUBLAS_STATUS_SUCCESS;
}

// ---- the product ----------------------------------------------------------------------------------------------------

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* A,
                              cublasLtMatrixLayout_t a, const void* B, cublasLtMatrixLayout_t b, const void* beta,
                              const void* C, cublasLtMatrixLayout_t c, void* D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
    const Product p(description, a, b, c, d);
    const uint64_t id = algorithm ? algorithm->data[0] : WHOLE;
    if (!p.fits() || !knows(id) || workspace_bytes < p.workspace(id) || (p.workspace(id) > 0 && !workspace) ||
        (p.description.epilogue != CUBLASLT_EPILOGUE_DEFAULT && !p.description.bias))
        return CUBLAS_STATUS_INVALID_VALUE;
    for (const void* operand : {A, B, C, static_cast<const void*>(D)})
        if (reinterpret_cast<uintptr_t>(operand) % 16) return CUBLAS_STATUS_NOT_SUPPORTED;
    const Call call{p, id, *static_cast<const float*>(alpha), *static_cast<const float*>(beta), A, B,
                    C, D,  static_cast<float*>(workspace)};
    simt::queue("cublasLtMatmul", stream, [call](cudaStream_t) { compute(call); });
    return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
