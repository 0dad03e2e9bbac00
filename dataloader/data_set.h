// data_set.h - all sources of a run, opened and checked against each other, with the plan of their mixture.
#pragma once
#include <string>
#include <vector>

#include "dataloader/loader.h"
#include "dataloader/mixture.h"
#include "dataloader/source.h"

struct DataSet {
    Plan plan;
    std::vector<Source> sources;
    Mixture mixture;
    std::string manifest;  // JSON object: what the stream depends on, for the state to be compared with
};

// Dies with Exit::Usage for an impossible mixture, with Exit::Data for bad files, tokenizers that differ or a
// vocabulary that is too small.
DataSet open_data_set(const MixtureOptions& options);
