// embedding.cpp - rows copied out; gradients gathered column by column. Bound by memory: 12 bytes an element in fp32,
// 8 without learned positions; half of it in bf16, but for the gradients.
#include "kernels/operations.h"

#include <algorithm>
#include <cstddef>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/threads.h"

namespace cpu {

template <class Real>
void embedding_forward(Real* out, const int* tokens, const int* positions, const Real* wte, const Real* wpe, int N,
                       int C, stream_t) {
    const size_t stride = static_cast<size_t>(C);
#pragma omp parallel for schedule(static) if (worth_sharing(N, C))
    for (int n = 0; n < N; ++n) {
        Real* to = out + n * stride;
        const Real* token = wte + tokens[n] * stride;
        if (!wpe) {
            std::copy_n(token, stride, to);
            continue;
        }
        const Real* position = wpe + positions[n] * stride;
        for_vectors<Stat<Real>>(stride, [=](auto get, auto put) { put(to, get(token) + get(position)); });
    }
}

// A thread owns columns and walks the rows in order, so that a sum runs over ascending n.
template <class Real>
void embedding_backward(Stat<Real>* dwte, Stat<Real>* dwpe, void*, const Real* dout, const int* tokens,
                        const int* positions, int N, int C, int, int, stream_t) {
    // two cache lines of floats: threads never write to the same line of a 64-byte aligned row
    constexpr int COLUMNS = 32;
    const size_t stride = static_cast<size_t>(C);
#pragma omp parallel for schedule(static) if (worth_sharing(N, C))
    for (int first = 0; first < C; first += COLUMNS) {
        const int last = std::min(C, first + COLUMNS);
        for (int n = 0; n < N; ++n) {
            const Real* from = dout + n * stride;
            Stat<Real>* token = dwte + tokens[n] * stride;
            for (int c = first; c < last; ++c) token[c] += static_cast<Stat<Real>>(from[c]);
            if (!dwpe) continue;
            Stat<Real>* position = dwpe + positions[n] * stride;
            for (int c = first; c < last; ++c) position[c] += static_cast<Stat<Real>>(from[c]);
        }
    }
}

size_t embedding_backward_scratch(int, int) { return 0; }

template void embedding_forward(float*, const int*, const int*, const float*, const float*, int, int, stream_t);
template void embedding_forward(double*, const int*, const int*, const double*, const double*, int, int, stream_t);
template void embedding_forward(bf16*, const int*, const int*, const bf16*, const bf16*, int, int, stream_t);
template void embedding_backward(float*, float*, void*, const float*, const int*, const int*, int, int, int, int,
                                 stream_t);
template void embedding_backward(double*, double*, void*, const double*, const int*, const int*, int, int, int, int,
                                 stream_t);
template void embedding_backward(float*, float*, void*, const bf16*, const int*, const int*, int, int, int, int,
                                 stream_t);

}  // namespace cpu
