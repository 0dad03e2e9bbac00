// adamw.cpp - bound by memory: one pass, every array streamed once, 32 bytes an element in fp32.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd.h"
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

}  // namespace

template <class Real>
void adamw_update(Real* params, Stat<Real>* master, Stat<Real>* m, Stat<Real>* v, Stat<Real>* grads,
                  const double* norm_squared, size_t first, const AdamwGroup* groups, int num_groups,
                  const AdamwSettings& settings, stream_t) {
    ENSURE(!master, "adamw: the CPU's weights are their own masters");
    ENSURE(num_groups > 0 && groups[0].begin >= first, "adamw: %d groups, the arrays begin at element %zu", num_groups,
           first);
    for (int i = 1; i < num_groups; ++i)
        ENSURE(groups[i].begin == groups[i - 1].end, "adamw: group %d begins at %zu, the last one ended at %zu", i,
               groups[i].begin, groups[i - 1].end);
    constexpr size_t CHUNK = 1 << 14;
    Step<Real> step;
    step.lr = settings.lr, step.beta1 = settings.beta1, step.beta2 = settings.beta2, step.eps = settings.eps;
    step.grad_scale =
        norm_squared ? static_cast<Real>(std::min(1.0, settings.grad_clip / std::sqrt(std::max(*norm_squared, 1e-60))))
                     : 1;
    step.correction1 = 1 / (1 - std::pow(step.beta1, Real(settings.step)));
    step.correction2 = 1 / (1 - std::pow(step.beta2, Real(settings.step)));
    // an element's update depends on nothing around it: which thread has it, and in which chunk, leaves no trace
    const size_t begin = groups[0].begin, end = groups[num_groups - 1].end;
#pragma omp parallel for schedule(static) if (worth_sharing(end - begin))
    for (size_t chunk = begin; chunk < end; chunk += CHUNK) {
        const size_t chunk_end = std::min(chunk + CHUNK, end);
        const AdamwGroup* group = groups;
        while (group->end <= chunk) ++group;
        for (size_t from = chunk; from < chunk_end; from = (group++)->end) {
            const size_t at = from - first, n = std::min(group->end, chunk_end) - from;
            step(params + at, m + at, v + at, grads + at, n, group->weight_decay);
        }
    }
}

template void adamw_update(float*, float*, float*, float*, float*, const double*, size_t, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);
template void adamw_update(double*, double*, double*, double*, double*, const double*, size_t, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);

}  // namespace cpu
