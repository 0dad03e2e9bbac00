// options.h - command-line options as one table: a row is at once the flag, the field with its default, the parser, the
// values it takes, the line of --help and the entry in the run's config.json. No third-party header here; options.cpp
// uses CLI11.
#pragma once
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

// The kinds of value. A field's initial value is its default.
using Switch = bool;                                                 // --flag
using TextList = std::vector<std::string>;                           // --flag A --flag B, or --flag A B
using NamedList = std::vector<std::pair<std::string, std::string>>;  // --flag NAME=VALUE, repeatable
struct OnOff {                                                       // --flag on|off
    bool on = false;
};
struct Count {       // 1000, 32k, 1.5M, 2B
    int64_t n = -1;  // not given
};
struct CountOrAll {  // the same, or "all"
    int64_t n = -1;  // all
};

// Values that a number may have, where it is given.
struct Range {
    double low = -HUGE_VAL, high = HUGE_VAL;
    bool above_low = false, below_high = false;  // the ends do not belong to it
    bool holds(double value) const;
    std::string text() const;  // "above 0", "from 0 to 1"
};
inline Range above(double low) { return {low, HUGE_VAL, true, false}; }
inline Range at_least(double low) { return {low, HUGE_VAL, false, false}; }
inline Range from_to(double low, double high) { return {low, high, false, false}; }
inline Range from_below(double low, double high) { return {low, high, false, true}; }

struct Option {
    using Field =
        std::variant<Switch*, OnOff*, Count*, CountOrAll*, int64_t*, double*, std::string*, TextList*, NamedList*>;
    const char* group;
    const char* name;  // without the dashes
    Field field;
    const char* argument;  // as --help shows it; "a|b|c" alone restricts a string to these words
    const char* help;
    Range range = {};  // of a number
};

class OptionTable {
  public:
    OptionTable(std::string program, std::string description, std::vector<Option> options);
    // Reads the command line into the fields; --config FILE (config_file.h: a key is a flag's name) first, flags win.
    // --help prints and exits with 0. From here on an exit checks the screen (check.h). Unknown names, missing,
    // malformed and repeated values and those out of range die with Exit::Usage: what was expected, what was found.
    void parse(int argc, char** argv);
    bool given(const std::string& name) const;
    const std::string& config_file() const { return config_file_; }  // of --config; "": none
    // All options with their values, resolved, as a JSON object in table order.
    std::string json() const;

  private:
    std::string program_, description_, config_file_;
    std::vector<Option> options_;
    std::vector<std::string> given_;
};

// Names of options whose values differ between two JSON objects of json(), but for those in `ignored`: "--lr: 0.001
// here, 0.002 there", a line each.
std::vector<std::string> options_difference(const std::string& json_here, const std::string& json_there,
                                            const std::vector<std::string>& ignored);
