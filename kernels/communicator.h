// communicator.h - numbers between processes that each have a GPU: NCCL. The same class as the CPU backend's
// (kernels/cpu/communicator.h).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/types.h"  // defines: Span, Parts
#include "util/peers.h"     // defines: Peers

namespace gpu {

// All processes make the same calls in the same order, with the same sizes. What is wrong on the way (a connection is
// lost, a size does not fit) dies with Exit::Device. T: float, double, uint32_t or the storage type; moved as it is.
class Communicator {
  public:
    // "NCCL 2.27.7"; "": this build has none.
    static std::string library();
    // Dies with Exit::Usage, saying what to install or how to start, when this build cannot join processes that were
    // started like this one.
    static void check(const Rank& rank);

    Communicator();  // one process: nothing to do, at no cost
    // Of the processes that `peers` joins, which must outlive it.
    explicit Communicator(const Peers& peers);
    ~Communicator();
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;

    int rank() const { return rank_; }
    int size() const { return size_; }

    // The work below is queued on a stream of its own, which `follow` makes wait for what `stream` got so far, and
    // `join` makes `stream` wait for. wait(): what is queued on stream() from here on finds the results of the
    // calls before (the stream keeps its order by itself).
    stream_t stream() const { return stream_; }
    void follow(stream_t stream);
    void wait();
    bool ready() const;  // wait() would return at once
    void join(stream_t stream);

    // The exchange half of a reduce-scatter: part r of `all` goes to process r. `terms` (size x own part): the own part
    // of every process, one after another by rank.
    template <class T>
    void exchange(Span<T> terms, Span<const T> all, const Parts& parts);
    // Every process has its own part of `all`; afterwards every process has all of it.
    template <class T>
    void gather(Span<T> all, const Parts& parts);
    // The same, but only process 0 has all of it afterwards, in `all` (not touched elsewhere). own: the own part.
    template <class T>
    void collect(Span<T> all, Span<const T> own, const Parts& parts);
    // Process 0's values go to all.
    template <class T>
    void broadcast(Span<T> values);

    // Of host memory, at once. Each element has been set by one process and is 0 everywhere else; afterwards all have
    // them, the same bits.
    template <class T>
    void merge(std::vector<T>* values);

    // Milliseconds that the joined streams have waited for this one, of joins that are over since the last call.
    double waited_ms();

  private:
    int rank_ = 0, size_ = 1;
    stream_t stream_;
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace gpu
