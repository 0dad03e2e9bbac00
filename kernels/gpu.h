// gpu.h - the door of the CUDA backend: every launcher, its formula and its shapes. Kernels and launchers are defined in
// the .cuh file of the same name and instantiated once, for bf16 and float storage, in the .cu beside it; programs see
// this header only.
//
// T is the storage type of weights and activations. Statistics, losses, parameter gradients and optimizer states are
// float whatever T is; sums are made in float, over rows of losses and the norm in double.
// Arguments: outputs, read-modify-write tensors, scratch, inputs, scalars, sizes, stream. Gradients of parameters are
// added (+=), gradients of activations written, unless the formula says otherwise. No launcher allocates or waits.
// All pointers are device memory, 16-byte aligned; C, HS and V's padding Vp are multiples of 8 (16 bytes of bf16).
// A launcher refuses what its kernel cannot do and says what it can. Every result is the same bits from run to run: no
// floating-point atomics anywhere. Row n of a result depends on row n of the inputs alone (attention: on its segment).
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/types.h"

using bf16 = __nv_bfloat16;

template <>
struct StatOf<bf16> {
    using type = float;
};

namespace gpu {

class MatmulContext;  // kernels/matmul_context.h: cuBLASLt's handle and workspace, the algorithm chosen for each shape

struct stream_t {
    cudaStream_t cuda = nullptr;
    MatmulContext* matmul = nullptr;  // used by matmul_* alone
};

// ---- embedding.cuh --------------------------------------------------------------------------------------------------
// out[n,c] = table[rows[n],c] + wpe[positions[n],c]        n < N, c < C
// out (N, C); wte (Vp, C); wpe (max_T, C) or null; tokens, positions (N).
template <class T>
void embedding_forward(T* out, const int* tokens, const int* positions, const T* wte, const T* wpe, int N, int C,
                       stream_t);
// dwte[tokens[n],c] += dout[n,c];  dwpe[positions[n],c] += dout[n,c]      (dwpe null: skipped)
// tokens < Vp, positions < max_T. scratch: embedding_backward_scratch(N, C) bytes.
template <class T>
void embedding_backward(float* dwte, float* dwpe, void* scratch, const T* dout, const int* tokens, const int* positions,
                        int N, int C, int Vp, int max_T, stream_t);
size_t embedding_backward_scratch(int N, int C);

// ---- layernorm.cuh --------------------------------------------------------------------------------------------------
// x = a (+ b (+ c)), rounded to T and written to `residual` (null: not written);  b, c may be null
// mean[n] = mean_c x,  rstd[n] = 1 / sqrt(var_c(x) + eps)
// y.out[n,c] = (x[n,c] - mean[n]) * rstd[n] * y.weight[c] + y.bias[c]   for y in {first, second}; second.out may be null
// The statistics are those of the rounded x, so that with a = residual, b = null the same bits come out.
// residual may be a, b or c.
template <class T>
void layernorm_forward(T* residual, Affine<T> first, Affine<T> second, float* mean, float* rstd, const T* a, const T* b,
                       const T* c, int N, int C, float eps, stream_t);
// dinp[n,c] += rstd[n] * (g - mean_c(g) - x * mean_c(g x)),  g = dout * weight,  x = (inp - mean) * rstd
// dweight[c] += sum_n dout * x,  dbias[c] += sum_n dout.     scratch: layernorm_backward_scratch(N, C) bytes
template <class T>
void layernorm_backward(T* dinp, float* dweight, float* dbias, void* scratch, const T* dout, const T* inp,
                        const T* weight, const float* mean, const float* rstd, int N, int C, stream_t);
size_t layernorm_backward_scratch(int N, int C);

// ---- rotary.cuh -----------------------------------------------------------------------------------------------------
// table[p, i] = cos(p f_i), table[p, R/2 + i] = sin(p f_i),  f_i = base^(-2i/R),  p < P, i < R/2; angles in double
// table (P, R) float.
void rotary_table(float* table, int P, int R, double base, stream_t);
// (x_i, x_{i+R/2}) <- (x_i cos - x_{i+R/2} sin, x_{i+R/2} cos + x_i sin) at positions[n], for q and k of every head, in
// place; v and dimensions R..HS stay. qkv (N, 3, NH, HS). Backward: the inverse rotation, of dqkv.
template <class T>
void rotary_forward(T* qkv, const float* table, const int* positions, int N, int NH, int HS, int R, stream_t);
template <class T>
void rotary_backward(T* dqkv, const float* table, const int* positions, int N, int NH, int HS, int R, stream_t);

// ---- attention_schedule.cuh, attention_forward.cuh, attention_backward.cuh --------------------------------------------
// The tiles of 64 queries that there are to do, cut from the first token of each segment on: count, then (row b, first
// position of the segment, its length, first query of the tile relative to the segment) for each tile.
// segment_start (B, T): first position of the segment that a position belongs to, ascending along a row; null: one
// segment a row. schedule: attention_schedule_size(B, T) ints.
void attention_schedule(int* schedule, const int* segment_start, int B, int T, stream_t);
size_t attention_schedule_size(int B, int T);
// out[b,t,h,:] = sum_{j <= t, same segment} softmax_j(q_t . k_j / sqrt(HS)) v_j
// lse[b,h,t] = log sum_j exp(q_t . k_j / sqrt(HS))
// out (B, T, NH, HS); lse (B, NH, T); qkv (B, T, 3, NH, HS). HS one of 16, 32, 64, 80, 128, 256.
// The bits of a segment do not depend on where in a row it stands.
template <class T>
void attention_forward(T* out, float* lse, const T* qkv, const int* schedule, int B, int T_, int NH, int HS, stream_t);
// dqkv: all of it is written. scratch: attention_backward_scratch(B, T, NH, HS) bytes.
template <class T>
void attention_backward(T* dqkv, void* scratch, const T* dout, const T* out, const float* lse, const T* qkv,
                        const int* schedule, int B, int T_, int NH, int HS, stream_t);
size_t attention_backward_scratch(int B, int T, int NH, int HS);
bool attention_has_head_size(int HS);

// ---- gelu.cuh -------------------------------------------------------------------------------------------------------
// Exact: out = x/2 (1 + erf(x / sqrt 2)).   Tanh: out = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
template <class T>
void gelu_forward(T* out, const T* inp, size_t n, Gelu kind, stream_t);
// dinp = dout * gelu'(inp).  dinp may be dout.
template <class T>
void gelu_backward(T* dinp, const T* inp, const T* dout, size_t n, Gelu kind, stream_t);

// ---- classifier.cuh -------------------------------------------------------------------------------------------------
// losses[n] = logsumexp_v(logits[n,v]) - logits[n,targets[n]]        n < N, v < V
// and, with write_gradient,
// logits[n,v] <- (softmax(logits[n])[v] - [v = targets[n]]) * dloss, padded columns V..Vp <- 0.
// logits (N, Vp), of which columns V..Vp count as -inf whatever they hold. A row that holds NaN or +inf gives a NaN loss;
// -inf is a probability of 0.
template <class T>
void classifier_forward(float* losses, T* logits, const int* targets, float dloss, bool write_gradient, int N, int V,
                        int Vp, stream_t);
// losses as above; argmax[n] = first index of the largest logit (0 where all are NaN);
// rank[n] = 1 + #{v: logits[n,v] > logits[n,target]} + #{v < target: equal}. Logits are left alone.
template <class T>
void classifier_score(float* losses, int* argmax, int* rank, const T* logits, const int* targets, int N, int V, int Vp,
                      stream_t);
// sums[s] += sum of losses[n] over n with source[n] = s, in double.      sums (S), S <= 256; source (N)
void loss_sums(double* sums, const float* losses, const uint16_t* source, int N, int S, stream_t);

// ---- matmul.cuh -----------------------------------------------------------------------------------------------------
// out[n,o] = sum_c inp[n,c] * weight[o,c] + bias[o]        n < N, o < OC, c < C
// out (N, OC); inp (N, C); weight (OC, C); bias (OC) or null. 2 N C OC flops, float accumulation.
template <class T>
void matmul_forward(T* out, const T* inp, const T* weight, const T* bias, int N, int C, int OC, stream_t);
// dinp[n,c] = sum_o dout[n,o] * weight[o,c]        (dinp null: skipped)
// dweight[o,c] += sum_n dout[n,o] * inp[n,c];  dbias[o] += sum_n dout[n,o]        (dbias null: skipped)
template <class T>
void matmul_backward(T* dinp, float* dweight, float* dbias, const T* dout, const T* inp, const T* weight, int N, int C,
                     int OC, stream_t);

// ---- global_norm.cuh, adamw.cuh -------------------------------------------------------------------------------------
// *sum = sum_i x[i]^2 in double; NaN and inf come through.     scratch: global_norm_scratch(n) bytes
void global_norm_squared(double* sum, void* scratch, const float* x, size_t n, stream_t);
size_t global_norm_scratch(size_t n);
// *sum = ((terms[0] + terms[1]) + terms[2]) + ...        n terms
void add_in_order(double* sum, const double* terms, int n, stream_t);
// g = grad * min(1, grad_clip / sqrt(*norm_squared));  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
// w -= lr * ( m/(1 - beta1^step) / (sqrt(v/(1 - beta2^step)) + eps) + weight_decay * w );  grad = 0
// w is `master` where T is bf16, and params = w rounded stochastically by noise that is a function of (seed, step,
// element); for float, w is params and master null. All arrays share their index, which is 0 for element `first` of the
// parameters, in which groups and noise count. Groups are contiguous, ascending, at most MAX_ADAMW_GROUPS; their bounds
// and `first` are multiples of 8.
template <class T>
void adamw_update(T* params, float* master, float* m, float* v, float* grads, const double* norm_squared, size_t first,
                  const AdamwGroup* groups, int num_groups, const AdamwSettings& settings, stream_t);

}  // namespace gpu
