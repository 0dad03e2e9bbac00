#include "util/json_text.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/json.h"

using nlohmann::json;

std::string json_quote(const std::string& text) {
    return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

void JsonLine::member(const std::string& name, std::string_view value) {
    if (!members_.empty()) members_ += ", ";
    members_ += json_quote(name) + ": ";
    members_ += value;
}

void JsonLine::add(const std::string& name, double value) {
    numbers_.emplace_back(name, value);
    if (std::isfinite(value)) {
        char text[32];
        const char* end = std::to_chars(text, text + sizeof text, value).ptr;
        member(name, {text, static_cast<size_t>(end - text)});
    } else {
        member(name, std::isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    }
}

void JsonLine::add(const std::string& name, int64_t value) {
    numbers_.emplace_back(name, static_cast<double>(value));
    member(name, std::to_string(value));
}

void JsonLine::add(const std::string& name, const std::string& text) { member(name, json_quote(text)); }

JsonLine parse_json_line(const std::string& where, const std::string& text) {
    const json object = parse_json(where, text);
    if (!object.is_object()) die(Exit::Data, "%s: a line is not an object", where);
    JsonLine line;
    for (const auto& [name, value] : object.items())
        if (value.is_number()) line.add(name, value.get<double>());
    return line;
}

int64_t integer_member(const std::string& where, const std::string& text, const std::string& name) {
    const json object = parse_json(where, text);
    if (!object.is_object() || !object.contains(name)) die(Exit::Data, "%s: '%s' is missing", where, name);
    return json_integer(where, object, name.c_str(), 0, INT64_MAX);
}

int64_t integer_member(const std::string& where, const std::string& text, const std::string& name, int64_t missing) {
    const json object = parse_json(where, text);
    return object.is_object() && object.contains(name) ? integer_member(where, text, name) : missing;
}

std::string text_member(const std::string& where, const std::string& text, const std::string& name) {
    const json object = parse_json(where, text);
    return object.is_object() && object.contains(name) && object[name].is_string() ? object[name].get<std::string>()
                                                                                   : "";
}
