#include "dataloader/epoch_order.h"

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

EpochOrder::EpochOrder(const Source& source, int T)
    : source_(&source),
      distance_(source.knowledge() ? T : 0),
      epochs_(source.groups().size()),
      groups_(shares_of(source)) {
    for (size_t group = 0; group < epochs_.size(); ++group) open_epoch(group, 0);
}

void EpochOrder::open_epoch(size_t group, uint64_t epoch) {
    epochs_[group].number = epoch;
    epochs_[group].next = 0;
    epochs_[group].order = source_->order(epoch, group);
}

bool EpochOrder::seen_since(uint64_t index, int64_t position) const {
    return std::any_of(recent_.begin(), recent_.end(),
                       [&](const Recent& r) { return r.index == index && position - r.end < distance_; });
}

EpochOrder::Entry EpochOrder::peek() const {
    const Epoch& now = epochs_[0];
    if (now.next < source_->draws()) return {now.order(now.next), now.number};
    return {source_->order(now.number + 1)(0), now.number + 1};
}

EpochOrder::Entry EpochOrder::next(int64_t position) {
    const size_t group = source_->weighted() ? groups_.next() : 0;
    Epoch& now = epochs_[group];
    if (now.next == size(group) && now.deferred.empty()) open_epoch(group, now.number + 1);
    const auto first_gone = [&](const Recent& r) { return position - r.end < distance_; };
    recent_.erase(recent_.begin(), std::find_if(recent_.begin(), recent_.end(), first_gone));
    for (auto it = now.deferred.begin(); it != now.deferred.end(); ++it)
        if (!seen_since(*it, position)) {
            const uint64_t index = *it;
            now.deferred.erase(it);
            return {index, now.number};
        }
    while (now.next < size(group)) {
        const uint64_t index = source_->member(group, now.order(now.next++));
        if (!seen_since(index, position)) return {index, now.number};
        now.deferred.push_back(index);
    }
    // so few entities that each occurred within the last T tokens: the one that was seen longest ago
    const auto longest_ago = [&](uint64_t a, uint64_t b) {
        const auto end = [&](uint64_t index) {
            return std::find_if(recent_.rbegin(), recent_.rend(), [&](const Recent& r) { return r.index == index; })
                ->end;
        };
        return end(a) < end(b);
    };
    const auto it = std::min_element(now.deferred.begin(), now.deferred.end(), longest_ago);
    const uint64_t index = *it;
    now.deferred.erase(it);
    return {index, now.number};
}

void EpochOrder::placed(const Entry& entry, int64_t end) {
    if (distance_ > 0) recent_.push_back({entry.index, end});
}

int64_t EpochOrder::remaining_tokens() const {
    uint64_t tokens = 0;
    for (size_t group = 0; group < epochs_.size(); ++group) {
        const Epoch& now = epochs_[group];
        const uint64_t epochs = static_cast<uint64_t>(source_->groups()[group].exposures);
        if (now.number >= epochs) continue;  // restored where its last one ended
        for (const uint64_t index : now.deferred) tokens += source_->length(index, now.number);
        for (uint64_t i = now.next; i < size(group); ++i)
            tokens += source_->length(source_->member(group, now.order(i)), now.number);
        for (uint64_t epoch = now.number + 1; epoch < epochs; ++epoch)
            for (uint64_t i = 0; i < size(group); ++i) tokens += source_->length(source_->member(group, i), epoch);
    }
    return static_cast<int64_t>(tokens);
}

// The state of every step is written out, so that of many groups is kept short: the documents of each say its epoch and
// place.
json EpochOrder::state() const {
    json recent = json::array();
    for (const Recent& r : recent_) recent.push_back({r.index, r.end});
    if (!source_->weighted())
        return {{"epoch", epochs_[0].number},
                {"next", epochs_[0].next},
                {"deferred", epochs_[0].deferred},
                {"recent", recent}};
    json deferred = json::array();
    for (size_t group = 0; group < epochs_.size(); ++group)
        for (const uint64_t index : epochs_[group].deferred) deferred.push_back({group, index});
    return {{"groups", groups_.taken()}, {"deferred", deferred}, {"recent", recent}};
}

void EpochOrder::restore(const json& state) {
    bool fine = true;
    recent_.clear();
    for (const json& r : state.at("recent")) recent_.push_back({r.at(0).get<uint64_t>(), r.at(1).get<int64_t>()});
    if (source_->weighted()) {
        const auto taken = state.at("groups").get<std::vector<int64_t>>();
        fine &= groups_.restore(taken);
        for (size_t group = 0; fine && group < epochs_.size(); ++group) {
            const uint64_t documents = static_cast<uint64_t>(taken[group]);
            open_epoch(group, documents / size(group));
            epochs_[group].next = documents % size(group);
            epochs_[group].deferred.clear();
        }
        for (const json& entry : state.at("deferred")) {
            const size_t group = entry.at(0).get<size_t>();
            fine &= group < epochs_.size();
            if (!fine) break;
            epochs_[group].deferred.push_back(entry.at(1).get<uint64_t>());
            ++epochs_[group].next;  // a deferred entry has left the permutation
        }
    } else {
        open_epoch(0, state.at("epoch").get<uint64_t>());
        epochs_[0].next = state.at("next").get<uint64_t>();
        epochs_[0].deferred = state.at("deferred").get<std::vector<uint64_t>>();
    }
    for (size_t group = 0; group < epochs_.size(); ++group) {
        fine &= epochs_[group].next <= size(group);
        for (const uint64_t index : epochs_[group].deferred) fine &= index < source_->draws();
    }
    for (const Recent& r : recent_) fine &= r.index < source_->draws();
    if (!fine)
        die(Exit::Data, "loader_state.json does not fit source %s; resume from an older checkpoint", source_->name());
}
