// traits.h - what differs between the backends as the cases see it. All else of a case is written once, with the names
// of kernels/backend.h.
#pragma once
#include <map>
#include <string>

#include "kernels/backend.h"
#ifndef KNAPSACK_CPU
#include "kernels/choices.h"
#include "kernels/matmul_context.h"
#endif

#ifdef KNAPSACK_CPU
constexpr bool ON_CPU = true;  // widths, head sizes and groups of any size; sums of rows run from the first to the last
#else
constexpr bool ON_CPU = false;  // C, HS, Vp and bounds of groups are multiples of 8; sums of rows run in chunks
#endif

// Whether this program has a sanitizer in it: slow, and looks for what does not depend on every size. Asked when it
// runs, because builds with and without share the objects of tests.
extern "C" {
[[gnu::weak]] void __asan_init();
[[gnu::weak]] void __tsan_init();
}
inline bool under_sanitizer() { return __asan_init || __tsan_init; }

// f(Real{}) for each storage type of the backend.
template <class F>
void for_each_real(F f) {
    f(bf16{});
    f(float{});
#ifdef KNAPSACK_CPU
    f(double{});
#endif
}
// f(Real{}) for those that a bench times: bf16, and float where it is asked for.
template <class F>
void for_each_timed_real(bool full, F f) {
    f(bf16{});
    if (full) f(float{});
}

template <class Real>
constexpr const char* TYPE_NAME = sizeof(Real) == 2   ? "bf16"
                                  : sizeof(Real) == 4 ? "fp32"
                                                      : "fp64";

// The tolerance of a tensor of Real, and of one of Stat<Real>. Double must be better than float by 2^-25; four of its
// 29 more digits are what the formula itself loses.
template <class Real>
constexpr double tolerance(double bf16, double fp32) {
    return sizeof(Real) == 2 ? bf16 : sizeof(Real) == 4 ? fp32 : fp32 * 0x1p-25;
}
template <class Real>
constexpr double stat_tolerance(double fp32) {
    return tolerance<Real>(fp32, fp32);
}

// The stream that cases run on where nothing is timed.
inline backend::stream_t case_stream() {
#ifdef KNAPSACK_CPU
    return {};
#else
    static gpu::Choices choices("");
    static gpu::MatmulContext context(choices);
    return {nullptr, &context, &choices};
#endif
}
// The same stream, but that this way is taken wherever it can be (kernels/choices.h); one for each way.
inline backend::stream_t preferring(const std::string& way, backend::stream_t stream) {
#ifdef KNAPSACK_CPU
    (void)way;
#else
    struct Own {
        gpu::Choices choices{""};
        gpu::MatmulContext matmul{choices};
        explicit Own(const std::string& way) { choices.prefer(way); }
    };
    static std::map<std::string, Own> own;
    Own& preferring = own.try_emplace(way, way).first->second;
    stream.matmul = &preferring.matmul;
    stream.choices = &preferring.choices;
#endif
    return stream;
}
