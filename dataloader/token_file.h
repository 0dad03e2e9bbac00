// token_file.h - one file of token ids, in any of the three formats (dev/formats.md, 1), mapped and never copied.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "util/mapped_file.h"

enum class TokenFormat { Megatron, Llmc, Datatrove };

// What the sidecar PREFIX.json says; absent for foreign files.
struct Sidecar {
    bool present = false;
    std::string kind;  // text, knowledge, questions
    std::string tokenizer_name, tokenizer_sha256, tokenizer_file;  // the file's path, resolved against the sidecar's folder
    int64_t vocab_size = 0, eot_id = -1, documents = 0, tokens = 0, bytes = 0;
};

class TokenFile {
  public:
    // Opens PATH (.bin or .ds) with what lies beside it and checks magic, version, sizes and monotone indices.
    // `eot_id` (sidecar's, or --eot-id) is where an llm.c file's documents end; -1: not known, which dies for that format only.
    // Dies with Exit::Data naming the file, what was expected and what was found.
    explicit TokenFile(const std::string& path, int64_t eot_id = -1);

    const std::string& path() const { return path_; }
    TokenFormat format() const { return format_; }
    const Sidecar& sidecar() const { return sidecar_; }

    uint64_t num_tokens() const { return num_tokens_; }
    uint64_t num_documents() const;
    uint64_t num_sequences() const;  // Megatron: of the index; else the documents
    // Tokens [begin, end) of a document or a sequence, as positions in the file.
    struct Range {
        uint64_t begin, end;
        uint64_t size() const { return end - begin; }
    };
    Range document(uint64_t i) const;
    Range sequence(uint64_t i) const;
    Range document_sequences(uint64_t i) const;  // sequence numbers [begin, end) of a document

    int32_t token(uint64_t position) const;
    // Widens `n` ids from `position` into dst. An id outside [0, vocab) dies with file, document and offset.
    void read(uint64_t position, uint64_t n, int32_t vocab, int32_t* dst) const;

  private:
    std::string path_;
    TokenFormat format_ = TokenFormat::Megatron;
    Sidecar sidecar_;
    uint64_t num_tokens_ = 0;
    MappedFile tokens_, index_;
};
