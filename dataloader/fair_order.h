// fair_order.h - which group of a source comes next, document by document. After every document each group has had its
// share of them, to less than one: a group may come as soon as its next document would not put it a whole one ahead,
// and must come before it lacks a whole one; of those that may, the one that must come first is taken. Such an order
// exists for all shares (Tijdeman 1980, "The chairman assignment problem"), and the earliest deadline finds it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

constexpr int share_bits = 40;  // shares are whole multiples of 2^-share_bits: an order knows no rounding

class FairOrder {
  public:
    // Shares of the groups, each positive, in units of their sum (at most 2^62): after that many documents each group
    // has had exactly its share.
    explicit FairOrder(std::vector<int64_t> shares);
    size_t next();
    const std::vector<int64_t>& taken() const { return taken_; }  // documents of each group so far
    // Goes on after these. False, and nothing is done, where next() would never have come there.
    bool restore(const std::vector<int64_t>& taken);

  private:
    // The next document of a group must come before turn number / share.
    struct Due {
        int64_t number, share;
        size_t group;
        bool operator>(const Due& other) const;
    };
    void wait(size_t group);

    std::vector<int64_t> shares_, taken_;
    int64_t whole_ = 0;  // the sum of the shares
    int64_t turn_ = 0;
    std::priority_queue<std::pair<int64_t, size_t>, std::vector<std::pair<int64_t, size_t>>, std::greater<>>
        waiting_;                                                     // the turn from which a group may come
    std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;  // may come now
};
