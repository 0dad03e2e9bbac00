// options.h - command-line options as one table: a row is at once the flag, the field with its default, the parser, the
// line of --help and the entry in the run's config.json. No third-party header here; options.cpp stands on CLI11.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

// The kinds of value. A field's initial value is its default.
using Switch = bool;  // --flag
struct OnOff {
    bool on = false;
};  // --flag on|off
struct Count {
    int64_t n = -1;
};  // 1000, 32k, 1.5M, 2B; -1: not given
struct CountOrAll {
    int64_t n = -1;
};                                                                   // the same, or "all" (-1)
using TextList = std::vector<std::string>;                           // --flag A --flag B, or --flag A B
using NamedList = std::vector<std::pair<std::string, std::string>>;  // --flag NAME=VALUE, repeatable

struct Option {
    using Field =
        std::variant<Switch*, OnOff*, Count*, CountOrAll*, int64_t*, double*, std::string*, TextList*, NamedList*>;
    const char* group;
    const char* name;  // without the dashes
    Field field;
    const char* argument;  // as --help shows it; "a|b|c" alone restricts a string to these words
    const char* help;
};

class OptionTable {
  public:
    OptionTable(std::string program, std::string description, std::vector<Option> options);
    // Reads the command line into the fields; --config FILE (TOML: a key is a flag's name) first, flags win. --help
    // prints and exits with 0. Unknown names,
    // missing, malformed and repeated values die with Exit::Usage: what was expected, what was found.
    void parse(int argc, char** argv);
    bool given(const std::string& name) const;
    // All options with their values, resolved, as a JSON object in table order.
    std::string json() const;

  private:
    std::string program_, description_;
    std::vector<Option> options_;
    std::vector<std::string> given_;
};

// "12", "32k", "1.5M", "2B" as a whole number. Dies with Exit::Usage, naming `what`.
int64_t parse_count(const std::string& what, const std::string& text);
double parse_number(const std::string& what, const std::string& text);

// Names of options whose values differ between two JSON objects of json(), but for those in `ignored`: "--lr: 0.001
// here, 0.002 there", a line each.
std::vector<std::string> options_difference(const std::string& json_here, const std::string& json_there,
                                            const std::vector<std::string>& ignored);
