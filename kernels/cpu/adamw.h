// adamw.h - AdamW (Loshchilov & Hutter 2019) over all tensors in one call, gradient scaling (clipping) fused in.
#pragma once
#include <cstddef>

#include "kernels/cpu/stream.h"

namespace cpu {

// A run of elements with one weight decay; the model's table gives one per tensor.
struct AdamwGroup {
    size_t begin, end;
    float weight_decay;
};

struct AdamwSettings {
    float lr, beta1, beta2, eps;
    float grad_scale;  // min(1, clip / norm)
    int step;          // of this update, from 1: bias correction
};

// g = grad * grad_scale;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
// param -= lr * ( m/(1 - beta1^step) / (sqrt(v/(1 - beta2^step)) + eps) + weight_decay * param );  grad = 0
// All arrays share their index; the gradient is zeroed for the next step in the same pass. Moves 32 bytes an element in
// fp32.
template <class Real>
void adamw_update(Real* params, Real* m, Real* v, Real* grads, const AdamwGroup* groups, int num_groups,
                  const AdamwSettings& settings, stream_t);

}  // namespace cpu
