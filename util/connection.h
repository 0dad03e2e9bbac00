// connection.h - a TCP connection that carries messages and never blocks.
#pragma once
#include <cstdint>
#include <string>

struct Message {
    uint32_t type = 0;
    std::string words;
};

class Connection {
  public:
    Connection() = default;
    explicit Connection(int fd);  // a connected socket, which it closes
    Connection(Connection&& other) noexcept;
    Connection& operator=(Connection&& other) noexcept;
    ~Connection() { close(); }

    bool open() const { return fd_ >= 0; }
    int fd() const { return fd_; }
    void close();

    // Sends what the network takes at once and keeps the rest for flush(), to be called when poll() says POLLOUT. A
    // connection that is gone is noticed by receive().
    void post(uint32_t type, const std::string& words);
    void flush();
    bool pending() const { return !out_.empty(); }

    // Takes in what has arrived. False: the other end is gone, or what it sends is no message of at most `longest`
    // bytes; messages that arrived before can still be taken.
    bool receive(size_t longest = size_t{1} << 28);
    bool next(Message* message);  // the next whole one; false: there is none yet

    // Says that nothing more is sent, and waits until the other end has left, so that what was sent last arrives.
    void finish(double seconds);

  private:
    int fd_ = -1;
    std::string in_, out_;
    size_t taken_ = 0;  // bytes of in_
};

double seconds_now();  // of a clock that is never set

// Waits until poll() reports one of `events` (or the connection's end) for fd. False: not within the time.
bool wait_for(int fd, short events, double seconds);
