// plan.h - what a run is asked to take of which source, and what that comes to.
#pragma once
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "util/tokenizer_id.h"  // defines: TokenizerId

// One --source with all that is said of it.
struct SourceOptions {
    std::string name, glob;
    double ratio = -1;                               // --ratio; -1: not given
    int64_t exposures = -1;                          // --exposures NAME=F
    std::vector<int64_t> doses;                      // --exposures NAME=random:LO:HI, ascending; empty: not given
    std::vector<std::pair<double, double>> windows;  // --window, fractions of the run; empty: 0:1
    double subsample = 1;                            // --subsample NAME=rho
    std::vector<uint32_t> kept;                      // --subsample NAME=file:PATH, ascending; empty: not given
    double max_epochs = 0;                           // --max-epochs; 0: no limit

    bool is_exposed() const { return exposures >= 0 || !doses.empty(); }
};

struct MixtureOptions {
    std::vector<SourceOptions> sources;
    bool append = false;  // --budget append
    uint64_t data_seed = 0;
    int T = 1024;
    int64_t tokens = 0;        // --tokens as given (or steps * batch_tokens)
    int64_t batch_tokens = 0;  // a multiple of T
    int64_t eot_id = -1;       // --eot-id, for foreign shards
    int64_t vocab = 0;         // the model's V; 0: the tokenizer's (the largest sidecar vocab_size)
    std::string tokenizer;     // --tokenizer, for foreign shards and for text on the screen
};

// Entities with one number of exposures.
struct Dose {
    int64_t exposures, entities;
};

struct SourcePlan {
    std::string name;
    bool knowledge = false;
    // What the source holds (entities: after --subsample); source_tokens: its pieces' tokens with EOT.
    int64_t documents = 0, entities = 0, source_tokens = 0;
    double tokens = 0, share = 0, pieces = 0, epochs = 0, exposures = 0;  // what the run takes of it
    double min_exposures = 0, max_exposures = 0;  // of an entity, by its group's weight or dose; `exposures`: the mean
    std::vector<Dose> doses = {};                 // of --exposures NAME=random:LO:HI, ascending
    int64_t listed_of = 0;   // of how many --subsample NAME=file:PATH lists those that are kept; 0: there is no list
    uint64_t list_hash = 0;  // hash_of_list
};

struct Plan {
    int64_t steps = 0, batch_tokens = 0, tokens = 0;  // tokens = steps * batch_tokens
    int64_t vocab = 0, eot_id = -1;
    TokenizerId tokenizer;  // of the shards; its file is there, or ""
    std::vector<SourcePlan> sources;
    std::vector<std::string> warnings;
};

void print_plan(FILE* out, const Plan& plan);  // a table, a line a source
std::string plan_json(const Plan& plan);       // an object with a member a source, for config.json
