// machine.h - what the CPU build runs on.
#pragma once
#include <cstddef>
#include <string>

#include "kernels/cpu/device.h"

namespace cpu {

class Machine {
  public:
    static constexpr bool IS_GPU = false;
    static constexpr const char* SUFFIX = "_cpu";  // of the programs' names
    static constexpr const char* BUILD = "CPU build";

    explicit Machine(int /*local*/ = 0) {}  // processes of one machine share it
    stream_t stream() const { return {}; }
    std::string name() const;         // "AMD EPYC 9B14"
    size_t available_memory() const;  // bytes that can be taken without swapping
    // How products of this precision are computed: bits may differ between machines and builds whose texts differ.
    std::string matmul_library(bool in_bf16) const;
    // FLOP/s of the backend's own matrix product (1024 x 1024 x 1024, in this precision), the fastest of several runs:
    // the denominator of perf/mfu. Takes about 0.1 s.
    double flops_rate(bool in_bf16) const;
    // How anything is computed is a function of the build: nothing is chosen, nothing to remember.
    std::string choices() const { return "[]"; }
    void load_choices(const std::string&) {}
    void choose_by_rule() {}
    // Dies with Exit::Usage when a model cannot run here.
    void check_model(int /*C*/, int /*F*/, int /*HS*/) const {}
};

}  // namespace cpu
