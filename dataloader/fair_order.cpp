#include "dataloader/fair_order.h"

#include "util/check.h"

namespace {
using wide = __int128;
constexpr int64_t most = int64_t{1} << 60;  // documents: so many that no run has them
}  // namespace

bool FairOrder::Due::operator>(const Due& other) const {
    const wide a = static_cast<wide>(number) * other.share, b = static_cast<wide>(other.number) * share;
    return a != b ? a > b : group > other.group;
}

FairOrder::FairOrder(std::vector<int64_t> shares) : shares_(std::move(shares)), taken_(shares_.size(), 0) {
    for (const int64_t share : shares_) whole_ += share;
    for (size_t g = 0; g < shares_.size(); ++g) wait(g);
}

// Turn t hands out document t + 1: a group may come when its share of t + 1 documents is more than it has.
void FairOrder::wait(size_t group) {
    const wide turn = static_cast<wide>(taken_[group]) * whole_ / shares_[group];
    waiting_.emplace(static_cast<int64_t>(turn), group);
}

size_t FairOrder::next() {
    for (; !waiting_.empty() && waiting_.top().first <= turn_; waiting_.pop()) {
        const size_t g = waiting_.top().second;
        due_.push({taken_[g] + 1, shares_[g], g});
    }
    ENSURE(!due_.empty(), "shares that are not positive");
    const size_t group = due_.top().group;
    due_.pop();
    ++taken_[group];
    ++turn_;
    wait(group);
    return group;
}

bool FairOrder::restore(const std::vector<int64_t>& taken) {
    if (taken.size() != shares_.size()) return false;
    wide sum = 0;
    for (const int64_t n : taken) {
        if (n < 0) return false;
        sum += n;
    }
    if (sum > most) return false;
    for (size_t g = 0; g < taken.size(); ++g) {
        const wide lag = sum * shares_[g] - static_cast<wide>(taken[g]) * whole_;
        if (lag >= whole_ || -lag >= whole_) return false;
    }
    taken_ = taken;
    turn_ = static_cast<int64_t>(sum);
    waiting_ = {};
    due_ = {};
    for (size_t g = 0; g < taken_.size(); ++g) wait(g);
    return true;
}
