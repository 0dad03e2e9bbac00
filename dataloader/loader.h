// loader.h - what the trainer sees of the data: options in, batches out.
//
// The way of a token:  TokenFile (mapped) -> Source (documents or composed biographies, as pieces) -> Stream (which
// piece comes next: mixture, exposures, windows, epochs) -> Batches (rows of T) -> Loader (on a thread of its own) ->
// Batch -> the trainer, which books the batch's exposures in the Ledger after the step. The order of pieces is a pure
// function of (data seed, sources, mixture options, T).
#pragma once
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "dataloader/account.h"  // defines: RunAccount
#include "dataloader/batch.h"    // defines: Batch
#include "dataloader/ledger.h"   // defines: Ledger
#include "dataloader/plan.h"     // defines: MixtureOptions, Plan

struct LoaderOptions {
    bool document_mask = false;
    int prefetch = 2;  // batches ahead, made by a thread; 0: no thread. Changes nothing but speed
    // Of several processes each has a part of every step's rows, neighbouring ones:
    // [rows * part / parts, rows * (part + 1) / parts). Plan, states, exposures and accounts are those of all rows.
    int part = 0, parts = 1;
};

class Loader {
  public:
    // Opens every source, checks it and plans the mixture. Dies with Exit::Usage for an impossible mixture, with
    // Exit::Data for bad files.
    Loader(const MixtureOptions& mixture, const LoaderOptions& options);
    ~Loader();
    Loader(Loader&&) noexcept;

    const Plan& plan() const;
    // What the stream depends on, checksums of the shards among them: a JSON object.
    const std::string& fingerprint() const;
    // The ledgers' shapes, one per knowledge source, in the order of `plan().sources` (text sources: empty).
    std::vector<Ledger> make_ledgers() const;
    // Starts the prefetch thread at the beginning, or after the batch whose `state` this is. Dies with Exit::Usage,
    // naming what differs, when the state was made with other sources or options, with Exit::Data when with other data;
    // with `new_horizon` (--branch) the length of the run may differ, unless a source has --exposures or --window,
    // whose places are those of one length.
    void start(const std::string& state = "", bool new_horizon = false);
    int64_t step() const;  // of the next batch
    // loader_state.json of where it was started: of a checkpoint before the first batch.
    const std::string& start_state() const;
    // Dies as start() does when `state` was made with other sources or options.
    void check_state(const std::string& state) const;
    // The next step's batch, valid until the next call. Dies past the last step.
    const Batch& next();

    // Prints the pieces of a step for --print-order: source, document or entity, epoch, form, span in the stream; as
    // text where a tokenizer is known. Starts from `state` where given (a checkpoint before the step), else from the
    // beginning, replaying lengths only.
    void print_order(int64_t step, const std::string& state, FILE* out);

    // Planned and realised after `steps` steps; source_tokens: targets so far, by source.
    RunAccount account(const std::vector<Ledger>& ledgers, const std::vector<int64_t>& source_tokens,
                       int64_t steps) const;
    // For --manifest: goes through the whole run without training; writes every knowledge source's placements and doses
    // and the account of the targets (mixture.json) into `folder`, and returns the account.
    RunAccount write_manifest(const std::string& folder);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};
