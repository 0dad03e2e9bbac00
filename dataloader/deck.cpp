#include "dataloader/deck.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "util/check.h"

using nlohmann::json;

void Deck::open_epoch(uint64_t epoch) {
    epoch_ = epoch;
    next_ = 0;
    order_ = source_->order(epoch);
}

bool Deck::seen_since(uint64_t index, int64_t position) const {
    return std::any_of(recent_.begin(), recent_.end(),
                       [&](const Recent& r) { return r.index == index && position - r.end < distance_; });
}

Deck::Card Deck::peek() const {
    if (next_ < source_->draws()) return {order_(next_), epoch_};
    return {source_->order(epoch_ + 1)(0), epoch_ + 1};
}

Deck::Card Deck::draw(int64_t position) {
    if (next_ == source_->draws() && deferred_.empty()) open_epoch(epoch_ + 1);
    const auto first_gone = [&](const Recent& r) { return position - r.end < distance_; };
    recent_.erase(recent_.begin(), std::find_if(recent_.begin(), recent_.end(), first_gone));
    for (auto it = deferred_.begin(); it != deferred_.end(); ++it)
        if (!seen_since(*it, position)) {
            const uint64_t index = *it;
            deferred_.erase(it);
            return {index, epoch_};
        }
    while (next_ < source_->draws()) {
        const uint64_t index = order_(next_++);
        if (!seen_since(index, position)) return {index, epoch_};
        deferred_.push_back(index);
    }
    // so few entities that each stood within the last T tokens: the one that was seen longest ago
    const auto longest_ago = [&](uint64_t a, uint64_t b) {
        const auto end = [&](uint64_t index) {
            return std::find_if(recent_.rbegin(), recent_.rend(), [&](const Recent& r) { return r.index == index; })
                ->end;
        };
        return end(a) < end(b);
    };
    const auto it = std::min_element(deferred_.begin(), deferred_.end(), longest_ago);
    const uint64_t index = *it;
    deferred_.erase(it);
    return {index, epoch_};
}

void Deck::placed(const Card& card, int64_t end) {
    if (distance_ > 0) recent_.push_back({card.index, end});
}

int64_t Deck::remaining_tokens(uint64_t epochs) const {
    uint64_t tokens = 0;
    for (const uint64_t index : deferred_) tokens += source_->length(index, epoch_);
    for (uint64_t i = next_; i < source_->draws(); ++i) tokens += source_->length(order_(i), epoch_);
    for (uint64_t epoch = epoch_ + 1; epoch < epochs; ++epoch)
        for (uint64_t i = 0; i < source_->draws(); ++i) tokens += source_->length(i, epoch);
    return static_cast<int64_t>(tokens);
}

json Deck::state() const {
    json recent = json::array();
    for (const Recent& r : recent_) recent.push_back({r.index, r.end});
    return {{"epoch", epoch_}, {"next", next_}, {"deferred", deferred_}, {"recent", recent}};
}

void Deck::restore(const json& state) {
    open_epoch(state.at("epoch").get<uint64_t>());
    next_ = state.at("next").get<uint64_t>();
    deferred_ = state.at("deferred").get<std::vector<uint64_t>>();
    recent_.clear();
    for (const json& r : state.at("recent")) recent_.push_back({r.at(0).get<uint64_t>(), r.at(1).get<int64_t>()});
    bool fine = next_ <= source_->draws();
    for (const uint64_t index : deferred_)
        fine &= std::any_of(recent_.begin(), recent_.end(), [&](const Recent& r) { return r.index == index; });
    for (const Recent& r : recent_) fine &= r.index < source_->draws();
    if (!fine)
        die(Exit::Data, "loader_state.json does not fit source %s; resume from an older checkpoint",
            source_->name().c_str());
}
