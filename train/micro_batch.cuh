// micro_batch.cuh - forward, head and backward of one micro-batch: most of a step's launches, 30 or 31 a layer. Where
// model and micro-batch are small they take longer than the kernels, so that they are recorded as a CUDA graph and
// queued by one call.
//
// What is in the graph: everything that queue_micro_batch queues. Before it, one by one: the copy of the micro-batch
// into the window of DeviceBatch, and what Lanes does when a lane begins. After it: what Lanes does when a lane is
// through, the sums of the step, AdamW. So nothing in the graph changes from step to step:
//   tokens, targets, sources   in the window
//   gradients, sums of losses  of a place in Lanes, log2(lanes) + 1 of them: a graph for each
//   dloss                      1 / (tokens of a step), which the run's plan fixes: a member that nobody writes
//   shapes, scratch            of the one micro-batch size of a run; evaluation has memory of its own
// Of several processes, the last micro-batch of a step is never a graph: its gradients are exchanged block by block
// while the pass goes on, by a host that looks whether the exchange before is through.
#pragma once
#include "kernels/backend.h"       // defines: loss_sums
#include "model/gpt.cuh"           // defines: gpt_forward, gpt_losses, gpt_backward
#include "train/device_batch.cuh"  // defines: DeviceBatch

// Gradients and sums of losses += those of the micro-batch in the batch's window.     losses (sources)
// finished: as gpt_backward calls it.
template <class Real, class Finished = NoBlockCall>
void queue_micro_batch(const Gpt<Real>& gpt, ActivationMemory<Real>& activations, const DeviceBatch& batch,
                       Gradients<Real>& gradients, double* losses, size_t sources, Stat<Real> dloss,
                       backend::stream_t stream, Finished finished = {}) {
    const GptInput in = batch.input();
    gpt_forward(gpt, activations, in, stream);
    gpt_losses(gpt, activations, &gradients, batch.targets(), dloss, stream);
    gpt_backward(gpt, activations, gradients, in, stream, finished);
    backend::loss_sums(losses, activations.a.losses, batch.source(), activations.B * activations.T,
                       static_cast<int>(sources), stream);
}
