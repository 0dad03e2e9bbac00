// graph.h - work that a stream is given again and again, as a CUDA graph: recorded once, then queued by one call in
// place of a launch for each of its kernels, which is what small models wait for. kernels/cpu/graph.h has the same name
// for the CPU backend.
//
// What is recorded are the launches with the values of their arguments. So it holds for a caller of Graph:
// - pointers and numbers are the same at every run; what changes lies in device memory that they point to;
// - memory that was there stays there as long as the graph does;
// - nothing in it waits for the device, allocates, or works on another stream (CUDA refuses that while recording).
// The results are the bits of the same launches one by one: the kernels, their arguments and their order are the same.
#pragma once
#include <cuda_runtime.h>

#include <utility>

#include "kernels/device.h"
#include "kernels/nvtx.h"
#include "util/check.h"

namespace gpu {

// Of one stream, whose work is a chain: there is nothing to gain from branches, and a chain keeps the order.
class Graph {
  public:
    Graph() = default;
    ~Graph() {
        if (exec_) cudaGraphExecDestroy(exec_);  // unchecked: nothing could be done about it
    }
    Graph(Graph&& other) noexcept : warm_(other.warm_), exec_(std::exchange(other.exec_, nullptr)) {}
    Graph& operator=(Graph&&) = delete;

    // Does on the stream what `queue` queues there. The first run calls `queue` as it is: products measure their
    // algorithms, scratch memory grows to its size, kernels are loaded, none of which may happen while recording. The
    // second calls it to record, and every run from then on queues the record. Dies with Exit::Device, out of memory
    // with Exit::Runtime.
    template <class Queue>
    void run(stream_t stream, Queue queue) {
        const NvtxRange range("graph");
        if (!std::exchange(warm_, true)) return queue();
        if (!exec_) record(stream, queue);
        check(cudaGraphLaunch(exec_, stream.cuda), "launching");
    }
    bool recorded() const { return exec_ != nullptr; }

  private:
    // Ends a recording that `queue` left by an exception, so that the stream can be used again.
    struct Recording {
        explicit Recording(cudaStream_t stream) : stream(stream) {
            // ThreadLocal: what CUDA refuses while recording is refused to this thread, not to those of NCCL
            check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning to record");
        }
        ~Recording() {
            if (stream && cudaStreamEndCapture(stream, &graph) != cudaSuccess) graph = nullptr;
            if (graph) cudaGraphDestroy(graph);
        }
        Recording(const Recording&) = delete;
        Recording& operator=(const Recording&) = delete;
        void end() { check(cudaStreamEndCapture(std::exchange(stream, nullptr), &graph), "recording"); }

        cudaStream_t stream;  // null once it has ended
        cudaGraph_t graph = nullptr;
    };

    template <class Queue>
    void record(stream_t stream, Queue queue) {
        Recording recording(stream.cuda);
        queue();
        recording.end();
        check(cudaGraphInstantiate(&exec_, recording.graph, 0), "instantiating");
    }

    static void check(cudaError_t error, const char* what) {
        if (error == cudaSuccess) return;
        die(error == cudaErrorMemoryAllocation ? Exit::Runtime : Exit::Device,
            "CUDA graph: %s: %s; --cuda-graph off does without", what, cudaGetErrorString(error));
    }

    bool warm_ = false;
    cudaGraphExec_t exec_ = nullptr;
};

}  // namespace gpu
