#include "kernels/cpu/machine.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/simd.h"
#include "kernels/operations.h"
#include "util/system.h"

namespace cpu {

namespace {

template <class Real>
double product_rate() {
    constexpr int n = 1024;
    std::vector<Real> a(n * n, Real(0.5f)), b(n * n, Real(0.25f)), c(n * n);
    double best = 0, spent = 0;
    // every start pays for this: eight times only where that is a tenth of a second
    for (int run = 0; run < 8 && spent < 0.1; ++run) {
        const auto start = std::chrono::steady_clock::now();
        matmul_forward(c.data(), a.data(), b.data(), static_cast<const Real*>(nullptr), n, n, n, {});
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        best = std::max(best, 2.0 * n * n * n / seconds);
        spent += seconds;
    }
    return best;
}

}  // namespace

std::string Machine::name() const { return cpu_name(); }
std::string Machine::matmul_library(bool in_bf16) const {
    return "built-in, " + std::to_string(8 * VECTOR_BYTES) + "-bit vectors" +
           (in_bf16 && bf16_products() == Bf16Products::Avx512 ? ", vdpbf16ps" : "");
}
size_t Machine::available_memory() const { return ::available_memory(); }

double Machine::flops_rate(bool in_bf16) const { return in_bf16 ? product_rate<bf16>() : product_rate<float>(); }

}  // namespace cpu
