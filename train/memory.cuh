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
    size_t activations = 0;  // of one micro-batch, and of a CPU's threads in the attention's backward pass
    size_t evaluation = 0;   // activations while evaluating
};

template <class Real>
RunMemory memory_of(const RunShape& shape, int B) {
    const GptConfig& c = shape.config;
    const int T = shape.T;
    // on a GPU also the gradient of the largest matrix once more, while its product's algorithms are measured
    const size_t largest =
        static_cast<size_t>(std::max({c.Vp(), c.qkv_width(), c.fc_width()})) * static_cast<size_t>(c.C);
    const size_t measured = backend::Machine::IS_GPU ? largest * sizeof(float) : 0;
    const size_t gradients =
        static_cast<size_t>(gradients_in_memory(shape.lanes / shape.processes)) * Gradients<Real>::bytes(c);
    const size_t exchanged = exchange_elements(c, shape.lanes, shape.processes) * sizeof(Stat<Real>);
    const size_t updated =
        shape.whole_state ? parameter_elements(c) : updated_elements(c, shape.lanes, shape.processes);
    return {parameter_elements(c) * sizeof(Real) + gradients + exchanged + AdamState<Real>::bytes(updated) + measured,
            ActivationMemory<Real>::bytes(c, B, T, shape.keep) +
                backend::attention_backward_workspaces<Real>(T, c.NH, c.KV, c.HS),
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

// The largest matrix of a micro-batch of B rows. Products of 2^31 elements or more in one matrix are not asked for:
// cuBLASLt 13.6 offers an algorithm for them that fails (NVIDIA/raft, issue 3097).
struct LargestMatrix {
    const char* name;
    int64_t rows, columns;
    int64_t elements() const { return rows * columns; }
    bool too_large() const { return elements() > INT32_MAX; }
};
inline LargestMatrix largest_matrix(const RunShape& shape, int64_t B) {
    const GptConfig& c = shape.config;
    const int64_t N = B * shape.T;
    LargestMatrix largest{"qkv", N, c.qkv_width()};
    for (const LargestMatrix& other :
         {LargestMatrix{"fch", N, c.fc_width()}, LargestMatrix{"logits", std::min<int64_t>(N, MAX_HEAD_ROWS), c.Vp()}})
        if (other.elements() > largest.elements()) largest = other;
    return largest;
}

// The largest divisor of a step's rows with which no matrix is too large; 0: there is none.
inline int64_t largest_allowed_micro_batch(const RunShape& shape, int64_t rows) {
    int64_t best = 0;
    for (int64_t b = 1; b <= rows && !largest_matrix(shape, b).too_large(); ++b)
        if (rows % b == 0) best = b;
    return best;
}

// That no matrix of a micro-batch of so many of a step's rows is too large. Dies with Exit::Usage and what works.
inline void check_micro_batch(const RunShape& shape, int64_t micro_batch, int64_t rows) {
    const LargestMatrix matrix = largest_matrix(shape, micro_batch);
    if (!matrix.too_large()) return;
    const int64_t works = largest_allowed_micro_batch(shape, rows);
    die(Exit::Usage, "--micro-batch %d: %s would be a matrix of %d x %d = %d elements, and 2^31 are too many; %s",
        micro_batch, matrix.name, matrix.rows, matrix.columns, matrix.elements(),
        works == 0 ? "even one row has them: give a smaller --seq-len"
                   : format_text("the largest that works is --micro-batch %d", works));
}

// The largest divisor of a step's rows whose activations fit into what the parameters leave free of `available` bytes:
// half of it on a host (the other half is the page cache's, where the shards are), nine tenths on a GPU; and with which
// no matrix is too large. 0 where not even one row fits.
inline int largest_micro_batch(const RunShape& shape, int64_t rows, size_t available) {
    const RunMemory one = memory_of(shape, 1);
    const size_t taken = one.parameters + one.evaluation, left = available > taken ? available - taken : 0;
    const size_t room = backend::Machine::IS_GPU ? left / 10 * 9 : left / 2;
    check_micro_batch(shape, 1, rows);
    int best = 0;
    for (int64_t b = 1; b <= rows && !largest_matrix(shape, b).too_large(); ++b)
        if (rows % b == 0 && b * shape.T <= 1 << 20 && memory_of(shape, static_cast<int>(b)).activations <= room)
            best = static_cast<int>(b);
    return best;
}

// What is said where not even one row fits into `available` bytes.
inline std::string out_of_memory_text(const RunShape& shape, size_t available) {
    const RunMemory one = memory_of(shape, 1);
    return format_text(
        "out of memory: the model takes %s, an evaluation %s and a micro-batch of one row %s, %s are free; try "
        "--recompute on, a smaller --model or --seq-len",
        byte_text(one.parameters), byte_text(one.evaluation), byte_text(one.activations), byte_text(available));
}
