// ledger.h - the account of what was seen: for every fact (entity, slot) how often, how often cut by a row border,
// first and last step.
// One composed document is one exposure of each of its facts, booked at the step whose row holds the last target token
// of the value.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

// A value that ends among the targets of a step.
struct Exposure {
    uint32_t source, entity, slot;
    bool cut;  // its tokens are targets of two rows
};

class Ledger {
  public:
    struct Entry {
        uint32_t count, cut, first_step, last_step;  // steps from 0; 4294967295 where never seen
    };
    Ledger() = default;
    Ledger(std::string name, uint64_t entities, uint32_t slots);

    const std::string& name() const { return name_; }
    uint64_t entities() const { return entities_; }
    uint32_t slots() const { return slots_; }
    bool empty() const { return entries_.empty(); }
    const Entry& at(uint64_t entity, uint32_t slot) const { return entries_[entity * slots_ + slot]; }

    void book(const Exposure& exposure, int64_t step);

    // exposures/NAME.npy: a structured array (entities, slots). read dies with Exit::Data when dtype or shape differ.
    void write(const std::string& path) const;
    void read(const std::string& path);

  private:
    std::string name_;
    uint64_t entities_ = 0;
    uint32_t slots_ = 0;
    std::vector<Entry> entries_;
};
