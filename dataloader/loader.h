// loader.h - what the trainer sees of the data: options in, batches out.
//
// The way of a token:  TokenFile (mapped) -> Source (documents or composed biographies, as pieces) -> Stream (which
// piece comes next: mixture, exposures, windows, epochs) -> Loader (rows of T, on a thread of its own) -> Batch -> the
// trainer, which books the batch's exposures in the Ledger after the step. The order of pieces is a pure function of
// (data seed, manifest, mixture options, T).
#pragma once
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dataloader/ledger.h"

struct RunAccount;  // dataloader/account.h

// One --source with all that is said of it.
struct SourceOptions {
    std::string name, glob;
    double ratio = -1;                               // --ratio; -1: not given
    int64_t exposures = -1;                          // --exposures
    std::vector<std::pair<double, double>> windows;  // --window, fractions of the run; empty: 0:1
    double subsample = 1;                            // --subsample
    double max_epochs = 0;                           // --max-epochs; 0: no limit
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

// One row of --plan.
struct SourcePlan {
    std::string name;
    bool knowledge = false;
    int64_t documents = 0, entities = 0,
            source_tokens = 0;  // what the source holds (entities: after --subsample), pieces' tokens with EOT
    double tokens = 0, share = 0, pieces = 0, epochs = 0, exposures = 0;  // what the run takes of it
    double min_exposures = 0, max_exposures = 0;  // of an entity, by its group's weight; `exposures` is the mean
};

struct Plan {
    int64_t steps = 0, tokens = 0;  // tokens = steps * batch_tokens
    int64_t vocab = 0, eot_id = -1;
    std::string tokenizer_file, tokenizer_sha256;
    std::vector<SourcePlan> sources;
    std::vector<std::string> warnings;
};

// One optimizer step's rows. inputs and targets (rows, T); row i of the run is stream[iT .. iT+T].
struct Batch {
    int64_t step = 0;  // from 0
    std::vector<int> inputs, targets;
    std::vector<int> positions, segment_start;  // (rows, T); with the document mask off: 0..T-1 and empty
    std::vector<uint16_t> source;               // (rows, T): whose token the target is
    std::vector<Exposure> exposures;            // facts whose value ends among these targets
    std::string state;                          // loader_state.json after this batch (JSON text)
};

struct LoaderOptions {
    bool document_mask = false;
    int prefetch = 2;  // batches ahead, made by a thread; 0: no thread. Changes nothing but speed
};

class Loader {
  public:
    // Opens every source, checks it and plans the mixture. Dies with Exit::Usage for an impossible mixture (each refusal of dataloader/README.md), with
    // Exit::Data for bad files.
    Loader(const MixtureOptions& mixture, const LoaderOptions& options);
    ~Loader();

    const Plan& plan() const;
    // The ledgers' shapes, one per knowledge source, in the order of `plan().sources` (text sources: empty).
    std::vector<Ledger> make_ledgers() const;
    // Starts the prefetch thread at the beginning, or after the batch whose `state` this is. Dies with Exit::Usage,
    // naming what differs, when
    // the state was made with other sources or options; with `new_horizon` (--branch) the length of the run may differ,
    // unless a source has --exposures
    // or --window, whose places are those of one length.
    void start(const std::string& state = "", bool new_horizon = false);
    // The next step's batch, valid until the next call. Dies past the last step.
    const Batch& next();

    // Prints the pieces of a step for --print-order: source, document or entity, epoch, form, span in the stream; as
    // text where a tokenizer is known.
    // Starts from `state` where given (a checkpoint before the step), else from the beginning, replaying lengths only.
    void print_order(int64_t step, const std::string& state, FILE* out);

    // Planned beside realised after `steps` steps; source_tokens: targets so far, by source.
    RunAccount account(const std::vector<Ledger>& ledgers, const std::vector<int64_t>& source_tokens,
                       int64_t steps) const;
    // For --manifest: goes through the whole run without training; writes every knowledge source's placements and the
    // account of the targets (mixture.json) into `folder`, and returns the account.
    RunAccount write_manifest(const std::string& folder);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// The first `tokens` tokens of a validation source, in file order, cut in rows as in training.
struct ValidationRows {
    std::string name;
    int rows = 0, T = 0;
    std::vector<int> inputs, targets, positions, segment_start;  // as in Batch
    double bytes_per_token = 0;                                  // from the sidecar; 0: unknown, no bits per byte
};
ValidationRows read_validation(const std::string& name, const std::string& glob, int64_t tokens, int T,
                               bool document_mask, int64_t eot_id, int64_t vocab);
