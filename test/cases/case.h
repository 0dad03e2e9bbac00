// case.h - one kernel at one shape, used three ways: correctness on the CPU through test/simt, correctness on a GPU, and
// as a micro-benchmark with its bytes, flops and share of floor. A case file (test/cases/*.cpp) is plain C++: it calls
// the launchers of kernels/operations.h and compares with the double-precision formulas of test/kernel_reference.h.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/operations.h"

// A tensor that a case made, beside what it should be. The error is the relative L2 norm of the difference, row by row
// (a maximum over the tensor hides a wrong tail); NaN fails.
struct Output {
    std::string name;
    size_t row;  // elements a row
    double tolerance;
    std::vector<double> got, want;
};

// A case with its inputs in device memory. run may be called again and again and gives the same outputs each time
// (what it accumulates into is reset by itself when `fresh`; a benchmark times run(stream, false)).
struct Instance {
    std::function<void(gpu::stream_t, bool fresh)> run;
    std::function<std::vector<Output>()> check;  // reads the outputs back; null for a case that is only timed
};

struct Case {
    std::string name;  // "layernorm_forward bf16 N=61 C=264"
    double bytes = 0,
           flops = 0;    // moved and computed by one run: the floor is the larger of bytes / bandwidth and flops / peak
    bool timed = false;  // a shape of a real training step: for the benchmark; too slow through test/simt
    std::function<Instance()> make;  // allocates and fills; two calls give equal inputs
};

// ---- helpers of the case files
template <class T>
const char* type_name();  // "bf16", "fp32"
template <>
inline const char* type_name<bf16>() {
    return "bf16";
}
template <>
inline const char* type_name<float>() {
    return "fp32";
}

// n values of a normal distribution, a function of (seed, index), rounded to T.
template <class T>
std::vector<T> normal_values(size_t n, uint64_t seed, double deviation = 1.0);
// n integers in [0, below).
std::vector<int> random_ints(size_t n, int below, uint64_t seed);
template <class T>
std::vector<double> doubles(const std::vector<T>& v);
// Host <-> device, whole arrays, waiting.
template <class T>
std::shared_ptr<DeviceArray<T>> device_copy(const std::vector<T>& v);
template <class T>
std::vector<double> host_doubles(const DeviceArray<T>& d);
template <class T>
std::vector<T> host_copy(const DeviceArray<T>& d);

// ---- the list: one function a file
std::vector<Case> embedding_cases();
std::vector<Case> layernorm_cases();
std::vector<Case> rotary_cases();
std::vector<Case> gelu_cases();
std::vector<Case> attention_cases();
std::vector<Case> classifier_cases();
std::vector<Case> matmul_cases();
std::vector<Case> update_cases();  // global norm, AdamW
std::vector<Case> all_cases();
