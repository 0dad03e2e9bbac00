// validation.h - held-out text in rows as in training.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "util/tokenizer_id.h"  // defines: TokenizerId

// One --val, and how its rows are cut.
struct ValidationOptions {
    std::string name, glob;
    int64_t tokens = 0;  // the first so many, in file order
    int T = 0;
    bool document_mask = false;
    int64_t eot_id = -1;         // for shards without a sidecar
    int64_t vocab = 0;           // the model's V
    TokenizerId tokenizer = {};  // the model's, for counting bytes where the shards' own is not next to them
};

struct ValidationRows {
    std::string name;
    int rows = 0, T = 0;
    std::vector<int> inputs, targets, positions, segment_start;  // (rows, T), as in Batch
    int64_t bytes = 0;                                           // of the targets' text; 0: unknown, no bits per byte
};

// Dies with Exit::Usage where there is less than one row, with Exit::Data for bad files and a vocabulary that is too
// small.
ValidationRows read_validation(const ValidationOptions& options);

// A warning for each file that is both validated on and trained on: that loss measures memory. Names and globs of --val
// and --source.
std::vector<std::string> overlap_warnings(const std::vector<std::pair<std::string, std::string>>& validation,
                                          const std::vector<std::pair<std::string, std::string>>& sources);
