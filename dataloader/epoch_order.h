// epoch_order.h - the order inside one source: an epoch's permutation, entry by entry. An entity whose last document
// ended less than T tokens ago is deferred by the smallest number of places, so that no row shows it twice; each epoch
// still holds everything once. Where group weights or doses count, each group has epochs of its own, and FairOrder says
// of which one the next entry is.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "dataloader/fair_order.h"
#include "dataloader/source.h"
#include "util/rng.h"

class EpochOrder {
  public:
    struct Entry {
        uint64_t index, epoch;  // of Source::read
    };
    EpochOrder(const Source& source, int T);

    // The next entry of a source without entities, whose order depends on nothing else.
    Entry peek() const;
    // The next entry for a piece that starts at `position` of the stream; placed(...) must follow before the next one.
    Entry next(int64_t position);
    void placed(const Entry& entry, int64_t end);
    // Tokens of all entries from here to the last that --exposures promises.
    int64_t remaining_tokens() const;

    nlohmann::json state() const;
    void restore(const nlohmann::json& state);

  private:
    struct Recent {
        uint64_t index;
        int64_t end;  // where its last document ended
    };
    struct Epoch {                      // of a group
        uint64_t number = 0, next = 0;  // next: place in the permutation
        Permutation order;
        std::vector<uint64_t> deferred;  // drawn from the permutation, not yet placed, earliest first
    };
    void open_epoch(size_t group, uint64_t epoch);
    uint64_t size(size_t group) const { return source_->groups()[group].size; }
    bool seen_since(uint64_t index, int64_t position) const;

    const Source* source_;
    int64_t distance_;
    std::vector<Epoch> epochs_;  // one for each group
    FairOrder groups_;
    std::vector<Recent> recent_;  // placed within the last T tokens, oldest first
};
