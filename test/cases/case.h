// case.h - one operation at one shape, for every backend: correctness of the CPU's kernels, and of the CUDA kernels on
// the CPU (kernels/simt) and on a GPU; micro-benchmarks of both. A case file, NAME_cases.cpp, calls the names of
// kernels/backend.h and compares with the formula once more: in double, slow and obvious, sharing no code with
// kernels/.
#pragma once
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "test/cases/traits.h"
#include "util/check.h"

using Doubles = std::vector<double>;
using Ints = std::vector<int>;

// A tensor that a case made, next to what it should be.
struct Output {
    std::string name;
    size_t row;  // elements a row
    double tolerance;
    Doubles got, want;
};
using Outputs = std::vector<Output>;

// The row that is most wrong, by the relative L2 norm of its difference; where a row should be zero, by the norm
// itself. (A maximum over the tensor hides a wrong tail.) NaN is the worst.
struct WorstRow {
    size_t row = 0;
    double error = 0;
};
WorstRow worst_row(const Output& output);

// A case with its tensors on the device. run may be called again and again and gives the same outputs each time (what
// it accumulates into is reset when `fresh`; a bench times run(stream, false)).
struct Instance {
    std::function<void(backend::stream_t, bool fresh)> run;
    std::function<Outputs()> check;  // reads the outputs back; null for a case that is only timed
};

struct Case {
    std::string name;                // "layernorm_forward bf16 N=61 C=264"
    std::function<Instance()> make;  // allocates and fills; two calls give equal inputs
    // of timed cases: moved and computed by one run, what an algorithm cannot do without; runs in a step of training
    double bytes = 0, flops = 0;
    int calls = 0;
};

// The step of training that timed cases take their shapes from.
struct TrainingStep {
    int L, C, NH, T, B, V;
    int head_rows, score_rows;  // rows of the head at a time, in training and at questions
    bool neox;  // rotary positions, exact GELU, parallel residual; else GPT-2: learned ones, tanh form, sequential
    bool full;  // on a GPU: also in float, with tokens of other kinds, and the update
    // Llama: NH query heads share KV key/value heads; RMS norm, a gated feed-forward of F; rotary positions, sequential
    int KV = 0, F = 0;  // 0: it is none
    bool llama() const { return F > 0; }
    int N() const { return B * T; }
    int HS() const { return C / NH; }
    int R() const { return llama() ? HS() : HS() / 8 * 2; }  // rotated; of NeoX a quarter of the head
    int Vp() const { return (V + 127) / 128 * 128; }
};

// ---- the list -------------------------------------------------------------------------------------------------------
// A room is the cases of an operation, or of a few that belong together, in NAME_cases.cpp.
#define CASE_ROOMS(ROOM) \
    ROOM(embedding)      \
    ROOM(layernorm)      \
    ROOM(rmsnorm)        \
    ROOM(qk_norm)        \
    ROOM(rotary)         \
    ROOM(attention)      \
    ROOM(gelu)           \
    ROOM(swiglu)         \
    ROOM(classifier)     \
    ROOM(matmul)         \
    ROOM(bias)           \
    ROOM(add_tree)       \
    ROOM(update)

#define DECLARE_ROOM(name)            \
    std::vector<Case> name##_cases(); \
    std::vector<Case> name##_timed_cases(const TrainingStep& step);
CASE_ROOMS(DECLARE_ROOM)
#undef DECLARE_ROOM
std::vector<Case> all_cases();
std::vector<Case> timed_cases(const TrainingStep& step);

// ---- for case files -------------------------------------------------------------------------------------------------

inline size_t product(int a, int b) { return static_cast<size_t>(a) * static_cast<size_t>(b); }

// From the storage type or to it, by way of the type that it is computed in.
template <class Real>
double to_double(Real x) {
    return static_cast<double>(static_cast<Stat<Real>>(x));
}
template <class Real>
Real rounded(double x) {
    return Real(static_cast<Stat<Real>>(x));
}
template <class To, class From>
std::vector<To> converted(const std::vector<From>& from) {
    std::vector<To> to;
    to.reserve(from.size());
    for (const From& x : from) to.push_back(rounded<To>(to_double(x)));
    return to;
}
template <class Real>
Doubles doubles(const std::vector<Real>& v) {
    return converted<double>(v);
}
template <class Real>
std::vector<Real> part(const std::vector<Real>& v, size_t begin, size_t n) {
    return {v.begin() + static_cast<std::ptrdiff_t>(begin), v.begin() + static_cast<std::ptrdiff_t>(begin + n)};
}

// Doubles that can be compared: NaN and infinities as numbers that nothing else is.
Doubles finite(Doubles x);

// n values of a normal distribution, a function of (seed, index); rounded to Real. From 2^20 on they repeat: the large
// arrays of timed cases are there soon.
Doubles normal_doubles(size_t n, uint64_t seed);
template <class Real>
std::vector<Real> normal_values(size_t n, uint64_t seed, double deviation = 1) {
    constexpr size_t PERIOD = 1 << 20;
    std::vector<Real> values;
    values.reserve(n);
    for (const double x : normal_doubles(n < PERIOD ? n : PERIOD, seed)) values.push_back(rounded<Real>(deviation * x));
    for (size_t i = PERIOD; i < n; ++i) values.push_back(values[i - PERIOD]);
    return values;
}
// n integers in [0, below).
Ints random_ints(size_t n, int below, uint64_t seed);

// What the formula gives, computed when it is first asked for and kept for the other runs of the case.
template <class Result>
class Once {
  public:
    template <class F>
    const Result& operator()(F formula) const {
        if (!*result_) *result_ = formula();
        return **result_;
    }

  private:
    std::shared_ptr<std::optional<Result>> result_ = std::make_shared<std::optional<Result>>();
};

// An array on the device. Copies share it, as the functions of an instance do. It is given to kernels as a pointer,
// null where it has no elements.
template <class Value>
class Tensor {
  public:
    explicit Tensor(std::vector<Value> first)
        : first_(std::make_shared<const std::vector<Value>>(std::move(first))),
          array_(std::make_shared<DeviceArray<Value>>(first_->size())) {
        reset();
    }
    // What nobody has written is NaN, or -1.
    explicit Tensor(size_t n) : Tensor(std::vector<Value>(0), n) {
        std::vector<Value> unwritten(n);
        if (n > 0) std::memset(static_cast<void*>(unwritten.data()), 0xff, n * sizeof(Value));
        copy_to_device(array_->get(), unwritten.data(), n);
    }
    operator Value*() const { return array_->get(); }
    size_t size() const { return array_->size(); }
    const std::vector<Value>& first() const { return *first_; }
    void reset() const { copy_to_device(array_->get(), first_->data(), first_->size()); }  // the first values again
    std::vector<Value> now() const {
        std::vector<Value> values(size());
        copy_to_host(values.data(), array_->get(), values.size());
        return values;
    }
    Doubles doubles() const { return ::doubles(now()); }

  private:
    Tensor(std::vector<Value> first, size_t n)
        : first_(std::make_shared<const std::vector<Value>>(std::move(first))),
          array_(std::make_shared<DeviceArray<Value>>(n)) {}
    std::shared_ptr<const std::vector<Value>> first_;
    std::shared_ptr<DeviceArray<Value>> array_;
};

// That row n of `all` has the bits that it has in `alone`, where nothing but this row was computed.
template <class Value>
Output one_row(const std::string& name, const Tensor<Value>& alone, const Tensor<Value>& all, size_t n) {
    const size_t width = alone.size();
    return {name + ", one row", width, 0, alone.doubles(), part(all.doubles(), n * width, width)};
}

// That `gradient` is the derivative of sum_i weights[i] * f(x)[i], by finite differences: the gradients of the formulas
// themselves are checked so.
Case gradient_case(const std::string& name, const std::function<Doubles(const Doubles&)>& f, const Doubles& x,
                   const Doubles& weights, const Doubles& gradient);
