// backend.h - what model, trainer and evaluation see of the kernels: the operations (operations.h), device memory, the
// Machine that a program runs on (its stream, its name, its memory, how fast it multiplies matrices), the Graph that
// repeats a stream's work, and the Communicator that joins several. `backend` is namespace cpu in the CPU build, which
// knows no CUDA header at all, and namespace gpu in every other. with_precision turns the word of --precision into a
// type.
#pragma once
#include <string>

#include "kernels/operations.h"
#include "util/check.h"  // defines: ENSURE
#ifdef KNAPSACK_CPU
#include "kernels/cpu/communicator.h"
#include "kernels/cpu/graph.h"
#include "kernels/cpu/machine.h"
#else
#include "kernels/communicator.h"
#include "kernels/graph.h"
#include "kernels/machine.h"
#endif

namespace backend = BACKEND;

// use(real) with a value whose type is that of --precision, bf16 or fp32; returns what it returns.
template <class Use>
auto with_precision(const std::string& precision, Use use) {
    if (precision == "bf16") return use(bf16{});
    ENSURE(precision == "fp32", "precision %s: neither bf16 nor fp32", precision);
    return use(float{});
}

#if defined(KNAPSACK_CPU) || defined(KNAPSACK_SIMT)
// Rows of the head computed at a time: bounds the logits in memory (the whole N x Vp would dwarf everything else),
// large enough that the head's weight gradient is not rewritten too often.
constexpr int MAX_HEAD_ROWS = 1024;
// Rows of the head that questions are scored in.
constexpr int SCORE_ROWS = 64;
// Positions of a forward pass that evaluates: activations of a few MiB, yet products near their full speed.
constexpr int EVAL_POSITIONS = 2048;
#else  // the same for a GPU, whose kernels want some 100,000 threads
constexpr int MAX_HEAD_ROWS = 8192;
constexpr int SCORE_ROWS = 1024;
constexpr int EVAL_POSITIONS = 32768;
#endif
