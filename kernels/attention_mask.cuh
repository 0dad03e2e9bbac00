// attention_mask.cuh - which scores count: those of keys at or before their query.
//
// Nothing else needs a mask. Other segments are never loaded; rows beyond the segment's end are zeros, are later than
// every query as keys, and as queries have a gradient of zero and are not stored.
#pragma once
#include "kernels/ptx.cuh"

namespace gpu {

// Is any key up to last_key after any query from first_query on?
__device__ inline bool crosses_diagonal(int first_query, int last_key) { return last_key > first_query; }

// Scores of keys after their query become -inf, so that their probability is 0. A warp's rows are queries from `row` on
// and its columns keys from `column` on, or, KEYS_ARE_ROWS, the other way round.
template <bool KEYS_ARE_ROWS, int BANDS, int N>
__device__ __forceinline__ void mask_later_keys(float (&scores)[BANDS][N][4], int row, int column) {
    const int g = lane_index() / 4, t = 2 * (lane_index() % 4);
    UNROLL
    for (int band = 0; band < BANDS; ++band) {
        UNROLL
        for (int n = 0; n < N; ++n) {
            UNROLL
            for (int i = 0; i < 4; ++i) {
                const int r = row + 16 * band + g + i / 2 * 8, c = column + 8 * n + t + i % 2;
                if (KEYS_ARE_ROWS ? r > c : c > r) scores[band][n][i] = -INFINITY;
            }
        }
    }
}

}  // namespace gpu
