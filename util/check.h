// check.h - how the program ends when something cannot be handled.
//
// One policy: a message that says what was expected, what was found and what to try, on stderr, then the exit code of
// the table below. Files are written under a temporary name and renamed, so dying is always safe; what has a temporary
// name at that moment is removed, which on a full disk makes room for the FAILED marker that is written next.
// Tests set `die_throws`, and a refusal becomes an exception that they can look at.
#pragma once
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

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
inline void (*cleanup_hook)() = nullptr;               // of files.h: removes temporary files and folders

// Of peers.h: the end of this process as one of several. It does not return, but where this one is to speak for itself.
// Calls only what a signal handler may.
inline void (*die_together)(Exit, const char*) = nullptr;

// What die does before it leaves: the message on stderr, temporary files, the marker.
void report_death(Exit code, const char* message);

// A value in a message: a number, a string (char*, std::string, std::string_view), a character.
struct FormatArgument {
    template <class T>
    FormatArgument(const T& value) {
        if constexpr (std::is_floating_point_v<T>) {
            kind = Kind::Real;
            real = static_cast<double>(value);
        } else if constexpr (std::is_integral_v<T>) {
            kind = std::is_signed_v<T> ? Kind::Signed : Kind::Unsigned;
            integer = static_cast<uint64_t>(value);
            bits = 8 * sizeof(T);
        } else {
            text = value;
        }
    }
    enum class Kind { Signed, Unsigned, Real, Text } kind = Kind::Text;
    uint64_t integer = 0;  // a signed one by two's complement
    int bits = 64;         // of its type
    double real = 0;
    std::string_view text;
};
std::string format_arguments(const char* format, std::initializer_list<FormatArgument> arguments);
[[noreturn]] void die_with(Exit code, const std::string& message);

// printf into a std::string, where the arguments know their types: %d takes every whole number, %g every real one, %s
// every string. Flags, width and precision are printf's; lengths (ll, z) say nothing.
template <class... Arguments>
std::string format_text(const char* format, const Arguments&... arguments) {
    return format_arguments(format, {FormatArgument(arguments)...});
}

// The same to a file.
template <class... Arguments>
void print(FILE* out, const char* format, const Arguments&... arguments) {
    fputs(format_arguments(format, {FormatArgument(arguments)...}).c_str(), out);
}

// Ends the program with `code` and one message. Never returns; throws DieError under `die_throws`.
template <class... Arguments>
[[noreturn]] void die(Exit code, const char* format, const Arguments&... arguments) {
    die_with(code, format_arguments(format, {FormatArgument(arguments)...}));
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
        die(Exit::Runtime, "an integer of %d does not fit its type", value);
    return result;
}
