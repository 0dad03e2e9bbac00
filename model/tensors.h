// tensors.h - the one table of tensors and the order of their memory. Size, place, initial weights, weight decay,
// checkpoint names and optimizer groups of every parameter follow from its row; adding a tensor is adding a field and a
// row.
//
// Memory is a row of blocks: the embeddings, layer 0, ..., layer L-1, the head. A block holds its tensors in the
// table's order, then up to 511 elements that nothing reads: zeros. So a layer's gradients are one piece, which is
// final as soon as the backward pass has left the layer.
#pragma once
#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "kernels/types.h"  // defines: AdamwGroup, Parts
#include "model/config.h"

// Pointers to the tensors of one layer and to those outside of the layers; null: the configuration does not have it.
// Gradients use the same struct.
template <class Real>
struct Parameters {
    Real* wte;      // (Vp, C)          token embedding; also the head when tied
    Real* wpe;      // (max_T, C)       learned positions
    Real* ln1w;     // (C)
    Real* ln1b;     // (C)
    Real* qkvw;     // ((NH+2KV)HS, C)  rows: all of q, all of k, all of v, each head by head
    Real* qkvb;     // ((NH+2KV)HS)
    Real* projw;    // (C, NH HS)
    Real* projb;    // (C)
    Real* ln2w;     // (C)
    Real* ln2b;     // (C)
    Real* fcw;      // (F, C)           gated: (2F, C), rows: all of the gate, all of up
    Real* fcb;      // (F)              gated: (2F)
    Real* fcprojw;  // (C, F)
    Real* fcprojb;  // (C)
    Real* lnfw;     // (C)
    Real* lnfb;     // (C)
    Real* lmheadw;  // (Vp, C)          untied only
    Real* qnormw;   // (HS)             gains of the heads of q, the same for all of them
    Real* knormw;   // (HS)             of k
};
constexpr size_t NUM_TENSORS = sizeof(Parameters<float>) / sizeof(float*);

// Residual: Normal with the smaller deviation of layers that write to the residual stream.
enum class Init { Zero, One, Normal, Residual };

enum class Block { Embeddings, Layer, Head };

// How Hugging Face stores a matrix, against ours (rows = outputs):
enum class Layout {
    Plain,       // the same
    Transposed,  // GPT-2's Conv1D: (inputs, outputs)
    QkvPerHead,  // NeoX: rows are [head][q, k, v][dim] where ours are [q, k, v][head][dim]
};

// One tensor of a Hugging Face file. Those of a row of the table hold its outputs (rows of a matrix, elements of a
// vector) one after another: Llama has q, k and v apart.
struct HfTensor {
    std::string name;  // "%d" is the layer
    Layout layout = Layout::Plain;
    int outputs = 0;  // 0: all that are left
};

using HfTensors = std::map<std::string, std::vector<HfTensor>>;

struct TensorSpec {
    const char* name;
    Block block;
    bool present;    // false: the configuration does not have it
    int rows, cols;  // of one copy; a layer's tensor has L of them
    Init init;
    bool matrix;           // decayed; false: a bias or gain, of one row
    bool embedding;        // counted out of the non-embedding parameters
    bool vocabulary_rows;  // rows = Vp in memory, V in checkpoints
    // what follows from the row, by tensor_table
    int copies = 0;
    size_t first = 0, stride = 0;
    std::vector<HfTensor> hf = {};

    size_t copy_size() const { return static_cast<size_t>(rows) * static_cast<size_t>(cols); }
    size_t size() const { return static_cast<size_t>(copies) * copy_size(); }
    int stored_rows(const GptConfig& c) const { return vocabulary_rows ? c.V : rows; }  // without padding
    // Where the copy of a layer begins in the memory of all parameters, in elements; the only one: 0.
    size_t offset(int layer) const { return first + static_cast<size_t>(layer) * stride; }
};

// In the order of Parameters, which is a promise: it numbers the streams of the initial weights and is the order of
// tensors in files.
using TensorTable = std::array<TensorSpec, NUM_TENSORS>;
TensorTable tensor_table(const GptConfig& config);

// By our name, the tensors that files of config.family have for it. hf_tensors.cpp
HfTensors hf_tensors(const GptConfig& config);

// Elements of the memory of all parameters, begin <= i < end.
struct ElementRange {
    size_t begin, end;
    size_t size() const { return end - begin; }
};

// The blocks, L + 2 of them, without gaps: 0 the embeddings, 1 + l layer l, 1 + L the head.
std::vector<ElementRange> parameter_blocks(const GptConfig& config);

// A block cut into a slice for each lane: of equal sizes, a multiple of 8 elements (of blocks that are not
// parameter_blocks', the last ones are shorter or empty). The cutting is what the gradient's norm is summed by, so it
// knows of no process.
std::vector<ElementRange> block_slices(const ElementRange& block, int lanes);

// What each process owns of a block: lanes / processes neighbouring slices. Elements from the block's begin. processes
// divides lanes.
Parts block_parts(const ElementRange& block, int lanes, int processes);

// The same of a range inside of the block: elements from the range's begin.
Parts range_parts(const ElementRange& range, const ElementRange& block, const Parts& parts);

// Elements of all parameters with their padding: the size of the memory.
size_t parameter_elements(const GptConfig& config);

// AdamW's groups of a range: one for each tensor in it, with the weight decay for matrices and none for vectors.
std::vector<AdamwGroup> adamw_groups(const GptConfig& config, const ElementRange& range, float weight_decay);

// Pointers into `memory`, which holds all parameters: those of layer l, and those outside of the layers.
template <class Real>
Parameters<Real> place_parameters(Real* memory, const GptConfig& config, int layer = 0) {
    static_assert(sizeof(Parameters<Real>) == NUM_TENSORS * sizeof(Real*));
    Parameters<Real> p;
    Real** field = reinterpret_cast<Real**>(&p);  // a struct of NUM_TENSORS equal pointers, in table order
    for (const TensorSpec& t : tensor_table(config)) *field++ = t.present ? memory + t.offset(layer) : nullptr;
    return p;
}

// The same for every layer.
template <class Real>
std::vector<Parameters<Real>> place_layers(Real* memory, const GptConfig& config) {
    std::vector<Parameters<Real>> layers;
    for (int l = 0; l < config.L; ++l) layers.push_back(place_parameters(memory, config, l));
    return layers;
}
