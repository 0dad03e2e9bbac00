// Tensors <-> model.safetensors (Hugging Face names and layouts) and optimizer.safetensors (ours).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "model/checkpoint.h"
#include "model/tensors.h"
#include "util/check.h"
#include "util/files.h"
#include "util/json.h"
#include "util/safetensors.h"
#include "util/tokenizer.h"

using nlohmann::json;

namespace {

// One tensor of a Hugging Face file, and where its values are in our memory. Its outputs are the rows of a matrix, the
// elements of a vector; the padding rows of the vocabulary are not among them.
struct StoredTensor {
    std::string name;
    Layout layout;
    bool matrix;
    size_t offset;        // in our memory, in elements
    int outputs, inputs;  // inputs of a vector: 1

    size_t elements() const { return static_cast<size_t>(outputs) * static_cast<size_t>(inputs); }
    std::vector<int64_t> shape() const {
        if (!matrix) return {outputs};
        if (layout == Layout::Transposed) return {inputs, outputs};
        return {outputs, inputs};
    }
};

std::vector<StoredTensor> stored_tensors(const GptConfig& c, const TensorTable& table) {
    std::vector<StoredTensor> list;
    for (const TensorSpec& spec : table) {
        ENSURE(!spec.present || !spec.hf.empty(), "%s: the family's files have no name for it", spec.name);
        const int outputs = spec.matrix ? spec.stored_rows(c) : spec.cols, inputs = spec.matrix ? spec.cols : 1;
        for (int l = 0; l < spec.copies; ++l) {
            int done = 0;
            for (const HfTensor& hf : spec.hf) {
                std::string name = hf.name;
                const size_t place = name.find("%d");
                if (place != std::string::npos) name.replace(place, 2, std::to_string(l));
                const size_t offset = spec.offset(l) + static_cast<size_t>(done) * static_cast<size_t>(inputs);
                const int own = hf.outputs ? hf.outputs : outputs - done;
                list.push_back({name, hf.layout, spec.matrix, offset, own, inputs});
                done += own;
            }
            ENSURE(done == outputs, "%s: its tensors in files hold %d outputs of %d", spec.name, done, outputs);
        }
    }
    return list;
}

// Calls move(ours, theirs, n) for runs of n elements that are contiguous in both layouts.
template <class Move>
void for_each_run(const StoredTensor& t, const GptConfig& c, Move move) {
    const size_t outputs = static_cast<size_t>(t.outputs), inputs = static_cast<size_t>(t.inputs);
    if (t.layout == Layout::Plain) {
        move(0, 0, outputs * inputs);
    } else if (t.layout == Layout::Transposed) {
        constexpr size_t TILE = 32;  // both sides of a tile stay in the cache
        for (size_t o0 = 0; o0 < outputs; o0 += TILE)
            for (size_t i0 = 0; i0 < inputs; i0 += TILE)
                for (size_t o = o0; o < std::min(o0 + TILE, outputs); ++o)
                    for (size_t i = i0; i < std::min(i0 + TILE, inputs); ++i) move(o * inputs + i, i * outputs + o, 1);
    } else {
        const size_t NH = static_cast<size_t>(c.NH), run = static_cast<size_t>(c.HS) * inputs;
        for (size_t head = 0; head < NH; ++head)
            for (size_t part = 0; part < 3; ++part) move((part * NH + head) * run, (head * 3 + part) * run, run);
    }
}

float half_to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16, mantissa = half & 0x3FF;
    uint32_t exponent = (half >> 10) & 0x1F, bits;
    if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24, exact in float
        const float value = static_cast<float>(mantissa) * 0x1p-24f;
        memcpy(&bits, &value, 4);
        bits |= sign;
    } else {
        exponent = exponent == 31 ? 255 : exponent + 112;
        bits = sign | exponent << 23 | mantissa << 13;
    }
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

void to_float(float* out, const unsigned char* data, const std::string& dtype, size_t n) {
    if (dtype == "F32") {
        memcpy(out, data, n * sizeof(float));
        return;
    }
    const bool bf16 = dtype == "BF16";
    for (size_t i = 0; i < n; ++i) {
        uint16_t half;
        memcpy(&half, data + 2 * i, 2);
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        if (!bf16) out[i] = half_to_float(half);
        if (bf16) memcpy(out + i, &bits, 4);
    }
}

// One weight that is no number makes every score of the model one, and none of them would say why.
void check_finite(const std::string& file, const std::string& name, const float* values, size_t n) {
    for (size_t i = 0; i < n; ++i)
        if (!std::isfinite(values[i]))
            die(Exit::Data, "%s: tensor '%s' holds %g at element %d, expected finite numbers: a model that diverged?",
                file, name, values[i], i);
}

// All tensors of a directory, from one file or several.
struct ModelFiles {
    std::vector<std::unique_ptr<SafeTensorsFile>> files;
    std::map<std::string, SafeTensor> tensors;
    std::string name;  // of the file or index, for messages

    void add(const std::string& directory, const std::string& file, bool verify) {
        if (verify) checkpoint_verify_file(directory, file);
        files.push_back(std::make_unique<SafeTensorsFile>(path_join(directory, file)));
        for (const auto& [key, tensor] : files.back()->tensors())
            if (!tensors.emplace(key, tensor).second)
                die(Exit::Data, "%s: tensor '%s' is in two files", name.c_str(), key.c_str());
    }
};

// verify: all of their bytes against COMPLETE, where there is one.
ModelFiles open_model_files(const std::string& directory, bool verify) {
    const char* where = directory.c_str();
    ModelFiles model;
    model.name = path_join(directory, "model.safetensors");
    if (file_exists(model.name)) {
        model.add(directory, "model.safetensors", verify);
        return model;
    }
    const std::string index = path_join(directory, "model.safetensors.index.json");
    if (!file_exists(index)) {
        const bool pickled = file_exists(path_join(directory, "pytorch_model.bin")) ||
                             file_exists(path_join(directory, "pytorch_model.bin.index.json"));
        if (pickled)
            die(Exit::Data,
                "%s: holds only pytorch_model.bin, which is a program, not data, and is not read; convert it: "
                "python3 -c \"from transformers import AutoModelForCausalLM as A; "
                "A.from_pretrained('%s').save_pretrained('%s', "
                "safe_serialization=True)\"",
                where, where, where);
        die(Exit::Data, "%s: no model.safetensors and no model.safetensors.index.json", where);
    }
    model.name = index;
    const json root = parse_json(index, read_file(index));
    if (!root.is_object() || !root.contains("weight_map") || !root["weight_map"].is_object())
        die(Exit::Data, "%s: no weight_map", index.c_str());
    std::set<std::string> shards;
    for (const auto& item : root["weight_map"].items()) {
        if (!item.value().is_string()) die(Exit::Data, "%s: weight_map is not an object of strings", index.c_str());
        const std::string shard = item.value();
        if (shard.empty() || shard.find('/') != std::string::npos)
            die(Exit::Data, "%s: '%s' is not the name of a file next to it", index.c_str(), shard.c_str());
        shards.insert(shard);
    }
    for (const std::string& shard : shards) model.add(directory, shard, verify);
    return model;
}

// Buffers that old versions of transformers saved with the weights.
bool is_buffer(const std::string& name) {
    for (const char* ending :
         {"attn.bias", "attn.masked_bias", "attention.bias", "attention.masked_bias", "rotary_emb.inv_freq"}) {
        const std::string end = ending;
        const bool ends = name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
        if (ends && (name.size() == end.size() || name[name.size() - end.size() - 1] == '.')) return true;
    }
    return false;
}

// The tensor under its full name or, as in the published gpt2 files, without the family's prefix: what all names but
// the head's begin with, the embedding's among them.
std::map<std::string, SafeTensor>::const_iterator find_tensor(const ModelFiles& model, const std::string& name,
                                                              const std::string& embedding, const std::string& head) {
    const auto found = model.tensors.find(name);
    // newer versions of transformers name the head of every family so
    if (found == model.tensors.end() && name == head) return model.tensors.find("lm_head.weight");
    const size_t prefix = embedding.find('.') + 1;
    if (found != model.tensors.end() || name.compare(0, prefix, embedding, 0, prefix) != 0) return found;
    return model.tensors.find(name.substr(prefix));
}

// What a model's files hold, checked against the configuration by their headers.
struct FoundTensors {
    std::vector<std::pair<StoredTensor, const SafeTensor*>> tensors;
    std::vector<std::string> head_copies;  // a tied model's files may have the head a second time, by these names
};

FoundTensors find_tensors(const ModelFiles& model, const GptConfig& c, const TensorTable& table) {
    const HfTensors names = hf_tensors(c);
    const std::string embedding = names.at("wte")[0].name, head = names.at("lmheadw")[0].name;
    FoundTensors all;
    std::set<std::string> used;
    for (const StoredTensor& t : stored_tensors(c, table)) {
        const auto found = find_tensor(model, t.name, embedding, head);
        if (found == model.tensors.end())
            die(Exit::Data, "%s: tensor '%s' of shape %s is missing", model.name, t.name, shape_text(t.shape()));
        const SafeTensor& tensor = found->second;
        if (tensor.shape != t.shape())
            die(Exit::Data, "%s: tensor '%s' has shape %s, config.json asks for %s", model.name, t.name,
                shape_text(tensor.shape), shape_text(t.shape()));
        if (tensor.dtype != "F32" && tensor.dtype != "BF16" && tensor.dtype != "F16")
            die(Exit::Data, "%s: tensor '%s' is %s, expected F32, BF16 or F16", model.name, t.name, tensor.dtype);
        used.insert(found->first);
        all.tensors.emplace_back(t, &tensor);
    }
    for (const auto& item : model.tensors) {
        const std::string& name = item.first;
        if (used.count(name) || is_buffer(name)) continue;
        if (!c.tied || (name != head && name != "lm_head.weight"))
            die(Exit::Data, "%s: tensor '%s' does not belong to this model", model.name, name);
        all.head_copies.push_back(name);
    }
    return all;
}

// That they are the embedding: which of the two would be meant?
void check_head_copies(const ModelFiles& model, const FoundTensors& found) {
    const SafeTensor& embedding = *found.tensors[0].second;  // the table's first row
    for (const std::string& name : found.head_copies) {
        const SafeTensor& copy = model.tensors.at(name);
        if (copy.dtype != embedding.dtype || copy.shape != embedding.shape ||
            memcmp(copy.data, embedding.data, copy.bytes) != 0)
            die(Exit::Data, "%s: '%s' differs from the token embedding, but config.json says tie_word_embeddings: true",
                model.name, name);
    }
}

// A row of the table in optimizer.safetensors.
std::vector<int64_t> moment_shape(const TensorSpec& spec, const GptConfig& c) {
    return {spec.copies, spec.stored_rows(c), spec.cols};
}

std::string moment_name(OptimizerArray array, const TensorSpec& spec) {
    const char* const prefix = array == OptimizerArray::M ? "m." : array == OptimizerArray::V ? "v." : "master.";
    return std::string(prefix) + spec.name;
}

std::vector<OptimizerArray> optimizer_arrays(bool masters) {
    std::vector<OptimizerArray> arrays = {OptimizerArray::M, OptimizerArray::V};
    if (masters) arrays.push_back(OptimizerArray::Master);
    return arrays;
}

// Those of one row: copy by copy, without the padding, which is at a copy's end.
void append_pieces(std::vector<OptimizerPiece>* pieces, OptimizerArray array, const TensorSpec& spec,
                   const GptConfig& c) {
    const size_t size = static_cast<size_t>(spec.stored_rows(c)) * static_cast<size_t>(spec.cols),
                 first_block = spec.block == Block::Embeddings ? 0
                               : spec.block == Block::Layer    ? 1
                                                               : static_cast<size_t>(c.L) + 1;
    for (int l = 0; l < spec.copies; ++l)
        for (size_t at = 0; at < size; at += OPTIMIZER_PIECE) {
            const size_t begin = spec.offset(l) + at, end = spec.offset(l) + std::min(at + OPTIMIZER_PIECE, size);
            pieces->push_back({array, first_block + static_cast<size_t>(l), {begin, end}});
        }
}

// tokenizer.json and, where they are next to it, the small files that transformers reads with it.
void copy_tokenizer(const std::string& directory, const GptConfig& c, const std::string& tokenizer_file) {
    copy_file(tokenizer_file, path_join(directory, "tokenizer.json"));
    bool settings = false;
    for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"}) {
        const std::string companion = path_join(folder_of(tokenizer_file), name);
        if (!file_exists(companion)) continue;
        copy_file(companion, path_join(directory, name));
        if (std::string(name) == "tokenizer_config.json") settings = true;
    }
    if (settings) return;
    nlohmann::ordered_json out = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", c.max_T}};
    if (Tokenizer::if_readable(tokenizer_file).eot_id() >= 0)
        for (const char* role : {"bos_token", "eos_token", "unk_token"}) out[role] = "<|endoftext|>";
    write_file(path_join(directory, "tokenizer_config.json"), out.dump(2) + "\n");
}

}  // namespace

void check_model_files(const std::string& directory, const GptConfig& c) {
    const ModelFiles model = open_model_files(directory, false);
    check_head_copies(model, find_tensors(model, c, tensor_table(c)));
}

void read_model_weights(const std::string& directory, const GptConfig& c, const TensorTable& table, float* params) {
    const ModelFiles model = open_model_files(directory, true);
    const FoundTensors found = find_tensors(model, c, table);
    check_head_copies(model, found);
    std::fill_n(params, parameter_elements(c), 0.0f);
    std::vector<float> buffer;
    for (const auto& [t, tensor] : found.tensors) {
        float* const ours = params + t.offset;
        const bool plain = t.layout == Layout::Plain;
        if (!plain) buffer.resize(t.elements());
        float* const theirs = plain ? ours : buffer.data();
        to_float(theirs, tensor->data, tensor->dtype, t.elements());
        check_finite(model.name, t.name, theirs, t.elements());
        if (plain) continue;
        for_each_run(t, c, [&](size_t to, size_t from, size_t n) { std::copy_n(buffer.data() + from, n, ours + to); });
    }
}

void read_model_weights(const std::string& directory, const GptConfig& c, float* params) {
    read_model_weights(directory, c, tensor_table(c), params);
}

void write_model_weights(const std::string& directory, const GptConfig& c, const TensorTable& table,
                         HostWeights weights) {
    const size_t bytes = weights.bf16 ? 2 : 4;  // of an element
    std::vector<SafeTensorSpec> tensors;
    for (const StoredTensor& t : stored_tensors(c, table)) {
        const auto* const ours = static_cast<const unsigned char*>(weights.data) + t.offset * bytes;
        SafeTensorSpec spec{t.name, weights.bf16 ? "BF16" : "F32", t.shape(), t.elements() * bytes, nullptr, nullptr};
        if (t.layout == Layout::Plain) {
            spec.data = ours;
        } else {
            spec.fill = [t, ours, bytes, &c](unsigned char* theirs) {
                for_each_run(t, c, [&](size_t from, size_t to, size_t n) {
                    memcpy(theirs + to * bytes, ours + from * bytes, n * bytes);
                });
            };
        }
        tensors.push_back(spec);
    }
    write_safetensors(path_join(directory, "model.safetensors"), tensors);
}

void write_model(const std::string& directory, const GptConfig& c, HostWeights weights,
                 const std::string& tokenizer_file) {
    write_model_weights(directory, c, tensor_table(c), weights);
    write_file(path_join(directory, "config.json"), model_config_json(c, weights.bf16));
    const json eot = c.eot_id >= 0 ? json(c.eot_id) : json();
    const nlohmann::ordered_json generation = {{"bos_token_id", eot}, {"eos_token_id", eot}};
    write_file(path_join(directory, "generation_config.json"), generation.dump(2) + "\n");
    if (!tokenizer_file.empty()) copy_tokenizer(directory, c, tokenizer_file);
}

std::vector<OptimizerPiece> optimizer_pieces(const GptConfig& c, bool masters) {
    std::vector<OptimizerPiece> pieces;
    for (const OptimizerArray array : optimizer_arrays(masters))
        for (const TensorSpec& spec : tensor_table(c))
            if (spec.present) append_pieces(&pieces, array, spec, c);
    return pieces;
}

void write_optimizer(const std::string& directory, const GptConfig& c, bool masters, const FetchPiece& fetch) {
    std::vector<SafeTensorSpec> tensors;
    for (const OptimizerArray array : optimizer_arrays(masters))
        for (const TensorSpec& spec : tensor_table(c)) {
            if (!spec.present) continue;
            SafeTensorSpec tensor{moment_name(array, spec), "F32", moment_shape(spec, c), 0, nullptr, nullptr};
            std::vector<OptimizerPiece> pieces;
            append_pieces(&pieces, array, spec, c);
            for (const OptimizerPiece& piece : pieces) tensor.bytes += piece.range.size() * sizeof(float);
            tensor.write = [pieces, &fetch](const SafeTensorSpec::WriteBytes& write) {
                for (const OptimizerPiece& piece : pieces) write(fetch(piece), piece.range.size() * sizeof(float));
            };
            tensors.push_back(tensor);
        }
    write_safetensors(path_join(directory, "optimizer.safetensors"), tensors);
}

bool read_optimizer(const std::string& directory, const GptConfig& c, const TakePiece& take) {
    checkpoint_verify_file(directory, "optimizer.safetensors");
    const SafeTensorsFile file(path_join(directory, "optimizer.safetensors"));
    const TensorTable table = tensor_table(c);
    const bool masters = file.tensors().count(moment_name(OptimizerArray::Master, table[0])) > 0;
    size_t expected = 0;
    for (const OptimizerArray array : optimizer_arrays(masters))
        for (const TensorSpec& spec : table) {
            if (!spec.present) continue;
            ++expected;
            const std::string name = moment_name(array, spec);
            const std::vector<int64_t> shape = moment_shape(spec, c);
            const auto found = file.tensors().find(name);
            if (found == file.tensors().end() || found->second.dtype != "F32" || found->second.shape != shape)
                die(Exit::Data, "%s: no F32 tensor '%s' of shape %s; is it another model's?", file.path().c_str(),
                    name.c_str(), shape_text(shape).c_str());
        }
    if (file.tensors().size() != expected)
        die(Exit::Data, "%s: %zu tensors, expected %zu; is it another model's?", file.path().c_str(),
            file.tensors().size(), expected);
    std::vector<OptimizerPiece> pieces;
    for (const OptimizerArray array : optimizer_arrays(masters))
        for (const TensorSpec& spec : table) {
            if (!spec.present) continue;
            pieces.clear();
            append_pieces(&pieces, array, spec, c);
            const unsigned char* data = file.tensors().at(moment_name(array, spec)).data;
            for (const OptimizerPiece& piece : pieces) {
                take(piece, data);
                data += piece.range.size() * sizeof(float);
            }
        }
    return masters;
}
