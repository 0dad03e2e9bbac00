// operations.h - every operation that a model is made of: its formula, its shapes, and what its bits do not depend on.
// The one contract of both backends: namespace gpu (kernels/NAME.cuh, Real = bf16 or float) and namespace cpu
// (kernels/cpu/NAME.cpp, Real = bf16, float or double). A build sees one of them, under the name `backend` (backend.h).
// How a backend does it, what it moves and in which order it adds is said where it is defined.
//
// Real is the storage type of weights and activations. Statistics, losses, gradients of parameters and optimizer states
// are Stat<Real>: float where Real is bf16, else Real.
// Arguments: outputs, read-modify-write tensors, scratch, inputs, scalars, sizes, stream. Gradients of parameters are
// added (+=), gradients of activations written, unless the formula says otherwise. Nothing here waits for the device.
// Every result is the same bits from run to run and for any number or order of threads: no floating-point atomics. Row
// n of a result depends on row n of the inputs alone (attention: on its segment), not on N or on where the row is.
// CUDA: all pointers are device memory, 16-byte aligned; C, F, HS and V's padding Vp are multiples of 8 (16 bytes
// of bf16). An operation refuses what it cannot do and says what it can.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/types.h"

#ifdef KNAPSACK_CPU
#include "kernels/cpu/device.h"
#define BACKEND cpu
#else
#include "kernels/device.h"
#define BACKEND gpu
#endif

namespace BACKEND {

// ---- embedding ------------------------------------------------------------------------------------------------------
// out[n,c] = wte[tokens[n],c] + wpe[positions[n],c]        n < N = B*T, c < C
// out (N, C); wte (Vp, C); wpe (max_T, C) or null: no learned positions; tokens, positions (N). Ids are the caller's to
// check.
template <class Real>
void embedding_forward(Real* out, const int* tokens, const int* positions, const Real* wte, const Real* wpe, int N,
                       int C, stream_t stream);
// dwte[tokens[n],c] += dout[n,c];  dwpe[positions[n],c] += dout[n,c]      (dwpe null: skipped)
// tokens < Vp, positions < max_T. scratch: embedding_backward_scratch(N, C) bytes.
template <class Real>
void embedding_backward(Stat<Real>* dwte, Stat<Real>* dwpe, void* scratch, const Real* dout, const int* tokens,
                        const int* positions, int N, int C, int Vp, int max_T, stream_t stream);
size_t embedding_backward_scratch(int N, int C);

// ---- layer norm (Ba et al. 2016), biased variance -------------------------------------------------------------------
// x = a (+ b (+ c)), rounded to Real and written to `residual`; b, c may be null, residual only without b
// mean[n] = mean_c x,  rstd[n] = 1 / sqrt(var_c(x) + eps)
// y.out[n,c] = (x[n,c] - mean[n]) * rstd[n] * y.weight[c] + y.bias[c]      for y in {first, second}
// a, b, c, residual, out (N, C); mean, rstd (N); weight, bias (C). residual may be a, b or c; second.out may be null.
// The statistics are those of the rounded x, so that with a = residual, b = null the same bits come out. The parallel
// residual of NeoX gets both of its norms from one pass.
template <class Real>
void layernorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* mean, Stat<Real>* rstd,
                       const Real* a, const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t stream);
// dinp[n,c] += rstd[n] * (g - mean_c(g) - x * mean_c(g x)),  g = dout * weight,  x = (inp - mean) * rstd
// dweight[c] += sum_n dout * x,  dbias[c] += sum_n dout.     scratch: layernorm_backward_scratch(N, C) bytes
template <class Real>
void layernorm_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, void* scratch, const Real* dout,
                        const Real* inp, const Real* weight, const Stat<Real>* mean, const Stat<Real>* rstd, int N,
                        int C, stream_t stream);
size_t layernorm_backward_scratch(int N, int C);

// ---- RMS norm (Zhang & Sennrich 2019, arXiv 1910.07467) -------------------------------------------------------------
// x = a (+ b (+ c)), rounded to Real and written to `residual`; b, c may be null, residual only without b
// rstd[n] = 1 / sqrt(mean_c(x^2) + eps)
// y.out[n,c] = x[n,c] * rstd[n] * y.weight[c]      for y in {first, second}
// a, b, c, residual, out (N, C); rstd (N); weight (C); y.bias is null. As layer norm: residual may be a, b or c,
// second.out null, and with a = residual, b = null the same bits come out. Where x holds NaN, the row is NaN; where it
// holds infinities, these are NaN and the others 0.
template <class Real>
void rmsnorm_forward(Real* residual, Affine<Real> first, Affine<Real> second, Stat<Real>* rstd, const Real* a,
                     const Real* b, const Real* c, int N, int C, Stat<Real> eps, stream_t stream);
// dinp[n,c] += rstd[n] * (g - x * mean_c(g x)),  g = dout * weight,  x = inp * rstd
// dweight[c] += sum_n dout * x.     scratch: rmsnorm_backward_scratch(N, C) bytes
template <class Real>
void rmsnorm_backward(Real* dinp, Stat<Real>* dweight, void* scratch, const Real* dout, const Real* inp,
                      const Real* weight, const Stat<Real>* rstd, int N, int C, stream_t stream);
size_t rmsnorm_backward_scratch(int N, int C);

// ---- norm of queries and keys by head (Qwen3, arXiv 2505.09388), before the rotation --------------------------------
// For every head h of q and of k: rstd[n,h] = 1 / sqrt(mean_d(x^2) + eps),  x = inp[n,h,:],  d < HS
// out[n,h,d] = x[d] * rstd[n,h] * w[d],  w = qweight for the NH heads of q, kweight for the KV of k; v is copied
// out, inp (N, NH + 2 KV, HS): q's heads, k's, v's; rstd (N, NH + KV); qweight, kweight (HS).
template <class Real>
void qk_norm_forward(Real* out, Stat<Real>* rstd, const Real* inp, const Real* qweight, const Real* kweight, int N,
                     int NH, int KV, int HS, Stat<Real> eps, stream_t stream);
// dqkv, the gradient of out, becomes that of inp: for q and k  dx[d] = rstd (g - x * mean_d(g x)),  g = dout * w,
// x = inp * rstd;  v's stays.        dqweight[d] += sum over n and q's heads of dout * x;  dkweight[d] likewise, of k's
// scratch: qk_norm_backward_scratch(N, NH, KV, HS) bytes.
template <class Real>
void qk_norm_backward(Real* dqkv, Stat<Real>* dqweight, Stat<Real>* dkweight, void* scratch, const Real* inp,
                      const Real* qweight, const Real* kweight, const Stat<Real>* rstd, int N, int NH, int KV, int HS,
                      stream_t stream);
size_t qk_norm_backward_scratch(int N, int NH, int KV, int HS);

// ---- rotary position embedding (Su et al. 2021), in NeoX's half-split form ------------------------------------------
// table[p, i] = cos(p f_i), table[p, R/2 + i] = sin(p f_i),  f_i = base^(-2i/R),  p < P, i < R/2; angles in double
// table (P, R), of Stat<Real>.
template <class Real>
void rotary_table(Real* table, int P, int R, double base, stream_t stream);
// With the cosines and sines of positions[n] < P:
// (x_i, x_{i+R/2}) <- (x_i cos - x_{i+R/2} sin, x_{i+R/2} cos + x_i sin)
// for q and k of every head, in place; v and dimensions R..HS stay. R even, R <= HS; R = 0: nothing is done.
// qkv (N, NH+2KV, HS): NH heads of queries, KV of keys, KV of values.
template <class Real>
void rotary_forward(Real* qkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
                    stream_t stream);
// The inverse rotation, of dqkv.
template <class Real>
void rotary_backward(Real* dqkv, const Stat<Real>* table, const int* positions, int N, int NH, int KV, int HS, int R,
                     stream_t stream);

// ---- causal self-attention, fused (Dao 2023, FlashAttention-2): no T x T matrix in memory ---------------------------
// The work that there is to do, for the two below: what it lists is the backend's own affair.
// segment_start (B, T): first position of the segment that a position belongs to, ascending along a row; null: one
// segment a row. schedule: attention_schedule_size(B, T) ints.
void attention_schedule(int* schedule, const int* segment_start, int B, int T, stream_t stream);
size_t attention_schedule_size(int B, int T);
// out[b,t,h,:] = sum_{j <= t, same segment} softmax_j(q_t . k_j / sqrt(HS)) v_j
// lse[b,h,t] = log sum_j exp(q_t . k_j / sqrt(HS))
// with q of head h, and k and v of head h / (NH/KV): groups of NH/KV query heads share one key/value head (Ainslie et
// al. 2023, grouped-query attention). NH is a multiple of KV; KV = NH: every head has its own, KV = 1: all share one.
// out (B, T, NH, HS); lse (B, NH, T); qkv (B, T, NH+2KV, HS): q, then k, then v, head by head, rotated already. A
// segment is cut into tiles from its first token on, so that its bits do not depend on where in a row it is.
template <class Real>
void attention_forward(Real* out, Stat<Real>* lse, const Real* qkv, const int* schedule, int B, int T, int NH, int KV,
                       int HS, stream_t stream);
// dqkv = the gradient of the above; all of it is written. With S the scores of a head, P = exp(S - lse), dP = dO V^T
// and
// D_i = dO_i . O_i:  dS = P (dP - D),  dV = P^T dO,  dQ = dS K / sqrt(HS),  dK = dS^T Q / sqrt(HS)
// dK and dV of a key/value head are sums over the query heads of its group, in ascending order.
// P is recomputed tile by tile. scratch: attention_backward_scratch(B, T, NH, KV, HS) bytes.
template <class Real>
void attention_backward(Real* dqkv, void* scratch, const Real* dout, const Real* out, const Stat<Real>* lse,
                        const Real* qkv, const int* schedule, int B, int T, int NH, int KV, int HS, stream_t stream);
size_t attention_backward_scratch(int B, int T, int NH, int KV, int HS);
// What it takes of the host's memory besides and keeps: bytes of all threads together, of rows without segments. CUDA:
// none.
template <class Real>
size_t attention_backward_workspaces(int T, int NH, int KV, int HS);
bool attention_has_head_size(int HS);  // CUDA: 16, 32, 64, 80, 128, 256; the CPU: any

// ---- Gaussian error linear unit (Hendrycks & Gimpel 2016): GPT-2's tanh form and NeoX's exact one -------------------
// Exact: out = x/2 (1 + erf(x / sqrt 2)).   Tanh: out = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
template <class Real>
void gelu_forward(Real* out, const Real* inp, size_t n, Gelu kind, stream_t stream);
// dinp = dout * gelu'(inp);  dbias[f] += sum_n dinp[n,f], of dinp as it is written (null: skipped)        n < N, f < F
// The layer before adds a bias to its product: its gradient is summed up on the way. dinp, inp, dout (N, F); dinp may
// be dout. The bits of dbias are bias_backward's. scratch: bias_backward_scratch(N, F) bytes.
template <class Real>
void gelu_backward(Real* dinp, Stat<Real>* dbias, void* scratch, const Real* inp, const Real* dout, int N, int F,
                   Gelu kind, stream_t stream);

// ---- SwiGLU (Shazeer 2020, arXiv 2002.05202): the gated unit of Llama's feed-forward --------------------------------
// out[n,f] = silu(gate) * up,  gate = inp[n,f],  up = inp[n,F+f],  silu(x) = x / (1 + e^-x)        n < N, f < F
// out (N, F); inp (N, 2F). The gate and the product that it scales are one product's outputs, side by side.
template <class Real>
void swiglu_forward(Real* out, const Real* inp, int N, int F, stream_t stream);
// dinp[n,f] = dout * up * (s + silu(gate) (1 - s)),  dinp[n,F+f] = dout * silu(gate),  s = 1 / (1 + e^-gate)
// dinp, inp (N, 2F); dout (N, F). dinp may be inp.
template <class Real>
void swiglu_backward(Real* dinp, const Real* inp, const Real* dout, int N, int F, stream_t stream);

// ---- classifier: softmax cross-entropy at the head ------------------------------------------------------------------
// losses[n] = logsumexp_v(logits[n,v]) - logits[n,targets[n]]        n < N, v < V
// and, with write_gradient,
// logits[n,v] <- (softmax(logits[n])[v] - [v = targets[n]]) * dloss, padded columns V..Vp <- 0.
// logits (N, Vp), of which columns V..Vp count as -inf whatever they hold; losses, targets (N). A row that holds NaN or
// +inf gives a NaN loss; -inf is a probability of 0.
template <class Real>
void classifier_forward(Stat<Real>* losses, Real* logits, const int* targets, Stat<Real> dloss, bool write_gradient,
                        int N, int V, int Vp, stream_t stream);
// For questions: losses as above, the same bits; argmax[n] = first index of the largest logit (0 where all are NaN);
// rank[n] = 1 + #{v: logits[n,v] > logits[n,target]} + #{v < target: equal}. Logits are left alone.
template <class Real>
void classifier_score(Stat<Real>* losses, int* argmax, int* rank, const Real* logits, const int* targets, int N, int V,
                      int Vp, stream_t stream);
// sums[s] += sum of losses[n] over n with source[n] = s, in double.      sums (S), S <= 256; losses, source (N)
template <class Real>
void loss_sums(double* sums, const Real* losses, const uint16_t* source, int N, int S, stream_t stream);

// ---- matmul: the linear layers --------------------------------------------------------------------------------------
// out[n,o] = sum_c inp[n,c] * weight[o,c] + bias[o]        n < N, o < OC, c < C
// out (N, OC); inp (N, C); weight (OC, C); bias (OC) or null. 2 N C OC flops, summed in float where Real is bf16.
template <class Real>
void matmul_forward(Real* out, const Real* inp, const Real* weight, const Real* bias, int N, int C, int OC,
                    stream_t stream);
// dinp[n,c] = sum_o dout[n,o] * weight[o,c]        (dinp null: skipped)
// dweight[o,c] += sum_n dout[n,o] * inp[n,c];  dbias[o] += sum_n dout[n,o]        (dbias null: skipped)
// 4 N C OC flops.
template <class Real>
void matmul_backward(Real* dinp, Stat<Real>* dweight, Stat<Real>* dbias, const Real* dout, const Real* inp,
                     const Real* weight, int N, int C, int OC, stream_t stream);

// dbias[o] += sum_n dout[n,o];  also[o] += the same sums        n < N, o < OC        (also null: skipped)
// The bits of matmul_backward's dbias. For two layers whose outputs are added and so have one gradient: the attention's
// and the feed-forward's in NeoX's parallel block. dout (N, OC). scratch: bias_backward_scratch(N, OC) bytes.
template <class Real>
void bias_backward(Stat<Real>* dbias, Stat<Real>* also, void* scratch, const Real* dout, int N, int OC,
                   stream_t stream);
size_t bias_backward_scratch(int N, int OC);

// ---- the update: gradient norm and AdamW (Loshchilov & Hutter 2019) -------------------------------------------------
// *sum = sum_i x[i]^2 in double; NaN and inf come through.     scratch: global_norm_scratch(n) bytes
template <class Real>
void global_norm_squared(double* sum, void* scratch, const Real* x, size_t n, stream_t stream);
size_t global_norm_scratch(size_t n);
// to[i] = ((x_0[i] + x_1[i]) + (x_2[i] + x_3[i])) + ...,  x_k = terms + k * stride;  i < count
// A binary tree over n terms, a power of two up to MAX_LANES: the sum over lanes, which does not depend on where each
// was computed. to may be x_0.      T: float, double
template <class T>
void add_tree(T* to, const T* terms, size_t stride, int n, size_t count, stream_t stream);
// *sum = ((terms[0] + terms[1]) + terms[2]) + ...        n terms
void add_in_order(double* sum, const double* terms, int n, stream_t stream);
// g = grad * min(1, grad_clip / sqrt(*norm_squared));  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
// w -= lr * ( m/(1 - beta1^step) / (sqrt(v/(1 - beta2^step)) + eps) + weight_decay * w );  grad = 0
// Where Real is bf16, w is `master`, and params = w rounded stochastically by noise that is a function of (seed, step,
// element); else w is params and master null. norm_squared null: no clipping. All arrays share their index, which is 0
// for element `first` of the parameters, in which groups and noise count. Groups are contiguous, ascending, at most
// MAX_ADAMW_GROUPS; CUDA: their bounds and `first` are multiples of 8.
template <class Real>
void adamw_update(Real* params, Stat<Real>* master, Stat<Real>* m, Stat<Real>* v, Stat<Real>* grads,
                  const double* norm_squared, size_t first, const AdamwGroup* groups, int num_groups,
                  const AdamwSettings& settings, stream_t stream);

}  // namespace BACKEND
