// json.h - JSON from outside, for .cpp files: a syntax error, a wild depth or a newer format ends the program with a
// message instead of an exception or an overflowing stack.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

// Dies with Exit::Data unless `text` is one JSON value at most 64 levels deep; `name` is for messages.
nlohmann::json parse_json(const std::string& name, std::string_view text);

// A member of an object as a whole number in [low, high]. Dies with Exit::Data, naming the key.
int64_t json_integer(const std::string& name, const nlohmann::json& object, const char* key, int64_t low, int64_t high);

// Dies with Exit::Data unless `object` is an object with format_version 1.
void check_format_version(const std::string& name, const nlohmann::json& object);
