// token_file.h - one file of token ids, in any of the three formats (dev/formats.md, 1), mapped and never copied.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "dataloader/sidecar.h"
#include "util/mapped_file.h"

enum class TokenFormat { Megatron, Llmc, Datatrove };

// Whether a path names a shard: it ends in .bin or .ds. What else a --source or --val matches is left out.
bool is_shard(const std::string& path);
// "DIR/NAME.bin" or "DIR/NAME.ds" -> "DIR/NAME". Dies with Exit::Data on another ending.
std::string shard_prefix(const std::string& path);

class TokenFile {
  public:
    // Opens PATH (.bin or .ds) with the files next to it and checks magic, version, sizes and monotone indices.
    // `eot_id` (--eot-id; a sidecar's wins) is where an llm.c file's documents end; -1: not known, which dies with
    // Exit::Usage for that format only. Dies with Exit::Data naming the file, what was expected and what was found.
    explicit TokenFile(const std::string& path, int64_t eot_id = -1);

    const std::string& path() const { return path_; }
    TokenFormat format() const { return format_; }
    const Sidecar& sidecar() const { return sidecar_; }
    int64_t eot_id() const { return eot_id_; }  // the sidecar's, else what was given
    // A checksum of the ids and of the index, of blocks of them where they are large (crc32c_sample).
    uint32_t content() const;
    uint64_t bytes() const { return tokens_.size(); }  // of the file

    uint64_t num_tokens() const { return num_tokens_; }
    uint64_t num_documents() const { return num_documents_; }
    uint64_t num_sequences() const { return num_sequences_; }  // Megatron: of the index; else the documents
    // Tokens [begin, end) of a document or a sequence, as positions in the file. llm.c: without the EOT ids around it.
    struct Range {
        uint64_t begin, end;
        uint64_t size() const { return end - begin; }
    };
    Range document(uint64_t i) const;
    Range sequence(uint64_t i) const;
    Range document_sequences(uint64_t i) const;  // sequence numbers [begin, end) of a document
    uint64_t sequence_size(uint64_t i) const;    // the same as sequence(i).size(), from one array only

    int32_t token(uint64_t position) const;
    // Widens `n` ids from `position` into dst. An id outside [0, vocab) dies with file, document and offset.
    void read(uint64_t position, uint64_t n, int32_t vocab, int32_t* dst) const;

  private:
    void open_megatron(const std::string& index_path);
    void open_llmc();
    void open_datatrove();
    void check_sidecar() const;
    [[noreturn]] void die_wild_id(uint64_t position, int32_t vocab) const;

    // Element i of an array that may be at any byte.
    template <class X>
    static X load(const unsigned char* base, uint64_t i) {
        X x;
        std::memcpy(&x, base + i * sizeof(X), sizeof(X));
        return x;
    }

    std::string path_;
    TokenFormat format_ = TokenFormat::Megatron;
    Sidecar sidecar_;
    int64_t eot_id_ = -1;
    uint64_t num_tokens_ = 0, num_documents_ = 0, num_sequences_ = 0;
    int width_ = 2;  // bytes per id
    MappedFile tokens_, index_;
    const unsigned char* ids_ = nullptr;             // (num_tokens) u16 or i32, in tokens_
    const unsigned char* lengths_ = nullptr;         // Megatron: (sequences) i32, in index_
    const unsigned char* offsets_ = nullptr;         // Megatron: (sequences) i64 bytes; datatrove: (documents) u64 ends
    const unsigned char* first_sequence_ = nullptr;  // Megatron: (documents + 1) i64
    std::vector<Range> found_;                       // llm.c: the documents between EOT ids
};
