// adamw.cpp - bound by memory: one pass, every array streamed once, 32 bytes an element in fp32, 34 in bf16, whose
// weights are a rounded copy of float masters (kernels/adamw.cuh says why).
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/adamw_noise.h"
#include "kernels/cpu/bf16.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {

namespace {

// What an update does to n neighbouring elements of one weight decay.
template <class Real>
struct Step {
    Real lr, beta1, beta2, eps, grad_scale, correction1, correction2;
    void operator()(Real* p, Real* m, Real* v, Real* grads, size_t n, Real weight_decay) const {
#pragma omp simd
        for (size_t i = 0; i < n; ++i) {
            const Real g = grads[i] * grad_scale;
            const Real m_i = m[i] + (1 - beta1) * (g - m[i]), v_i = v[i] + (1 - beta2) * (g * g - v[i]);
            m[i] = m_i;
            v[i] = v_i;
            p[i] -= lr * (m_i * correction1 / (std::sqrt(v_i * correction2) + eps) + weight_decay * p[i]);
            grads[i] = 0;
        }
    }
};

// A float, by its bits, to bf16: away from zero with a probability of the cut-off fraction. noise: uniform in [0, 2^16).
inline uint16_t stochastic_round(uint32_t bits, uint16_t noise) {
    constexpr uint32_t EXPONENT = 0x7F800000u, FRACTION = 0x007FFFFFu;
    const uint32_t rounded = (bits + noise) >> 16, special = bits & FRACTION ? 0x7FFFu : bits >> 16;
    return static_cast<uint16_t>((bits & EXPONENT) == EXPONENT ? special : rounded);
}

// Weights of the elements from `element` on, of a step's noise.
struct Rounding {
    uint64_t seed, stream;

    void operator()(bf16* to, const float* master, size_t element, size_t n) const {
        constexpr size_t BLOCK = 8, BLOCKS = 16;  // elements of a Philox block, blocks of a turn
        uint16_t noise[BLOCKS * BLOCK];
        for (size_t end = element + n; element < end;) {
            const size_t first = element / BLOCK, skip = element % BLOCK;
            uint32_t words[BLOCKS * 4];
#pragma omp simd
            for (size_t j = 0; j < BLOCKS; ++j) {
                const Philox4 block = philox(seed, stream, first + j);
                for (size_t i = 0; i < 4; ++i) words[4 * j + i] = block.x[i];
            }
            for (size_t i = 0; i < BLOCKS * BLOCK; ++i) noise[i] = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
            const size_t count = std::min(end - element, BLOCKS * BLOCK - skip);
#pragma omp simd
            for (size_t i = 0; i < count; ++i) {
                uint32_t bits;
                std::memcpy(&bits, master + i, sizeof(bits));
                to[i].bits = stochastic_round(bits, noise[skip + i]);
            }
            to += count, master += count, element += count;
        }
    }
};

}  // namespace

template <class Real>
void adamw_update(Real* params, Stat<Real>* master, Stat<Real>* m, Stat<Real>* v, Stat<Real>* grads,
                  const double* norm_squared, size_t first, const AdamwGroup* groups, int num_groups,
                  const AdamwSettings& settings, stream_t) {
    using Sum = Stat<Real>;
    constexpr bool ROUNDED = !std::is_same_v<Real, Sum>;
    ENSURE((master != nullptr) == ROUNDED, "adamw: bf16 weights have a master, others have none");
    ENSURE(num_groups > 0 && groups[0].begin >= first, "adamw: %d groups, the arrays begin at element %zu", num_groups,
           first);
    for (int i = 1; i < num_groups; ++i)
        ENSURE(groups[i].begin == groups[i - 1].end, "adamw: group %d begins at %zu, the last one ended at %zu", i,
               groups[i].begin, groups[i - 1].end);
    // a chunk is one thread's turn; in bf16 its masters are still in the first-level cache when they are rounded
    constexpr size_t CHUNK = ROUNDED ? 1 << 11 : 1 << 14;
    Step<Sum> step;
    step.lr = settings.lr, step.beta1 = settings.beta1, step.beta2 = settings.beta2, step.eps = settings.eps;
    step.grad_scale =
        norm_squared ? static_cast<Sum>(std::min(1.0, settings.grad_clip / std::sqrt(std::max(*norm_squared, 1e-60))))
                     : 1;
    step.correction1 = 1 / (1 - std::pow(step.beta1, Sum(settings.step)));
    step.correction2 = 1 / (1 - std::pow(step.beta2, Sum(settings.step)));
    const Rounding round{settings.seed, adamw_noise_stream(settings.step)};
    // an element's update depends on nothing around it: which thread has it, and in which chunk, leaves no trace
    const size_t begin = groups[0].begin, end = groups[num_groups - 1].end;
#pragma omp parallel for schedule(static) if (worth_sharing(end - begin))
    for (size_t chunk = begin; chunk < end; chunk += CHUNK) {
        const size_t chunk_end = std::min(chunk + CHUNK, end);
        const AdamwGroup* group = groups;
        while (group->end <= chunk) ++group;
        for (size_t from = chunk; from < chunk_end; from = (group++)->end) {
            const size_t at = from - first, n = std::min(group->end, chunk_end) - from;
            if constexpr (ROUNDED) {
                step(master + at, m + at, v + at, grads + at, n, group->weight_decay);
                round(params + at, master + at, from, n);
            } else {
                step(params + at, m + at, v + at, grads + at, n, group->weight_decay);
            }
        }
    }
}

template void adamw_update(float*, float*, float*, float*, float*, const double*, size_t, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);
template void adamw_update(double*, double*, double*, double*, double*, const double*, size_t, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);
template void adamw_update(bf16*, float*, float*, float*, float*, const double*, size_t, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);

}  // namespace cpu
