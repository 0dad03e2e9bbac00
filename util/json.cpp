#include "util/json.h"

#include <nlohmann/json.hpp>

#include "util/check.h"

using nlohmann::json;

namespace {

constexpr int max_depth = 64;
constexpr int64_t format_version = 1;

// The library copies and prints values by recursion, so the depth is bounded before it sees the text.
bool too_deep(std::string_view text) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"') quoted = !quoted;
        if (c == '\\') ++i;  // outside of a string a backslash is an error, which the parser reports
        if (quoted) continue;
        if ((c == '{' || c == '[') && ++depth > max_depth) return true;
        if (c == '}' || c == ']') --depth;
    }
    return false;
}

}  // namespace

json parse_json(const std::string& name, std::string_view text) {
    if (too_deep(text)) die(Exit::Data, "%s: JSON nested more than %d deep", name, max_depth);
    try {
        return json::parse(text);
    } catch (const json::exception& error) {
        die(Exit::Data, "%s: not JSON (%s)", name, error.what());
    }
}

int64_t json_integer(const std::string& name, const json& object, const char* key, int64_t low, int64_t high) {
    const auto found = object.find(key);
    if (found == object.end()) die(Exit::Data, "%s: key '%s' is missing", name, key);
    const bool fits =
        found->is_number_integer() && (!found->is_number_unsigned() || found->get<uint64_t>() <= INT64_MAX);
    if (!fits || found->get<int64_t>() < low || found->get<int64_t>() > high)
        die(Exit::Data, "%s: %s is %s, expected a whole number from %d to %d", name, key, found->dump(-1, ' ', true),
            low, high);
    return found->get<int64_t>();
}

void check_format_version(const std::string& name, const json& object) {
    if (!object.is_object() || !object.contains("format_version"))
        die(Exit::Data, "%s: no format_version, expected %d", name, format_version);
    const int64_t version = json_integer(name, object, "format_version", 0, INT64_MAX);
    if (version != format_version)
        die(Exit::Data, "%s: format_version %d, this program reads %d; use the program that wrote it", name, version,
            format_version);
}
