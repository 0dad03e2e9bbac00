#include "util/config_file.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>

#include "util/check.h"

namespace {

bool is_of_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || strchr("_-+.:", c); }

void append_utf8(std::string* text, uint32_t code) {
    const auto add = [&](uint32_t byte) { *text += static_cast<char>(byte); };
    if (code < 0x80) {
        add(code);
    } else if (code < 0x800) {
        add(0xC0 | code >> 6), add(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        add(0xE0 | code >> 12), add(0x80 | (code >> 6 & 0x3F)), add(0x80 | (code & 0x3F));
    } else {
        add(0xF0 | code >> 18), add(0x80 | (code >> 12 & 0x3F)), add(0x80 | (code >> 6 & 0x3F)),
            add(0x80 | (code & 0x3F));
    }
}

// 1_000 as 1000; "" where the word is no TOML number in decimals.
std::string number_of(const std::string& word) {
    std::string digits;
    for (size_t i = 0; i < word.size(); ++i) {
        const auto is_digit = [&](size_t at) { return at < word.size() && std::isdigit(word[at]); };
        if (word[i] != '_')
            digits += word[i];
        else if (i == 0 || !is_digit(i - 1) || !is_digit(i + 1))
            return "";
    }
    const char* at = digits.c_str();
    const auto skip_digits = [&] {
        const char* begin = at;
        while (std::isdigit(static_cast<unsigned char>(*at))) ++at;
        return at > begin;
    };
    if (*at == '+' || *at == '-') ++at;
    if (!skip_digits()) return "";
    if (*at == '.' && (++at, !skip_digits())) return "";
    if (*at == 'e' || *at == 'E') {
        ++at;
        if (*at == '+' || *at == '-') ++at;
        if (!skip_digits()) return "";
    }
    return *at ? "" : digits;
}

class Parser {
  public:
    Parser(const std::string& name, std::string_view text) : name_(name), text_(text) {
        if (text_.substr(0, 3) == "\xEF\xBB\xBF") at_ = 3;  // a byte order mark
    }

    std::vector<ConfigEntry> entries() {
        std::vector<ConfigEntry> found;
        while (skip_lines(), at_ < text_.size()) {
            if (peek() == '[') refuse("a table; expected key = value, a key a flag's name");
            ConfigEntry entry{key(), {}, line_};
            for (const ConfigEntry& other : found)
                if (other.key == entry.key)
                    refuse("'" + entry.key + "' is there twice, first in line " + std::to_string(other.line));
            skip_blanks();
            if (peek() == '.') refuse("'" + entry.key + "' is a table; expected key = value, a key a flag's name");
            if (peek() != '=') refuse("'" + entry.key + "' has no value; expected key = value");
            ++at_;
            skip_blanks();
            if (ends_line()) refuse("'" + entry.key + "' has no value; expected key = value");
            if (peek() == '[')
                entry.values = array(entry.key);
            else
                entry.values.push_back(value());
            skip_blanks();
            if (!ends_line())
                refuse("'" + entry.key + "': expected one value and the end of the line, then found '" +
                       rest_of_line() + "'");
            found.push_back(std::move(entry));
        }
        return found;
    }

  private:
    [[noreturn]] void refuse(const std::string& what) const {
        die(Exit::Usage, "--config %s: line %d: %s", name_, line_, what);
    }
    char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\n'; }
    bool ends_line() const { return peek() == '\n' || peek() == '#' || (peek() == '\r' && peek(1) == '\n'); }
    void skip_blanks() {
        while (peek() == ' ' || peek() == '\t') ++at_;
    }
    // Blanks, comments and ends of lines.
    void skip_lines() {
        for (; skip_blanks(), at_ < text_.size() && ends_line(); ++line_)
            at_ = std::min(text_.find('\n', at_), text_.size() - 1) + 1;
    }
    std::string rest_of_line() const {
        const std::string_view rest = text_.substr(at_, text_.find('\n', at_) - at_);
        return std::string(rest.substr(0, 40));
    }

    std::string word() {
        const size_t begin = at_;
        while (at_ < text_.size() && is_of_word(text_[at_])) ++at_;
        return std::string(text_.substr(begin, at_ - begin));
    }

    std::string key() {
        if (peek() == '"' || peek() == '\'') return quoted();
        const size_t begin = at_;
        while (at_ < text_.size() && is_of_word(text_[at_]) && !strchr(".:+", text_[at_])) ++at_;
        if (at_ == begin) refuse("expected key = value, found '" + rest_of_line() + "'");
        return std::string(text_.substr(begin, at_ - begin));
    }

    std::string value() {
        if (peek() == '"' || peek() == '\'') return quoted();
        if (peek() == '[') refuse("an array inside an array; a flag takes texts and numbers");
        if (peek() == '{') refuse("a table; a flag takes a text, a number, true, false, or an array of some");
        const std::string found = rest_of_line(), text = word();
        if (text == "true") return "on";
        if (text == "false") return "off";
        const std::string number = number_of(text);
        if (number.empty())
            refuse("expected a text in quotes, a number, true, false or an array, found '" + found + "'");
        return number;
    }

    std::vector<std::string> array(const std::string& key) {
        std::vector<std::string> values;
        const int first = line_;
        const auto skip = [&] {
            skip_lines();
            if (at_ < text_.size()) return;
            line_ = first;
            refuse("'" + key + "': the array does not end");
        };
        for (++at_;; ++at_) {
            skip();
            if (peek() == ']') break;  // after a last comma too
            values.push_back(value());
            skip();
            if (peek() == ']') break;
            if (peek() != ',') refuse("'" + key + "': expected ',' or ']', found '" + rest_of_line() + "'");
        }
        ++at_;
        if (values.empty()) refuse("'" + key + "' has no value; leave the line out");
        return values;
    }

    std::string quoted() {
        const char quote = text_[at_++];
        if (peek() == quote && peek(1) == quote) refuse("a string over several lines; write it in one");
        std::string value;
        for (; peek() != quote; ++at_) {
            if (peek() == '\n') refuse("a string does not end");
            if (quote == '"' && peek() == '\\')
                escape(&value);
            else
                value += peek();
        }
        ++at_;
        return value;
    }

    // At the backslash; leaves the last character for the caller's step.
    void escape(std::string* value) {
        constexpr const char *letters = "btnfr\"\\", *meant = "\b\t\n\f\r\"\\";
        const char letter = peek(1);
        const char* known = letter ? strchr(letters, letter) : nullptr;
        const size_t digits = letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
        if (known) {
            *value += meant[known - letters];
            ++at_;
            return;
        }
        uint64_t code = 0;
        for (size_t i = 0; i < digits; ++i) {
            const char digit = peek(2 + i);
            if (!std::isxdigit(static_cast<unsigned char>(digit)))
                refuse("\\u and \\U need 4 and 8 hexadecimal digits");
            code = code * 16 + static_cast<uint64_t>(std::stoi(std::string(1, digit), nullptr, 16));
        }
        if (digits == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
            refuse("a string with an escape that TOML does not have; write '...' or \\\\ for a backslash");
        append_utf8(value, static_cast<uint32_t>(code));
        at_ += 1 + digits;
    }

    const std::string& name_;
    std::string_view text_;
    size_t at_ = 0;
    int line_ = 1;
};

}  // namespace

std::vector<ConfigEntry> parse_config(const std::string& name, std::string_view text) {
    return Parser(name, text).entries();
}
