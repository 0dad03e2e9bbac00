// residual.cpp - element by element.
#include "kernels/cpu/residual.h"

#include "kernels/cpu/threads.h"

namespace cpu {

template <class Real>
void residual_forward(Real* out, const Real* a, const Real* b, const Real* c, size_t n, stream_t) {
    if (c) {
#pragma omp parallel for simd schedule(static) if (worth_sharing(n))
        for (size_t i = 0; i < n; ++i) out[i] = a[i] + b[i] + c[i];
    } else {
#pragma omp parallel for simd schedule(static) if (worth_sharing(n))
        for (size_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
    }
}

template void residual_forward(float*, const float*, const float*, const float*, size_t, stream_t);
template void residual_forward(double*, const double*, const double*, const double*, size_t, stream_t);

}  // namespace cpu
