// account.h - what a run was to take of each source, and what it took: the mixture's proof, counted from the targets
// and the ledgers, never from the plan.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

class Ledger;
struct DataSet;

// Of the facts of the entities with one dose (--exposures NAME=random:LO:HI).
struct DoseAccount {
    int64_t exposures = 0, entities = 0;  // planned
    double mean = 0;
    int64_t least = 0, most = 0;
};

struct SourceAccount {
    std::string name;
    bool knowledge = false;
    int64_t planned_tokens = 0, tokens = 0;  // targets of this source
    double planned_share = 0, share = 0;
    // Of knowledge, over the facts of the entities that are drawn (--subsample, group weights): exposures of a fact.
    double planned_exposures = 0, planned_least = 0, planned_most = 0;  // of an entity, by its group's weight or dose
    double exposures = 0;
    int64_t least = 0, most = 0, cut = 0;
    int64_t first_step = -1, last_step = -1;  // of any exposure; -1: none
    std::vector<DoseAccount> doses = {};      // ascending; empty: the source has none
};

struct RunAccount {
    int64_t planned_steps = 0, steps = 0, planned_tokens = 0, tokens = 0;
    std::vector<SourceAccount> sources;
};

// After `steps` steps; ledgers and source_tokens (targets so far): by source.
RunAccount take_account(const DataSet& data, const std::vector<Ledger>& ledgers,
                        const std::vector<int64_t>& source_tokens, int64_t steps);

void print_account(FILE* out, const RunAccount& account);
std::string account_json(const RunAccount& account);  // mixture.json
