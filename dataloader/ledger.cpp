#include "dataloader/ledger.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "util/check.h"
#include "util/npy.h"

namespace {
constexpr const char* dtype = "[('count', '<u4'), ('cut', '<u4'), ('first_step', '<u4'), ('last_step', '<u4')]";
}

Ledger::Ledger(std::string name, uint64_t entities, uint32_t slots)
    : name_(std::move(name)),
      entities_(entities),
      slots_(slots),
      entries_(entities * slots, {0, 0, UINT32_MAX, UINT32_MAX}) {}

void Ledger::book(const Exposure& exposure, int64_t step) {
    ENSURE(exposure.entity < entities_ && exposure.slot < slots_, "ledger %s: entity %u slot %u of %llu x %u",
           name_.c_str(), exposure.entity, exposure.slot, static_cast<unsigned long long>(entities_), slots_);
    Entry& entry = entries_[static_cast<size_t>(exposure.entity) * slots_ + exposure.slot];
    entry.count += 1;
    entry.cut += exposure.cut;
    entry.last_step = narrow<uint32_t>(step);
    if (entry.first_step == UINT32_MAX) entry.first_step = entry.last_step;
}

void Ledger::write(const std::string& path) const {
    write_npy(path, dtype, sizeof(Entry), {entities_, slots_}, entries_.data());
}

void Ledger::read(const std::string& path) {
    const NpyArray array(path, dtype, sizeof(Entry), slots_);
    if (array.rows() != entities_)
        die(Exit::Data, "%s: %llu entities, source %s has %llu", path.c_str(),
            static_cast<unsigned long long>(array.rows()), name_.c_str(), static_cast<unsigned long long>(entities_));
    if (!entries_.empty()) std::memcpy(entries_.data(), array.data(), entries_.size() * sizeof(Entry));
}
