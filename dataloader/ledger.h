// ledger.h - the account of what was seen: for every fact (entity, slot) how often, how often cut by a row border,
// first and last step, the dose that --exposures NAME=random:LO:HI gave its entity, and the entities that --subsample
// NAME=file:PATH kept. One composed document is one
// exposure of each of its facts, booked at the step whose row holds the last target token of the value.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "dataloader/sidecar.h"  // defines: FactsId

// A value that ends among the targets of a step.
struct Exposure {
    uint32_t source, entity, slot;
    bool cut;  // its tokens are targets of two rows
};

// A shard of a knowledge source: its prefix without folder, and how many entities it has.
struct LedgerShard {
    std::string name;
    uint64_t entities;
    FactsId facts = {};  // where the shard has a sidecar
};

class Ledger {
  public:
    struct Entry {
        uint32_t count, cut, first_step, last_step;  // steps from 0; 4294967295 where never seen
    };
    Ledger() = default;
    // Entities are counted over the shards, in their order. doses: by entity, 0 of those that --subsample left out;
    // empty: the source has none. listed: those that a list keeps, ascending; empty: there is no list.
    Ledger(std::string name, std::vector<LedgerShard> shards, std::vector<std::string> slot_names,
           std::vector<uint32_t> doses = {}, std::vector<uint32_t> listed = {});

    const std::string& name() const { return name_; }
    const std::vector<LedgerShard>& shards() const { return shards_; }
    const std::vector<std::string>& slot_names() const { return slot_names_; }
    uint64_t entities() const { return entities_; }
    uint32_t slots() const { return static_cast<uint32_t>(slot_names_.size()); }
    bool empty() const { return entries_.empty(); }
    const std::vector<uint32_t>& doses() const { return doses_; }
    const std::vector<uint32_t>& listed() const { return listed_; }
    const Entry& at(uint64_t entity, uint32_t slot) const { return entries_[entity * slots() + slot]; }

    void book(const Exposure& exposure, int64_t step);

    // FOLDER/NAME.npy: a structured array (entities, slots), and FOLDER/NAME.json: what its axes are; with doses
    // NAME.doses.npy, u32 (entities), with a list NAME.kept.npy, u32 (entities kept). `read` dies with Exit::Data when
    // dtype or shape differ from this ledger's; doses and list are not read, the options decide them.
    void write(const std::string& folder) const;
    void write_choices(const std::string& folder) const;  // doses and list, where there are some
    void read(const std::string& folder);
    // The list that was written; empty where there is none.
    static std::vector<uint32_t> read_listed(const std::string& folder, const std::string& name);
    // All ledgers of a folder with their doses, without lists, in name order; none where there is no such folder. A
    // .npy without its .json (runs of older versions) is left out. Dies with Exit::Data on broken ones.
    static std::vector<Ledger> read_all(const std::string& folder);

  private:
    std::string name_;
    std::vector<LedgerShard> shards_;
    std::vector<std::string> slot_names_;
    uint64_t entities_ = 0;
    std::vector<Entry> entries_;
    std::vector<uint32_t> doses_, listed_;
};
