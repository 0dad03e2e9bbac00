#include "eval/question_names.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "util/check.h"
#include "util/json.h"

namespace {

using nlohmann::json;

constexpr int64_t MAX_COUNT = 0xFFFFFFFF;  // questions and entities are u32 in the columns
constexpr uint64_t MAX_POOL = 1ull << 53;  // exact as a double
constexpr double ROUNDING = 0.01;          // of bits written with two decimals

const json& member(const std::string& file, const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end()) die(Exit::Data, "%s: the key \"%s\" is missing", file, key);
    return *found;
}

std::string text_of(const std::string& file, const json& value, const char* key) {
    if (!value.is_string()) die(Exit::Data, "%s: \"%s\" must hold text", file, key);
    return value.get<std::string>();
}

// A value as text for messages, whatever bytes it has.
std::string shown(const json& value) { return value.dump(-1, ' ', true, json::error_handler_t::replace); }

// Two rows of one name in a table would be more than confusing: a result could not be found by its name. Templates are
// texts, and two attributes may share one.
std::vector<std::string> names_of(const std::string& file, const json& object, const char* key) {
    const json& list = member(file, object, key);
    if (!list.is_array() || list.empty()) die(Exit::Data, "%s: \"%s\" must be a list of at least one name", file, key);
    std::vector<std::string> names;
    std::unordered_map<std::string, size_t> first;
    for (const json& name : list) {
        names.push_back(text_of(file, name, key));
        const auto [before, fresh] = first.emplace(names.back(), names.size() - 1);
        if (!fresh && strcmp(key, "templates") != 0)
            die(Exit::Data, "%s: \"%s\" names %.80s twice, at positions %u and %u (from 0)", file, key, shown(name),
                before->second, names.size() - 1);
    }
    return names;
}

std::vector<std::string> kinds_of(const std::string& file, const json& object) {
    const std::vector<std::string> kinds = names_of(file, object, "kinds");
    for (const std::string& kind : kinds)
        if (std::find(std::begin(KINDS), std::end(KINDS), kind) == std::end(KINDS))
            die(Exit::Data, "%s: \"kinds\" knows seen, heldout and question, found \"%s\"", file, kind);
    return kinds;
}

std::vector<int64_t> pools_of(const std::string& file, const json& object, size_t attributes) {
    const json& list = member(file, object, "attribute_pools");
    if (!list.is_array() || list.size() != attributes)
        die(Exit::Data, "%s: \"attribute_pools\" must list one size for each of the %u attributes", file, attributes);
    std::vector<int64_t> pools;
    for (const json& pool : list) {
        if (!pool.is_number_unsigned() || pool.get<uint64_t>() > MAX_POOL)
            die(Exit::Data, "%s: \"attribute_pools\" must hold whole numbers up to 2^53, found %.40s", file,
                shown(pool));
        pools.push_back(pool.get<int64_t>());
    }
    return pools;
}

// A list of finite numbers >= 0, one for each of `size` names.
std::vector<double> amounts_of(const std::string& file, const json& list, const char* key, size_t size,
                               const char* names) {
    if (!list.is_array() || list.size() != size)
        die(Exit::Data, "%s: \"%s\" must list one number for each of the %u %s", file, key, size, names);
    std::vector<double> amounts;
    for (const json& amount : list) {
        const double x = amount.is_number() ? amount.get<double>() : -1;
        if (!(x >= 0 && std::isfinite(x)))
            die(Exit::Data, "%s: \"%s\" must hold finite numbers of at least 0, found %.40s", file, key, shown(amount));
        amounts.push_back(x);
    }
    return amounts;
}

std::vector<double> bits_of(const std::string& file, const json& object, const QuestionNames& names) {
    std::vector<double> bits;
    for (const int64_t pool : names.pools) bits.push_back(pool > 0 ? std::log2(static_cast<double>(pool)) : 0.0);
    const auto found = object.find("attribute_bits");
    if (found == object.end()) return bits;
    const std::vector<double> given = amounts_of(file, *found, "attribute_bits", bits.size(), "attributes");
    for (size_t a = 0; a < bits.size(); ++a) {
        if (names.pools[a] > 0 && given[a] > bits[a] + ROUNDING)
            die(Exit::Data, "%s: \"attribute_bits\" says %g for %s, more than log2 of its pool of %d (%.4f)", file,
                given[a], names.attributes[a], names.pools[a], bits[a]);
        bits[a] = std::min(bits[a], given[a]);
    }
    return bits;
}

std::vector<double> weights_of(const std::string& file, const json& object, size_t groups) {
    const auto found = object.find("group_weights");
    if (found == object.end()) return {};
    const std::vector<double> weights = amounts_of(file, *found, "group_weights", groups, "groups");
    double sum = 0;
    for (const double weight : weights) sum += weight;
    if (!(sum > 0 && std::isfinite(sum)))
        die(Exit::Data, "%s: \"group_weights\" sum to %g, expected a finite number above 0", file, sum);
    return weights;
}

}  // namespace

QuestionNames parse_question_names(const std::string& file, const std::string& text) {
    const json object = parse_json(file, text);
    check_format_version(file, object);
    QuestionNames names;
    names.name = text_of(file, member(file, object, "name"), "name");
    if (names.name.empty() || names.name.find_first_of("/ \t\n\"\\") != std::string::npos)
        die(Exit::Data, "%s: \"name\" becomes part of metric names and must be one word without a slash, found \"%s\"",
            file, names.name);
    if (object.contains("source")) names.source = text_of(file, object["source"], "source");
    if (const auto sums = object.find("source_checksums"); sums != object.end()) {
        if (!sums->is_object())
            die(Exit::Data, "%s: \"source_checksums\" must be an object with names and values", file);
        for (const auto& [key, checksum] : {std::pair("names", &names.facts.names), {"values", &names.facts.values}})
            if (sums->contains(key)) *checksum = text_of(file, (*sums)[key], key);
    }
    if (const auto shuffled = object.find("shuffled"); shuffled != object.end()) {
        if (!shuffled->is_boolean())
            die(Exit::Data, "%s: \"shuffled\" must be true or false, found %.40s", file, shown(*shuffled));
        names.shuffled = shuffled->get<bool>();
    }
    names.questions = json_integer(file, object, "questions", 1, MAX_COUNT);
    names.entities = json_integer(file, object, "entities", 1, MAX_COUNT);
    names.relations = names_of(file, object, "relations");
    names.attributes = names_of(file, object, "attributes");
    names.templates = names_of(file, object, "templates");
    names.kinds = kinds_of(file, object);
    names.groups = names_of(file, object, "groups");
    names.pools = pools_of(file, object, names.attributes.size());
    names.bits = bits_of(file, object, names);
    names.group_weights = weights_of(file, object, names.groups.size());
    return names;
}
