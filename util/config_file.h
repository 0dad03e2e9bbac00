// config_file.h - the TOML that --config reads: keys with a text, a number, true, false, or an array of these.
//
// Of TOML 1.0: comments, bare and quoted keys, basic and literal strings with escapes, numbers, arrays over several
// lines. Tables, dates, strings over several lines and arrays inside arrays have no meaning as flags and are refused.
#pragma once
#include <string>
#include <string_view>
#include <vector>

struct ConfigEntry {
    std::string key;
    std::vector<std::string> values;  // of a flag: texts without quotes, numbers as written, on and off
    int line = 0;                     // from 1
};

// Dies with Exit::Usage, naming the line; `name` is for messages.
std::vector<ConfigEntry> parse_config(const std::string& name, std::string_view text);
