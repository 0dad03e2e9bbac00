// json_text.h - JSON as text, for files that see no third-party header: an object written member by member, a member
// read.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// A string as a JSON string. What is not UTF-8 becomes U+FFFD.
std::string json_quote(const std::string& text);

// An object on one line, its members in the order in which they were added. Numbers are the shortest decimals that read
// back as the same value. JSON has no NaN and no infinity: they become the strings "NaN", "Infinity" and "-Infinity",
// which Python's float() and pandas.to_numeric() take.
class JsonLine {
  public:
    void add(const std::string& name, double value);
    void add(const std::string& name, int64_t value);
    void add(const std::string& name, int value) { add(name, static_cast<int64_t>(value)); }
    void add(const std::string& name, const std::string& text);
    void add(const std::string& name, const char* text) { add(name, std::string(text)); }
    std::string json() const { return "{" + members_ + "}"; }
    // What add(double) and add(int64) were given, for TensorBoard.
    const std::vector<std::pair<std::string, double>>& numbers() const { return numbers_; }

  private:
    void member(const std::string& name, std::string_view value);
    std::string members_;
    std::vector<std::pair<std::string, double>> numbers_;
};

// The members of such a line that are numbers, read back. Dies with Exit::Data; `where` is for messages.
JsonLine parse_json_line(const std::string& where, const std::string& json);

// A member of the object `json` as a whole number of at least 0. Dies with Exit::Data when it is not there; `where` is
// for messages.
int64_t integer_member(const std::string& where, const std::string& json, const std::string& name);
// ... `missing` when it is not there.
int64_t integer_member(const std::string& where, const std::string& json, const std::string& name, int64_t missing);
// ... as text; "" when it is not there.
std::string text_member(const std::string& where, const std::string& json, const std::string& name);
