// matmul_context.cu - host code. Two parts: the library, once over cuBLASLt and once over the CPU's product; the
// context on top of either.
#include "kernels/matmul_context.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include "kernels/device.h"
#include "util/check.h"

#ifdef KNAPSACK_SIMT
#include "kernels/cpu/gemm.h"
#include "kernels/simt/runtime.h"
#else
#include <cublasLt.h>
#endif

namespace gpu {
namespace {

constexpr size_t WORKSPACE_BYTES = size_t{32} << 20;  // what NVIDIA recommends for Hopper; smaller GPUs need less

// The null stream zeroes it, which a stream that does not wait for the null stream could meet.
template <class T>
DeviceArray<T> ready_array(size_t size) {
    DeviceArray<T> array(size);
    CUDA_CHECK(cudaDeviceSynchronize());
    return array;
}

}  // namespace

#ifdef KNAPSACK_SIMT
// ---- the CPU's product ----------------------------------------------------------------------------------------------

class MatmulContext::Library {
  public:
    static std::string name() { return "host"; }
    static std::string version() { return "host"; }
    static bool well_formed(const std::string& algorithm) { return algorithm == "host"; }

    bool has(const ProductShape& shape) const { return prepared_.count(shape); }
    void forget(const ProductShape& shape) { prepared_.erase(shape); }
    bool prepare(const ProductShape& shape, const std::string&) { return prepared_.insert(shape).second; }
    std::string choose(const ProductShape&, const ProductOperands&, void*, cudaStream_t, bool) { return "host"; }

    void run(const ProductShape& shape, const ProductOperands& operands, void*, cudaStream_t stream) const {
        simt::queue("a product", stream, [=](cudaStream_t) { multiply(shape, operands); });
    }

  private:
    // In float, then one rounding to the storage type.
    static void multiply(const ProductShape& s, const ProductOperands& operands) {
        const bool forward = s.product == Product::Forward || s.product == Product::ForwardBias,
                   weight_gradient = s.product == Product::WeightGradient;
        const size_t M = static_cast<size_t>(s.M), N = static_cast<size_t>(s.N), K = static_cast<size_t>(s.K);
        const std::vector<float> a = floats(s.storage, operands.a, M * K), b = floats(s.storage, operands.b, N * K),
                                 bias = floats(s.storage, operands.bias, operands.bias ? M : 0);
        std::vector<float> rounded(s.storage == Storage::Bf16 && !weight_gradient ? M * N : 0);
        float* out = rounded.empty() ? static_cast<float*>(operands.out) : rounded.data();
        cpu::gemm_threads<float>({out, s.M}, {b.data(), weight_gradient ? s.N : s.K, weight_gradient},
                                 {a.data(), forward ? s.K : s.M, forward}, s.N, s.M, s.K,
                                 operands.bias ? bias.data() : nullptr, weight_gradient);
        for (size_t i = 0; i < rounded.size(); ++i)
            static_cast<bf16*>(operands.out)[i] = __float2bfloat16_rn(rounded[i]);
    }
    static std::vector<float> floats(Storage storage, const void* from, size_t n) {
        std::vector<float> to(n);
        for (size_t i = 0; i < n; ++i)
            to[i] = storage == Storage::Bf16 ? __bfloat162float(static_cast<const bf16*>(from)[i])
                                             : static_cast<const float*>(from)[i];
        return to;
    }
    std::set<ProductShape> prepared_;
};

#else
// ---- cuBLASLt -------------------------------------------------------------------------------------------------------

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
cublasLtMatmulAlgo_t algorithm_of(const std::string& words) {
    unsigned char bytes[sizeof(cublasLtMatmulAlgo_t)];
    const auto digit = [&](size_t i) { return static_cast<unsigned char>(strchr(HEX, words[i]) - HEX); };
    for (size_t i = 0; i < sizeof bytes; ++i)
        bytes[i] = static_cast<unsigned char>(digit(2 * i) << 4 | digit(2 * i + 1));
    cublasLtMatmulAlgo_t algorithm;
    memcpy(&algorithm, bytes, sizeof bytes);
    return algorithm;
}

struct Event {
    cudaEvent_t event = nullptr;
    Event() { CUDA_CHECK(cudaEventCreate(&event)); }
    ~Event() { cudaEventDestroy(event); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
};

}  // namespace

class MatmulContext::Library {
  public:
    Library() {
        cublasLtHandle_t handle = nullptr;
        CUBLAS_CHECK(cublasLtCreate(&handle));
        handle_.reset(handle);
    }

    static std::string name() { return "cublaslt " + version(); }
    static std::string version() { return std::to_string(cublasLtGetVersion()); }
    static bool well_formed(const std::string& algorithm) {
        return algorithm.size() == 2 * sizeof(cublasLtMatmulAlgo_t) &&
               algorithm.find_first_not_of(HEX) == std::string::npos;
    }

    bool has(const ProductShape& shape) const { return prepared_.count(shape); }
    void forget(const ProductShape& shape) { prepared_.erase(shape); }

    // False if the library does not take this algorithm for this shape.
    bool prepare(const ProductShape& shape, const std::string& algorithm) {
        Prepared p = describe(shape);
        p.algorithm = algorithm_of(algorithm);
        cublasLtMatmulHeuristicResult_t checked{};
        const cublasStatus_t status = cublasLtMatmulAlgoCheck(handle_.get(), p.description.get(), p.a.get(), p.b.get(),
                                                              p.out.get(), p.out.get(), &p.algorithm, &checked);
        if (status != CUBLAS_STATUS_SUCCESS || checked.state != CUBLAS_STATUS_SUCCESS ||
            checked.workspaceSize > WORKSPACE_BYTES)
            return false;
        prepared_.insert_or_assign(shape, std::move(p));
        return true;
    }

    void run(const ProductShape& shape, const ProductOperands& operands, void* workspace, cudaStream_t stream) const {
        CUBLAS_CHECK(start(prepared_.at(shape), operands, workspace, stream));
    }

    // Of up to 16 algorithms that the heuristic proposes, the fastest by measurement, or the first that runs. Where the
    // inner dimension is split, the parts go to the workspace as floats and are added by one kernel afterwards;
    // reductions in place are ruled out. That a row's bits do not depend on its place is for the "rows in other places"
    // case to find out on a GPU.
    std::string choose(const ProductShape& shape, ProductOperands operands, void* workspace, cudaStream_t stream,
                       bool by_speed) {
        constexpr int CANDIDATES = 16, WARM_UPS = 2, TIMED_RUNS = 7;
        // a later candidate must be clearly faster, or noise would choose between equals differently in every run
        constexpr float CLEARLY = 0.98f;
        Prepared p = describe(shape);
        // the heuristic reads off the pointer how a bias is aligned: no layer's is less than this one would be
        if (operands.bias) set(p.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, reinterpret_cast<const void*>(16));
        cublasLtMatmulHeuristicResult_t candidates[CANDIDATES];
        int count = 0;
        const cublasStatus_t status =
            cublasLtMatmulAlgoGetHeuristic(handle_.get(), p.description.get(), p.a.get(), p.b.get(), p.out.get(),
                                           p.out.get(), preference().get(), CANDIDATES, candidates, &count);
        if (status != CUBLAS_STATUS_SUCCESS && status != CUBLAS_STATUS_NOT_SUPPORTED) CUBLAS_CHECK(status);
        // Runs while measuring would be added to a gradient, so they go to memory of their own. Any other output is
        // written again by the product that is asked for.
        DeviceArray<float> own_output;
        if (shape.product == Product::WeightGradient) {
            own_output = ready_array<float>(static_cast<size_t>(shape.M) * static_cast<size_t>(shape.N));
            operands.out = own_output.get();
        }
        const Event begin, end;
        float best = 0;
        std::string choice;
        for (int i = 0; i < count; ++i) {
            p.algorithm = candidates[i].algo;
            if (candidates[i].state != CUBLAS_STATUS_SUCCESS || candidates[i].workspaceSize > WORKSPACE_BYTES ||
                start(p, operands, workspace, stream) != CUBLAS_STATUS_SUCCESS)
                continue;
            if (!by_speed) return words_of(p.algorithm);
            for (int run = 1; run < WARM_UPS; ++run) CUBLAS_CHECK(start(p, operands, workspace, stream));
            float times[TIMED_RUNS];
            for (float& time : times) {
                CUDA_CHECK(cudaEventRecord(begin.event, stream));
                CUBLAS_CHECK(start(p, operands, workspace, stream));
                CUDA_CHECK(cudaEventRecord(end.event, stream));
                CUDA_CHECK(cudaEventSynchronize(end.event));
                CUDA_CHECK(cudaEventElapsedTime(&time, begin.event, end.event));
            }
            std::nth_element(times, times + TIMED_RUNS / 2, times + TIMED_RUNS);
            const float median = times[TIMED_RUNS / 2];
            if (!choice.empty() && median > CLEARLY * best) continue;
            best = median;
            choice = words_of(p.algorithm);
        }
        if (choice.empty()) die(Exit::Device, "cuBLASLt has no algorithm for %s", words_of(shape));
        return choice;
    }

  private:
    struct Prepared {
        Description description;
        Layout a, b, out;
        cublasLtMatmulAlgo_t algorithm;
        bool adds;
    };

    static Prepared describe(const ProductShape& s) {
        const bool forward = s.product == Product::Forward || s.product == Product::ForwardBias,
                   weight_gradient = s.product == Product::WeightGradient;
        const cudaDataType_t type = s.storage == Storage::Bf16 ? CUDA_R_16BF : CUDA_R_32F;
        cublasLtMatmulDesc_t description = nullptr;
        CUBLAS_CHECK(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F));  // 32F: never tf32
        Prepared p{Description(description),
                   forward ? make_layout(type, s.K, s.M) : make_layout(type, s.M, s.K),
                   weight_gradient ? make_layout(type, s.N, s.K) : make_layout(type, s.K, s.N),
                   make_layout(weight_gradient ? CUDA_R_32F : type, s.M, s.N),
                   {},
                   weight_gradient};
        set(p.description, CUBLASLT_MATMUL_DESC_TRANSA, forward ? CUBLAS_OP_T : CUBLAS_OP_N);
        set(p.description, CUBLASLT_MATMUL_DESC_TRANSB, weight_gradient ? CUBLAS_OP_T : CUBLAS_OP_N);
        if (s.product == Product::ForwardBias)
            set(p.description, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        return p;
    }

    static Preference preference() {
        cublasLtMatmulPreference_t created = nullptr;
        CUBLAS_CHECK(cublasLtMatmulPreferenceCreate(&created));
        Preference preference(created);
        set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{WORKSPACE_BYTES});
        set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});  // parts in float, not rounded to the output's type
        // a tensor, or rows out of its middle, begins on 16 bytes and no more
        for (const auto alignment :
             {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
            set(preference, alignment, uint32_t{16});
        return preference;
    }

    cublasStatus_t start(const Prepared& p, const ProductOperands& operands, void* workspace,
                         cudaStream_t stream) const {
        const float one = 1, beta = p.adds ? 1.0f : 0.0f;
        if (operands.bias) set(p.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
        return cublasLtMatmul(handle_.get(), p.description.get(), &one, operands.a, p.a.get(), operands.b, p.b.get(),
                              &beta, operands.out, p.out.get(), operands.out, p.out.get(), &p.algorithm, workspace,
                              WORKSPACE_BYTES, stream);
    }

    Handle handle_;
    std::map<ProductShape, Prepared> prepared_;
};
#endif  // KNAPSACK_SIMT

// ---- the context ----------------------------------------------------------------------------------------------------

MatmulContext::MatmulContext(const std::string& cache_folder)
    : workspace_(ready_array<char>(WORKSPACE_BYTES)), library_(std::make_unique<Library>()) {
    int device = 0;
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    device_ = plain_name(properties.name, ' ');
    if (cache_folder.empty()) return;
    cache_path_ = cache_folder + "/" + plain_name("cublaslt-" + device_ + "-" + Library::version(), '-') + ".txt";
    read_cache(&cached_);
}

MatmulContext::~MatmulContext() = default;

std::string MatmulContext::library_name() { return Library::name(); }

std::string MatmulContext::default_cache_folder() {
#ifndef KNAPSACK_SIMT
    const auto folder = [](const char* variable, const char* below) {
        const char* value = getenv(variable);
        return value && *value ? std::string(value) + below : "";
    };
    const std::string cache = folder("XDG_CACHE_HOME", "/knapsack");
    return !cache.empty() ? cache : folder("HOME", "/.cache/knapsack");
#else
    return "";
#endif
}

void MatmulContext::multiply(const ProductShape& shape, const ProductOperands& operands, cudaStream_t stream) {
    if (!library_->has(shape)) {
        const auto loaded = loaded_.find(shape), cached = cached_.find(shape);
        if (loaded != loaded_.end()) {
            if (!library_->prepare(shape, loaded->second))
                die(Exit::Data, "checkpoint: its algorithm for the product %s is not one of %s on this %s",
                    words_of(shape), library_name(), device_);
            used_[shape] = loaded->second;
        } else if (!by_rule_ && cached != cached_.end() && library_->prepare(shape, cached->second)) {
            used_[shape] = cached->second;
        } else {
            const std::string choice = library_->choose(shape, operands, workspace_.get(), stream, !by_rule_);
            ENSURE(library_->prepare(shape, choice), "matmul: the library refuses what it proposed for %s",
                   words_of(shape));
            used_[shape] = choice;
            if (!by_rule_) cached_[shape] = choice, write_cache();
        }
    }
    library_->run(shape, operands, workspace_.get(), stream);
}

void* MatmulContext::scratch(size_t bytes) {
    if (bytes > workspace_.size()) workspace_ = ready_array<char>(bytes);  // freeing waits for work that uses it
    return workspace_.get();
}

std::string MatmulContext::json() const {
    MatmulChoices choices{device_, library_name(), used_};
    choices.algorithm.insert(loaded_.begin(), loaded_.end());
    return to_json(choices);
}

void MatmulContext::load(const std::string& json) {
    MatmulChoices text;
    std::string wrong = parse(json, &text);
    const bool own = text.device == device_ && text.library == library_name();
    for (const auto& [shape, algorithm] : text.algorithm)
        if (wrong.empty() && own && !Library::well_formed(algorithm))
            wrong = "\"" + algorithm.substr(0, 100) + "\" is not an algorithm of " + library_name();
    if (!wrong.empty()) die(Exit::Data, "algorithms of matrix products: damaged: %s", wrong);
    if (text.device.empty()) return;
    if (!own) {
        if (!warned_)
            print(
                stderr,
                "warning: the checkpoint's algorithms for matrix products are those of %s with %s, this is %s with %s; "
                "the last bits of results may differ\n",
                text.device, text.library, device_, library_name());
        warned_ = true;
        return;
    }
    for (const auto& [shape, algorithm] : text.algorithm) {
        loaded_[shape] = algorithm;
        used_.erase(shape);
        library_->forget(shape);
    }
}

// A cache that cannot be read, is damaged or is another machine's is as good as none.
void MatmulContext::read_cache(Choices* choices) const {
    std::ifstream file(cache_path_, std::ios::binary);
    std::ostringstream content;
    if (!file || !(content << file.rdbuf())) return;
    MatmulChoices text;
    if (!parse(content.str(), &text).empty() || text.device != device_ || text.library != library_name()) return;
    for (const auto& [shape, algorithm] : text.algorithm)
        if (Library::well_formed(algorithm)) choices->emplace(shape, algorithm);
}

// What other processes have added meanwhile stays; a cache that cannot be written costs the next run its measuring.
void MatmulContext::write_cache() {
    if (cache_path_.empty()) return;
    read_cache(&cached_);
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(cache_path_).parent_path(), error);
    std::string temporary = cache_path_ + ".XXXXXX";
    const int descriptor = mkstemp(temporary.data());
    if (descriptor < 0) return;
    FILE* file = fdopen(descriptor, "w");
    const std::string text = to_json({device_, library_name(), cached_});
    bool written = file && fwrite(text.data(), 1, text.size(), file) == text.size();
    written = file && fclose(file) == 0 && written;
    if (!written || rename(temporary.c_str(), cache_path_.c_str()) != 0) unlink(temporary.c_str());
}

}  // namespace gpu
