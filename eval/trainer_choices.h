// trainer_choices.h - what the trainer that wrote a checkpoint was run with, for evaluating it alike.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "eval/questions.h"  // defines: QuestionSet

// A knowledge source that was trained on with --subsample.
struct SubsampledSource {
    std::string name, glob;
    double rho;
    std::vector<uint32_t> listed = {};  // those kept, ascending, by NAME=file:PATH; empty: a seeded share, rho
};

// The values here where the checkpoint's directory has no trainer_state.json. Dies with Exit::Data on a broken one.
struct TrainerChoices {
    int64_t seq_len = -1, data_seed = 1;  // -1: not known
    bool document_mask = false;
    std::vector<SubsampledSource> subsampled;
};
TrainerChoices read_trainer_choices(const std::string& directory);

// By entity of the set: whether --subsample kept it. Empty where no subsampled source has the shard that the set asks
// about, which is known by its name.
std::vector<bool> kept_entities(const QuestionSet& set, const std::vector<SubsampledSource>& subsampled,
                                uint64_t data_seed);
