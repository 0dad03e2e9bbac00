#include "util/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace {

// One argument as printf would print it with `spec` ("%-8.3", without the conversion's letter).
template <class Value>
void append(std::string* text, const std::string& spec, Value value) {
    char buffer[512];  // %f of the largest double has 310 digits
    const int size = snprintf(buffer, sizeof buffer, spec.c_str(), value);
    if (static_cast<size_t>(size) < sizeof buffer) {
        text->append(buffer, static_cast<size_t>(size));
        return;
    }
    std::string longer(static_cast<size_t>(size) + 1, '\0');
    snprintf(longer.data(), longer.size(), spec.c_str(), value);
    text->append(longer.data(), static_cast<size_t>(size));
}

void append_argument(std::string* text, const std::string& spec, char letter, const FormatArgument& argument) {
    using Kind = FormatArgument::Kind;
    const auto is_one_of = [&](const char* letters) { return strchr(letters, letter) != nullptr; };
    if (argument.kind == Kind::Text) {
        if (spec == "%")
            *text += argument.text;
        else
            append(text, spec + 's', std::string(argument.text).c_str());
    } else if (argument.kind == Kind::Real) {
        append(text, spec + (is_one_of("eEfFgG") ? letter : 'g'), argument.real);
    } else if (is_one_of("c")) {
        *text += static_cast<char>(argument.integer);
    } else if (is_one_of("xXo")) {
        const uint64_t mask = argument.bits < 64 ? (uint64_t{1} << argument.bits) - 1 : UINT64_MAX;
        append(text, spec + "ll" + letter, static_cast<unsigned long long>(argument.integer & mask));
    } else if (argument.kind == Kind::Signed) {
        append(text, spec + "lld", static_cast<long long>(argument.integer));
    } else {
        append(text, spec + "llu", static_cast<unsigned long long>(argument.integer));
    }
}

void check_screen(int code, void*) {
    if ((fflush(stdout) == 0 && !ferror(stdout)) || code != 0) return;
    struct stat screen;
    const bool is_there = fstat(STDOUT_FILENO, &screen) == 0;
    if (!is_there || S_ISFIFO(screen.st_mode) || S_ISSOCK(screen.st_mode) || isatty(STDOUT_FILENO)) return;
    fputs("error: standard output: not all of it could be written; is the disk full?\n", stderr);
    _Exit(static_cast<int>(Exit::Runtime));
}

}  // namespace

void check_screen_at_exit() {
    static const int registered = on_exit(check_screen, nullptr);
    (void)registered;
}

std::string format_arguments(const char* format, std::initializer_list<FormatArgument> arguments) {
    std::string text;
    const FormatArgument* next = arguments.begin();
    for (const char* at = format; *at;) {
        const char* const percent = strchr(at, '%');
        if (!percent) return text + at;
        text.append(at, percent);
        at = percent + 1;
        if (*at == '%') {
            text += *at++;
            continue;
        }
        std::string spec = "%";
        for (; *at && strchr("-+ #.*0123456789", *at); ++at) {
            if (*at != '*')
                spec += *at;
            else if (next != arguments.end())
                spec += std::to_string(static_cast<int64_t>((next++)->integer));
        }
        while (*at && strchr("hlzjt", *at)) ++at;
        // a message with an argument too few says so rather than nothing
        if (*at == '\0' || next == arguments.end()) return text + percent;
        append_argument(&text, spec, *at++, *next++);
    }
    return text;
}

void report_death(Exit code, const char* message) {
    fputs("error: ", stderr);  // in parts: there may be no memory
    fputs(message, stderr);
    fputs("\n", stderr);
    fflush(stderr);
    if (const auto clean_up = cleanup_hook.load()) clean_up();
    if (const auto hook = die_hook.load()) hook(code, message);
}

void die_with(Exit code, const std::string& message) {
    if (die_throws) throw DieError{code, message};
    static std::atomic<bool> dying;
    static thread_local bool dying_here;
    if (dying_here) _Exit(static_cast<int>(code));  // of what it takes to die: memory
    dying_here = true;
    while (dying.exchange(true)) pause();  // another thread does, and ends this one
    fflush(stdout);
    if (const auto together = die_together.load()) together(code, message.c_str());
    report_death(code, message.c_str());
    _Exit(static_cast<int>(code));  // no destructors: worker threads may be in the middle of something
}
