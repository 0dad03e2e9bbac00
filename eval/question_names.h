// question_names.h - PREFIX.questions.json (dev/formats.md, 3): what the columns of a question set mean.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/sidecar.h"  // defines: FactsId

inline constexpr const char* KINDS[] = {"seen", "heldout", "question"};

struct QuestionNames {
    std::string name, source;
    FactsId facts = {};     // of the source: `source_checksums`
    bool shuffled = false;  // the source states no facts: a control
    int64_t questions = 0, entities = 0;
    std::vector<std::string> relations, attributes, templates, groups;
    std::vector<std::string> kinds;  // some of KINDS
    std::vector<int64_t> pools;      // by attribute: how many values its answers are drawn from; 0: not known
    // by attribute: the most that can be learned of it per entity; log2 of the pool unless the file says less
    std::vector<double> bits;
    std::vector<double> group_weights;  // by group: its share of the source's documents, any scale; empty: not known
};

// Dies with Exit::Data, naming `file` and the key, on anything else than what dev/formats.md says. The fuzz target's
// entry point.
QuestionNames parse_question_names(const std::string& file, const std::string& text);
