#include "util/stop.h"

#include <unistd.h>

#include <cerrno>
#include <initializer_list>

namespace {

volatile sig_atomic_t received = 0;
volatile sig_atomic_t exit_code = 0;

void on_signal(int number) {
    if (exit_code) {
        constexpr char text[] = "stopped by a signal before the first step: nothing is lost, start again\n";
        while (write(STDERR_FILENO, text, sizeof text - 1) < 0 && errno == EINTR) continue;
        _exit(exit_code);
    }
    if (received && number == SIGINT) _exit(1);  // the second Ctrl-C leaves at once
    received = number;
}

}  // namespace

void hear_signals() {
    signal(SIGPIPE, SIG_IGN);
    for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) signal(number, on_signal);
    if (signal(SIGHUP, on_signal) == SIG_IGN) signal(SIGHUP, SIG_IGN);
}

void on_signals_exit(int code) { exit_code = code; }

int signal_received() { return received; }

void throw_if_stopped() {
    if (received) throw Stopped{received};
}
