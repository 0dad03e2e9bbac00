#include "util/numbers.h"

#include <cmath>
#include <cstdlib>

#include "util/check.h"

bool is_decimal(const std::string& text) {
    return !text.empty() && text.find_first_of("xXnNiI \t\n\v\f\r") == std::string::npos;
}

double parse_number(const std::string& what, const std::string& text) {
    char* end = nullptr;
    const double value = strtod(text.c_str(), &end);
    if (!is_decimal(text) || *end || !std::isfinite(value))
        die(Exit::Usage, "%s: expected a number, found '%s'", what, text);
    return value;
}

int64_t parse_count(const std::string& what, const std::string& text) {
    char* end = nullptr;
    const double number = strtod(text.c_str(), &end);
    double unit = 1;
    const bool has_unit = !text.empty() && *end && !end[1];
    if (has_unit) unit = *end == 'k' || *end == 'K' ? 1e3 : *end == 'M' ? 1e6 : *end == 'B' || *end == 'G' ? 1e9 : 0;
    const double value = number * unit;
    if (!is_decimal(text) || (*end && !has_unit) || unit == 0 || !(value >= 0) || value > 9e18 ||
        std::abs(value - std::round(value)) > 1e-6 * unit)
        die(Exit::Usage, "%s: expected a count such as 1000, 32k, 1.5M or 2B, found '%s'", what, text);
    return static_cast<int64_t>(std::llround(value));
}
