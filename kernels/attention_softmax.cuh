// attention_softmax.cuh - the softmax of a row whose scores come tile by tile (Milakov and Gimelshein 2018): the
// largest score so far and the sum of exponentials relative to it; when the largest grows, what was summed before
// shrinks.
//
// Exponentials are powers of two, exp(x / sqrt(HS)) = 2^(x scale) with scale = log2(e) / sqrt(HS), so that scaling and
// subtracting the largest are one multiply-add.
#pragma once
#include "kernels/ptx.cuh"

namespace gpu {

constexpr float LN_2 = 0.69314718055994531f;

// A lane's part of two rows of a warp's 16, g and g + 8. Each row is shared by the four lanes of g: the largest is the
// row's, the sum that of the lane's own columns until `finish`.
struct OnlineSoftmax {
    float largest[2] = {-INFINITY, -INFINITY};  // of the scores, unscaled
    float sum[2] = {0.0f, 0.0f};

    // Scores become powers relative to the row's largest; `shrink` is what the rows' earlier results must be multiplied
    // by. The first tile of a row must hold a score above -inf (key 0 counts for every query).
    template <int N>
    __device__ __forceinline__ void update(float (&scores)[N][4], float (&shrink)[2], float scale) {
        UNROLL
        for (int r = 0; r < 2; ++r) {
            float top = largest[r];
            UNROLL
            for (int n = 0; n < N; ++n) top = fmaxf(top, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
            top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
            shrink[r] = exp2_fast((largest[r] - top) * scale);
            largest[r] = top;
            const float shift = -top * scale;
            float total = 0.0f;
            UNROLL
            for (int n = 0; n < N; ++n) {
                UNROLL
                for (int i = 2 * r; i < 2 * r + 2; ++i) {
                    scores[n][i] = exp2_fast(fmaf(scores[n][i], scale, shift));
                    total += scores[n][i];
                }
            }
            sum[r] = sum[r] * shrink[r] + total;
        }
    }

    // The whole rows' sums: lane by lane in a tree over the row's four lanes, the same bits in each.
    __device__ __forceinline__ void finish() {
        for (float& s : sum) {
            s += __shfl_xor_sync(~0u, s, 1);
            s += __shfl_xor_sync(~0u, s, 2);
        }
    }
    // log sum exp of row r's scaled scores, after `finish`.
    __device__ __forceinline__ float log_sum(int r, float scale) const {
        return (largest[r] * scale + log2f(sum[r])) * LN_2;
    }
};

}  // namespace gpu
