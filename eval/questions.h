// questions.h - a question set (dev/formats.md, 3): prompts with known answers, opened, checked in full, and sampled.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/token_file.h"  // defines: TokenFile, Sidecar
#include "eval/question_names.h"    // defines: QuestionNames
#include "util/npy.h"               // defines: NpyArray

// One row of PREFIX.q.npy. The first six index the lists of QuestionNames (`entity`: of the source).
struct Question {
    uint32_t relation, attribute, template_index, kind, entity, group, first_candidate, first_alias;
};

constexpr uint32_t UNKNOWN_POPULARITY = UINT32_MAX;

// PREFIX of PREFIX, PREFIX.bin or PREFIX.questions.json.
std::string question_set_prefix(const std::string& path);

class QuestionSet {
  public:
    // Opens PREFIX, PREFIX.bin or PREFIX.questions.json and checks every question: columns within their lists; answer,
    // candidates and aliases that are not empty, hold no EOT and differ from one another; ids below `vocab`; prompt and
    // each of them together at most `max_T` tokens. Dies with Exit::Data, naming the file and the question's number.
    QuestionSet(const std::string& path, int vocab, int max_T);

    const std::string& prefix() const { return prefix_; }
    const QuestionNames& names() const { return names_; }
    // The facts asked about: what questions.json says, else the sidecar of the source where it is next to the set.
    const FactsId& facts() const { return facts_; }
    const Sidecar& sidecar() const { return file_.sidecar(); }
    int eot_id() const { return static_cast<int>(file_.sidecar().eot_id); }
    int longest() const { return longest_; }                 // prompt + answer, candidate or alias, in tokens
    bool has_candidates() const { return has_candidates_; }  // any question has
    uint32_t size() const { return static_cast<uint32_t>(names_.questions); }

    Question question(uint32_t i) const;
    // Texts of a question: 0 is the answer, then come its candidates, then its aliases.
    struct Texts {
        uint32_t candidates, aliases;
        uint32_t all() const { return 1 + candidates + aliases; }
    };
    Texts texts(uint32_t i) const;
    struct Length {
        int prompt, answer;  // answer: of this text
        int both() const { return prompt + answer; }
    };
    Length length(uint32_t i, uint32_t text = 0) const;
    // The length(i, text).both() ids: the prompt's, then the text's.
    void read(uint32_t i, int* tokens, uint32_t text = 0) const;

    // Entities that an attribute's questions of kind "seen" ask about: N of the learned bits.
    int64_t seen_entities(uint32_t attribute) const { return seen_entities_[attribute]; }
    // Entities of a group that questions ask about.
    int64_t group_entities(uint32_t group) const { return group_entities_[group]; }
    // Of the question's subject, where the set has the column.
    bool has_popularity() const { return popularity_.rows() > 0; }
    uint32_t popularity(uint32_t i) const { return static_cast<const uint32_t*>(popularity_.data())[i]; }

    // Numbers of `n` questions, ascending (n = 0 or n >= size(): all of them). Every stratum (attribute x kind x group)
    // gives its share of n rounded down or up, by largest remainder; which of its questions, and whose remainder wins a
    // tie, follows from the seed.
    std::vector<uint32_t> choose(uint64_t n, uint64_t seed) const;

  private:
    void check_columns(uint32_t i) const;
    void check_texts(uint32_t i) const;
    void open_popularity();
    void count_entities();

    std::string prefix_;
    QuestionNames names_;
    FactsId facts_;
    TokenFile file_;
    NpyArray columns_, popularity_;
    int vocab_ = 0, max_T_ = 0, longest_ = 0;
    bool has_candidates_ = false;
    std::vector<int64_t> seen_entities_, group_entities_;
};
