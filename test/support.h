// support.h - what tests of files and refusals share.
#pragma once
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "test/skip.h"
#include "util/check.h"
#include "util/files.h"

// How `call` ended: its code and message, Exit::Ok when it came back.
template <class Call>
DieError outcome_of(Call call) {
    try {
        call();
    } catch (const DieError& error) {
        return error;
    }
    return {Exit::Ok, "came back"};
}

// `call` must die with this code and a message that contains `part`.
#define REQUIRE_DIES(exit_code, part, ...)                         \
    do {                                                           \
        const DieError outcome = outcome_of([&] { __VA_ARGS__; }); \
        INFO(outcome.message);                                     \
        CHECK(outcome.code == (exit_code));                        \
        CHECK(outcome.message.find(part) != std::string::npos);    \
    } while (0)

// A folder that is gone when the test ends.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        const char* base = getenv("TMPDIR");
        path_ = path_join(base && *base ? base : "/tmp", "knapsack_test_XXXXXX");
        ENSURE(mkdtemp(path_.data()), "%s: cannot be created", path_.c_str());
    }
    ~TemporaryFolder() { remove_tree(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::string& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_join(path_, name); }

  private:
    std::string path_;
};

// Runs a shell command; its output goes to `output`, the exit status is returned.
inline int run_command(const std::string& command, std::string* output) {
    FILE* pipe = popen((command + " 2>&1").c_str(), "r");
    ENSURE(pipe, "%s: cannot be run", command.c_str());
    char buffer[4096];
    output->clear();
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) output->append(buffer, n);
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A Python that can import these modules ("numpy", "torch, transformers"); "" if there is none. $TRANSFORMERS_PYTHON is
// tried first, then $PYTHON.
inline std::string python_with(const std::string& modules) {
    const auto named = [](const char* variable) {
        const char* value = getenv(variable);
        return value ? value : "";
    };
    std::string ignored;
    for (const std::string python :
         {named("TRANSFORMERS_PYTHON"), named("PYTHON"), ".venv/bin/python", "/usr/bin/python3", "python3"})
        if (!python.empty() && run_command(python + " -c 'import " + modules + "'", &ignored) == 0) return python;
    return "";
}

// test/NAME in the source tree.
inline std::string test_file(const std::string& name) { return path_join(folder_of(__FILE__), name); }
