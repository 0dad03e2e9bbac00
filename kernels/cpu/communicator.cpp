#include "kernels/cpu/communicator.h"

#include "util/check.h"

void cpu::Communicator::check(const Rank& rank) {
    if (rank.size == 1) return;
    if (library().empty())
        die(Exit::Usage, "%d processes: this program was built without MPI; install libopenmpi-dev and build it again",
            rank.size);
    if (rank.launcher != "mpi")
        die(Exit::Usage,
            "%d processes (%s): the CPU program exchanges numbers by MPI; start it with mpirun -np %d, or with srun "
            "--mpi=pmix",
            rank.size, rank.launcher, rank.size);
}

#ifndef KNAPSACK_MPI

// A build without MPI: one process, for which there is nothing to do.
namespace cpu {

struct Communicator::State {};

std::string Communicator::library() { return ""; }
Communicator::Communicator() = default;
Communicator::Communicator(const Peers&) {}
Communicator::~Communicator() = default;
void Communicator::follow(stream_t) {}
void Communicator::wait() {}
bool Communicator::ready() const { return true; }
void Communicator::join(stream_t) {}
template <class T>
void Communicator::exchange(Span<T>, Span<const T>, const Parts&) {}
template <class T>
void Communicator::gather(Span<T>, const Parts&) {}
template <class T>
void Communicator::collect(Span<T>, Span<const T>, const Parts&) {}
template <class T>
void Communicator::broadcast(Span<T>) {}
template <class T>
void Communicator::merge(std::vector<T>*) {}
double Communicator::waited_ms() { return 0; }

#else

#include <mpi.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <type_traits>

#include "util/mpi.h"  // defines: mpi_library

namespace cpu {

namespace {

template <class T>
MPI_Datatype TYPE();
template <>
MPI_Datatype TYPE<float>() {
    return MPI_FLOAT;
}
template <>
MPI_Datatype TYPE<double>() {
    return MPI_DOUBLE;
}
template <>
MPI_Datatype TYPE<uint32_t>() {
    return MPI_UINT32_T;
}
template <>
MPI_Datatype TYPE<int>() {
    return MPI_INT;
}
template <>
MPI_Datatype TYPE<bf16>() {
    return MPI_UINT16_T;
}

constexpr int TAG = 0;  // transfers between two processes are in order: one tag does

void require_success(int code, const char* call) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int size = 0;
    MPI_Error_string(code, text, &size);
    die(Exit::Device, "%s: %s", call, text);
}
#define MPI_CHECK(call) require_success((call), #call)

void require(const char* what, size_t found, size_t expected) {
    if (found != expected) die(Exit::Device, "communicator: %s: %d, expected %d", what, found, expected);
}

int count_of(size_t n) {
    if (n > INT_MAX)
        die(Exit::Device, "a transfer of %d elements: MPI takes at most %d; start more processes", n, INT_MAX);
    return static_cast<int>(n);
}

}  // namespace

struct Communicator::State {
    std::vector<MPI_Request> requests;  // of the transfer under way
    double waited_ms = 0;

    template <class T>
    void receive(T* to, size_t n, int from) {
        if (n == 0) return;
        requests.emplace_back();
        MPI_CHECK(MPI_Irecv(to, count_of(n), TYPE<T>(), from, TAG, MPI_COMM_WORLD, &requests.back()));
    }
    template <class T>
    void send(const T* from, size_t n, int to) {
        if (n == 0) return;
        requests.emplace_back();
        MPI_CHECK(MPI_Isend(from, count_of(n), TYPE<T>(), to, TAG, MPI_COMM_WORLD, &requests.back()));
    }
    bool test() {
        int done = 1;
        if (!requests.empty())
            MPI_CHECK(MPI_Testall(count_of(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE));
        if (done) requests.clear();
        return done;
    }
    // MPI's own waiting takes a core, which another process may want: here it is offered after a while, later left.
    void finish() {
        if (test()) return;
        using Clock = std::chrono::steady_clock;
        const auto begin = Clock::now();
        for (int64_t turn = 0; !test(); ++turn) {
            if (turn > 100) sched_yield();
            if (turn % 64 == 0 && Clock::now() - begin > std::chrono::milliseconds(20)) usleep(100);
        }
        waited_ms += std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
    }
};

std::string Communicator::library() { return mpi_library(); }

Communicator::Communicator() = default;

Communicator::Communicator(const Peers& peers) : rank_(peers.rank()), size_(peers.size()), state_(new State) {
    if (size_ == 1) return;
    int ranks = 0;
    MPI_CHECK(MPI_Comm_size(MPI_COMM_WORLD, &ranks));
    ENSURE(ranks == size_, "MPI has %d processes, the environment %d", ranks, size_);
    MPI_CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
}
Communicator::~Communicator() = default;

void Communicator::follow(stream_t) {}  // all work is done when it is asked for
void Communicator::wait() {
    if (size_ > 1) state_->finish();
}
bool Communicator::ready() const { return size_ == 1 || state_->test(); }
void Communicator::join(stream_t) { wait(); }

template <class T>
void Communicator::exchange(Span<T> terms, Span<const T> all, const Parts& parts) {
    const size_t own = parts.size(rank_);
    require("exchange: elements", all.size, parts.total());
    require("exchange: elements of the terms", terms.size, own * static_cast<size_t>(size_));
    wait();
    for (int r = 0; r < size_; ++r)
        if (r != rank_) state_->receive(terms.data + static_cast<size_t>(r) * own, own, r);
    for (int r = 0; r < size_; ++r)
        if (r != rank_) state_->send(all.data + parts.begin(r), parts.size(r), r);
    std::copy_n(all.data + parts.begin(rank_), own, terms.data + static_cast<size_t>(rank_) * own);
}

template <class T>
void Communicator::gather(Span<T> all, const Parts& parts) {
    require("gather: elements", all.size, parts.total());
    if (size_ == 1) return;
    wait();
    for (int r = 0; r < size_; ++r)
        if (r != rank_) state_->receive(all.data + parts.begin(r), parts.size(r), r);
    for (int r = 0; r < size_; ++r)
        if (r != rank_) state_->send(all.data + parts.begin(rank_), parts.size(rank_), r);
}

template <class T>
void Communicator::collect(Span<T> all, Span<const T> own, const Parts& parts) {
    require("collect: elements of the own part", own.size, parts.size(rank_));
    if (rank_ == 0) require("collect: elements", all.size, parts.total());
    wait();
    if (rank_ == 0) {
        for (int r = 1; r < size_; ++r) state_->receive(all.data + parts.begin(r), parts.size(r), r);
        std::copy_n(own.data, own.size, all.data);
    } else {
        state_->send(own.data, own.size, 0);
    }
    wait();
}

template <class T>
void Communicator::broadcast(Span<T> values) {
    if (size_ == 1) return;
    wait();
    state_->requests.emplace_back();
    MPI_CHECK(MPI_Ibcast(values.data, count_of(values.size), TYPE<T>(), 0, MPI_COMM_WORLD, &state_->requests.back()));
    wait();
}

template <class T>
void Communicator::merge(std::vector<T>* values) {
    if (size_ == 1 || values->empty()) return;
    wait();
    using Word = std::conditional_t<sizeof(T) % sizeof(uint32_t) == 0, uint32_t, uint16_t>;
    const size_t words = values->size() * sizeof(T) / sizeof(Word);
    state_->requests.emplace_back();
    MPI_CHECK(MPI_Iallreduce(MPI_IN_PLACE, values->data(), count_of(words),
                             sizeof(Word) == 4 ? MPI_UINT32_T : MPI_UINT16_T, MPI_BOR, MPI_COMM_WORLD,
                             &state_->requests.back()));
    wait();
}

double Communicator::waited_ms() {
    const double waited = state_ ? state_->waited_ms : 0;
    if (state_) state_->waited_ms = 0;
    return waited;
}

#endif

#define INSTANTIATE(T)                                                          \
    template void Communicator::exchange(Span<T>, Span<const T>, const Parts&); \
    template void Communicator::gather(Span<T>, const Parts&);                  \
    template void Communicator::collect(Span<T>, Span<const T>, const Parts&);  \
    template void Communicator::broadcast(Span<T>);                             \
    template void Communicator::merge(std::vector<T>*);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(uint32_t)
INSTANTIATE(int)
INSTANTIATE(bf16)
#undef INSTANTIATE

}  // namespace cpu
