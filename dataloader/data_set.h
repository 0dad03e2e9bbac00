// data_set.h - all sources of a run, opened and checked against each other, with the plan of their mixture.
#pragma once
#include <string>
#include <vector>

#include "dataloader/mixture.h"
#include "dataloader/plan.h"
#include "dataloader/source.h"

struct DataSet {
    Plan plan;
    std::vector<Source> sources;
    Mixture mixture;
    std::string fingerprint;  // JSON object: what the stream depends on; a saved state has it too (its key "manifest")
};

// Dies with Exit::Usage for an impossible mixture, with Exit::Data for bad files, tokenizers that differ or a
// vocabulary that is too small.
DataSet open_data_set(const MixtureOptions& options);
