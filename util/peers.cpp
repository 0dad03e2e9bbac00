#include "util/peers.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <thread>

#include "util/check.h"
#include "util/mpi.h"
#include "util/rendezvous.h"
#include "util/stop.h"

namespace {

constexpr double PEER_SILENCE = 30;    // seconds; KNAPSACK_PEER_TIMEOUT chooses another limit
constexpr double ALIVE_EVERY = 1;      // seconds
constexpr double LONGEST_PAUSE = 0.5;  // of the watch; what is longer is this process's own: it was stopped
constexpr double VERDICT_AFTER = 0.3;  // seconds in which a better reason than the first may arrive
constexpr double VERDICT_WITHIN = 10;  // seconds that a process waits for it before it speaks for itself

double silence_limit() {
    const char* text = getenv("KNAPSACK_PEER_TIMEOUT");
    if (!text || !*text) return PEER_SILENCE;
    char* end = nullptr;
    const double seconds = strtod(text, &end);
    if (*end || !(seconds > 0) || seconds > 1e6)
        die(Exit::Usage, "KNAPSACK_PEER_TIMEOUT=%s: expected seconds, more than 0", text);
    return seconds;
}

// The calls that all make in the same order.
enum Call : char { EXCHANGE = 'e', FROM_FIRST = 'f', LARGEST = 'l', BARRIER = 'b' };
std::string letter(Call call) { return std::string(1, call); }

void append_number(std::string* text, uint64_t value) {
    text->append(reinterpret_cast<const char*>(&value), sizeof value);
}
uint64_t take_number(const std::string& text, size_t* at) {
    uint64_t value;
    memcpy(&value, text.data() + *at, sizeof value);
    *at += sizeof value;
    return value;
}

// Why the run ends. Of several reasons the weightiest counts, and of those the first: an error of communication may
// follow from what is wrong elsewhere, and a signal may be the launcher's answer to it.
struct Reason {
    enum Weight { STOPPED, COMMUNICATION, ERROR } weight;
    int process;  // that said so; -1: this one found it out about others
    Exit code;
    std::string message;
};

}  // namespace

struct Peers::State {
    explicit State(const Rank& own) : rank(own), limit(silence_limit()) {
        current = this;
        if (rank.launcher == "mpi") mpi_start(rank.rank, rank.size);
        peers = meet(rank, 2 * limit);
        if (rank.local < 0) {
            rank.local = 0;
            for (int r = 0; r < rank.rank; ++r) rank.local += peers[at(r)].host == peers[at(rank.rank)].host;
        }
        seen.resize(peers.size());
        wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wake < 0) die(Exit::Device, "eventfd: %s", strerror(errno));
        owner = getpid();
        share_signals(true);
        die_together = on_death;
        static const bool at_exit = atexit([] { end_here(); }) == 0;  // exit() in main, after --help
        static_cast<void>(at_exit);
        sigset_t all, before;  // signals go to the threads that were there
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        thread = std::thread([this] { watch(); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    static void end_here() {
        if (current && current->owner == getpid()) current->goodbye();
    }

    // ---- The main thread's

    std::string call(Call kind, const std::string& word) {
        std::unique_lock<std::mutex> lock(mutex);
        answered = false;
        if (first()) {
            seen[0].word = letter(kind) + word;
            answer_if_all();
        } else {
            peers[0].connection.post(WORD, letter(kind) + word);
        }
        if (std::any_of(peers.begin(), peers.end(), [](const Peer& peer) { return peer.connection.pending(); }))
            wake_watch();  // the network did not take it all at once
        changed.wait(lock, [&] { return answered; });
        return std::move(answer);
    }

    void goodbye() {
        std::unique_lock<std::mutex> lock(mutex);
        leaving = true;
        if (first()) {
            answer_if_all();
            wake_watch();
            changed.wait(lock, [&] {
                return std::all_of(seen.begin() + 1, seen.end(), [](const Seen& other) { return other.gone; });
            });
        } else {
            peers[0].connection.post(GOODBYE, "");
            wake_watch();
            changed.wait(lock, [&] { return seen[0].gone; });
        }
        over = true;
        lock.unlock();
        wake_watch();
        thread.join();
        die_together = nullptr;
        share_signals(false);
        if (first()) send_all(GOODBYE, "");
        for (Peer& peer : peers) peer.connection.finish(1);
        current = nullptr;
        if (rank.launcher == "mpi") mpi_end();
    }

    // ---- The watch

    struct Seen {           // of another process
        double heard = 0;   // on `clock`
        std::string word;   // of the call that it has come to; process 0 only
        bool gone = false;  // has said goodbye
        bool dying = false;
    };

    // In a thread of its own, which alone reads.
    void watch() {
        in_watch = true;
        std::vector<pollfd> fds(1 + peers.size());
        double last = seconds_now(), said_alive = 0;
        for (;;) {
            {
                const std::lock_guard<std::mutex> lock(mutex);
                if (over) return;
                fds[0] = {wake, POLLIN, 0};
                for (size_t r = 0; r < peers.size(); ++r) {
                    const Connection& connection = peers[r].connection;
                    fds[r + 1] = {connection.fd(), static_cast<short>(POLLIN | (connection.pending() ? POLLOUT : 0)),
                                  0};
                }
            }
            poll(fds.data(), fds.size(), 100);
            const std::lock_guard<std::mutex> lock(mutex);
            uint64_t wakes;
            while (read(wake, &wakes, sizeof wakes) > 0) continue;
            // Only time in which this thread itself could run: of a job that was stopped as a whole, or a machine that
            // slept, nobody is to be blamed.
            const double now = seconds_now();
            clock += std::min(now - last, LONGEST_PAUSE);
            last = now;

            for (size_t r = 0; r < peers.size(); ++r) {
                if (fds[r + 1].revents & POLLOUT) peers[r].connection.flush();
                if (fds[r + 1].revents & ~POLLOUT) read_from(r);
            }
            listen_for_signals();
            listen_for_own_death();
            for (size_t r = 0; r < peers.size(); ++r)
                if (peers[r].connection.open() && !seen[r].gone && !seen[r].dying && clock - seen[r].heard > limit)
                    fell_silent(r);
            if (clock - said_alive >= std::min(ALIVE_EVERY, limit / 4)) {
                send_all(ALIVE, "");
                said_alive = clock;
            }
            if (first() && !reasons.empty()) {
                const size_t alive = static_cast<size_t>(
                    std::count_if(seen.begin(), seen.end(), [](const Seen& s) { return !s.gone && !s.dying; }));
                if (seconds_now() >= verdict_at || alive == 0) end_all();
            }
        }
    }

    void read_from(size_t r) {
        Connection& connection = peers[r].connection;
        const bool there = connection.receive();
        for (Message message; connection.next(&message);) {
            seen[r].heard = clock;
            if (first())
                take_from_other(r, message);
            else
                take_from_first(message);
        }
        if (there) return;
        connection.close();
        if (!seen[r].gone && !seen[r].dying) ended_without_a_word(r);
    }

    void take_from_other(size_t r, Message& message) {
        if (message.type == WORD) {
            seen[r].word = std::move(message.words);
            answer_if_all();
        } else if (message.type == SIGNAL) {
            pass_on_signal(static_cast<int>(strtol(message.words.c_str(), nullptr, 10)));
        } else if (message.type == DEATH) {
            seen[r].dying = true;
            const Exit code = death_code(message.words);
            add_reason({weight_of(code), static_cast<int>(r), code, death_message(message.words)});
        } else if (message.type == GOODBYE) {
            seen[r].gone = true;
            answer_if_all();
            changed.notify_all();
        }
    }

    void take_from_first(Message& message) {
        if (message.type == ANSWER) {
            answer = std::move(message.words);
            answered = true;
            changed.notify_all();
        } else if (message.type == SIGNAL) {
            signal_passed = true;
            signal_elsewhere(static_cast<int>(strtol(message.words.c_str(), nullptr, 10)));
        } else if (message.type == LAST) {
            if (const auto clean_up = cleanup_hook.load()) clean_up();
            _Exit(static_cast<int>(death_code(message.words)));
        } else if (message.type == GOODBYE) {
            seen[0].gone = true;
            changed.notify_all();
        }
    }

    // Process 0: when all have said their word, all get the answer. Where one has ended its run and another has not,
    // none ever comes.
    void answer_if_all() {
        size_t words = 0;
        for (const Seen& one : seen) words += !one.word.empty();
        for (size_t r = 0; r < seen.size(); ++r) {
            if (words > 0 && (r == 0 ? leaving : seen[r].gone))
                add_reason({Reason::COMMUNICATION, -1, Exit::Device,
                            name(r) + " has come to the end of its run, others have not: a bug, please report it"});
        }
        if (words < seen.size()) return;
        const char kind = seen[0].word[0];
        std::string all;
        int largest = INT32_MIN;
        for (size_t r = 0; r < seen.size(); ++r) {
            const std::string& word = seen[r].word;
            if (word[0] != kind)
                return add_reason(
                    {Reason::COMMUNICATION, -1, Exit::Device,
                     format_text("%s is at another call (%c) than process 0 (%c): a bug, please report it", name(r),
                                 word[0], kind)});
            if (kind == EXCHANGE) {
                append_number(&all, word.size() - 1);
                all.append(word, 1, std::string::npos);
            }
            if (kind == LARGEST) largest = std::max(largest, atoi(word.c_str() + 1));
        }
        if (kind == FROM_FIRST) all = seen[0].word.substr(1);
        if (kind == LARGEST) all = std::to_string(largest);
        for (Seen& one : seen) one.word.clear();
        send_all(ANSWER, all);
        answer = std::move(all);
        answered = true;
        changed.notify_all();
    }

    // ---- Signals

    void listen_for_signals() {
        const int number = signal_received();
        if (!number || signal_passed) return;
        if (first()) return pass_on_signal(number);
        signal_passed = true;
        peers[0].connection.post(SIGNAL, std::to_string(number));
    }

    void pass_on_signal(int number) {
        if (signal_passed) return;
        signal_passed = true;
        if (const int code = signals_exit_code()) return add_reason({Reason::STOPPED, 0, static_cast<Exit>(code), ""});
        signal_elsewhere(number);
        send_all(SIGNAL, std::to_string(number));
    }

    // ---- Ends

    // What die and the handler of bus errors call, in the thread that dies. The watch does the rest, and ends it.
    static void on_death(Exit code, const char* message) {
        if (in_watch || !current || current->owner != getpid()) return;
        if (!current->dying.exchange(true)) {
            current->own_code = static_cast<int>(code);
            current->own_message = message;
            current->wake_watch();
        }
        for (int i = 0; i < 20 * static_cast<int>(VERDICT_WITHIN); ++i) {
            const timespec pause = {0, 100 * 1000 * 1000};
            nanosleep(&pause, nullptr);
        }
    }

    void listen_for_own_death() {
        const char* const message = own_message;
        if (!message) return;
        Seen& own = seen[at(rank.rank)];
        const Exit code = static_cast<Exit>(own_code.load());
        if (!own.dying) {
            own.dying = true;
            own_death_at = clock;
            if (first())
                add_reason({weight_of(code), 0, code, message});
            else
                peers[0].connection.post(DEATH, death_words(code, message));
        }
        if (!first() && clock - own_death_at > VERDICT_WITHIN) end_alone(code, message);
    }

    void ended_without_a_word(size_t r) {
        lost(r, name(r) +
                    " ended without a word: it crashed or was killed (out of memory? see dmesg and the job's log on "
                    "that machine); a run goes on with --resume");
    }

    void fell_silent(size_t r) {
        seen[r].dying = true;
        lost(r,
             format_text("%s has not been heard of for %g s (KNAPSACK_PEER_TIMEOUT): it is stopped, or its machine or "
                         "the network is gone; a run goes on with --resume",
                         name(r), limit));
    }

    void lost(size_t r, const std::string& message) {
        if (first()) {
            seen[r].dying = true;
            add_reason({Reason::ERROR, -1, Exit::Device, message});
            verdict_at = seconds_now();  // the launcher may kill this process next
            return;
        }
        // nobody is left to ask; a process 0 that was only stopped finds this when it goes on
        const char* const own = own_message;
        const Exit code = own ? static_cast<Exit>(own_code.load()) : Exit::Device;
        if (own && weight_of(code) == Reason::ERROR) end_alone(code, own);
        peers[0].connection.post(DEATH, death_words(Exit::Device, message));
        end_alone(Exit::Device, message);
    }

    [[noreturn]] void end_alone(Exit code, const std::string& message) {
        report_death(code, message.c_str());
        _Exit(static_cast<int>(code));
    }

    static Reason::Weight weight_of(Exit code) { return code == Exit::Device ? Reason::COMMUNICATION : Reason::ERROR; }

    void add_reason(const Reason& reason) {
        const double now = seconds_now();
        if (reasons.empty()) verdict_at = now + VERDICT_AFTER;
        reasons.push_back(reason);
        if (reason.process == 0 && reason.weight == Reason::ERROR) verdict_at = now;
    }

    // Process 0: says why, marks the run, and ends all.
    [[noreturn]] void end_all() {
        const Reason& reason = *std::max_element(reasons.begin(), reasons.end(),
                                                 [](const Reason& a, const Reason& b) { return a.weight < b.weight; });
        const char* const own = own_message;
        if (reason.weight == Reason::STOPPED) {
            if (write(STDERR_FILENO, STOPPED_BY_SIGNAL, sizeof STOPPED_BY_SIGNAL - 1) < 0) errno = 0;
            if (const auto clean_up = cleanup_hook.load()) clean_up();
        } else if (reason.process <= 0 || (own && own == reason.message)) {
            report_death(reason.code, reason.message.c_str());
        } else {
            report_death(reason.code, (name(at(reason.process)) + ": " + reason.message).c_str());
        }
        send_all(LAST, death_words(reason.code, ""));
        const double end = seconds_now() + 1;
        for (Peer& peer : peers) peer.connection.finish(end - seconds_now());
        _Exit(static_cast<int>(reason.code));
    }

    // ---- Small things

    bool first() const { return rank.rank == 0; }
    static size_t at(int r) { return static_cast<size_t>(r); }
    std::string name(size_t r) const { return format_text("process %d (%s, pid %s)", r, peers[r].host, peers[r].pid); }
    void send_all(Say type, const std::string& words) {
        for (Peer& peer : peers) peer.connection.post(type, words);
    }
    void wake_watch() const {
        const uint64_t one = 1;
        while (write(wake, &one, sizeof one) < 0 && errno == EINTR) continue;
    }

    static inline State* current = nullptr;
    static inline thread_local bool in_watch = false;

    Rank rank;
    double limit;
    pid_t owner = 0;
    int wake = -1;
    std::thread thread;
    std::atomic<bool> dying{false};  // this process: then these two follow
    std::atomic<int> own_code{0};
    std::atomic<const char*> own_message{nullptr};

    std::mutex mutex;  // of all that follows
    std::condition_variable changed;
    std::vector<Peer> peers;
    std::vector<Seen> seen;
    double clock = 0, own_death_at = 0, verdict_at = 0;
    bool answered = false, leaving = false, over = false, signal_passed = false;
    std::string answer;
    std::vector<Reason> reasons;
};

Peers::Peers() = default;

Peers::Peers(const Rank& rank) {
    if (rank.size <= 1) return;
    ENSURE(!State::current, "a process is one of one run's only");
    if (rank.rank != 0) {
        silence_signals();
        if (!freopen("/dev/null", "w", stdout)) die(Exit::Runtime, "/dev/null: %s", strerror(errno));
    }
    state_ = std::make_unique<State>(rank);
}

Peers::~Peers() {
    if (!state_) return;
    State::end_here();
    close(state_->wake);
}

int Peers::rank() const { return state_ ? state_->rank.rank : 0; }
int Peers::size() const { return state_ ? state_->rank.size : 1; }
int Peers::local() const { return state_ ? state_->rank.local : 0; }

std::vector<std::string> Peers::exchange(const std::string& mine) const {
    if (!state_) return {mine};
    const std::string all = state_->call(EXCHANGE, mine);
    std::vector<std::string> words;
    for (size_t at = 0; at < all.size();) {
        const size_t bytes = take_number(all, &at);
        words.push_back(all.substr(at, bytes));
        at += bytes;
    }
    return words;
}

std::string Peers::from_first(const std::string& mine) const {
    return state_ ? state_->call(FROM_FIRST, first() ? mine : "") : mine;
}

int Peers::largest(int flag) const { return state_ ? atoi(state_->call(LARGEST, std::to_string(flag)).c_str()) : flag; }

void Peers::barrier() const {
    if (state_) state_->call(BARRIER, "");
}
