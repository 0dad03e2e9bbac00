// The tests' main: a refusal throws, and the last line counts the test cases.
#define CATCH_CONFIG_RUNNER
#include "test/catch.h"
#include "test/skip.h"
#include "util/check.h"
#include "util/system.h"

namespace {

#ifdef CATCH_VERSION_MAJOR
#if CATCH_VERSION_MAJOR >= 3
using ListenerBase = Catch::EventListenerBase;
#else
using ListenerBase = Catch::TestEventListenerBase;
#endif
#endif

size_t passed_tests = 0, failed_tests = 0;

struct Counter : ListenerBase {
    using ListenerBase::ListenerBase;
    void testRunEnded(const Catch::TestRunStats& stats) override {
        passed_tests = static_cast<size_t>(stats.totals.testCases.passed);
        failed_tests = static_cast<size_t>(stats.totals.testCases.failed);
    }
};

}  // namespace

CATCH_REGISTER_LISTENER(Counter)
CATCH_TRANSLATE_EXCEPTION(const DieError& error) { return error.message; }

int main(int argc, char** argv) {
    wait_politely(argv);
    die_throws = true;
    Catch::Session session;
    const int wrong_arguments = session.applyCommandLine(argc, argv);
    if (wrong_arguments) return wrong_arguments;
    const int result = session.run();
    const bool listing = passed_tests + failed_tests == 0 && result == 0;
    if (!listing)
        printf("%zu passed, %zu failed, %d skipped\n", passed_tests - static_cast<size_t>(skipped_tests), failed_tests,
               skipped_tests);
    return result;
}
