// evaluation_data.h - what a run evaluates on, known by its content: a run that goes on may ask more, never something
// else.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "eval/evaluation.h"

// "val/NAME" and "questions/NAME" with a checksum: of the validation rows; of a set's shard, columns and texts.
std::vector<std::pair<std::string, std::string>> evaluation_identities(const EvaluationPlan& plan);

// Compares with those among the members of a checkpoint's facts, a JSON object. Dies with Exit::Data when one is
// another now, with Exit::Usage when one is not evaluated any more. False: the checkpoint is of an older version and
// has none.
bool check_evaluation_data(const std::string& facts_json,
                           const std::vector<std::pair<std::string, std::string>>& identities);
