// checkpoint.h - checkpoints are Hugging Face directories: written so that `transformers` opens them with the same
// logits, read so that published directories of the families (GPT-2, Pythia, Llama, Qwen) can be the start.
// dev/formats.md, 5.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/tensors.h"

// config.json of a directory as a configuration (hf_config.cpp lists the classes). Dies with Exit::Data on what
// we cannot run, naming the key. parse: the same for a text (the fuzz target's entry point); `name` is for messages.
GptConfig read_model_config(const std::string& directory);
GptConfig parse_model_config(const std::string& name, const std::string& text);
std::string model_config_json(const GptConfig& config, bool bf16 = false);

// Weights into `params` (the memory of all parameters, tensors.h; the rows from V to Vp become zero). F32, BF16 and F16
// files, one or several shards (model.safetensors.index.json), with or without the "transformer." or "gpt_neox." before
// the names. Every tensor of the table must be there with its shape; unknown ones are refused but for the attention
// masks and rotary tables that old files carry. Dies with Exit::Data.
void read_model_weights(const std::string& directory, const GptConfig& config, float* params);

// Working weights in host memory, all parameters: floats, or a 16-bit type that holds bf16.
struct HostWeights {
    template <class T>
    HostWeights(const T* weights) : data(weights), bf16(sizeof(T) == 2) {
        static_assert(sizeof(T) == 2 || sizeof(T) == 4);
    }
    const void* data;
    bool bf16;
};

// config.json, generation_config.json, model.safetensors, and the tokenizer's files when `tokenizer_file` is not empty.
void write_model(const std::string& directory, const GptConfig& config, HostWeights weights,
                 const std::string& tokenizer_file);

// Whether a run could start from the directory's weights: tensors, shapes and types, by the headers of its files, are
// those of the configuration, and a tied model's second copy of the head is its embedding. Dies with Exit::Data as
// reading would. Checksums and weights that are no numbers are left to reading.
void check_model_files(const std::string& directory, const GptConfig& config);

// model.safetensors alone, by a table whose rows may have other Hugging Face tensors than the family's.
void read_model_weights(const std::string& directory, const GptConfig& config, const TensorTable& table, float* params);
void write_model_weights(const std::string& directory, const GptConfig& config, const TensorTable& table,
                         HostWeights weights);

// The optimizer's moments and, where the weights are bf16, their float masters. optimizer.safetensors has them by our
// names, the layers of a tensor together, without the padding rows. It is written and read in pieces, so that nobody
// needs to hold them for all parameters.
enum class OptimizerArray { M, V, Master };
struct OptimizerPiece {
    OptimizerArray array;
    size_t block;        // of parameter_blocks
    ElementRange range;  // in that block, of one tensor; at most OPTIMIZER_PIECE elements
};
constexpr size_t OPTIMIZER_PIECE = size_t{1} << 22;  // 16 MiB

// All of them, in the file's order.
std::vector<OptimizerPiece> optimizer_pieces(const GptConfig& config, bool masters);

// fetch: a piece's elements, to be there until the next call. Called once for each, in order.
using FetchPiece = std::function<const float*(const OptimizerPiece&)>;
void write_optimizer(const std::string& directory, const GptConfig& config, bool masters, const FetchPiece& fetch);

// take: a piece's floats as the file has them, not aligned. Returns whether the file has masters. Dies with Exit::Data
// when it is another model's, before the first piece.
using TakePiece = std::function<void(const OptimizerPiece&, const unsigned char*)>;
bool read_optimizer(const std::string& directory, const GptConfig& config, const TakePiece& take);

// trainer_state.json: what the trainer needs to go on. The JSON texts come back as the JSON library prints them (no
// blanks, members in the order written).
struct TrainerState {
    int64_t step = 0, tokens = 0;
    std::string options_json;  // the resolved options, a JSON object
    std::string metrics_json;  // sizes of metrics.jsonl and eval.jsonl at this step and other small facts, an object
    std::string choices_json = "[]";  // which kernels and algorithms were chosen (GPU, kernels/choices.h), an array
};
void write_trainer_state(const std::string& directory, const TrainerState& state);
TrainerState read_trainer_state(const std::string& directory);

// A checkpoint directory counts once its COMPLETE marker is there: the marker lists every file with its size and CRC.
// begin makes checkpoints/step_XXXXXXXX.tmp and returns it; finish writes the marker, syncs and renames, and returns
// the final path (where there is a complete one already, that one is kept: a run is deterministic, it is the same).
// latest: the complete directory with the highest step (not above `at_most`), "" if none. prune removes all but the
// newest `keep` (0: keeps all) and what an interrupted save or prune has left.
std::string checkpoint_begin(const std::string& run_directory, int64_t step);
std::string checkpoint_finish(const std::string& temporary_directory);
std::string checkpoint_latest(const std::string& run_directory, int64_t at_most = INT64_MAX);
void checkpoint_prune(const std::string& run_directory, int keep);

// Dies with Exit::Data when a file of the directory is missing or not what COMPLETE says. A directory without COMPLETE
// (a published model) has nothing to compare; one with trainer_state.json but no COMPLETE is a save that was cut off,
// and refused. The read functions above verify the file they read by themselves.
void checkpoint_verify(const std::string& directory);
void checkpoint_verify_file(const std::string& directory, const std::string& name);
