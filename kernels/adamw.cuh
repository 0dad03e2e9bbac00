// adamw.cuh - the update (Loshchilov & Hutter 2019): many tensors in one launch, every array streamed once. The
// gradient is scaled to the clip from the norm in device memory, so the host does not wait for it, and zeroed for the
// next step in the same pass.
//
// bf16 weights are a rounded copy of float ones (`master`). Rounded stochastically, a weight is right on average: steps
// far below one unit of its last place are not lost to the forward pass.
#pragma once
#include <cmath>
#include <cstring>
#include <type_traits>

#include "kernels/adamw_noise.h"
#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/simt.h"
#include "util/check.h"
#include "util/rng.h"

namespace gpu {

constexpr int ADAMW_THREADS = 256;
constexpr int ADAMW_ELEMENTS = 8;  // of a thread: 16 bytes of bf16, and 8 x 16 bits of noise are one Philox block

// The groups and settings as the kernel takes them, by value.
struct AdamwTable {
    size_t first, begin, end[MAX_ADAMW_GROUPS];
    float weight_decay[MAX_ADAMW_GROUPS];
    float lr, beta1, beta2, eps;
    float correction1, correction2;  // 1 / (1 - beta^step)
    float grad_clip;
    uint64_t seed, noise_stream;
};

// x rounded to bf16, away from zero with a probability of the cut-off fraction: noise16, uniform in [0, 2^16), is added
// below the last place that stays, and the carry decides. A value that bf16 holds stays; inf and NaN come through.
__host__ __device__ inline bf16 stochastic_round(float x, uint32_t noise16) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    constexpr uint32_t EXPONENT = 0x7F800000u;
    if ((bits & EXPONENT) == EXPONENT) return __float2bfloat16_rn(x);
    bits = (bits + noise16) & 0xFFFF0000u;
    memcpy(&x, &bits, sizeof bits);
    return __float2bfloat16_rn(x);  // exact
}

// 8 floats as two packs.
struct Eight {
    Pack<float> half[2];
    __device__ float& operator[](int i) { return half[i / 4][i % 4]; }
};
__device__ inline Eight load_eight(const float* from) { return {{load_pack(from), load_pack(from + 4)}}; }
__device__ inline void store_eight(float* to, const Eight& x) {
    store_pack(to, x.half[0]);
    store_pack(to + 4, x.half[1]);
}

// g = grads * min(1, grad_clip / sqrt(*norm_squared));  m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v)
// w -= lr * (m correction1 / (sqrt(v correction2) + eps) + weight_decay w);  grads = 0        begin <= i < end
// bf16: w is `master`, params = stochastic_round(w). float: w is params. Element i is at i - first in all arrays; noise
// goes by i. A thread has 8 elements. Bytes an element: bf16 34 (params 2 written; master, m, v 8 each, read and
// written; grads 8, read and zeroed), float 32. 70.4M parameters in bf16: 0.56 ms.
template <class Real>
__global__ void __launch_bounds__(ADAMW_THREADS)
    adamw_update_kernel(Real* params, float* master, float* m, float* v, float* grads, const double* norm_squared,
                        const __grid_constant__ AdamwTable table, size_t end) {
    constexpr bool ROUNDED = !std::is_same_v<Real, float>;
    float& grad_scale = shared_memory<float>();
    if (threadIdx.x == 0) {  // one thread, because some GPUs have few units for double
        const double ratio = norm_squared ? static_cast<double>(table.grad_clip) / sqrt(*norm_squared) : 1;
        grad_scale = ratio < 1 ? static_cast<float>(ratio) : 1;  // a norm of 0 or NaN: 1
    }
    __syncthreads();
    const size_t element =
        table.begin + (static_cast<size_t>(blockIdx.x) * ADAMW_THREADS + threadIdx.x) * ADAMW_ELEMENTS;
    if (element >= end) return;
    int group = 0;
    while (element >= table.end[group]) ++group;
    const float decay = table.weight_decay[group];
    const size_t at = element - table.first;
    float* weights = nullptr;
    if constexpr (ROUNDED)
        weights = master;
    else
        weights = params;
    Eight w = load_eight(weights + at), m8 = load_eight(m + at), v8 = load_eight(v + at), g8 = load_eight(grads + at);
    for (int i = 0; i < ADAMW_ELEMENTS; ++i) {
        const float g = g8[i] * grad_scale;
        m8[i] += (1 - table.beta1) * (g - m8[i]);
        v8[i] += (1 - table.beta2) * (g * g - v8[i]);
        w[i] -= table.lr * (m8[i] * table.correction1 / (sqrtf(v8[i] * table.correction2) + table.eps) + decay * w[i]);
        g8[i] = 0;
    }
    store_eight(weights + at, w);
    store_eight(m + at, m8);
    store_eight(v + at, v8);
    store_eight(grads + at, g8);
    if constexpr (ROUNDED) {
        const Philox4 noise = philox(table.seed, table.noise_stream, element / ADAMW_ELEMENTS);
        Pack<Real> rounded;
        for (int i = 0; i < ADAMW_ELEMENTS; ++i)
            rounded[i] = stochastic_round(w[i], noise.x[i / 2] >> (i % 2 * 16) & 0xFFFFu);
        store_pack(params + at, rounded);
    }
}

template <class Real>
void adamw_update(Real* params, Stat<Real>* master, Stat<Real>* m, Stat<Real>* v, Stat<Real>* grads,
                  const double* norm_squared, size_t first, const AdamwGroup* groups, int num_groups,
                  const AdamwSettings& settings, stream_t stream) {
    ENSURE(num_groups > 0 && num_groups <= MAX_ADAMW_GROUPS, "adamw: %d groups: 1 to %d", num_groups, MAX_ADAMW_GROUPS);
    ENSURE((master == nullptr) == (std::is_same_v<Real, float>),
           "adamw: bf16 weights have a master, float ones have none");
    ENSURE(settings.step > 0, "adamw: step %d: counted from 1", settings.step);
    ENSURE(first % 8 == 0 && first <= groups[0].begin,
           "adamw: the arrays begin at element %zu, the groups at %zu: a multiple of 8, not after the groups", first,
           groups[0].begin);
    AdamwTable table{};
    table.first = first;
    table.begin = groups[0].begin;
    size_t end = table.begin;
    for (int i = 0; i < num_groups; ++i) {
        ENSURE(groups[i].begin == end && groups[i].end >= end && groups[i].begin % 8 == 0 && groups[i].end % 8 == 0,
               "adamw: group %d is %zu..%zu: bounds are multiples of 8, a group begins where the last one ends", i,
               groups[i].begin, groups[i].end);
        end = table.end[i] = groups[i].end;
        table.weight_decay[i] = groups[i].weight_decay;
    }
    if (end == table.begin) return;
    const auto correction = [&](float beta) {
        return static_cast<float>(1 / (1 - std::pow(static_cast<double>(beta), settings.step)));
    };
    table.lr = settings.lr;
    table.beta1 = settings.beta1;
    table.beta2 = settings.beta2;
    table.eps = settings.eps;
    table.correction1 = correction(settings.beta1);
    table.correction2 = correction(settings.beta2);
    table.grad_clip = settings.grad_clip;
    table.seed = settings.seed;
    table.noise_stream = adamw_noise_stream(settings.step);
    constexpr size_t BLOCK = ADAMW_THREADS * ADAMW_ELEMENTS;
    const unsigned blocks = static_cast<unsigned>((end - table.begin + BLOCK - 1) / BLOCK);
    LAUNCH(adamw_update_kernel<Real>, blocks, ADAMW_THREADS, sizeof(float), stream.cuda, params, master, m, v, grads,
           norm_squared, table, end);
}

}  // namespace gpu
