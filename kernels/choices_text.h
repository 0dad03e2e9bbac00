// choices_text.h - what choices.h has chosen as text, for checkpoints and the cache file:
//   ["gpu NVIDIA H200", "library cublaslt 130001", "attention_forward bf16 B=32 T=2048 NH=8 HS=64 rows128",
//    "forward bf16 1536 65536 512 <algorithm>", ...]
// No CUDA or cuBLAS in here; what is chosen and why, choices.h says.
#pragma once
#include <map>
#include <string>

namespace gpu {

struct ChoicesText {
    std::string device, library;             // of plain_name's characters; both empty: choices of no machine
    std::map<std::string, std::string> way;  // by key, both as below
};

// A key is an operation, a storage type and one or more sizes of 1 or more, with names or without, between single
// blanks: "forward bf16 1536 65536 512", "attention_forward fp32 B=32 T=2048". A way is one word of letters, digits and
// '_'. Operations and ways that this program does not know are well-formed: another version's.
bool is_choice_key(const std::string& text);
bool is_choice_way(const std::string& text);

std::string to_json(const ChoicesText& choices);
// "", or what is wrong with text that to_json did not write; it may be laid out as any JSON is.
std::string parse(const std::string& json, ChoicesText* choices);

// Letters, digits and a few signs, so that a name needs no escapes in JSON or, with '-' for every other character, in a
// file name.
std::string plain_name(const std::string& name, char other);

}  // namespace gpu
