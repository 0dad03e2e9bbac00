// classifier.h - softmax cross-entropy at the head, with the logit gradient in place.
#pragma once
#include <cstdint>

#include "kernels/cpu/stream.h"

namespace cpu {

// losses[n] = logsumexp_v(logits[n,v]) - logits[n,targets[n]]        n < N, v < V
// and, with write_gradient,
// logits[n,v] <- (softmax(logits[n])[v] - [v = targets[n]]) * dloss, padded columns V..Vp <- 0.
// logits (N, Vp), of which columns V..Vp count as -inf whatever they hold; losses (N); targets (N).
// One thread a row; the sum of exponentials runs in a fixed order.
// A row that holds NaN or +inf gives a NaN loss; -inf is a probability of 0.
template <class Real>
void classifier_forward(Real* losses, Real* logits, const int* targets, Real dloss, bool write_gradient, int N, int V,
                        int Vp, stream_t);

// For questions: losses as above; argmax[n] = first index of the largest logit;
// rank[n] = 1 + #{v: logits[n,v] > logits[n,target]} + #{v < target: equal}. Logits are left alone.
template <class Real>
void classifier_score(Real* losses, int* argmax, int* rank, const Real* logits, const int* targets, int N, int V,
                      int Vp, stream_t);

// sums[s] += sum of losses[n] over n with source[n] = s, in the order of n, in double.      sums (S); source (N)
template <class Real>
void loss_sums(double* sums, const Real* losses, const uint16_t* source, int N, int S, stream_t);

}  // namespace cpu
