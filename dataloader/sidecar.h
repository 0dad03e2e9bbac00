// sidecar.h - PREFIX.json, which the data scripts write next to every shard (dev/formats.md, 1.4).
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "util/tokenizer_id.h"  // defines: TokenizerId

// Which facts a knowledge source states: checksums of its names.txt and values.npy, as sidecars write them; "": not
// known.
struct FactsId {
    std::string names, values;
};

// False where a checksum that both have differs.
inline bool may_be_same(const FactsId& a, const FactsId& b) {
    const auto differ = [](const std::string& x, const std::string& y) { return !x.empty() && !y.empty() && x != y; };
    return !differ(a.names, b.names) && !differ(a.values, b.values);
}

struct Sidecar {
    bool present = false;  // foreign shards have none
    std::string kind;      // text, knowledge, questions
    std::string tokenizer_name;
    FactsId facts;          // of a knowledge source
    TokenizerId tokenizer;  // its file resolved against the sidecar's folder
    int64_t vocab_size = 0, eot_id = -1, documents = 0, tokens = 0, bytes = 0;
    std::vector<std::pair<std::string, std::string>> checksums;  // by file name: "sha256:" and 64 hex digits
    uint64_t hash = 0;  // of the file's text: what checkpoints of older versions know it by
};

// Not present where there is no such file. Dies with Exit::Data on a malformed one.
Sidecar read_sidecar(const std::string& prefix);
