#include "kernels/choices_text.h"

#include <algorithm>
#include <cctype>
#include <climits>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

namespace gpu {
namespace {

bool is_word(const std::string& text, const char* signs) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [=](unsigned char c) {
        return c < 128 && (isalnum(c) || (c != 0 && strchr(signs, c)));
    });
}

// "65536", "T=2048"
bool is_size(const std::string& text) {
    const size_t equals = text.find('=');
    if (equals != std::string::npos && !is_word(text.substr(0, equals), "_")) return false;
    const std::string digits = equals == std::string::npos ? text : text.substr(equals + 1);
    if (digits.empty() || digits.size() > 10 || digits[0] == '0' ||
        digits.find_first_not_of("0123456789") != std::string::npos)
        return false;
    return std::stoll(digits) <= INT_MAX;
}

// What is between single blanks.
std::vector<std::string> words_in(const std::string& text) {
    std::vector<std::string> words;
    for (size_t begin = 0; begin <= text.size();) {
        const size_t end = std::min(text.find(' ', begin), text.size());
        words.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return words;
}

// "", or the rest of a string that begins with `word`.
std::string rest_of(const std::vector<std::string>& strings, size_t i, const std::string& word) {
    const bool begins = i < strings.size() && strings[i].compare(0, word.size(), word) == 0;
    return begins ? strings[i].substr(word.size()) : "";
}

}  // namespace

bool is_choice_key(const std::string& text) {
    const std::vector<std::string> words = words_in(text);
    return words.size() > 2 && is_word(words[0], "_+") && (words[1] == "bf16" || words[1] == "fp32") &&
           std::all_of(words.begin() + 2, words.end(), is_size);
}
bool is_choice_way(const std::string& text) { return is_word(text, "_"); }

std::string plain_name(const std::string& name, char other) {
    std::string plain = name;
    for (char& c : plain)
        if (!isalnum(static_cast<unsigned char>(c)) && !strchr(other == ' ' ? " .-_()" : ".-", c)) c = other;
    return plain;
}

// By hand, an entry a line: readable in a checkpoint, and the bytes do not depend on a library's taste.
std::string to_json(const ChoicesText& choices) {
    std::string json = "[\"gpu " + choices.device + "\",\n \"library " + choices.library + "\"";
    for (const auto& [key, way] : choices.way) json += ",\n \"" + key + " " + way + "\"";
    return json + "]\n";
}

std::string parse(const std::string& json, ChoicesText* choices) {
    // no name, key or way has an escape; one array and no object, so that nothing is nested
    if (json.find_first_of("\\{") != std::string::npos || std::count(json.begin(), json.end(), '[') > 1)
        return "expected a JSON array of plain strings";
    const nlohmann::json array = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
    if (!array.is_array()) return "expected a JSON array";
    std::vector<std::string> strings;
    for (const auto& element : array) {
        if (!element.is_string()) return "expected strings";
        strings.push_back(element.get<std::string>());
    }
    if (strings.empty()) return "";
    choices->device = rest_of(strings, 0, "gpu ");
    choices->library = rest_of(strings, 1, "library ");
    if (choices->device.empty() || choices->library.empty()) return "expected the names of a GPU and a library first";
    for (size_t i = 2; i < strings.size(); ++i) {
        const size_t blank = strings[i].rfind(' ');
        const std::string key = strings[i].substr(0, blank);
        const std::string way = blank == std::string::npos ? "" : strings[i].substr(blank + 1);
        if (!is_choice_key(key) || !is_choice_way(way))
            return "\"" + strings[i].substr(0, 100) + "\" is not an operation with its sizes and the way chosen for it";
        choices->way[key] = way;
    }
    return "";
}

}  // namespace gpu
