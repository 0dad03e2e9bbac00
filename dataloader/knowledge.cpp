#include "dataloader/knowledge.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "util/check.h"
#include "util/crc32c.h"
#include "util/files.h"
#include "util/json.h"
#include "util/rng.h"

using nlohmann::json;

bool KnowledgeFile::is_one(const std::string& prefix) { return file_exists(prefix + ".facts.json"); }

KnowledgeFile::KnowledgeFile(TokenFile file) : file_(std::move(file)) {
    const std::string prefix = shard_prefix(file_.path());
    if (file_.format() != TokenFormat::Megatron)
        die(Exit::Data, "%s: facts.json is next to it, so it must be a Megatron shard, but there is no .idx",
            file_.path());
    read_facts(prefix + ".facts.json");
    spans_ = NpyArray(prefix + ".spans.npy", "<u2", 2, 2);
    if (spans_.rows() != file_.num_sequences())
        die(Exit::Data, "%s.spans.npy: %d rows, expected one for each of %d sequences", prefix, spans_.rows(),
            file_.num_sequences());
    const NpyArray value_column(prefix + ".values.npy", "<u4", 4, slots());
    const uint64_t values = value_column.rows();
    groups_ = NpyArray(prefix + ".group.npy", "<u4", 4, 0);
    names_ = MappedFile(prefix + ".names.txt");
    const char* text = reinterpret_cast<const char*>(names_.data());
    uint64_t lines = static_cast<uint64_t>(std::count(text, text + names_.size(), '\n'));
    if (names_.size() > 0 && text[names_.size() - 1] != '\n') ++lines;
    if (values != entities_ || groups_.rows() != entities_ || lines != entities_)
        die(Exit::Data,
            "%s: %d rows in values.npy, %d in group.npy, %d lines in names.txt, expected %d entities in each", prefix,
            values, groups_.rows(), lines, entities_);
    check_groups(prefix + ".group.npy");
    check_sentences();
    const uint32_t parts[] = {file_.content(),
                              crc32c(&hash_, sizeof hash_, 0),
                              crc32c_sample(spans_.data(), spans_.rows() * 4),
                              crc32c_sample(value_column.data(), values * slots() * 4),
                              crc32c_sample(groups_.data(), groups_.rows() * 4),
                              crc32c_sample(names_.data(), names_.size())};
    content_ = crc32c(parts, sizeof parts, 0);
}

void KnowledgeFile::read_facts(const std::string& path) {
    const std::string text = read_file(path);
    const json facts = parse_json(path, text);
    check_format_version(path, facts);
    hash_ = hash_name(text);
    entities_ = static_cast<uint64_t>(json_integer(path, facts, "entities", 1, UINT32_MAX - 1));
    templates_ = static_cast<uint32_t>(json_integer(path, facts, "templates", 1, 65535));
    const auto forms = facts.find("forms"), slots = facts.find("slots");
    if (forms == facts.end() || !forms->is_array() || forms->size() < 2 || forms->size() > 65535)
        die(Exit::Data, "%s: key 'forms' must list two forms at least: document-initial and continuing", path);
    forms_ = static_cast<uint32_t>(forms->size());
    if (slots == facts.end() || !slots->is_array() || slots->empty() || slots->size() > max_slots)
        die(Exit::Data, "%s: key 'slots' must be a list of 1 to %d slots", path, max_slots);
    for (const json& slot : *slots) {
        if (!slot.is_object() || !slot.contains("name") || !slot["name"].is_string())
            die(Exit::Data, "%s: slot %d is not an object with a name", path, slot_names_.size());
        const std::string name = slot["name"].get<std::string>();
        if (std::find(slot_names_.begin(), slot_names_.end(), name) != slot_names_.end())
            die(Exit::Data, "%s: two slots are named '%s'", path, name);
        slot_names_.push_back(name);
    }
    read_groups(path, facts);
    read_rendering(path, facts);
    const unsigned __int128 sequences = static_cast<unsigned __int128>(slot_names_.size()) * templates_ * forms_;
    if (entities_ != file_.num_documents() || sequences * entities_ != file_.num_sequences())
        die(Exit::Data,
            "%s: %d entities of %d slots x %d templates x %d forms, but the shard has %d documents and %d "
            "sequences",
            path, entities_, slot_names_.size(), templates_, forms_, file_.num_documents(), file_.num_sequences());
}

void KnowledgeFile::read_rendering(const std::string& path, const json& facts) {
    const auto rendering = facts.find("rendering");
    if (rendering == facts.end()) return;
    const auto draws = [&](const char* key, const char* expected, bool* listed) -> uint64_t {
        const json value = rendering->is_object() ? rendering->value(key, json("redrawn")) : json();
        if (value == "redrawn") return 0;
        if (listed && value == "listed") return *listed = true, 0;
        if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 || value.get<uint64_t>() > UINT32_MAX)
            die(Exit::Data, "%s: rendering.%s must be %s or a number from 1 on, found %.40s", path, key, expected,
                value.dump(-1, ' ', true, json::error_handler_t::replace));
        return value.get<uint64_t>();
    };
    rendering_.wordings = draws("wordings", "\"redrawn\"", nullptr);
    rendering_.orders = draws("orders", "\"redrawn\", \"listed\"", &rendering_.listed);
}

// Sources from elsewhere may have neither names nor weights.
void KnowledgeFile::read_groups(const std::string& path, const json& facts) {
    const auto names = facts.find("groups"), weights = facts.find("group_weights");
    if (names != facts.end()) {
        if (!names->is_array() || names->empty() ||
            !std::all_of(names->begin(), names->end(), [](const json& name) { return name.is_string(); }))
            die(Exit::Data, "%s: key 'groups' must list names", path);
        group_names_ = names->get<std::vector<std::string>>();
    }
    if (weights == facts.end()) return;
    if (!weights->is_array() || weights->size() != group_names_.size())
        die(Exit::Data, "%s: key 'group_weights' must list one weight for each of %d groups", path,
            group_names_.size());
    double sum = 0;
    for (const json& weight : *weights) {
        const double w = weight.is_number() ? weight.get<double>() : -1;
        if (!(w >= 0 && std::isfinite(w)))
            die(Exit::Data, "%s: group_weights has %s for %s, expected a number of at least 0", path,
                weight.dump(-1, ' ', true), group_names_[group_weights_.size()]);
        group_weights_.push_back(w);
        sum += w;
    }
    if (!(sum > 0 && std::isfinite(sum)))
        die(Exit::Data, "%s: group_weights sum to %g, expected a finite number above 0", path, sum);
}

void KnowledgeFile::check_groups(const std::string& path) const {
    for (uint64_t entity = 0; entity < entities_ && !group_names_.empty(); ++entity)
        if (group(entity) >= group_names_.size())
            die(Exit::Data, "%s: entity %d is of group %d, facts.json names %d", path, entity, group(entity),
                group_names_.size());
}

void KnowledgeFile::check_sentences() const {
    const uint64_t each = static_cast<uint64_t>(slots()) * templates_ * forms_;
    for (uint64_t entity = 0; entity < entities_; ++entity) {
        const TokenFile::Range range = file_.document_sequences(entity);
        if (range.begin != entity * each || range.end != (entity + 1) * each)
            die(Exit::Data, "%s: entity %d has sequences %d to %d, expected %d for each entity", file_.path(), entity,
                range.begin, range.end, each);
    }
    const uint16_t* spans = static_cast<const uint16_t*>(spans_.data());
    for (uint64_t i = 0; i < file_.num_sequences(); ++i)
        if (spans[2 * i] >= spans[2 * i + 1] || spans[2 * i + 1] > file_.sequence_size(i))
            die(Exit::Data, "%s: the value of sequence %d is tokens %d to %d of %d; prepare the source again",
                file_.path(), i, spans[2 * i], spans[2 * i + 1], file_.sequence_size(i));
}

uint64_t KnowledgeFile::hash_of_groups() const {
    return hash_name({static_cast<const char*>(groups_.data()), groups_.rows() * sizeof(uint32_t)});
}

std::string KnowledgeFile::entity_name(uint64_t entity) const {
    const char* line = reinterpret_cast<const char*>(names_.data());
    const char* const end = line + names_.size();
    for (uint64_t i = 0; i < entity; ++i) line = std::find(line, end, '\n') + 1;
    return {line, std::find(line, end, '\n')};
}

KnowledgeFile::Lengths KnowledgeFile::lengths(uint64_t entity) const {
    uint64_t initial = 0, continuing = 0, longest = 0, i = sequence(entity, {0, 0, 0});
    for (uint32_t slot = 0; slot < slots(); ++slot) {
        uint64_t most = 0;
        for (uint32_t t = 0; t < templates_; ++t)
            for (uint32_t form = 0; form < forms_; ++form, ++i) {
                const uint64_t n = file_.sequence_size(i);
                (form ? continuing : initial) += n;
                most = std::max(most, n);
            }
        longest += most;
    }
    // every slot is equally often first, every template and every continuing form equally often drawn
    const double S = slots(), sentences = S * templates_;
    const double expected = static_cast<double>(initial) / sentences +
                            (S - 1) * static_cast<double>(continuing) / (sentences * (forms_ - 1));
    return {expected, longest};
}

uint32_t RandomWords::below(uint32_t n, uint64_t k) const {
    uint64_t x = (a + (k + 1) * 0x9E3779B97F4A7C15ull) ^ b;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ x >> 27) * 0x94D049BB133111EBull;
    return static_cast<uint32_t>(((x ^ x >> 31) >> 32) * n >> 32);
}

void KnowledgeFile::arrange(const RandomWords& order, const RandomWords& wording, Sentence* sentences) const {
    for (uint32_t i = 0; i < slots(); ++i) {
        const uint32_t j = rendering_.listed ? i : order.below(i + 1, i);  // Fisher and Yates, from the inside out
        sentences[i].slot = sentences[j].slot;
        sentences[j].slot = i;
    }
    for (uint32_t i = 0; i < slots(); ++i) {
        // one draw may serve both: its first numbers are the order's. Fixed wordings belong to the slot, wherever it
        // comes
        const uint64_t place = rendering_.wordings ? 2ull * sentences[i].slot : i == 0 ? 0 : 2ull * i - 1;
        sentences[i].template_index = wording.below(templates_, slots() + place);
        sentences[i].form = i == 0 ? 0 : 1 + wording.below(forms_ - 1, slots() + place + 1);
    }
}

uint64_t KnowledgeFile::length(uint64_t entity, const Sentence* sentences) const {
    uint64_t n = 0;
    for (uint32_t i = 0; i < slots(); ++i) n += file_.sequence_size(sequence(entity, sentences[i]));
    return n;
}

uint64_t KnowledgeFile::compose(uint64_t entity, const Sentence* sentences, int32_t vocab, int32_t* dst,
                                ValueSpan* values) const {
    const uint16_t* spans = static_cast<const uint16_t*>(spans_.data());
    uint64_t n = 0;
    for (uint32_t i = 0; i < slots(); ++i) {
        const uint64_t s = sequence(entity, sentences[i]);
        const TokenFile::Range range = file_.sequence(s);
        if (dst) file_.read(range.begin, range.size(), vocab, dst + n);
        const uint32_t at = static_cast<uint32_t>(n);
        if (values) values[i] = {sentences[i].slot, at + spans[2 * s], at + spans[2 * s + 1]};
        n += range.size();
    }
    return n;
}
