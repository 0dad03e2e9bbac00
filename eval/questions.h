// questions.h - a question set (dev/formats.md, 3): prompts with known answers, opened, checked in full, and sampled.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/token_file.h"  // defines: TokenFile, Sidecar
#include "util/npy.h"               // defines: NpyArray

// One row of PREFIX.q.npy. The first six index the lists of QuestionNames (`entity`: of the source).
struct Question {
    uint32_t relation, attribute, wording, kind, entity, group, first_candidate, first_alias;
};

// PREFIX.questions.json.
struct QuestionNames {
    std::string name, source;
    int64_t questions = 0, entities = 0;
    std::vector<std::string> relations, attributes, templates, groups;
    std::vector<std::string> kinds;  // of "seen", "heldout", "question"
    std::vector<int64_t> pools;      // by attribute: how many values its answers are drawn from; 0: not known
};

// Dies with Exit::Data, naming `file` and the key, on anything else than what dev/formats.md says. (The fuzz target's
// door.)
QuestionNames parse_question_names(const std::string& file, const std::string& text);

class QuestionSet {
  public:
    // Opens PREFIX, PREFIX.bin or PREFIX.questions.json and checks every question: columns within their lists, an
    // answer that is not empty and holds no EOT, ids below `vocab`, prompt + answer of at most `max_T` tokens. Dies
    // with Exit::Data, naming the file and the question's number.
    QuestionSet(const std::string& path, int vocab, int max_T);

    const std::string& prefix() const { return prefix_; }
    const QuestionNames& names() const { return names_; }
    const Sidecar& sidecar() const { return file_.sidecar(); }
    int eot_id() const { return static_cast<int>(file_.sidecar().eot_id); }
    int longest() const { return longest_; }  // prompt + answer, in tokens
    uint32_t size() const { return static_cast<uint32_t>(names_.questions); }

    Question question(uint32_t i) const;
    struct Length {
        int prompt, answer;
        int both() const { return prompt + answer; }
    };
    Length length(uint32_t i) const;
    // The length(i).both() ids of prompt and answer, one after the other.
    void read(uint32_t i, int* tokens) const;

    // Entities that an attribute's questions of kind "seen" ask about: N of the learned bits.
    int64_t people(uint32_t attribute) const { return people_[attribute]; }
    // Accuracy of always giving the most frequent answer of this attribute and kind.
    double majority(uint32_t attribute, uint32_t kind) const {
        return majority_[attribute * names_.kinds.size() + kind];
    }

    // Numbers of `n` questions, ascending (n = 0 or n >= size(): all of them). Every stratum (attribute x kind x group)
    // gives its share of n rounded down or up, by largest remainder; which of its questions, and whose remainder wins a
    // tie, follows from the seed.
    std::vector<uint32_t> choose(uint64_t n, uint64_t seed) const;

  private:
    void check_question(uint32_t i, std::vector<int>* tokens) const;
    void count_answers();

    std::string prefix_;
    QuestionNames names_;
    TokenFile file_;
    NpyArray columns_;
    int vocab_ = 0, max_T_ = 0, longest_ = 0;
    std::vector<int64_t> people_;
    std::vector<double> majority_;
};
