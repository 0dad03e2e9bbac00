// fuzz.h - a parser of outside bytes may refuse, and may do nothing else: no crash, no read outside of the input.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "util/check.h"

// Runs `parse`; a refusal must be one of bad data, not of a broken precondition.
template <class Parse>
int fuzz(Parse parse) {
    die_throws = true;
    try {
        parse();
    } catch (const DieError& error) {
        if (error.code != Exit::Data) {
            fprintf(stderr, "refused with code %d: %s\n", static_cast<int>(error.code), error.message.c_str());
            abort();
        }
    }
    return 0;
}
