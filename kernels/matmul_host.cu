// matmul_host.cu - the products of the build for the CPU. Host code.
#ifdef KNAPSACK_SIMT
#include <algorithm>
#include <set>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/matmul_library.h"
#include "kernels/simt/runtime.h"

namespace gpu {
namespace {

std::vector<float> floats(Storage storage, const void* from, size_t n) {
    std::vector<float> to(n);
    for (size_t i = 0; i < n; ++i)
        to[i] = storage == Storage::Bf16 ? __bfloat162float(static_cast<const bf16*>(from)[i])
                                         : static_cast<const float*>(from)[i];
    return to;
}

// The product in float, then one rounding to the storage type.
void multiply(const ProductShape& s, const ProductOperands& operands) {
    const bool adds = s.is_weight_gradient();
    const size_t M = static_cast<size_t>(s.M), N = static_cast<size_t>(s.N), K = static_cast<size_t>(s.K);
    const std::vector<float> a = floats(s.storage, operands.a, M * K), b = floats(s.storage, operands.b, N * K),
                             bias = floats(s.storage, operands.bias, operands.bias ? M : 0);
    std::vector<float> rounded(s.storage == Storage::Bf16 && !adds ? M * N : 0);
    float* out = rounded.empty() ? static_cast<float*>(operands.out) : rounded.data();
    cpu::gemm<float>({out, s.M}, {b.data(), adds ? s.N : s.K, adds},
                     {a.data(), s.is_forward() ? s.K : s.M, s.is_forward()}, s.N, s.M, s.K,
                     operands.bias ? bias.data() : nullptr, adds);
    for (size_t i = 0; i < rounded.size(); ++i) static_cast<bf16*>(operands.out)[i] = __float2bfloat16_rn(rounded[i]);
    if (s.product != Product::WeightBiasGradient) return;
    std::fill_n(operands.dbias, N, 0.0f);
    for (size_t k = 0; k < K; ++k)
        for (size_t n = 0; n < N; ++n) operands.dbias[n] += b[k * N + n];
}

}  // namespace

struct MatmulLibrary::State {
    std::set<ProductShape> prepared;
};

MatmulLibrary::MatmulLibrary() : state_(new State) {}
MatmulLibrary::~MatmulLibrary() = default;
std::string MatmulLibrary::name() { return "host"; }
std::string MatmulLibrary::version() { return "host"; }
size_t MatmulLibrary::workspace_bytes() { return size_t{1} << 20; }

std::vector<Way> MatmulLibrary::ways(const ProductShape&, const ProductOperands&, void*, cudaStream_t, bool) {
    return {{"host", [] {}}};
}
bool MatmulLibrary::prepare(const ProductShape& shape, const std::string& algorithm) {
    if (algorithm != "host") return false;
    state_->prepared.insert(shape);
    return true;
}
bool MatmulLibrary::has(const ProductShape& shape) const { return state_->prepared.count(shape); }
void MatmulLibrary::forget() { state_->prepared.clear(); }
void MatmulLibrary::run(const ProductShape& shape, const ProductOperands& operands, void*, cudaStream_t stream) const {
    simt::queue("a product", stream, [=](cudaStream_t) { multiply(shape, operands); });
}

}  // namespace gpu
#endif  // KNAPSACK_SIMT
