// numbers.h - numbers as people write them on a command line.
#pragma once
#include <cstdint>
#include <string>

// "12", "32k", "1.5M", "2B" as a whole number. Dies with Exit::Usage, naming `what`.
int64_t parse_count(const std::string& what, const std::string& text);
double parse_number(const std::string& what, const std::string& text);
// strto* also take hexadecimal numbers, "inf", "nan" and blanks before a number: not these.
bool is_decimal(const std::string& text);
