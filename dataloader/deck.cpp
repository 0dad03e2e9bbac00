#include "dataloader/deck.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/check.h"

using nlohmann::json;

namespace {
std::vector<int64_t> shares_of(const Source& source) {
    std::vector<int64_t> shares;
    for (const Source::Group& group : source.groups()) shares.push_back(group.share);
    return shares;
}
}  // namespace

Deck::Deck(const Source& source, int T)
    : source_(&source),
      distance_(source.knowledge() ? T : 0),
      piles_(source.groups().size()),
      turns_(shares_of(source)) {
    for (size_t group = 0; group < piles_.size(); ++group) open_epoch(group, 0);
}

void Deck::open_epoch(size_t group, uint64_t epoch) {
    piles_[group].epoch = epoch;
    piles_[group].next = 0;
    piles_[group].order = source_->order(epoch, group);
}

bool Deck::seen_since(uint64_t index, int64_t position) const {
    return std::any_of(recent_.begin(), recent_.end(),
                       [&](const Recent& r) { return r.index == index && position - r.end < distance_; });
}

Deck::Card Deck::peek() const {
    const Pile& pile = piles_[0];
    if (pile.next < source_->draws()) return {pile.order(pile.next), pile.epoch};
    return {source_->order(pile.epoch + 1)(0), pile.epoch + 1};
}

Deck::Card Deck::draw(int64_t position) {
    const size_t group = source_->weighted() ? turns_.next() : 0;
    Pile& pile = piles_[group];
    if (pile.next == size(group) && pile.deferred.empty()) open_epoch(group, pile.epoch + 1);
    const auto first_gone = [&](const Recent& r) { return position - r.end < distance_; };
    recent_.erase(recent_.begin(), std::find_if(recent_.begin(), recent_.end(), first_gone));
    for (auto it = pile.deferred.begin(); it != pile.deferred.end(); ++it)
        if (!seen_since(*it, position)) {
            const uint64_t index = *it;
            pile.deferred.erase(it);
            return {index, pile.epoch};
        }
    while (pile.next < size(group)) {
        const uint64_t index = source_->member(group, pile.order(pile.next++));
        if (!seen_since(index, position)) return {index, pile.epoch};
        pile.deferred.push_back(index);
    }
    // so few entities that each stood within the last T tokens: the one that was seen longest ago
    const auto longest_ago = [&](uint64_t a, uint64_t b) {
        const auto end = [&](uint64_t index) {
            return std::find_if(recent_.rbegin(), recent_.rend(), [&](const Recent& r) { return r.index == index; })
                ->end;
        };
        return end(a) < end(b);
    };
    const auto it = std::min_element(pile.deferred.begin(), pile.deferred.end(), longest_ago);
    const uint64_t index = *it;
    pile.deferred.erase(it);
    return {index, pile.epoch};
}

void Deck::placed(const Card& card, int64_t end) {
    if (distance_ > 0) recent_.push_back({card.index, end});
}

int64_t Deck::remaining_tokens(uint64_t epochs) const {
    const Pile& pile = piles_[0];
    uint64_t tokens = 0;
    for (const uint64_t index : pile.deferred) tokens += source_->length(index, pile.epoch);
    for (uint64_t i = pile.next; i < source_->draws(); ++i) tokens += source_->length(pile.order(i), pile.epoch);
    for (uint64_t epoch = pile.epoch + 1; epoch < epochs; ++epoch)
        for (uint64_t i = 0; i < source_->draws(); ++i) tokens += source_->length(i, epoch);
    return static_cast<int64_t>(tokens);
}

// The state of every step is written out, so that of many piles is kept short: the documents of each say its epoch and
// place.
json Deck::state() const {
    json recent = json::array();
    for (const Recent& r : recent_) recent.push_back({r.index, r.end});
    if (!source_->weighted())
        return {
            {"epoch", piles_[0].epoch}, {"next", piles_[0].next}, {"deferred", piles_[0].deferred}, {"recent", recent}};
    json deferred = json::array();
    for (size_t group = 0; group < piles_.size(); ++group)
        for (const uint64_t index : piles_[group].deferred) deferred.push_back({group, index});
    return {{"groups", turns_.taken()}, {"deferred", deferred}, {"recent", recent}};
}

void Deck::restore(const json& state) {
    bool fine = true;
    recent_.clear();
    for (const json& r : state.at("recent")) recent_.push_back({r.at(0).get<uint64_t>(), r.at(1).get<int64_t>()});
    if (source_->weighted()) {
        const auto taken = state.at("groups").get<std::vector<int64_t>>();
        fine &= turns_.restore(taken);
        for (size_t group = 0; fine && group < piles_.size(); ++group) {
            const uint64_t documents = static_cast<uint64_t>(taken[group]);
            open_epoch(group, documents / size(group));
            piles_[group].next = documents % size(group);
            piles_[group].deferred.clear();
        }
        for (const json& entry : state.at("deferred")) {
            const size_t group = entry.at(0).get<size_t>();
            fine &= group < piles_.size();
            if (!fine) break;
            piles_[group].deferred.push_back(entry.at(1).get<uint64_t>());
            ++piles_[group].next;  // a deferred card has left the permutation
        }
    } else {
        open_epoch(0, state.at("epoch").get<uint64_t>());
        piles_[0].next = state.at("next").get<uint64_t>();
        piles_[0].deferred = state.at("deferred").get<std::vector<uint64_t>>();
    }
    for (size_t group = 0; group < piles_.size(); ++group) {
        fine &= piles_[group].next <= size(group);
        for (const uint64_t index : piles_[group].deferred) fine &= index < source_->draws();
    }
    for (const Recent& r : recent_) fine &= r.index < source_->draws();
    if (!fine)
        die(Exit::Data, "loader_state.json does not fit source %s; resume from an older checkpoint",
            source_->name().c_str());
}
