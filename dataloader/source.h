// source.h - one --source: all its files, cut into what the stream draws. A draw is a piece of a text source (a
// document, or a slice of at most T-1 tokens of a longer one) or an entity of a knowledge source (its composed
// document). Each begins with one EOT, which belongs to it.
//
// Group weights of facts.json decide how often entities are drawn, with two exceptions: --exposures, which is a promise
// for every entity, and weights that are the same for every entity (proportional to the groups' sizes before
// --subsample). Then there is one group of everything; with --exposures NAME=random:LO:HI, one of each dose.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/fair_order.h"
#include "dataloader/knowledge.h"
#include "dataloader/ledger.h"  // defines: LedgerShard
#include "dataloader/plan.h"    // defines: SourceOptions
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
    // What each file is known by: the same content in another folder is the same.
    struct FileIdentity {
        std::string path;
        uint64_t tokens, documents;
        uint32_t content;       // TokenFile::content or KnowledgeFile::content
        std::string checksums;  // of the sidecar; "": it has none
    };
    std::vector<FileIdentity> identities() const;
    uint64_t hash() const;  // of names, sizes and sidecars: what checkpoints of older versions know the files by
    // Dies with Exit::Data when a file is not what the checksum in its sidecar says. Only while `*budget` bytes last.
    void check_checksums(uint64_t* budget) const;

    // What an epoch holds, after --subsample.
    uint64_t draws() const { return draws_; }
    uint64_t documents() const { return documents_; }
    uint64_t documents_of_files() const { return first_document_.back(); }  // before --subsample
    // Tokens of a draw, with EOT: exact for knowledge (expected, by the groups' shares) and for text of one habit.
    double mean_length() const { return mean_length_; }
    uint64_t longest() const { return longest_; }          // no draw is longer
    double epoch_tokens() const { return epoch_tokens_; }  // of everything once
    const std::vector<std::string>& warnings() const { return warnings_; }

    // What is drawn equally often: the entities of a group, or everything.
    struct Group {
        uint64_t stream;  // of its permutations
        uint64_t size;
        int64_t share;                  // of the draws, in units of the sum over the groups
        std::vector<uint64_t> members;  // indices; empty: all
        int64_t exposures = 0;          // that --exposures promises to each; 0: nothing
    };
    const std::vector<Group>& groups() const { return groups_; }  // one at least, none of them empty or without a share
    int64_t promised() const;                                     // draws that --exposures promises in all; 0 without
    // By entity, counted over all files: its dose, 0 where it is not drawn. Empty without --exposures
    // NAME=random:LO:HI.
    std::vector<uint32_t> doses() const;
    // The entities that --subsample NAME=file:PATH keeps, ascending. Empty where there is no list, and of text.
    std::vector<uint32_t> listed() const { return knowledge() ? options_.kept : std::vector<uint32_t>{}; }
    // Grouped by weight or dose.
    bool weighted() const { return !groups_[0].members.empty(); }
    // The order of an epoch of a group: index = member(group, order(epoch, group)(i)), i < size.
    Permutation order(uint64_t epoch, size_t group = 0) const {
        return {groups_[group].size, seed_, random_u64(seed_, groups_[group].stream, epoch)};
    }
    uint64_t member(size_t group, uint64_t i) const { return weighted() ? groups_[group].members[i] : i; }
    // Tokens of a draw, with EOT.
    uint64_t length(uint64_t index, uint64_t epoch) const;
    // Writes the draw's length(...) tokens to dst. values: where not null, a knowledge source's (slots) places in dst.
    // dst null: the places only, no token is read.
    void read(uint64_t index, uint64_t epoch, int32_t* dst, std::vector<ValueSpan>* values) const;

    uint64_t entities() const;  // before --subsample; 0: text
    uint32_t slots() const { return knowledge() ? knowledge_[0].slots() : 0; }
    std::vector<std::string> slot_names() const {
        return knowledge() ? knowledge_[0].slot_names() : std::vector<std::string>{};
    }
    std::vector<LedgerShard> shards() const;  // of a knowledge source
    // Of a draw, counted over all files, before --subsample.
    uint64_t entity(uint64_t index) const { return kept(index); }
    // Whether a text's draw is a document's first slice.
    bool opens_document(uint64_t index) const { return knowledge() || locate(index).number == 0; }
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
    bool weights_count();
    void open_groups(std::vector<Group> groups, const std::vector<double>& tokens);
    void open_doses(std::vector<Group> groups, const std::vector<double>& tokens);
    const TokenFile& file_of(size_t file) const { return knowledge() ? knowledge_[file].tokens() : text_[file]; }
    size_t num_files() const { return first_document_.size() - 1; }
    uint64_t kept(uint64_t i) const { return kept_all_ ? i : options_.kept.empty() ? keep_(i) : options_.kept[i]; }
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
    double mean_length_ = 0, epoch_tokens_ = 0;
    std::vector<Group> groups_;
    std::vector<std::string> warnings_;
    std::vector<uint64_t> first_piece_;  // text: of every 64th kept document
};
