// types.h - the small structs that the kernels of both backends take.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

enum class Gelu { Tanh, Exact };

// The type of statistics, losses, gradients of parameters and optimizer states next to weights and activations of type
// Real: the same, but float where storage is bf16 (kernels/device.h, kernels/cpu/bf16.h).
template <class Real>
struct StatOf {
    using type = Real;
};
template <class Real>
using Stat = typename StatOf<Real>::type;

// One affine output of a norm: out = normalised * weight + bias. out null: there is none. An RMS norm's bias is null.
template <class Real>
struct Affine {
    Real* out;           // (N, C)
    const Real* weight;  // (C)
    const Real* bias;    // (C)
};

// A run of elements with one weight decay; the model's table gives one per tensor.
struct AdamwGroup {
    size_t begin, end;
    float weight_decay;
};
constexpr int MAX_ADAMW_GROUPS = 32;

// Parts of a step whose gradients are added as a binary tree, by one process or several.
constexpr int MAX_LANES = 64;

struct AdamwSettings {
    float lr, beta1, beta2, eps;
    float grad_clip;  // largest L2 norm of the gradient: it is scaled by min(1, grad_clip / norm)
    int step;         // of this update, from 1: bias correction
    uint64_t seed;    // of stochastic rounding
};

// A run of elements, so that a pointer cannot come with another's size.
template <class T>
struct Span {
    T* data = nullptr;
    size_t size = 0;
};

// A run of elements cut into a part for each process: part r is bounds[r] <= i < bounds[r + 1], bounds[0] = 0.
struct Parts {
    std::vector<size_t> bounds;
    size_t size(int r) const { return bounds[static_cast<size_t>(r) + 1] - bounds[static_cast<size_t>(r)]; }
    size_t begin(int r) const { return bounds[static_cast<size_t>(r)]; }
    size_t total() const { return bounds.back(); }
};
