// adamw.cpp - bound by memory: one pass, every array streamed once, 32 bytes an element in fp32, 34 in bf16, whose
// weights are a rounded copy of float masters (kernels/adamw.cuh says why).
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>

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

// Floats, by their bits, to bf16: away from zero with a probability of the cut-off fraction. noise: uniform in
// [0, 2^16).
inline Halves stochastic_round(Bits<float> bits, Halves noise) {
    constexpr uint32_t EXPONENT = 0x7F800000u, FRACTION = 0x007FFFFFu;
    const Bits<float> rounded = (bits + widened(noise)) >> 16,
                      special = (bits & FRACTION) != 0 ? Bits<float>{} + 0x7FFFu : bits >> 16;
    return narrowed((bits & EXPONENT) == EXPONENT ? special : rounded);
}

// Numbers of 32 bits in lanes of 64, which their products fill.
using Words = Bits<double>;
constexpr size_t WORDS = LANES<double>, TURN = 4 * WORDS;

template <size_t FROM, size_t... I>
inline Words interleave(Words a, Words b, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, b, (FROM + I / 2 + (I % 2) * WORDS)...);
}

// The lower half of x times c. Above it may be anything.
inline Words product_of_lower(Words x, uint32_t c) {
#ifdef __AVX512F__
    return (Words)_mm512_maskz_mul_epu32(0xff, (__m512i)x, _mm512_set1_epi64(c));
#else
    return (x & 0xFFFFFFFFull) * static_cast<uint64_t>(c);
#endif
}

// The blocks first .. first + TURN of philox(seed, stream, block), as they lie in memory.
inline void philox_turn(uint64_t (&to)[2 * TURN], uint64_t seed, uint64_t stream, uint64_t first) {
    constexpr auto lanes = std::make_index_sequence<WORDS>{};
    Words c0[4], c1[4], c2[4], c3[4];  // four at once: one's products take as long as the others'; lower halves count
    for (size_t i = 0; i < 4; ++i) {
        Words block{};
        for (size_t j = 0; j < WORDS; ++j) block[j] = first + i * WORDS + j;
        c0[i] = block, c1[i] = block >> 32;
        c2[i] = Words{} + stream, c3[i] = Words{} + (stream >> 32);
    }
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; ++i) {
            const Words a = product_of_lower(c0[i], 0xD2511F53u), b = product_of_lower(c2[i], 0xCD9E8D57u);
            c0[i] = (b >> 32) ^ c1[i] ^ static_cast<uint64_t>(k0);
            c1[i] = b;
            c2[i] = (a >> 32) ^ c3[i] ^ static_cast<uint64_t>(k1);
            c3[i] = a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (size_t i = 0; i < 4; ++i) {
        const Words lower = (c0[i] & 0xFFFFFFFFull) | c1[i] << 32, upper = (c2[i] & 0xFFFFFFFFull) | c3[i] << 32;
        const Words pairs[2] = {interleave<0>(lower, upper, lanes), interleave<WORDS / 2>(lower, upper, lanes)};
        std::memcpy(to + 2 * WORDS * i, pairs, sizeof(pairs));
    }
}

// Weights of the elements from `element` on, of a step's noise.
struct Rounding {
    uint64_t seed, stream;

    void operator()(bf16* to, const float* master, size_t element, size_t n) const {
        constexpr size_t BLOCK = 8;  // elements of a Philox block
        for (size_t end = element + n; element < end;) {
            const size_t skip = element % BLOCK, count = std::min(end - element, TURN * BLOCK - skip);
            uint64_t words[2 * TURN];
            philox_turn(words, seed, stream, element / BLOCK);
            const auto* const noise = reinterpret_cast<const char*>(words) + skip * sizeof(Halves{}[0]);
            const auto get = [&](auto* values, const void* from, size_t i, size_t size) {
                std::memcpy(values, static_cast<const char*>(from) + i * sizeof((*values)[0]),
                            size * sizeof((*values)[0]));
            };
            const auto round_some = [&](size_t i, size_t size) {
                Bits<float> bits{};
                Halves halves{};
                get(&bits, master, i, size);
                get(&halves, noise, i, size);
                halves = stochastic_round(bits, halves);
                std::memcpy(static_cast<void*>(to + i), &halves, size * sizeof(bf16));
            };
            constexpr size_t n = LANES<float>;
            size_t i = 0;
            for (; i + n <= count; i += n) round_some(i, n);
            if (i < count) round_some(i, count - i);
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
