// adamw.cpp - bound by memory: one pass, every array streamed once, 32 bytes an element in fp32.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/threads.h"
#include "util/check.h"

namespace cpu {

template <class Real>
void adamw_update(Real* params, Stat<Real>* master, Stat<Real>* m, Stat<Real>* v, Stat<Real>* grads,
                  const double* norm_squared, const AdamwGroup* groups, int num_groups, const AdamwSettings& settings,
                  stream_t) {
    ENSURE(!master, "adamw: the CPU's weights are their own masters");
    constexpr size_t CHUNK = 1 << 14;
    const Real lr = settings.lr, beta1 = settings.beta1, beta2 = settings.beta2, eps = settings.eps;
    const Real grad_scale =
        norm_squared ? static_cast<Real>(std::min(1.0, settings.grad_clip / std::sqrt(std::max(*norm_squared, 1e-60))))
                     : 1;
    const Real correction1 = 1 / (1 - std::pow(beta1, Real(settings.step)));
    const Real correction2 = 1 / (1 - std::pow(beta2, Real(settings.step)));
#pragma omp parallel if (num_groups > 0 && worth_sharing(groups[num_groups - 1].end))
    for (int group = 0; group < num_groups; ++group) {
        const size_t begin = groups[group].begin, end = groups[group].end;
        const Real weight_decay = groups[group].weight_decay;
        // chunks are counted from the group's begin: which thread has one leaves no trace
#pragma omp for schedule(static) nowait
        for (size_t first = begin; first < end; first += CHUNK) {
            Real *p = params + first, *m_ = m + first, *v_ = v + first, *g_ = grads + first;
            const size_t n = std::min(CHUNK, end - first);
#pragma omp simd
            for (size_t i = 0; i < n; ++i) {
                const Real g = g_[i] * grad_scale;
                const Real m_i = m_[i] + (1 - beta1) * (g - m_[i]), v_i = v_[i] + (1 - beta2) * (g * g - v_[i]);
                m_[i] = m_i;
                v_[i] = v_i;
                p[i] -= lr * (m_i * correction1 / (std::sqrt(v_i * correction2) + eps) + weight_decay * p[i]);
                g_[i] = 0;
            }
        }
    }
}

template void adamw_update(float*, float*, float*, float*, float*, const double*, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);
template void adamw_update(double*, double*, double*, double*, double*, const double*, const AdamwGroup*, int,
                           const AdamwSettings&, stream_t);

}  // namespace cpu
