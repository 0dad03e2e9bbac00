// classifier.cpp - a row of logits is 200 KB at V = 50304: it comes from memory once and stays in the second-level
// cache for the passes. One thread a row; the sum of exponentials runs in a fixed order. Exponentials replace the
// logits on their way to the gradient; where these are bf16, they are kept as floats, so that a gradient is rounded
// once.
#include "kernels/operations.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <vector>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/threads.h"
#include "kernels/cpu/vmath.h"

namespace cpu {
namespace {

// f(v, n) for vectors of columns from begin to end, n of them columns; the tail reads as -inf, whose exponential is 0.
template <class Real, class F>
void for_logits(int begin, int end, F f) {
    constexpr int n = LANES<Stat<Real>>;
    int v = begin;
    for (; v + n <= end; v += n) f(v, n);
    if (v < end) f(v, end - v);
}
template <class Real>
Vector<Stat<Real>> load_logits(const Real* from, int n) {
    using Sum = Stat<Real>;
    return n == LANES<Sum> ? load(from) : load_some(from, n, -std::numeric_limits<Sum>::infinity());
}
template <class Real>
void store_logits(Real* to, Vector<Stat<Real>> v, int n) {
    n == LANES<Stat<Real>> ? store(to, v) : store_some(to, v, n);
}

template <class Real>
Stat<Real> largest_logit(const Real* row, int V) {
    using Sum = Stat<Real>;
    constexpr int n = LANES<Sum>, CHAINS = 4;  // which do not wait for each other
    Vector<Sum> largest[CHAINS];
    for (Vector<Sum>& x : largest) x = broadcast(-std::numeric_limits<Sum>::infinity());
    int v = 0;  // a NaN is passed over here and comes out of the sum
    for (; v + CHAINS * n <= V; v += CHAINS * n)
#pragma GCC unroll 4
        for (int i = 0; i < CHAINS; ++i) largest[i] = larger(load(row + v + i * n), largest[i]);
    for_logits<Real>(v, V, [&](int at, int count) { largest[0] = larger(load_logits(row + at, count), largest[0]); });
    return max_lanes<Sum>(larger(larger(largest[0], largest[1]), larger(largest[2], largest[3])));
}

// sum_v exp(row[v] - shift), blocks of columns in vectors, the blocks in double; with `keep` the exponentials go to
// `kept`, which may be the row.
template <bool keep, class Real>
double sum_exponentials(Stat<Real>* kept, const Real* row, int V, Stat<Real> shift) {
    using Sum = Stat<Real>;
    constexpr int BLOCK = 2048;
    double sum = 0;
    for (int begin = 0; begin < V; begin += BLOCK) {
        Vector<Sum> block{};
        for_logits<Real>(begin, std::min(V, begin + BLOCK), [&](int v, int n) {
            const Vector<Sum> e = exp(load_logits<Real>(row + v, n) - shift);
            block += e;
            if constexpr (keep) store_logits(kept + v, e, n);
        });
        sum += sum_lanes<Sum>(block);
    }
    return sum;
}

}  // namespace

template <class Real>
void classifier_forward(Stat<Real>* losses, Real* logits, const int* targets, Stat<Real> dloss, bool write_gradient,
                        int N, int V, int Vp, stream_t) {
    using Sum = Stat<Real>;
    constexpr bool IN_PLACE = std::is_same_v<Real, Sum>;
#pragma omp parallel if (worth_sharing(N, V))
    {
        std::vector<Sum> own(write_gradient && !IN_PLACE ? static_cast<size_t>(V) : 0);
#pragma omp for schedule(static)
        for (int n = 0; n < N; ++n) {
            Real* row = logits + static_cast<size_t>(n) * Vp;
            Sum* exponentials = own.data();
            if constexpr (IN_PLACE) exponentials = row;
            const Sum target = static_cast<Sum>(row[targets[n]]), largest = largest_logit(row, V);
            const double sum = write_gradient ? sum_exponentials<true, Real>(exponentials, row, V, largest)
                                              : sum_exponentials<false, Real>(nullptr, row, V, largest);
            losses[n] = static_cast<Sum>(std::log(sum) + (static_cast<double>(largest) - target));
            if (!write_gradient) continue;
            const Sum scale = static_cast<Sum>(dloss / sum);
            for_vectors<Sum>(static_cast<size_t>(V), [=](auto get, auto put) { put(row, get(exponentials) * scale); });
            if constexpr (IN_PLACE)
                row[targets[n]] -= dloss;
            else
                row[targets[n]] = exponentials[targets[n]] * scale - dloss;
            std::fill(row + V, row + Vp, Real(0));
        }
    }
}

template <class Real>
void classifier_score(Stat<Real>* losses, int* argmax, int* rank, const Real* logits, const int* targets, int N, int V,
                      int Vp, stream_t) {
    using Sum = Stat<Real>;
#pragma omp parallel for schedule(static) if (worth_sharing(N, V))
    for (int n = 0; n < N; ++n) {
        const Real* row = logits + static_cast<size_t>(n) * Vp;
        const Sum target = static_cast<Sum>(row[targets[n]]), largest = largest_logit(row, V);
        const double sum = sum_exponentials<false, Real>(nullptr, row, V, largest);
        losses[n] = static_cast<Sum>(std::log(sum) + (static_cast<double>(largest) - target));
        const Real* first = std::find_if(row, row + V, [=](Real x) { return static_cast<Sum>(x) == largest; });
        argmax[n] = first == row + V ? 0 : static_cast<int>(first - row);  // none: every logit is NaN
        int ahead = 0;
#pragma omp simd reduction(+ : ahead)
        for (int v = 0; v < V; ++v) ahead += static_cast<Sum>(row[v]) > target;
#pragma omp simd reduction(+ : ahead)
        for (int v = 0; v < targets[n]; ++v) ahead += static_cast<Sum>(row[v]) == target;
        rank[n] = 1 + ahead;
    }
}

// In the order of n.
template <class Real>
void loss_sums(double* sums, const Real* losses, const uint16_t* source, int N, int, stream_t) {
    for (int n = 0; n < N; ++n) sums[source[n]] += static_cast<double>(losses[n]);
}

template void classifier_forward(float*, float*, const int*, float, bool, int, int, int, stream_t);
template void classifier_forward(double*, double*, const int*, double, bool, int, int, int, stream_t);
template void classifier_forward(float*, bf16*, const int*, float, bool, int, int, int, stream_t);
template void classifier_score(float*, int*, int*, const float*, const int*, int, int, int, stream_t);
template void classifier_score(double*, int*, int*, const double*, const int*, int, int, int, stream_t);
template void classifier_score(float*, int*, int*, const bf16*, const int*, int, int, int, stream_t);

template void loss_sums(double*, const float*, const uint16_t*, int, int, stream_t);
template void loss_sums(double*, const double*, const uint16_t*, int, int, stream_t);

}  // namespace cpu
