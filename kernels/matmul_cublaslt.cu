// matmul_cublaslt.cu - the products by cuBLASLt. Host code.
#ifndef KNAPSACK_SIMT
#include <cublasLt.h>

#include <cstring>
#include <map>
#include <utility>

#include "kernels/matmul_library.h"
#include "util/check.h"

namespace gpu {
namespace {

#define CUBLAS_CHECK(call) cublas_check((call), #call, __FILE__, __LINE__)
void cublas_check(cublasStatus_t status, const char* call, const char* file, int line) {
    if (status != CUBLAS_STATUS_SUCCESS)
        die(Exit::Device, "%s:%d: %s: %s", file, line, call, cublasLtGetStatusString(status));
}

// An object of the library, held by a pointer, released with its owner.
template <class Object, cublasStatus_t (*RELEASE)(Object*)>
struct Release {
    void operator()(Object* object) const { RELEASE(object); }  // unchecked: nothing could be done about it
};
using Handle = std::unique_ptr<cublasLtContext, Release<cublasLtContext, cublasLtDestroy> >;
using Description =
    std::unique_ptr<cublasLtMatmulDescOpaque_t, Release<cublasLtMatmulDescOpaque_t, cublasLtMatmulDescDestroy> >;
using Layout =
    std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Release<cublasLtMatrixLayoutOpaque_t, cublasLtMatrixLayoutDestroy> >;
using Preference = std::unique_ptr<cublasLtMatmulPreferenceOpaque_t,
                                   Release<cublasLtMatmulPreferenceOpaque_t, cublasLtMatmulPreferenceDestroy> >;

// A column-major matrix without gaps.
Layout make_layout(cudaDataType_t type, int rows, int columns) {
    cublasLtMatrixLayout_t layout = nullptr;
    CUBLAS_CHECK(
        cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), rows));
    return Layout(layout);
}

template <class Value>
void set(const Description& description, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
    CUBLAS_CHECK(cublasLtMatmulDescSetAttribute(description.get(), attribute, &value, sizeof value));
}
template <class Value>
void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
    CUBLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(preference.get(), attribute, &value, sizeof value));
}

constexpr char HEX[] = "0123456789abcdef";

std::string words_of(const cublasLtMatmulAlgo_t& algorithm) {
    unsigned char bytes[sizeof algorithm];
    memcpy(bytes, &algorithm, sizeof bytes);
    std::string words;
    for (const unsigned char byte : bytes) (words += HEX[byte >> 4]) += HEX[byte & 15];
    return words;
}
bool is_algorithm(const std::string& words) {
    return words.size() == 2 * sizeof(cublasLtMatmulAlgo_t) && words.find_first_not_of(HEX) == std::string::npos;
}
cublasLtMatmulAlgo_t algorithm_of(const std::string& words) {
    unsigned char bytes[sizeof(cublasLtMatmulAlgo_t)];
    const auto digit = [&](size_t i) { return static_cast<unsigned char>(strchr(HEX, words[i]) - HEX); };
    for (size_t i = 0; i < sizeof bytes; ++i)
        bytes[i] = static_cast<unsigned char>(digit(2 * i) << 4 | digit(2 * i + 1));
    cublasLtMatmulAlgo_t algorithm;
    memcpy(&algorithm, bytes, sizeof bytes);
    return algorithm;
}

// 32 MiB are what NVIDIA recommends for Hopper. A weight's gradient has a small output and a long sum (512 x 2048 of
// 65,536 rows), so it lives on the inner dimension cut into parts, of which each takes a float output of workspace: it
// gets more, and more candidates are looked at.
constexpr size_t WORKSPACE_BYTES = size_t{128} << 20;
constexpr int MAX_CANDIDATES = 32;
size_t workspace_limit(const ProductShape& shape) {
    return shape.is_weight_gradient() ? WORKSPACE_BYTES : size_t{32} << 20;
}
int candidates_of(const ProductShape& shape) { return shape.is_weight_gradient() ? MAX_CANDIDATES : 16; }

struct Prepared {
    Description description;
    Layout a, b, out;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
    bool adds;
};

Prepared describe(const ProductShape& s) {
    const cudaDataType_t type = s.storage == Storage::Bf16 ? CUDA_R_16BF : CUDA_R_32F;
    const bool gradient = s.is_weight_gradient();
    cublasLtMatmulDesc_t description = nullptr;
    CUBLAS_CHECK(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F));  // 32F: never tf32
    Prepared p{Description(description),
               s.is_forward() ? make_layout(type, s.K, s.M) : make_layout(type, s.M, s.K),
               gradient ? make_layout(type, s.N, s.K) : make_layout(type, s.K, s.N),
               make_layout(gradient ? CUDA_R_32F : type, s.M, s.N),
               {},
               workspace_limit(s),
               gradient};
    set(p.description, CUBLASLT_MATMUL_DESC_TRANSA, s.is_forward() ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(p.description, CUBLASLT_MATMUL_DESC_TRANSB, gradient ? CUBLAS_OP_T : CUBLAS_OP_N);
    // The gradient of a bias has a sum of B over k for each column of D; its elements are of D's type, float.
    if (s.product == Product::ForwardBias) set(p.description, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    if (s.product == Product::WeightBiasGradient)
        set(p.description, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BGRADB);
    // What proposes an algorithm and what checks a kept one read off the pointer how a bias is aligned, and null might
    // be refused: both see the least alignment that a layer's bias has. start() sets the true one.
    if (s.product == Product::ForwardBias || s.product == Product::WeightBiasGradient)
        set(p.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(16));
    return p;
}

Preference preference_of(const ProductShape& shape) {
    cublasLtMatmulPreference_t created = nullptr;
    CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&created));
    Preference preference(created);
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{workspace_limit(shape)});
    // Where the inner dimension is split, the parts go to the workspace as floats, not rounded to the output's type,
    // and are added by one kernel afterwards; reductions in place are ruled out.
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    // a tensor, or rows out of its middle, begins on 16 bytes and no more
    for (const auto alignment :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
        set(preference, alignment, uint32_t{16});
    return preference;
}

cublasStatus_t start(cublasLtHandle_t handle, const Prepared& p, const ProductOperands& operands, void* workspace,
                     cudaStream_t stream) {
    const float one = 1, beta = p.adds ? 1.0f : 0.0f;
    if (operands.bias) set(p.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
    if (operands.dbias) set(p.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.dbias);
    return cublasLtMatmul(handle, p.description.get(), &one, operands.a, p.a.get(), operands.b, p.b.get(), &beta,
                          operands.out, p.out.get(), operands.out, p.out.get(), &p.algorithm, workspace, p.workspace,
                          stream);
}

}  // namespace

struct MatmulLibrary::State {
    Handle handle;
    std::map<ProductShape, Prepared> prepared;
};

MatmulLibrary::MatmulLibrary() : state_(new State) {
    cublasLtHandle_t handle = nullptr;
    CUBLAS_CHECK(cublasLtCreate(&handle));
    state_->handle.reset(handle);
}
MatmulLibrary::~MatmulLibrary() = default;
std::string MatmulLibrary::name() { return "cublaslt " + version(); }
std::string MatmulLibrary::version() { return std::to_string(cublasLtGetVersion()); }
size_t MatmulLibrary::workspace_bytes() { return WORKSPACE_BYTES; }

// That a row's bits do not depend on its place is for the "rows in other places" case to find out on a GPU.
std::vector<Way> MatmulLibrary::ways(const ProductShape& shape, const ProductOperands& operands, void* workspace,
                                     cudaStream_t stream, bool first_only) {
    const cublasLtHandle_t handle = state_->handle.get();
    cublasLtMatmulHeuristicResult_t candidates[MAX_CANDIDATES];
    int count = 0;
    const Prepared described = describe(shape);
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        handle, described.description.get(), described.a.get(), described.b.get(), described.out.get(),
        described.out.get(), preference_of(shape).get(), candidates_of(shape), candidates, &count);
    // a bias gradient has another way where the library knows none, whatever it calls that
    const bool optional = shape.product == Product::WeightBiasGradient;
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || (optional && status != CUBLAS_STATUS_SUCCESS)) return {};
    CUBLAS_CHECK(status);
    // These runs would be added to a gradient; any other output is written again by the product that is asked for.
    ProductOperands timed = operands;
    const auto own_output = std::make_shared<DeviceArray<float> >();
    if (shape.is_weight_gradient()) {
        *own_output = ready_array<float>(static_cast<size_t>(shape.M) * static_cast<size_t>(shape.N));
        timed.out = own_output->get();
    }
    std::vector<Way> ways;
    for (int i = 0; i < count && !(first_only && !ways.empty()); ++i) {
        const auto p = std::make_shared<Prepared>(describe(shape));
        p->algorithm = candidates[i].algo;
        if (candidates[i].state != CUBLAS_STATUS_SUCCESS || candidates[i].workspaceSize > p->workspace ||
            start(handle, *p, timed, workspace, stream) != CUBLAS_STATUS_SUCCESS)
            continue;
        // own_output lives as long as what writes it
        ways.push_back({words_of(p->algorithm), [handle, p, timed, workspace, stream, own_output] {
                            CUBLAS_CHECK(start(handle, *p, timed, workspace, stream));
                        }});
    }
    return ways;
}

bool MatmulLibrary::prepare(const ProductShape& shape, const std::string& algorithm) {
    if (!is_algorithm(algorithm)) return false;
    Prepared p = describe(shape);
    p.algorithm = algorithm_of(algorithm);
    cublasLtMatmulHeuristicResult_t checked{};
    const cublasStatus_t status = cublasLtMatmulAlgoCheck(state_->handle.get(), p.description.get(), p.a.get(),
                                                          p.b.get(), p.out.get(), p.out.get(), &p.algorithm, &checked);
    if (status != CUBLAS_STATUS_SUCCESS || checked.state != CUBLAS_STATUS_SUCCESS ||
        checked.workspaceSize > p.workspace)
        return false;
    state_->prepared.insert_or_assign(shape, std::move(p));
    return true;
}

bool MatmulLibrary::has(const ProductShape& shape) const { return state_->prepared.count(shape); }
void MatmulLibrary::forget() { state_->prepared.clear(); }

void MatmulLibrary::run(const ProductShape& shape, const ProductOperands& operands, void* workspace,
                        cudaStream_t stream) const {
    CUBLAS_CHECK(start(state_->handle.get(), state_->prepared.at(shape), operands, workspace, stream));
}

}  // namespace gpu
#endif  // not KNAPSACK_SIMT
