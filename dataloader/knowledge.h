// knowledge.h - a shard whose documents are entities and whose sequences are their sentences, slot x template x form,
// with its columns (dev/formats.md, 2). A document is composed at every exposure: the slots in random order, a template
// each, the first sentence in form 0, the others in one of the continuing forms. Order and wording are drawn anew each
// time, or come in turn from a fixed number of draws (Allen-Zhu & Li 2023, arXiv 2309.14316: single, multiM, permuteP).
// Either way a rendering is a pure function of (data seed, source, entity, epoch).
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "dataloader/token_file.h"
#include "util/npy.h"

constexpr uint32_t max_slots = 256;  // of an entity

struct Sentence {
    uint32_t slot, template_index, form;
};

// How much of a rendering is fixed: facts.json's `rendering`.
struct Rendering {
    uint64_t wordings = 0;  // draws of templates and forms that an entity has, taken in turn; 0: a new one each time
    uint64_t orders = 0;    // the same for the order of the slots
    bool listed = false;    // the slots in the file's order
    uint64_t wording_of(uint64_t epoch) const { return wordings ? epoch % wordings : epoch; }
    uint64_t order_of(uint64_t epoch) const { return orders ? epoch % orders : epoch; }
};

// Two words of a counter-based generator, and the numbers they give (splitmix64).
struct RandomWords {
    uint64_t a, b;
    uint32_t below(uint32_t n, uint64_t k) const;  // number k, in [0, n)
};

// Where the value of a slot is in a composed document: tokens [begin, end).
struct ValueSpan {
    uint32_t slot, begin, end;
};

class KnowledgeFile {
  public:
    // Whether a shard has a PREFIX.facts.json.
    static bool is_one(const std::string& prefix);
    // Opens the columns and checks them against the index. Dies with Exit::Data.
    explicit KnowledgeFile(TokenFile file);

    const TokenFile& tokens() const { return file_; }
    uint64_t entities() const { return entities_; }
    uint32_t slots() const { return static_cast<uint32_t>(slot_names_.size()); }
    uint32_t templates() const { return templates_; }
    uint32_t forms() const { return forms_; }
    const std::vector<std::string>& slot_names() const { return slot_names_; }
    uint64_t hash() const { return hash_; }          // of facts.json
    uint32_t content() const { return content_; }    // a checksum of shard, facts.json and columns (crc32c_sample)
    uint64_t hash_of_groups() const;                 // of the column
    std::string entity_name(uint64_t entity) const;  // a line of names.txt
    const std::vector<std::string>& group_names() const { return group_names_; }
    const std::vector<double>& group_weights() const { return group_weights_; }  // of the groups; empty: none are given
    uint32_t group(uint64_t entity) const { return static_cast<const uint32_t*>(groups_.data())[entity]; }

    // Sums over the sentences of an entity: expected and largest length of its composed document, without EOT.
    struct Lengths {
        double expected;
        uint64_t longest;
    };
    Lengths lengths(uint64_t entity) const;

    const Rendering& rendering() const { return rendering_; }
    // The rendering that two draws give, one for the order, one for templates and forms. sentences (slots).
    void arrange(const RandomWords& order, const RandomWords& wording, Sentence* sentences) const;
    uint64_t length(uint64_t entity, const Sentence* sentences) const;
    // Writes the document's tokens to dst and the values' places to `values` (slots), each where not null. Returns the
    // length.
    uint64_t compose(uint64_t entity, const Sentence* sentences, int32_t vocab, int32_t* dst, ValueSpan* values) const;

  private:
    uint64_t sequence(uint64_t entity, const Sentence& s) const {
        return ((entity * slots() + s.slot) * templates_ + s.template_index) * forms_ + s.form;
    }
    void read_facts(const std::string& path);
    void read_groups(const std::string& path, const nlohmann::json& facts);
    void read_rendering(const std::string& path, const nlohmann::json& facts);
    void check_groups(const std::string& path) const;
    void check_sentences() const;

    TokenFile file_;
    NpyArray spans_;   // (sequences, 2) u16
    NpyArray groups_;  // (entities) u32
    MappedFile names_;
    uint64_t entities_ = 0, hash_ = 0;
    uint32_t content_ = 0;
    uint32_t templates_ = 0, forms_ = 0;
    Rendering rendering_;
    std::vector<std::string> slot_names_, group_names_;
    std::vector<double> group_weights_;
};
