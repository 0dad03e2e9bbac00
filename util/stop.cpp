#include "util/stop.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <initializer_list>

namespace {

// lock-free, as a handler needs them; read by several threads
std::atomic<int> received{0}, exit_code{0};
std::atomic<bool> came_here{false}, silent{false}, shared_out{false};

void on_signal(int number) {
    if (exit_code && !shared_out) {
        if (!silent)
            while (write(STDERR_FILENO, STOPPED_BY_SIGNAL, sizeof STOPPED_BY_SIGNAL - 1) < 0 && errno == EINTR) continue;
        _exit(exit_code);
    }
    // The second Ctrl-C leaves at once. One that another process heard is the same Ctrl-C, come a second way.
    if (came_here && number == SIGINT) _exit(1);
    came_here = true;
    received = number;
}

}  // namespace

void hear_signals() {
    signal(SIGPIPE, SIG_IGN);
    for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) signal(number, on_signal);
    if (signal(SIGHUP, on_signal) == SIG_IGN) signal(SIGHUP, SIG_IGN);
}

void on_signals_exit(int code) { exit_code = code; }
int signals_exit_code() { return exit_code; }
int signal_received() { return received; }
void silence_signals() { silent = true; }
void share_signals(bool shared) { shared_out = shared; }

void signal_elsewhere(int number) {
    int none = 0;
    received.compare_exchange_strong(none, number);
}

void throw_if_stopped() {
    if (received) throw Stopped{received};
}
