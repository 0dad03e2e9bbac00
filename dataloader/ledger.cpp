#include "dataloader/ledger.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "util/check.h"
#include "util/files.h"
#include "util/json.h"
#include "util/npy.h"

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr const char* dtype = "[('count', '<u4'), ('cut', '<u4'), ('first_step', '<u4'), ('last_step', '<u4')]";

constexpr const char *DOSES = ".doses.npy", *KEPT = ".kept.npy";

std::string file_of(const std::string& folder, const std::string& name, const char* ending) {
    return path_join(folder, name + ending);
}

std::vector<uint32_t> read_u32(const std::string& path) {
    const NpyArray array(path, "<u4", sizeof(uint32_t), 0);
    const uint32_t* const data = static_cast<const uint32_t*>(array.data());
    return {data, data + array.rows()};
}

// The axes that NAME.json describes.
Ledger axes_of(const std::string& name, const std::string& path) {
    const json axes = parse_json(path, read_file(path));
    check_format_version(path, axes);
    const json slots = axes.value("slots", json()), shards = axes.value("shards", json());
    const auto is_name = [](const json& slot) { return slot.is_string(); };
    if (!slots.is_array() || slots.empty() || !std::all_of(slots.begin(), slots.end(), is_name) || !shards.is_array())
        die(Exit::Data, "%s: expected \"slots\", a list of names, and \"shards\", a list of objects", path);
    std::vector<LedgerShard> list;
    for (const json& shard : shards) {
        if (!shard.is_object() || !is_name(shard.value("name", json())))
            die(Exit::Data, "%s: every shard needs \"name\" and \"entities\"", path);
        const auto checksum = [&](const char* key) {
            const json value = shard.value(key, json());
            return is_name(value) ? value.get<std::string>() : std::string();
        };
        list.push_back({shard["name"].get<std::string>(),
                        static_cast<uint64_t>(json_integer(path, shard, "entities", 0, UINT32_MAX)),
                        {checksum("names"), checksum("values")}});
    }
    std::vector<uint32_t> doses;
    if (axes.contains("doses")) {
        const std::string file = path.substr(0, path.rfind('.')) + DOSES;
        doses = read_u32(file);
        uint64_t entities = 0;
        for (const LedgerShard& shard : list) entities += shard.entities;
        if (doses.size() != entities)
            die(Exit::Data, "%s: doses of %d entities, %s has %d", file, doses.size(), path, entities);
    }
    return Ledger(name, std::move(list), slots.get<std::vector<std::string>>(), std::move(doses));
}

}  // namespace

Ledger::Ledger(std::string name, std::vector<LedgerShard> shards, std::vector<std::string> slot_names,
               std::vector<uint32_t> doses, std::vector<uint32_t> listed)
    : name_(std::move(name)),
      shards_(std::move(shards)),
      slot_names_(std::move(slot_names)),
      doses_(std::move(doses)),
      listed_(std::move(listed)) {
    for (const LedgerShard& shard : shards_) entities_ += shard.entities;
    ENSURE(doses_.empty() || doses_.size() == entities_, "ledger %s: %d doses of %d entities", name_, doses_.size(),
           entities_);
    entries_.assign(entities_ * slot_names_.size(), {0, 0, UINT32_MAX, UINT32_MAX});
}

void Ledger::book(const Exposure& exposure, int64_t step) {
    ENSURE(exposure.entity < entities_ && exposure.slot < slots(), "ledger %s: entity %d slot %d of %d x %d", name_,
           exposure.entity, exposure.slot, entities_, slots());
    Entry& entry = entries_[static_cast<size_t>(exposure.entity) * slots() + exposure.slot];
    entry.count += 1;
    entry.cut += exposure.cut;
    entry.last_step = narrow<uint32_t>(step);
    if (entry.first_step == UINT32_MAX) entry.first_step = entry.last_step;
}

void Ledger::write(const std::string& folder) const {
    write_npy(file_of(folder, name_, ".npy"), dtype, sizeof(Entry), {entities_, slots()}, entries_.data());
    ordered_json axes = {{"format_version", 1}, {"slots", slot_names_}, {"shards", ordered_json::array()}};
    for (const LedgerShard& shard : shards_) {
        axes["shards"].push_back({{"name", shard.name}, {"entities", shard.entities}});
        if (!shard.facts.names.empty()) axes["shards"].back()["names"] = shard.facts.names;
        if (!shard.facts.values.empty()) axes["shards"].back()["values"] = shard.facts.values;
    }
    if (!doses_.empty()) {
        std::set<uint32_t> given(doses_.begin(), doses_.end());
        given.erase(0);
        axes["doses"] = given;
    }
    write_choices(folder);
    write_file(file_of(folder, name_, ".json"), axes.dump(2) + "\n");
}

void Ledger::write_choices(const std::string& folder) const {
    if (!doses_.empty()) write_npy(file_of(folder, name_, DOSES), "<u4", sizeof(uint32_t), {entities_}, doses_.data());
    if (!listed_.empty())
        write_npy(file_of(folder, name_, KEPT), "<u4", sizeof(uint32_t), {listed_.size()}, listed_.data());
}

std::vector<uint32_t> Ledger::read_listed(const std::string& folder, const std::string& name) {
    const std::string path = file_of(folder, name, KEPT);
    return file_exists(path) ? read_u32(path) : std::vector<uint32_t>{};
}

void Ledger::read(const std::string& folder) {
    const std::string path = file_of(folder, name_, ".npy");
    const NpyArray array(path, dtype, sizeof(Entry), slots());
    if (array.rows() != entities_)
        die(Exit::Data, "%s: %d entities, source %s has %d", path, array.rows(), name_, entities_);
    if (!entries_.empty()) std::memcpy(entries_.data(), array.data(), entries_.size() * sizeof(Entry));
}

std::vector<Ledger> Ledger::read_all(const std::string& folder) {
    std::vector<Ledger> ledgers;
    if (!directory_exists(folder)) return ledgers;
    const std::string ending = ".npy";
    for (const std::string& file : list_directory(folder)) {
        if (file.size() <= ending.size() || file.substr(file.size() - ending.size()) != ending) continue;
        const std::string name = file.substr(0, file.size() - ending.size()), axes = file_of(folder, name, ".json");
        if (!file_exists(axes)) continue;
        ledgers.push_back(axes_of(name, axes));
        ledgers.back().read(folder);
    }
    return ledgers;
}
