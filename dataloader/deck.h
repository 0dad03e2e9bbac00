// deck.h - the order inside one source: an epoch's permutation, drawn card by card. An entity whose last document ended
// less than T tokens ago is deferred by the smallest number of places, so that no row shows it twice; each epoch still
// holds everything once.
// Where group weights count, each
// group is a pile with epochs of its own, and Turns says from which one the next card comes.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "dataloader/source.h"
#include "dataloader/turns.h"
#include "util/rng.h"

class Deck {
  public:
    struct Card {
        uint64_t index, epoch;  // of Source::read
    };
    Deck(const Source& source, int T);

    // The next card of a source without entities, whose order depends on nothing else.
    Card peek() const;
    // The next card for a piece that starts at `position` of the stream; placed(...) must follow before the next draw.
    Card draw(int64_t position);
    void placed(const Card& card, int64_t end);
    // Tokens of all cards from here to the end of epoch `epochs - 1`, of a source with one pile.
    int64_t remaining_tokens(uint64_t epochs) const;

    nlohmann::json state() const;
    void restore(const nlohmann::json& state);

  private:
    struct Recent {
        uint64_t index;
        int64_t end;  // where its last document ended
    };
    struct Pile {
        uint64_t epoch = 0, next = 0;  // next: place in the permutation
        Permutation order;
        std::vector<uint64_t> deferred;  // drawn from the permutation, not yet placed, earliest first
    };
    void open_epoch(size_t group, uint64_t epoch);
    uint64_t size(size_t group) const { return source_->groups()[group].size; }
    bool seen_since(uint64_t index, int64_t position) const;

    const Source* source_;
    int64_t distance_;
    std::vector<Pile> piles_;  // one for each group
    Turns turns_;
    std::vector<Recent> recent_;  // placed within the last T tokens, oldest first
};
