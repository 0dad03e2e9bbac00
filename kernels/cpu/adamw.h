// adamw.h - AdamW (Loshchilov & Hutter 2019) over all tensors in one call, gradient clipping fused in.
#pragma once
#include "kernels/cpu/stream.h"
#include "kernels/types.h"

namespace cpu {

// g = grad * min(1, grad_clip / sqrt(*norm_squared));  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
// param -= lr * ( m/(1 - beta1^step) / (sqrt(v/(1 - beta2^step)) + eps) + weight_decay * param );  grad = 0
// All arrays share their index, which is 0 for element `first` of the parameters, in which groups count: ascending,
// each begins where the last one ended. The gradient is zeroed for the next step in the same pass. norm_squared null:
// no clipping. master: null, the weights are exact here. Moves 32 bytes an element in fp32.
template <class Real>
void adamw_update(Real* params, Real* master, Real* m, Real* v, Real* grads, const double* norm_squared, size_t first,
                  const AdamwGroup* groups, int num_groups, const AdamwSettings& settings, stream_t);

}  // namespace cpu
