// classifier.cuh - softmax cross-entropy at the head. One block has one row of logits and goes over it twice: once from
// memory for the largest logit and the sum of exponentials, together; then from the caches, where the row still is, for
// what else is asked: the gradient in place of the logits, or arg-max and rank.
#pragma once
#include <cfloat>
#include <cmath>
#include <type_traits>

#include "kernels/operations.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"
#include "kernels/simt.h"
#include "util/check.h"

namespace gpu {

constexpr int CLASSIFIER_THREADS = 512, CLASSIFIER_BLOCKS = 3;  // an SM of sm_86 and sm_89 holds 1536 threads
constexpr int LOSS_SUMS_THREADS = 512;
constexpr int MAX_LOSS_SOURCES = 256;

struct ClassifierShared {
    float reduction[32];
    int first, ahead;
};

// For bf16 the fast one: where it is off by more than 2^-18 of itself it is below e^-40, and a rounding to bf16 is 2^-8.
template <class Real>
__device__ inline float exponential(float x) {
    if constexpr (std::is_same_v<Real, float>)
        return expf(x);
    else
        return exp_fast(x);
}

// Exponentials are taken of x - shift(largest). -inf would give NaN where every logit so far is -inf; with the lowest
// finite number these exponentials are 0.
__device__ inline float shift_for(float largest) { return fmaxf(largest, -FLT_MAX); }

// A thread has every CLASSIFIER_THREADS-th pack of a row, and asks for AHEAD of them before it computes: with 48 warps
// an SM that is 48 KB on their way, twice what an H100's memory needs.
template <class Real>
constexpr int STRIDE = CLASSIFIER_THREADS* Pack<Real>::SIZE;
constexpr int AHEAD = 2;

// logits v .. v + SIZE of a row as floats, -inf from V on.
template <class Real>
__device__ inline void load_logits(float (&x)[Pack<Real>::SIZE], const Real* row, int v, int V) {
    const Pack<Real> pack = load_pack(row + v);
    for (int i = 0; i < Pack<Real>::SIZE; ++i) x[i] = v + i < V ? to_float(pack[i]) : -INFINITY;
}

// A thread's part of a row's sum.
template <class Real>
struct RunningSum {
    float largest = -INFINITY;  // of the logits that are not NaN
    float sum = 0;              // of exp(logit - shift_for(largest)); NaN if a logit is NaN or +inf

    // Logits in ascending order. The sum so far is rescaled to the largest of all.
    template <int N>
    __device__ void add(const float (&x)[N]) {
        const float before = shift_for(largest);
        for (int i = 0; i < N; ++i) largest = fmaxf(largest, x[i]);  // passes over NaN, which comes out of the sum
        const float shift = shift_for(largest);
        sum *= exponential<Real>(before - shift);
        for (int i = 0; i < N; ++i) sum += exponential<Real>(x[i] - shift);
    }
};

struct RowSum {
    float largest, sum;  // as in RunningSum
    float loss;
};

// What every thread of the block learns of a row of V logits: the threads' sums, each in ascending order, then the
// block's in the order of block_sum. Nothing but V and the row's values has a say in the bits. Not inlined, because the
// compiler could fuse a multiplication with an addition in one kernel and not in the other, and their losses would
// differ.
template <class Real>
__device__ __attribute__((noinline)) RowSum row_sum(const Real* row, int V, float target_logit,
                                                    ClassifierShared& shared) {
    constexpr int SIZE = Pack<Real>::SIZE;
    RunningSum<Real> mine;
    int v = static_cast<int>(threadIdx.x) * SIZE;
    for (; v + (AHEAD - 1) * STRIDE<Real> + SIZE <= V; v += AHEAD * STRIDE<Real>) {
        Pack<Real> packs[AHEAD];
        for (int j = 0; j < AHEAD; ++j) packs[j] = load_pack(row + v + j * STRIDE<Real>);
        float x[AHEAD * SIZE];
        for (int j = 0; j < AHEAD; ++j) to_floats(x + j * SIZE, packs[j]);
        mine.add(x);
    }
    for (; v < V; v += STRIDE<Real>) {
        float x[SIZE];
        load_logits(x, row, v, V);
        mine.add(x);
    }
    const float largest = block_max(mine.largest, shared.reduction);
    const float rescaled = mine.sum * exponential<Real>(shift_for(mine.largest) - shift_for(largest));
    const float sum = block_sum(rescaled, shared.reduction);
    return {largest, sum, logf(sum) + (largest - target_logit)};
}

// softmax * dloss of PACKS packs of logits at `at`, at - STRIDE, ..., all below V, in their place.
template <int PACKS, class Real>
__device__ inline void write_gradients(Real* at, float shift, float scale) {
    constexpr int SIZE = Pack<Real>::SIZE;
    Pack<Real> packs[PACKS];
    for (int j = 0; j < PACKS; ++j) packs[j] = load_pack(at - j * STRIDE<Real>);
    for (int j = 0; j < PACKS; ++j) {
        float x[SIZE];
        to_floats(x, packs[j]);
        for (int i = 0; i < SIZE; ++i) packs[j][i] = from_float<Real>(exponential<Real>(x[i] - shift) * scale);
        // streaming: the next reader comes when all of it has left the caches
        store_pack_streaming(at - j * STRIDE<Real>, packs[j]);
    }
}

// classifier_forward. A block has a row, the last one first: its logits are what the product before wrote last.
// With the gradient 2 N Vp sizeof(Real) bytes: in bf16 N=8192, Vp=50304 0.38 ms; without it half as much. The second
// pass runs from the row's end to its begin, so that it meets first what the first pass left in the SM's own cache. It
// looks for V in the packs from there on alone, and the target's element is written again by the thread that has it.
template <class Real>
__global__ void __launch_bounds__(CLASSIFIER_THREADS, CLASSIFIER_BLOCKS)
    classifier_forward_kernel(float* losses, Real* logits, const int* targets, float dloss, bool write_gradient, int V,
                              int Vp) {
    constexpr int SIZE = Pack<Real>::SIZE;
    ClassifierShared& shared = shared_memory<ClassifierShared>();
    const size_t n = gridDim.x - 1 - blockIdx.x;
    Real* row = logits + n * static_cast<size_t>(Vp);
    const int target = targets[n];
    const float target_logit = to_float(row[target]);  // before the barriers, after which its place is written
    const RowSum all = row_sum(row, V, target_logit, shared);
    if (threadIdx.x == 0) losses[n] = all.loss;
    if (!write_gradient) return;
    const float shift = shift_for(all.largest), scale = dloss / all.sum;
    int v = Vp - SIZE - static_cast<int>(threadIdx.x) * SIZE;
    for (; v >= 0 && v + SIZE > V; v -= STRIDE<Real>) {
        float x[SIZE];
        load_logits(x, row, v, V);
        Pack<Real> gradient;
        for (int i = 0; i < SIZE; ++i)  // 0 from V on also where the row's sum is NaN
            gradient[i] = from_float<Real>(v + i < V ? exponential<Real>(x[i] - shift) * scale : 0);
        store_pack_streaming(row + v, gradient);
    }
    for (; v >= (AHEAD - 1) * STRIDE<Real>; v -= AHEAD * STRIDE<Real>) write_gradients<AHEAD>(row + v, shift, scale);
    for (; v >= 0; v -= STRIDE<Real>) write_gradients<1>(row + v, shift, scale);
    if (static_cast<int>(threadIdx.x) == (Vp - 1 - target) / SIZE % CLASSIFIER_THREADS)
        row[target] = from_float<Real>(exponential<Real>(target_logit - shift) * scale - dloss);
}

// classifier_score. A block has row n. N V sizeof(Real) bytes: in bf16 N=1024, V=50304 24 us. Minimum and count are of
// integers.
template <class Real>
__global__ void __launch_bounds__(CLASSIFIER_THREADS, CLASSIFIER_BLOCKS)
    classifier_score_kernel(float* losses, int* argmax, int* rank, const Real* logits, const int* targets, int V,
                            int Vp) {
    constexpr int SIZE = Pack<Real>::SIZE;
    ClassifierShared& shared = shared_memory<ClassifierShared>();
    const size_t n = blockIdx.x;
    const Real* row = logits + n * static_cast<size_t>(Vp);
    const int target = targets[n];
    const float target_logit = to_float(row[target]);
    if (threadIdx.x == 0) {
        shared.first = V;
        shared.ahead = 0;
    }
    const RowSum all = row_sum(row, V, target_logit, shared);
    int first = V, ahead = 0;
    for (int v = static_cast<int>(threadIdx.x) * SIZE; v < V; v += CLASSIFIER_THREADS * SIZE) {
        const Pack<Real> pack = load_pack(row + v);
        for (int i = 0; i < SIZE; ++i) {
            if (v + i >= V) continue;
            const float x = to_float(pack[i]);
            ahead += x > target_logit || (x == target_logit && v + i < target);
            if (x == all.largest) first = min(first, v + i);
        }
    }
    atomicMin(&shared.first, first);
    atomicAdd(&shared.ahead, ahead);
    __syncthreads();
    if (threadIdx.x != 0) return;
    losses[n] = all.loss;
    argmax[n] = shared.first < V ? shared.first : 0;
    rank[n] = 1 + shared.ahead;
}

// loss_sums. A block has source s and reads all of `source`: 2 N bytes from the second-level cache; S is a handful. A
// thread adds up every LOSS_SUMS_THREADS-th row in ascending order, then the block in the order of block_sum.
__global__ void __launch_bounds__(LOSS_SUMS_THREADS)
    loss_sums_kernel(double* sums, const float* losses, const uint16_t* source, int N) {
    double* reduction = &shared_memory<double>();
    double sum = 0;
    for (int n = static_cast<int>(threadIdx.x); n < N; n += LOSS_SUMS_THREADS)
        if (source[n] == blockIdx.x) sum += static_cast<double>(losses[n]);
    sum = block_sum(sum, reduction);
    if (threadIdx.x == 0) sums[blockIdx.x] += sum;
}

inline void check_classifier(int N, int V, int Vp) {
    ENSURE(N > 0 && V > 0 && Vp >= V && Vp % 8 == 0,
           "classifier: N=%d V=%d Vp=%d: rows are padded from V to Vp, a multiple of 8", N, V, Vp);
}

template <class Real>
void classifier_forward(Stat<Real>* losses, Real* logits, const int* targets, Stat<Real> dloss, bool write_gradient,
                        int N, int V, int Vp, stream_t stream) {
    check_classifier(N, V, Vp);
    LAUNCH(classifier_forward_kernel<Real>, N, CLASSIFIER_THREADS, sizeof(ClassifierShared), stream.cuda, losses,
           logits, targets, dloss, write_gradient, V, Vp);
}

template <class Real>
void classifier_score(Stat<Real>* losses, int* argmax, int* rank, const Real* logits, const int* targets, int N, int V,
                      int Vp, stream_t stream) {
    check_classifier(N, V, Vp);
    LAUNCH(classifier_score_kernel<Real>, N, CLASSIFIER_THREADS, sizeof(ClassifierShared), stream.cuda, losses, argmax,
           rank, logits, targets, V, Vp);
}

template <class Real>
void loss_sums(double* sums, const Real* losses, const uint16_t* source, int N, int S, stream_t stream) {
    ENSURE(N > 0 && S > 0 && S <= MAX_LOSS_SOURCES, "loss_sums: N=%d S=%d: 1 to %d sources", N, S, MAX_LOSS_SOURCES);
    LAUNCH(loss_sums_kernel, S, LOSS_SUMS_THREADS, 32 * sizeof(double), stream.cuda, sums, losses, source, N);
}

}  // namespace gpu
