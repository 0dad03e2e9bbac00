// stream.h - which piece comes next. Pieces of --exposures sources are placed where they fall due; between them the
// other sources take turns so that each stays within one piece of its share, everywhere in the run and also at 1e-5.
//
// The rule: every token of the stream adds each source's share to what that source is owed. Of the sources that are
// owed anything, the one whose next piece is due first is taken (a composed document counts with its mean length): the
// largest deficit, counted in time. In the last T tokens of a segment what counts is the need up to its end. This is
// Stoica's and Abdel-Wahab's "earliest eligible virtual deadline first" (1995), whose lag is less than one piece.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "dataloader/epoch_order.h"
#include "dataloader/mixture.h"
#include "dataloader/source.h"

struct Piece {
    size_t source = 0;
    uint64_t index = 0, epoch = 0;  // of Source::read
    int64_t begin = 0, length = 0;  // tokens [begin, begin + length) of the stream
    int64_t end() const { return begin + length; }
};

class Stream {
  public:
    // Both must outlive the stream.
    Stream(const std::vector<Source>& sources, const Mixture& mixture);
    Piece next();
    int64_t position() const { return position_; }

    nlohmann::json state() const;
    // Dies with Exit::Usage when the state is not one of ours.
    void restore(const nlohmann::json& state);

  private:
    struct Lane {
        EpochOrder order;
        int64_t owed = 0;        // in units of 2^-share_bits tokens, may be negative
        int64_t placed = 0;      // pieces of an --exposures source
        int64_t deadline = 0;    // of an --exposures source: the end of its last window
        int64_t due = 0;         // of its next piece
        int64_t remaining = -1;  // tokens of the pieces still to come, -1: not counted yet
        int64_t length = -1;     // of the next piece of a text source, -1: not looked up yet
    };
    bool pending(size_t s) const { return lanes_[s].placed < mixture_.places[s].count; }
    size_t due_source() const;
    size_t pressing_source();
    size_t owed_source();
    int64_t remaining(size_t s, int64_t room);
    int64_t next_length(size_t s);
    void account(size_t source, int64_t length);

    const std::vector<Source>& sources_;
    const Mixture& mixture_;
    std::vector<Lane> lanes_;
    std::vector<size_t> by_deadline_;  // --exposures sources
    std::vector<int64_t> mean_;        // lengths of pieces
    int64_t longest_other_ = 0;        // piece of a source without --exposures
    int64_t position_ = 0;
    size_t segment_ = 0;
};
