// sidecar.h - PREFIX.json, which the data scripts write next to every shard (dev/formats.md, 1.4).
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

struct Sidecar {
    bool present = false;  // foreign shards have none
    std::string kind;      // text, knowledge, questions
    std::string tokenizer_name, tokenizer_sha256;
    std::string tokenizer_file;  // its path, resolved against the sidecar's folder
    int64_t vocab_size = 0, eot_id = -1, documents = 0, tokens = 0, bytes = 0;
    std::vector<std::pair<std::string, std::string>> checksums;  // by file name: "sha256:" and 64 hex digits
    uint64_t hash = 0;  // of the file's text: what checkpoints of older versions know it by
};

// Not present where there is no such file. Dies with Exit::Data on a malformed one.
Sidecar read_sidecar(const std::string& prefix);
