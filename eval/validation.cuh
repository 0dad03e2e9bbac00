// validation.cuh - the loss on held-out text.
#pragma once
#include <algorithm>
#include <vector>

#include "eval/evaluation.h"  // defines: ValidationResult, ValidationRows
#include "kernels/backend.h"
#include "model/gpt.cuh"  // defines: gpt_forward, gpt_losses
#include "util/stop.h"

// Rows of a pass: their number depends on the source alone, never on a micro-batch, so that whoever evaluates gets the
// same bits.
inline int validation_rows_per_pass(const ValidationRows& rows) {
    return std::min(rows.rows, std::max(1, EVAL_POSITIONS / rows.T));
}

// Mean loss over all targets, summed in double in row order. Throws Stopped when a signal has asked the program to end.
template <class Real>
ValidationResult validation_loss(const Gpt<Real>& gpt, const ValidationRows& rows, backend::stream_t stream) {
    ENSURE(rows.rows > 0, "validation source %s has no rows", rows.name);
    const int B = validation_rows_per_pass(rows);
    const size_t T = static_cast<size_t>(rows.T), N = static_cast<size_t>(B) * T;
    const bool mask = !rows.segment_start.empty();
    ActivationMemory<Real> memory(gpt.config, B, rows.T, Keep::Nothing, stream);
    DeviceArray<int> inputs(N), targets(N), positions(N), segment_start(mask ? N : 0);
    std::vector<Stat<Real>> losses(N);

    double sum = 0;
    for (int row = 0; row < rows.rows; row += B) {
        throw_if_stopped();
        // a last pass that is not full keeps older rows after its own; they are computed and not counted
        const size_t at = static_cast<size_t>(row) * T, n = static_cast<size_t>(std::min(B, rows.rows - row)) * T;
        copy_to_device(inputs.get(), rows.inputs.data() + at, n);
        copy_to_device(targets.get(), rows.targets.data() + at, n);
        copy_to_device(positions.get(), rows.positions.data() + at, n);
        if (mask) copy_to_device(segment_start.get(), rows.segment_start.data() + at, n);
        gpt_forward(gpt, memory, {inputs.get(), positions.get(), mask ? segment_start.get() : nullptr}, stream);
        gpt_losses(gpt, memory, static_cast<Gradients<Real>*>(nullptr), targets.get(), Stat<Real>(0), stream);
        copy_to_host(losses.data(), memory.a.losses, n);
        for (size_t i = 0; i < n; ++i) sum += static_cast<double>(losses[i]);
    }

    ValidationResult result;
    result.name = rows.name;
    result.tokens = static_cast<int64_t>(rows.rows) * rows.T;
    result.loss = sum / static_cast<double>(result.tokens);
    if (rows.bytes > 0) result.bits_per_byte = sum / 0.693147180559945309417 / static_cast<double>(rows.bytes);
    return result;
}
