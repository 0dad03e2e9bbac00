// machine.h - the GPU that a program runs on.
#pragma once
#include <memory>
#include <string>

#include "kernels/device.h"

namespace gpu {

class Machine {
  public:
    static constexpr bool IS_GPU = true;
    static constexpr const char* SUFFIX = "";  // of the programs' names
    static constexpr const char* BUILD = "CUDA build";

    // The GPU of the process with this number among those of its machine (util/peers.h), with a stream of its own. Dies
    // with Exit::Device when there is none that can run this build, or fewer than processes, saying what was found.
    explicit Machine(int local = 0);
    ~Machine();
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    stream_t stream() const;
    std::string name() const;         // "NVIDIA H200, compute capability 9.0, CUDA driver 13.0"
    size_t available_memory() const;  // free bytes of device memory
    // "cublaslt 130001 on NVIDIA H200", in either precision
    std::string matmul_library(bool in_bf16) const;
    // Peak FLOP/s that perf/mfu divides by: the published dense figure of known GPUs (H100 and H200: 989 TFLOP/s in
    // bf16, 67 in fp32), else what a large product of cuBLASLt reaches.
    double flops_rate(bool bf16) const;
    // Which of several kernels or algorithms was chosen for each shape (choices.h), as JSON, for the checkpoint: loaded
    // again, a run goes on with the same bits.
    std::string choices() const;
    void load_choices(const std::string& json);
    // From now on they are not chosen by speed but by a rule, the same in every process.
    void choose_by_rule();
    // Dies with Exit::Usage when a model of C channels (F in the feed-forward) in heads of HS cannot run here, naming
    // what can.
    void check_model(int C, int F, int HS) const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace gpu
