// check.h - how the program ends when something cannot be handled.
//
// One policy: a message that says what was expected, what was found and what to try, on stderr, then the exit code of
// the table below. Files are written under a temporary name and renamed, so dying is always safe.
// Tests set `die_throws`, and a refusal becomes an exception that they can look at.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

enum class Exit : int {
    Ok = 0,
    Runtime = 1,   // full disk, out of memory, a signal without --out
    Usage = 2,     // unknown or malformed flag, impossible mixture, a flag this build lacks
    Data = 3,      // bad data or format, missing or unreadable file
    Device = 4,    // no GPU, CUDA or communication error
    Diverged = 5,  // NaN or inf in loss or gradient norm
    Requeue = 75,  // stopped by a signal, checkpoint saved: resume me
};

struct DieError {
    Exit code;
    std::string message;
};

inline bool die_throws = false;                        // tests only
inline void (*die_hook)(Exit, const char*) = nullptr;  // the trainer's: writes the FAILED marker of a run

inline std::string format_text(const char* format, va_list args) {
    va_list copy;
    va_copy(copy, args);
    std::string text(static_cast<size_t>(vsnprintf(nullptr, 0, format, copy)), '\0');
    va_end(copy);
    vsnprintf(text.data(), text.size() + 1, format, args);
    return text;
}

// printf into a std::string.
[[gnu::format(printf, 1, 2)]] inline std::string format_text(const char* format, ...) {
    va_list args;
    va_start(args, format);
    std::string text = format_text(format, args);
    va_end(args);
    return text;
}

// Ends the program with `code` and one message. Never returns; throws DieError under `die_throws`.
[[noreturn, gnu::format(printf, 2, 3)]] inline void die(Exit code, const char* format, ...) {
    va_list args;
    va_start(args, format);
    std::string text = format_text(format, args);
    va_end(args);
    if (die_throws) throw DieError{code, text};
    if (die_hook) die_hook(code, text.c_str());
    fflush(stdout);
    fprintf(stderr, "error: %s\n", text.c_str());
    fflush(stderr);
    _Exit(static_cast<int>(code));  // no destructors: worker threads may be in the middle of something
}

// A precondition of a kernel or a function: a wrong caller, not a wrong user. Always on. (CHECK would be Catch2's.)
#define ENSURE(condition, ...)                             \
    do {                                                   \
        if (!(condition)) die(Exit::Runtime, __VA_ARGS__); \
    } while (0)

// Integer conversion that refuses to lose the value.
template <class To, class From>
To narrow(From value) {
    const To result = static_cast<To>(value);
    if (static_cast<From>(result) != value || ((result < To{}) != (value < From{})))
        die(Exit::Runtime, "an integer of %lld does not fit its type", static_cast<long long>(value));
    return result;
}
