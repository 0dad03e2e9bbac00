// memory.cuh - what a run takes of the device's memory, and the micro-batch that fits into it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>

#include "model/gpt.cuh"    // defines: ActivationMemory, Gradients, AdamState, Keep
#include "train/lanes.cuh"  // defines: gradients_in_memory, exchange_elements, updated_elements
#include "util/check.h"

// What decides it, but for the rows of a micro-batch.
struct RunShape {
    std::string precision;
    GptConfig config;
    int T = 0;  // tokens a row
    Keep keep = Keep::All;
    bool evaluates = false;
    int lanes = 1, processes = 1;
    bool whole_state = false;  // every process has all of the optimizer's
};

struct RunMemory {           // bytes
    size_t parameters = 0;   // weights, gradients, optimizer, what is exchanged with other processes
    size_t activations = 0;  // of one micro-batch
    size_t evaluation = 0;   // activations while evaluating
};

template <class Real>
RunMemory memory_of(const RunShape& shape, int B) {
    const GptConfig& c = shape.config;
    const int T = shape.T;
    // on a GPU also the gradient of the largest matrix once more, while its product's algorithms are measured
    const size_t largest = static_cast<size_t>(std::max({c.Vp(), c.qkv_width(), c.F})) * static_cast<size_t>(c.C);
    const size_t measured = backend::Machine::IS_GPU ? largest * sizeof(float) : 0;
    const size_t gradients =
        static_cast<size_t>(gradients_in_memory(shape.lanes / shape.processes)) * Gradients<Real>::bytes(c);
    const size_t exchanged = exchange_elements(c, shape.lanes, shape.processes) * sizeof(Stat<Real>);
    const size_t updated =
        shape.whole_state ? parameter_elements(c) : updated_elements(c, shape.lanes, shape.processes);
    return {parameter_elements(c) * sizeof(Real) + gradients + exchanged + AdamState<Real>::bytes(updated) + measured,
            ActivationMemory<Real>::bytes(c, B, T, shape.keep),
            shape.evaluates ? ActivationMemory<Real>::bytes(c, std::max(1, EVAL_POSITIONS / T), T, Keep::Nothing) : 0};
}
inline RunMemory memory_of(const RunShape& shape, int B) {
    return with_precision(shape.precision, [&](auto real) { return memory_of<decltype(real)>(shape, B); });
}

// "1.85 GiB", "320 KiB"
inline std::string byte_text(size_t bytes) {
    const double b = static_cast<double>(bytes);
    return b >= 1 << 30   ? format_text("%.2f GiB", b / (1 << 30))
           : b >= 1 << 20 ? format_text("%.1f MiB", b / (1 << 20))
                          : format_text("%.0f KiB", b / 1024);
}

// The largest divisor of a step's rows whose activations fit into what the parameters leave free of `available` bytes:
// half of it on a host (the other half is the page cache's, where the shards are), nine tenths on a GPU. Dies with
// Exit::Runtime where not even one row fits.
inline int largest_micro_batch(const RunShape& shape, int64_t rows, size_t available) {
    const RunMemory one = memory_of(shape, 1);
    const size_t taken = one.parameters + one.evaluation, left = available > taken ? available - taken : 0;
    const size_t room = backend::Machine::IS_GPU ? left / 10 * 9 : left / 2;
    int best = 0;
    for (int64_t b = 1; b <= rows; ++b)
        if (rows % b == 0 && b * shape.T <= 1 << 20 && memory_of(shape, static_cast<int>(b)).activations <= room)
            best = static_cast<int>(b);
    if (best == 0)
        die(Exit::Runtime,
            "out of memory: the model takes %s, an evaluation %s and a micro-batch of one row %s, %s are free; try "
            "--recompute on, a smaller --model or --seq-len",
            byte_text(one.parameters), byte_text(one.evaluation), byte_text(one.activations), byte_text(available));
    return best;
}
