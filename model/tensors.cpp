#include "model/tensors.h"

#include <algorithm>

#include "util/check.h"

namespace {

// The table but for what follows from it.
TensorTable tensor_rows(const GptConfig& c) {
    const Block EMBED = Block::Embeddings, LAYER = Block::Layer, HEAD = Block::Head;
    const int C = c.C, Vp = c.Vp(), A = c.attention_width(), QKV = c.qkv_width(), F = c.F, FC = c.fc_width();
    const bool learned = c.positions == Positions::Learned, shifted = c.norm == Norm::LayerNorm;
    const bool biases = c.biases == Biases::All, qkv_biases = c.biases != Biases::None;
    // clang-format off
    return {{
        // name      block  present     rows     cols  init            matrix embed  vocab
        {"wte",      EMBED, true,       Vp,      C,    Init::Normal,   true,  true,  true},
        {"wpe",      EMBED, learned,    c.max_T, C,    Init::Normal,   true,  true,  false},
        {"ln1w",     LAYER, true,       1,       C,    Init::One,      false, false, false},
        {"ln1b",     LAYER, shifted,    1,       C,    Init::Zero,     false, false, false},
        {"qkvw",     LAYER, true,       QKV,     C,    Init::Normal,   true,  false, false},
        {"qkvb",     LAYER, qkv_biases, 1,       QKV,  Init::Zero,     false, false, false},
        {"projw",    LAYER, true,       C,       A,    Init::Residual, true,  false, false},
        {"projb",    LAYER, biases,     1,       C,    Init::Zero,     false, false, false},
        {"ln2w",     LAYER, true,       1,       C,    Init::One,      false, false, false},
        {"ln2b",     LAYER, shifted,    1,       C,    Init::Zero,     false, false, false},
        {"fcw",      LAYER, true,       FC,      C,    Init::Normal,   true,  false, false},
        {"fcb",      LAYER, biases,     1,       FC,   Init::Zero,     false, false, false},
        {"fcprojw",  LAYER, true,       C,       F,    Init::Residual, true,  false, false},
        {"fcprojb",  LAYER, biases,     1,       C,    Init::Zero,     false, false, false},
        {"lnfw",     HEAD,  true,       1,       C,    Init::One,      false, false, false},
        {"lnfb",     HEAD,  shifted,    1,       C,    Init::Zero,     false, false, false},
        {"lmheadw",  HEAD,  !c.tied,    Vp,      C,    Init::Normal,   true,  true,  true},
        {"qnormw",   LAYER, c.qk_norm,  1,       c.HS, Init::One,      false, false, false},
        {"knormw",   LAYER, c.qk_norm,  1,       c.HS, Init::One,      false, false, false},
    }};
    // clang-format on
}

// A number for each kind of block.
struct PerBlock {
    size_t embeddings = 0, layer = 0, head = 0;
    size_t& operator[](Block block) {
        return block == Block::Embeddings ? embeddings : block == Block::Layer ? layer : head;
    }
};

// A block's elements are a multiple of this, so that its slices for any number of lanes are of one size and begin on 32
// bytes of float: one all-gather brings a block's weights to all.
constexpr size_t BLOCK_MULTIPLE = 8 * MAX_LANES;

// Elements of one block, with what is behind its last tensor.
PerBlock block_sizes(const TensorTable& table) {
    PerBlock sizes;
    for (const TensorSpec& t : table)
        if (t.present) sizes[t.block] += t.copy_size();
    for (size_t* size : {&sizes.embeddings, &sizes.layer, &sizes.head})
        *size = (*size + BLOCK_MULTIPLE - 1) / BLOCK_MULTIPLE * BLOCK_MULTIPLE;
    return sizes;
}

}  // namespace

TensorTable tensor_table(const GptConfig& c) {
    TensorTable table = tensor_rows(c);
    const HfTensors hf = hf_tensors(c);
    const PerBlock sizes = block_sizes(table);
    PerBlock at{0, sizes.embeddings, sizes.embeddings + static_cast<size_t>(c.L) * sizes.layer};
    for (TensorSpec& t : table) {
        if (!t.present) continue;
        t.copies = t.block == Block::Layer ? c.L : 1;
        t.stride = t.block == Block::Layer ? sizes.layer : 0;
        t.first = at[t.block];
        at[t.block] += t.copy_size();
        const auto found = hf.find(t.name);
        if (found != hf.end()) t.hf = found->second;
    }
    return table;
}

std::vector<ElementRange> parameter_blocks(const GptConfig& c) {
    const PerBlock sizes = block_sizes(tensor_rows(c));
    std::vector<ElementRange> blocks = {{0, sizes.embeddings}};
    const auto append = [&](size_t size) { blocks.push_back({blocks.back().end, blocks.back().end + size}); };
    for (int l = 0; l < c.L; ++l) append(sizes.layer);
    append(sizes.head);
    return blocks;
}

std::vector<ElementRange> block_slices(const ElementRange& block, int lanes) {
    ENSURE(lanes > 0, "a block in %d slices", lanes);
    constexpr size_t MULTIPLE = 8;
    const size_t even = (block.size() + static_cast<size_t>(lanes) - 1) / static_cast<size_t>(lanes),
                 size = (even + MULTIPLE - 1) / MULTIPLE * MULTIPLE;
    std::vector<ElementRange> slices;
    for (size_t begin = block.begin; slices.size() < static_cast<size_t>(lanes); begin = slices.back().end)
        slices.push_back({begin, std::min(begin + size, block.end)});
    return slices;
}

Parts block_parts(const ElementRange& block, int lanes, int processes) {
    ENSURE(processes > 0 && lanes % processes == 0, "%d lanes for %d processes", lanes, processes);
    const std::vector<ElementRange> slices = block_slices(block, lanes);
    Parts parts{{0}};
    for (int p = 1; p <= processes; ++p)
        parts.bounds.push_back(slices[static_cast<size_t>(p * (lanes / processes)) - 1].end - block.begin);
    return parts;
}

Parts range_parts(const ElementRange& range, const ElementRange& block, const Parts& parts) {
    ENSURE(range.begin >= block.begin && range.end <= block.end && parts.total() == block.size(),
           "%d to %d is not in the block of %d to %d", range.begin, range.end, block.begin, block.end);
    Parts result;
    for (const size_t bound : parts.bounds)
        result.bounds.push_back(std::clamp(block.begin + bound, range.begin, range.end) - range.begin);
    return result;
}

size_t parameter_elements(const GptConfig& c) { return parameter_blocks(c).back().end; }

std::vector<AdamwGroup> adamw_groups(const GptConfig& c, const ElementRange& range, float weight_decay) {
    std::vector<AdamwGroup> groups;
    for (const TensorSpec& t : tensor_table(c))
        for (int l = 0; l < t.copies; ++l) {
            const size_t begin = std::max(t.offset(l), range.begin),
                         end = std::min(t.offset(l) + t.copy_size(), range.end);
            if (begin < end) groups.push_back({begin, end, t.matrix ? weight_decay : 0.0f});
        }
    std::sort(groups.begin(), groups.end(), [](const AdamwGroup& a, const AdamwGroup& b) { return a.begin < b.begin; });
    return groups;
}
