// source.h - one --source: all its files, cut into what the stream draws. A draw is a piece of a text source (a document, or a slice of at most T-1
// tokens of a longer one) or an entity of a knowledge source (its composed document). Each begins with one EOT, which belongs to it.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/knowledge.h"
#include "dataloader/loader.h"
#include "dataloader/token_file.h"
#include "util/rng.h"

class Source {
  public:
    // Opens the files of the glob. `eot_id` is for foreign shards, -1: not given. Dies with Exit::Data or Exit::Usage.
    Source(const SourceOptions& options, uint64_t data_seed, int T, int64_t eot_id);

    const std::string& name() const { return options_.name; }
    const SourceOptions& options() const { return options_; }
    bool knowledge() const { return !knowledge_.empty(); }
    int64_t eot_id() const { return eot_id_; }
    void set_vocab(int64_t vocab) { vocab_ = static_cast<int32_t>(vocab); }  // before the first read
    std::vector<const Sidecar*> sidecars() const;                            // one a file
    const std::string& path(size_t file) const { return file_of(file).path(); }
    uint64_t hash() const;  // of names, sizes and sidecars: another data set has another one

    // What an epoch holds, after --subsample.
    uint64_t draws() const { return draws_; }
    uint64_t documents() const { return documents_; }
    double mean_length() const {
        return mean_length_;
    }  // tokens of a draw, with EOT: exact for knowledge (expected) and for text of one habit
    uint64_t longest() const { return longest_; }  // no draw is longer
    double epoch_tokens() const { return mean_length_ * static_cast<double>(draws_); }

    // The order of an epoch: index = order(epoch)(i), i < draws().
    Permutation order(uint64_t epoch) const {
        return {draws_, seed_, random_u64(seed_, hash_name("order/" + name()), epoch)};
    }
    // Tokens of a draw, with EOT.
    uint64_t length(uint64_t index, uint64_t epoch) const;
    // Writes the draw's length(...) tokens to dst. values: (slots) places in dst for a knowledge source, where not null.
    void read(uint64_t index, uint64_t epoch, int32_t* dst, std::vector<ValueSpan>* values) const;

    uint64_t entities() const;  // before --subsample; 0: text
    uint32_t slots() const { return knowledge() ? knowledge_[0].slots() : 0; }
    uint64_t entity(uint64_t index) const {
        return kept(index);
    }  // of a draw, counted over all files, before --subsample
    // "web/a.bin document 12, slice 2" or "Ada Brown (entity 7), birth_date:3:0 ..." for --print-order.
    std::string describe(uint64_t index, uint64_t epoch) const;

  private:
    struct Place {
        size_t file;
        uint64_t document;  // within the file
    };
    struct Slice {
        Place place;
        uint64_t number, begin, end;  // of the document's slices; tokens of the file
    };
    void open_text();
    void open_knowledge();
    const TokenFile& file_of(size_t file) const { return knowledge() ? knowledge_[file].tokens() : text_[file]; }
    size_t num_files() const { return first_document_.size() - 1; }
    uint64_t kept(uint64_t i) const { return kept_all_ ? i : keep_(i); }
    Place place(uint64_t document) const;
    TokenFile::Range stripped(const Place& place) const;
    uint64_t slices(const Place& place) const;
    Slice locate(uint64_t piece) const;
    struct Composition {
        const KnowledgeFile* file;
        uint64_t entity;  // within the file
        Sentence sentences[max_slots];
    };
    void arrange(uint64_t index, uint64_t epoch, Composition* composition) const;
    uint64_t with_ends(uint64_t n) const { return n + (n + slice_ - 1) / slice_; }  // an EOT before each slice

    SourceOptions options_;
    uint64_t seed_ = 0, compose_stream_ = 0, slice_ = 0;  // slice_ = T-1
    int64_t eot_id_ = -1;
    int32_t vocab_ = 0;
    std::vector<TokenFile> text_;
    std::vector<KnowledgeFile> knowledge_;
    std::vector<uint64_t> first_document_;  // (files + 1) of the source
    bool kept_all_ = true;
    Permutation keep_;  // document i of the kept ones
    uint64_t documents_ = 0, draws_ = 0, longest_ = 0;
    double mean_length_ = 0;
    std::vector<uint64_t> first_piece_;  // text: of every 64th kept document
};
