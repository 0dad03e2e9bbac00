#include "dataloader/stream.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "util/check.h"

using nlohmann::json;

namespace {
constexpr size_t none = SIZE_MAX;
using wide = __int128;
}  // namespace

Stream::Stream(const std::vector<Source>& sources, const Mixture& mixture) : sources_(sources), mixture_(mixture) {
    for (size_t s = 0; s < sources.size(); ++s) {
        lanes_.push_back({EpochOrder(sources[s], mixture.T)});
        mean_.push_back(std::max<int64_t>(1, std::llround(sources[s].mean_length())));
        const ExposurePlaces& places = mixture.places[s];
        if (places.count > 0) {
            const int64_t end = places.windows.back().second;
            lanes_[s].deadline = end == mixture.length - 1 ? mixture.length : end;
            lanes_[s].due = places.due(0);
            by_deadline_.push_back(s);
        } else {
            longest_other_ = std::max(longest_other_, static_cast<int64_t>(sources[s].longest()));
        }
    }
    std::stable_sort(by_deadline_.begin(), by_deadline_.end(),
                     [&](size_t a, size_t b) { return lanes_[a].deadline < lanes_[b].deadline; });
}

Piece Stream::next() {
    ENSURE(position_ < mixture_.length, "the stream of %d tokens is over", mixture_.length);
    while (position_ >= mixture_.segments[segment_].end) ++segment_;
    size_t s = due_source();
    if (s == none) s = pressing_source();
    if (s == none) s = owed_source();
    Lane& lane = lanes_[s];
    const EpochOrder::Entry entry = lane.order.next(position_);
    const int64_t length =
        lane.length >= 0 ? lane.length : static_cast<int64_t>(sources_[s].length(entry.index, entry.epoch));
    lane.length = -1;
    const Piece piece{s, entry.index, entry.epoch, position_, length};
    lane.order.placed(entry, piece.end());
    account(s, piece.length);
    return piece;
}

// The --exposures source whose next piece has been due longest.
size_t Stream::due_source() const {
    size_t best = none;
    for (const size_t s : by_deadline_)
        if (pending(s) && lanes_[s].due <= position_ && (best == none || lanes_[s].due < lanes_[best].due)) best = s;
    return best;
}

// The --exposures source that must go on now, or its last pieces would not fit before its last window ends.
size_t Stream::pressing_source() {
    size_t first = none;
    int64_t before = 0;  // tokens that must come before the deadline looked at
    for (const size_t s : by_deadline_) {
        if (!pending(s)) continue;
        if (first == none) first = s;
        const int64_t room = lanes_[s].deadline - position_ - longest_other_ - before;
        const int64_t tokens = remaining(s, room);
        if (tokens > room) return first;
        before += tokens;
    }
    return none;
}

// Tokens that a source still has to place; only an upper bound as long as that fits into `room`.
int64_t Stream::remaining(size_t s, int64_t room) {
    Lane& lane = lanes_[s];
    if (lane.remaining >= 0) return lane.remaining;
    const int64_t pieces = mixture_.places[s].count - lane.placed,
                  longest = static_cast<int64_t>(sources_[s].longest());
    if (room > 0 && pieces <= room / longest) return pieces * longest;
    return lane.remaining = lane.order.remaining_tokens();
}

int64_t Stream::next_length(size_t s) {
    if (sources_[s].knowledge()) return mean_[s];
    Lane& lane = lanes_[s];
    if (lane.length < 0) {
        const EpochOrder::Entry entry = lane.order.peek();
        lane.length = static_cast<int64_t>(sources_[s].length(entry.index, entry.epoch));
    }
    return lane.length;
}

// The other source whose turn it is.
size_t Stream::owed_source() {
    const Segment& segment = mixture_.segments[segment_];
    const int64_t ahead = segment.end - position_;
    const bool at_end = ahead <= longest_other_;
    size_t best = none;
    bool best_owed = false;
    wide best_number = 0;  // best_number / best_unit is compared, by cross-multiplication; the least wins
    int64_t best_unit = 1;
    for (size_t s = 0; s < lanes_.size(); ++s) {
        if (segment.share[s] <= 0) continue;
        const int64_t owed = lanes_[s].owed;
        const bool eligible = at_end || owed >= 0;
        const wide number = at_end ? -(owed + static_cast<wide>(ahead) * segment.share[s])
                                   : (static_cast<wide>(next_length(s)) << share_bits) - owed;
        const int64_t unit = at_end ? mean_[s] : segment.share[s];
        if (best == none || eligible > best_owed ||
            (eligible == best_owed && number * best_unit < best_number * unit)) {
            best = s;
            best_owed = eligible;
            best_number = number;
            best_unit = unit;
        }
    }
    return best;
}

void Stream::account(size_t source, int64_t length) {
    Lane& taken = lanes_[source];
    const ExposurePlaces& places = mixture_.places[source];
    const bool exposure = places.count > 0;
    if (exposure) {
        ++taken.placed;
        if (taken.remaining >= 0) taken.remaining -= length;
        if (pending(source)) taken.due = places.due(taken.placed);
    } else {
        taken.owed -= length << share_bits;
    }
    const int64_t end = std::min(position_ + length, mixture_.length);
    for (size_t g = segment_; g < mixture_.segments.size() && mixture_.segments[g].begin < end; ++g) {
        const Segment& segment = mixture_.segments[g];
        const int64_t n = std::min(end, segment.end) - std::max(position_, segment.begin);
        const std::vector<int64_t>& share = exposure ? segment.exposure_share : segment.share;
        for (size_t s = 0; s < lanes_.size(); ++s) lanes_[s].owed += n * share[s];
    }
    position_ += length;
}

json Stream::state() const {
    json sources = json::array();
    for (const Lane& lane : lanes_) {
        json state = lane.order.state();
        state["owed"] = lane.owed;
        state["placed"] = lane.placed;
        sources.push_back(state);
    }
    return {{"position", position_}, {"sources", sources}};
}

// The library turns 1e57 into some integer without a word; every number of a state is whole.
static bool all_whole(const json& value) {
    if (value.is_structured()) return std::all_of(value.begin(), value.end(), all_whole);
    return !value.is_number_float();
}

void Stream::restore(const json& state) {
    if (!all_whole(state))
        die(Exit::Data, "loader_state.json is damaged (a number is not whole); resume from an older checkpoint");
    try {
        position_ = state.at("position").get<int64_t>();
        for (size_t s = 0; s < lanes_.size(); ++s) {
            const json& source = state.at("sources").at(s);
            Lane& lane = lanes_[s];
            lane.order.restore(source);
            lane.owed = source.at("owed").get<int64_t>();
            lane.placed = source.at("placed").get<int64_t>();
            lane.remaining = lane.length = -1;
            if (pending(s)) lane.due = mixture_.places[s].due(lane.placed);
        }
    } catch (const json::exception& error) {
        die(Exit::Data, "loader_state.json is damaged (%s); resume from an older checkpoint", error.what());
    }
    segment_ = 0;
}
