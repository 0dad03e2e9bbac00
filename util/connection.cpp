#include "util/connection.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

namespace {

struct Header {
    uint32_t type, length;
};

}  // namespace

Connection::Connection(int fd) : fd_(fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    const int at_once = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
}

Connection::Connection(Connection&& other) noexcept { *this = std::move(other); }

Connection& Connection::operator=(Connection&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(in_, other.in_);
    std::swap(out_, other.out_);
    std::swap(taken_, other.taken_);
    return *this;
}

void Connection::close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    out_.clear();
}

void Connection::post(uint32_t type, const std::string& words) {
    if (!open()) return;
    const Header header = {type, static_cast<uint32_t>(words.size())};
    out_.append(reinterpret_cast<const char*>(&header), sizeof header);
    out_ += words;
    flush();
}

void Connection::flush() {
    size_t sent = 0;
    while (open() && sent < out_.size()) {
        const ssize_t n = send(fd_, out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) sent = out_.size();  // the connection is gone
        if (n < 0) break;
        sent += static_cast<size_t>(n);
    }
    out_.erase(0, sent);
}

bool Connection::receive(size_t longest) {
    char buffer[1 << 16];
    while (open()) {
        const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno == EAGAIN;
        if (n == 0) return false;
        in_.append(buffer, static_cast<size_t>(n));
        Header header;
        if (in_.size() - taken_ < sizeof header) continue;
        memcpy(&header, in_.data() + taken_, sizeof header);
        if (header.length > longest) return false;
        if (static_cast<size_t>(n) < sizeof buffer) return true;
    }
    return false;
}

bool Connection::next(Message* message) {
    Header header;
    if (in_.size() - taken_ >= sizeof header) {
        memcpy(&header, in_.data() + taken_, sizeof header);
        if (in_.size() - taken_ - sizeof header >= header.length) {
            *message = {header.type, in_.substr(taken_ + sizeof header, header.length)};
            taken_ += sizeof header + header.length;
            return true;
        }
    }
    in_.erase(0, taken_);
    taken_ = 0;
    return false;
}

void Connection::finish(double seconds) {
    const double end = seconds_now() + seconds;
    while (open() && pending() && wait_for(fd_, POLLOUT, end - seconds_now())) flush();
    if (open()) shutdown(fd_, SHUT_WR);
    Message ignored;
    while (open() && wait_for(fd_, POLLIN, end - seconds_now()) && receive())
        while (next(&ignored)) continue;
    close();
}

double seconds_now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

bool wait_for(int fd, short events, double seconds) {
    const double end = seconds_now() + seconds;
    for (;;) {
        pollfd one = {fd, events, 0};
        const int ready = poll(&one, 1, static_cast<int>(1000 * std::max(0.0, end - seconds_now())));
        if (ready >= 0 || errno != EINTR) return ready > 0;
    }
}
