// stop.h - signals that ask the program to end: SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2. SIGPIPE is ignored: whoever
// reads the screen may leave.
#pragma once
#include <csignal>

// From now on these signals are heard. A program started with SIGHUP ignored (nohup) goes on ignoring it.
void hear_signals();

// How a signal is answered: with `code` not 0 the program ends at once with it, there is nothing to be saved; with 0
// the signal is kept for those who ask. A second SIGINT always ends the program.
void on_signals_exit(int code);
int signals_exit_code();

// The signal that arrived, 0: none.
int signal_received();

// What the screen then says.
constexpr char STOPPED_BY_SIGNAL[] = "stopped by a signal before the first step: nothing is lost, start again\n";

// One of several processes (util/peers.h): those that do not print stay silent, too, when a signal ends them, and while
// signals are shared, every one is kept, and whoever passes them on ends the program.
void silence_signals();
void share_signals(bool shared);
void signal_elsewhere(int number);  // as if it had come here

// Thrown out of long work that nothing is lost by cutting short: an evaluation.
struct Stopped {
    int signal;
};
void throw_if_stopped();
