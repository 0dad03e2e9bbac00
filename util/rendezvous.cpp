#include "util/rendezvous.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <random>

#include "util/mpi.h"
#include "util/stop.h"

namespace {

constexpr char MAGIC[] = "knapsack peers 1";
constexpr size_t LONGEST_HELLO = 4096;
constexpr size_t MOST_GUESTS = 4096;   // connections that have not said who they are
constexpr double HELLO_SECONDS = 10;  // in which they must

std::string variable(const char* name) {
    const char* value = getenv(name);
    return value ? value : "";
}

std::string host_name() {
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    return *name ? name : "?";
}

// Words that hold no newline, as one.
std::string join_lines(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    return text;
}
std::vector<std::string> split_lines(const std::string& text) {
    std::vector<std::string> lines;
    for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
        lines.push_back(text.substr(at, end - at));
    return lines;
}

void stop_if_signalled() {
    if (const int number = signal_received())
        die(Exit::Runtime, "stopped by signal %d, before all processes were there", number);
}

// The same in slices, so that a signal is answered.
bool wait_long_for(int fd, short events, double seconds) {
    for (const double end = seconds_now() + seconds; seconds_now() < end;) {
        if (wait_for(fd, events, std::min(0.1, end - seconds_now()))) return true;
        stop_if_signalled();
    }
    return false;
}

struct Address {
    std::string host, port;
};

// Where process 0 is, and what a run is known by: so that processes of two runs do not meet.
struct Place {
    std::vector<Address> addresses;
    std::string run, advice;
    std::string text() const { return addresses.back().host + ":" + addresses.back().port; }
};

std::string port_from_environment(const std::string& otherwise) {
    const std::string port = variable("KNAPSACK_PORT").empty() ? otherwise : variable("KNAPSACK_PORT");
    char* end = nullptr;
    const long number = strtol(port.c_str(), &end, 10);
    if (port.empty() || *end || number < 0 || number > 65535)
        die(Exit::Usage, "%s: no port for the processes to meet at; set KNAPSACK_PORT to one from 1 to 65535",
            port.empty() ? "MASTER_PORT is not set" : port);
    return port;
}

// "n[03-05,7],x" -> "n03"
std::string first_node(const std::string& list) {
    const size_t open = list.find_first_of("[,");
    if (open == std::string::npos || list[open] == ',') return list.substr(0, open);
    const size_t close = list.find(']', open), next = list.find_first_of("-,]", open);
    if (close == std::string::npos) return list;
    const size_t end = list.find(',', close);
    return list.substr(0, open) + list.substr(open + 1, next - open - 1) +
           list.substr(close + 1, end == std::string::npos ? end : end - close - 1);
}

Place place_from_environment(const Rank& rank) {
    if (rank.launcher == "slurm") {
        const std::string job = variable("SLURM_JOB_ID"), step = variable("SLURM_STEP_ID");
        // below the ports that the system gives away by itself; two steps of a job get different ones
        const long port = 10000 + (7 * strtol(job.c_str(), nullptr, 10) + strtol(step.c_str(), nullptr, 10)) % 20000;
        const std::string nodes = variable("SLURM_STEP_NODELIST"), master = variable("MASTER_ADDR");
        return {{{master.empty() ? first_node(nodes) : master, port_from_environment(std::to_string(port))}},
                "slurm " + job + "." + step,
                "MASTER_ADDR and KNAPSACK_PORT say otherwise where it is"};
    }
    const std::string host = variable("MASTER_ADDR"), port = variable("MASTER_PORT"),
                      elastic = variable("TORCHELASTIC_RUN_ID");
    if (host.empty())
        die(Exit::Usage, "RANK=%d of WORLD_SIZE=%d, but no MASTER_ADDR: set it to the machine of process 0", rank.rank,
            rank.size);
    const bool taken = !elastic.empty() && !port.empty();
    return {{{host, port_from_environment(taken ? std::to_string(strtol(port.c_str(), nullptr, 10) + 1) : port)}},
            "torchrun " + elastic + " " + variable("TORCHELASTIC_RESTART_COUNT") + " " + port,
            "MASTER_ADDR and MASTER_PORT, or KNAPSACK_PORT, say where it is"};
}

// This machine's addresses, with those that other machines may reach.
std::vector<std::string> own_addresses() {
    std::vector<std::string> addresses;
    ifaddrs* all = nullptr;
    if (getifaddrs(&all) != 0) return addresses;
    for (const ifaddrs* one = all; one; one = one->ifa_next) {
        if (!one->ifa_addr || (one->ifa_flags & IFF_LOOPBACK) || !(one->ifa_flags & IFF_UP)) continue;
        const int family = one->ifa_addr->sa_family;
        char text[NI_MAXHOST];
        const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        if ((family == AF_INET || family == AF_INET6) &&
            getnameinfo(one->ifa_addr, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) == 0 && !strchr(text, '%'))
            addresses.push_back(text);
    }
    freeifaddrs(all);
    return addresses;
}

// A socket that listens at a port, on all addresses of this machine; -1 with errno.
int listen_at(const std::string& port) {
    for (const int family : {AF_INET6, AF_INET}) {
        const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) continue;
        const int yes = 1, no = 0;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        sockaddr_storage address = {};
        const uint16_t number = htons(static_cast<uint16_t>(strtol(port.c_str(), nullptr, 10)));
        address.ss_family = static_cast<sa_family_t>(family);
        if (family == AF_INET6) {
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
            reinterpret_cast<sockaddr_in6*>(&address)->sin6_port = number;
        } else {
            reinterpret_cast<sockaddr_in*>(&address)->sin_port = number;
        }
        const socklen_t size = family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
        if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
        const int error = errno;
        close(fd);
        errno = error;
        if (error == EADDRINUSE || error == EACCES) break;
    }
    return -1;
}

std::string port_of(int listener) {
    sockaddr_storage address = {};
    socklen_t size = sizeof address;
    char port[NI_MAXSERV] = "0";
    getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    getnameinfo(reinterpret_cast<sockaddr*>(&address), size, nullptr, 0, port, sizeof port, NI_NUMERICSERV);
    return port;
}

// A connection to one of the addresses that the name has; none, with the reason.
Connection connect_to(const Address& where, double seconds, std::string* reason) {
    addrinfo wanted = {}, *all = nullptr;
    wanted.ai_socktype = SOCK_STREAM;
    if (const int error = getaddrinfo(where.host.c_str(), where.port.c_str(), &wanted, &all)) {
        *reason = gai_strerror(error);
        return {};
    }
    Connection connection;
    for (const addrinfo* one = all; one && !connection.open(); one = one->ai_next) {
        const int fd = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) continue;
        Connection tried(fd);
        int error = connect(fd, one->ai_addr, one->ai_addrlen) == 0 ? 0 : errno;
        if (error == EINPROGRESS) {
            socklen_t size = sizeof error;
            if (!wait_long_for(fd, POLLOUT, seconds))
                error = ETIMEDOUT;
            else
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        }
        *reason = strerror(error);
        if (error == 0) connection = std::move(tried);
    }
    freeaddrinfo(all);
    return connection;
}

// The next message, waited for.
bool wait_message(Connection& connection, Message* message, size_t longest, double seconds) {
    const double end = seconds_now() + seconds;
    while (!connection.next(message)) {
        if (!wait_long_for(connection.fd(), POLLIN, end - seconds_now())) return false;
        if (!connection.receive(longest)) return connection.next(message);
    }
    return true;
}

[[noreturn]] void leave_silently(const std::string& code) { _Exit(static_cast<int>(death_code(code))); }

// ---------------------------------------------------------------------------------------------------------------------
// process 0

class Host {
  public:
    Host(const Rank& rank, const std::string& run) : run_(run), peers_(static_cast<size_t>(rank.size)) {
        peers_[0].host = host_name();
        peers_[0].pid = std::to_string(getpid());
    }

    std::vector<Peer> receive_all(int listener, double seconds, const std::string& place) {
        const double end = seconds_now() + seconds;
        while (missing() > 0) {
            stop_if_signalled();
            if (seconds_now() > end) refuse(Exit::Device, nobody_came(place, seconds));
            std::vector<pollfd> fds = {{listener, POLLIN, 0}};
            for (const Guest& guest : guests_) fds.push_back({guest.connection.fd(), POLLIN, 0});
            for (size_t r = 1; r < peers_.size(); ++r)
                if (peers_[r].connection.open()) fds.push_back({peers_[r].connection.fd(), POLLIN, 0});
            poll(fds.data(), fds.size(), 100);
            look_after_guests();
            for (size_t r = 1; r < peers_.size(); ++r)
                if (peers_[r].connection.open() && !peers_[r].connection.receive(LONGEST_HELLO))
                    refuse(Exit::Device, name(r) + " ended before all processes were there");
            int fd;
            while (guests_.size() < MOST_GUESTS && (fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)) >= 0)
                guests_.push_back({Connection(fd), seconds_now()});
        }
        std::vector<std::string> names;
        for (const Peer& peer : peers_) names.insert(names.end(), {peer.host, peer.pid});
        for (Peer& peer : peers_) peer.connection.post(WELCOME, join_lines(names));
        return std::move(peers_);
    }

  private:
    struct Guest {
        Connection connection;
        double since;
    };

    size_t missing() const {
        size_t count = 0;
        for (size_t r = 1; r < peers_.size(); ++r) count += !peers_[r].connection.open();
        return count;
    }

    std::string name(size_t r) const {
        return format_text("process %d (%s, pid %s)", r, peers_[r].host, peers_[r].pid);
    }

    std::string nobody_came(const std::string& place, double seconds) const {
        std::string ranks;
        int listed = 0;
        for (size_t r = 1; r < peers_.size(); ++r)
            if (!peers_[r].connection.open() && ++listed <= 8) ranks += (listed > 1 ? ", " : "") + std::to_string(r);
        return format_text(
            "of %d processes %d have not come to %s within %g s: %s%s; were they started, and can their machines reach "
            "that port (KNAPSACK_PORT)?",
            peers_.size(), missing(), place, seconds, ranks, listed > 8 ? ", ..." : "");
    }

    [[noreturn]] void refuse(Exit code, const std::string& message) {
        for (Peer& peer : peers_) peer.connection.post(LAST, death_words(code, ""));
        for (Peer& peer : peers_) peer.connection.finish(0.2);
        die(code, "%s", message);
    }

    // Takes in those who say the right words; sends away those who do not, or say nothing.
    void look_after_guests() {
        std::vector<Guest> waiting;
        for (Guest& guest : guests_) {
            const bool gone = !guest.connection.receive(LONGEST_HELLO);
            Message hello;
            if (guest.connection.next(&hello))
                admit(guest.connection, hello);
            else if (!gone && seconds_now() - guest.since < HELLO_SECONDS)
                waiting.push_back(std::move(guest));
        }
        guests_ = std::move(waiting);
    }

    void admit(Connection& connection, const Message& hello) {
        const std::vector<std::string> words = split_lines(hello.words);
        if (hello.type != HELLO || words.size() != 6 || words[0] != MAGIC || words[1] != run_) return;
        const auto r = static_cast<size_t>(strtoul(words[2].c_str(), nullptr, 10));
        if (words[3] != std::to_string(peers_.size()) || r == 0 || r >= peers_.size()) {
            connection.post(LAST, death_words(Exit::Usage, ""));
            refuse(Exit::Usage, format_text("process %s (%s, pid %s) is one of %s processes, process 0 (%s, pid %s) one "
                                            "of %d: start all with the same number",
                                            words[2], words[4], words[5], words[3], peers_[0].host, peers_[0].pid,
                                            peers_.size()));
        }
        if (peers_[r].connection.open()) {
            connection.post(LAST, death_words(Exit::Usage, ""));
            refuse(Exit::Usage, format_text("two processes have the rank %d: pid %s on %s and pid %s on %s", r,
                                            peers_[r].pid, peers_[r].host, words[5], words[4]));
        }
        connection.post(HELLO, join_lines({MAGIC, run_}));
        peers_[r] = {words[4], words[5], std::move(connection)};
    }

    std::string run_;
    std::vector<Peer> peers_;
    std::vector<Guest> guests_;
};

// ---------------------------------------------------------------------------------------------------------------------
// the others

std::vector<Peer> join(const Rank& rank, const Place& place, double seconds) {
    const double end = seconds_now() + seconds;
    std::string reason = "not tried";
    for (double pause = 0.05;; pause = std::min(1.0, 2 * pause)) {
        for (const Address& address : place.addresses) {
            const double left = end - seconds_now();
            Connection connection = connect_to(address, std::min(5.0, left), &reason);
            if (!connection.open()) continue;
            connection.post(HELLO, join_lines({MAGIC, place.run, std::to_string(rank.rank), std::to_string(rank.size),
                                               host_name(), std::to_string(getpid())}));
            Message message;
            reason = "what is there is not process 0 of this run";
            if (!wait_message(connection, &message, LONGEST_HELLO, std::min(HELLO_SECONDS, left))) continue;
            if (message.type == LAST) leave_silently(message.words);
            if (message.type != HELLO || message.words != join_lines({MAGIC, place.run})) continue;
            // process 0 waits for the others, and says so when they do not come
            if (!wait_message(connection, &message, size_t{1} << 28, 2 * seconds))
                die(Exit::Device, "process 0 at %s ended, or fell silent, before all processes were there",
                    place.text());
            if (message.type == LAST) leave_silently(message.words);
            const std::vector<std::string> names = split_lines(message.words);
            if (message.type != WELCOME || names.size() != 2 * static_cast<size_t>(rank.size))
                die(Exit::Device, "process 0 at %s does not speak as process %d does: are they the same build?",
                    place.text(), rank.rank);
            std::vector<Peer> peers(static_cast<size_t>(rank.size));
            for (size_t r = 0; r < peers.size(); ++r) peers[r] = {names[2 * r], names[2 * r + 1], {}};
            peers[0].connection = std::move(connection);
            return peers;
        }
        if (seconds_now() + pause > end)
            die(Exit::Device, "process %d cannot reach process 0 at %s within %g s (%s): is it there? %s", rank.rank,
                place.text(), seconds, reason, place.advice);
        usleep(static_cast<useconds_t>(1e6 * pause));
        stop_if_signalled();
    }
}

}  // namespace

std::vector<Peer> meet(const Rank& rank, double seconds) {
    const bool by_mpi = rank.launcher == "mpi";
    Place place = by_mpi ? Place{} : place_from_environment(rank);
    Connection listener;  // closed when all are there
    if (rank.rank == 0) {
        const std::string port = by_mpi ? port_from_environment("0") : place.addresses[0].port;
        int fd = listen_at(port);
        for (const double end = seconds_now() + seconds / 12; fd < 0 && errno == EADDRINUSE && seconds_now() < end;) {
            usleep(100000);  // a run that just ended may still have it
            stop_if_signalled();
            fd = listen_at(port);
        }
        if (fd < 0)
            die(Exit::Device, "port %s, where the processes are to meet: %s; set KNAPSACK_PORT to a free one in all",
                port, strerror(errno));
        listener = Connection(fd);
        if (by_mpi) {
            std::vector<std::string> words = {std::to_string(std::random_device()()), port_of(fd), host_name()};
            for (const std::string& address : own_addresses()) words.push_back(address);
            place.run = mpi_from_first(join_lines(words));
        }
    } else if (by_mpi) {
        place.run = mpi_from_first("");
    }
    if (by_mpi) {
        const std::vector<std::string> words = split_lines(place.run);
        place.run = "mpi " + words[0];
        place.advice = "its machine's firewall may close the port; KNAPSACK_PORT chooses another";
        if (words[2] == host_name()) place.addresses.push_back({"localhost", words[1]});
        for (size_t i = 3; i < words.size(); ++i) place.addresses.push_back({words[i], words[1]});
        place.addresses.push_back({words[2], words[1]});
    }
    if (rank.rank == 0) return Host(rank, place.run).receive_all(listener.fd(), seconds, place.text());
    return join(rank, place, seconds);
}

std::string death_words(Exit code, const std::string& message) {
    return std::to_string(static_cast<int>(code)) + "\n" + message;
}
Exit death_code(const std::string& words) { return static_cast<Exit>(strtol(words.c_str(), nullptr, 10)); }
std::string death_message(const std::string& words) {
    const size_t end = words.find('\n');
    return end == std::string::npos ? words : words.substr(end + 1);
}
