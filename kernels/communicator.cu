// communicator.cu - NCCL on a stream of its own, next to the stream that computes. The host waits for other processes
// only at the start and in merge().
//
// A kernel of NCCL's waits for ever for a process that is gone. Peers' thread sees that within seconds and ends this
// process, whose kernels end with it. What only NCCL sees, a broken connection between GPUs whose processes live, is
// looked for here every second.
#include "kernels/communicator.h"

#include <cstring>

#include "util/check.h"
#ifdef KNAPSACK_NCCL
#include <nccl.h>

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#endif

namespace gpu {

namespace {

// ---- NCCL, in bytes: none of what is moved is changed on the way ----------------------------------------------------
#ifdef KNAPSACK_NCCL

void nccl_check(ncclResult_t result, const char* what) {
    if (result != ncclSuccess)
        die(Exit::Device, "%s: %s: %s; NCCL_DEBUG=WARN says more", what, ncclGetErrorString(result),
            ncclGetLastError(nullptr));
}
#define NCCL_CHECK(call) nccl_check((call), #call)

class Nccl {
  public:
    explicit Nccl(const Peers& peers) {
        const ncclUniqueId id = common_id(peers);
        NCCL_CHECK(ncclCommInitRank(&comm_, peers.size(), id, peers.rank()));
        watch_ = std::thread([this] { watch(); });
    }
    ~Nccl() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            over_ = true;
        }
        ended_.notify_one();
        watch_.join();
        ncclCommDestroy(comm_);  // unchecked: nothing could be done about it
    }

    static std::string version() {
        int code = 0;
        NCCL_CHECK(ncclGetVersion(&code));
        return format_text("NCCL %d.%d.%d", code / 10000, code / 100 % 100, code % 100);
    }

    // What is between begin and end goes on at the same time.
    void begin() const { NCCL_CHECK(ncclGroupStart()); }
    void end() const { NCCL_CHECK(ncclGroupEnd()); }
    void send(const void* data, size_t bytes, int to, cudaStream_t stream) const {
        if (bytes > 0) NCCL_CHECK(ncclSend(data, bytes, ncclUint8, to, comm_, stream));
    }
    void receive(void* data, size_t bytes, int from, cudaStream_t stream) const {
        if (bytes > 0) NCCL_CHECK(ncclRecv(data, bytes, ncclUint8, from, comm_, stream));
    }
    void broadcast(void* data, size_t bytes, int from, cudaStream_t stream) const {
        if (bytes > 0) NCCL_CHECK(ncclBroadcast(data, data, bytes, ncclUint8, from, comm_, stream));
    }
    // Parts of one size, one after another.
    void all_gather(void* data, size_t part, int rank, cudaStream_t stream) const {
        const void* own = static_cast<const char*>(data) + static_cast<size_t>(rank) * part;
        if (part > 0) NCCL_CHECK(ncclAllGather(own, data, part, ncclUint8, comm_, stream));
    }
    void add(uint32_t* words, size_t n, cudaStream_t stream) const {
        if (n > 0) NCCL_CHECK(ncclAllReduce(words, words, n, ncclUint32, ncclSum, comm_, stream));
    }

  private:
    // Process 0's, sent as hexadecimal digits.
    static ncclUniqueId common_id(const Peers& peers) {
        ncclUniqueId id{};
        std::string digits;
        if (peers.first()) {
            NCCL_CHECK(ncclGetUniqueId(&id));
            for (const char byte : id.internal) digits += format_text("%02x", static_cast<unsigned char>(byte));
        }
        digits = peers.from_first(digits);
        ENSURE(digits.size() == 2 * sizeof id.internal, "NCCL's id has %zu digits", digits.size());
        for (size_t i = 0; i < sizeof id.internal; ++i)
            id.internal[i] = static_cast<char>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
        return id;
    }
    void watch() {
        std::unique_lock<std::mutex> lock(mutex_);
        while (!ended_.wait_for(lock, std::chrono::seconds(1), [&] { return over_; })) {
            ncclResult_t error = ncclSuccess;
            NCCL_CHECK(ncclCommGetAsyncError(comm_, &error));
            if (error != ncclInProgress) nccl_check(error, "between the GPUs");
        }
    }

    ncclComm_t comm_ = nullptr;
    std::thread watch_;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool over_ = false;
};

#else  // a build without: nobody gets beyond check()

struct Nccl {
    explicit Nccl(const Peers&) {}
    static std::string version() { return ""; }
    void begin() const {}
    void end() const {}
    void send(const void*, size_t, int, cudaStream_t) const {}
    void receive(void*, size_t, int, cudaStream_t) const {}
    void broadcast(void*, size_t, int, cudaStream_t) const {}
    void all_gather(void*, size_t, int, cudaStream_t) const {}
    void add(uint32_t*, size_t, cudaStream_t) const {}
};

#endif

// ---- events ---------------------------------------------------------------------------------------------------------

struct DestroyEvent {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
using Event = std::unique_ptr<CUevent_st, DestroyEvent>;
Event make_event(unsigned flags) {
    cudaEvent_t event = nullptr;
    CUDA_CHECK(cudaEventCreateWithFlags(&event, flags));
    return Event(event);
}
void record(const Event& event, cudaStream_t stream) { CUDA_CHECK(cudaEventRecord(event.get(), stream)); }

// A stream's wait for this one, from when it came to it.
struct Wait {
    Event begin = make_event(cudaEventDefault), end = make_event(cudaEventDefault);
    bool over() const {
        const cudaError_t error = cudaEventQuery(end.get());
        if (error == cudaErrorNotReady) {
            cudaGetLastError();  // no error, but the next one to ask would take it for its own
            return false;
        }
        CUDA_CHECK(error);
        return true;
    }
    double milliseconds() const {
        float time = 0;
        CUDA_CHECK(cudaEventElapsedTime(&time, begin.get(), end.get()));
        return static_cast<double>(time);
    }
};

cudaStream_t make_stream() {
    int lowest = 0, highest = 0;
    cudaStream_t stream = nullptr;
    CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
    // what is to be sent goes first, so that the wires are never idle for want of a free multiprocessor; not
    // cudaStreamNonBlocking: device.h copies on the null stream, which this one must wait for
    CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamDefault, highest));
    return stream;
}

void require(const char* what, size_t found, size_t expected) {
    if (found != expected) die(Exit::Device, "communicator: %s: %zu, expected %zu", what, found, expected);
}

template <class T>
void copy_on_device(T* to, const T* from, size_t n, cudaStream_t stream) {
    if (n > 0 && to != from) CUDA_CHECK(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyDeviceToDevice, stream));
}

}  // namespace

struct Communicator::State {
    explicit State(const Peers& peers) : nccl(peers) {}
    Nccl nccl;
    Event mark = make_event(cudaEventDisableTiming);
    std::vector<Wait> waits, spare;  // not counted yet; to be used again
    DeviceArray<uint32_t> words;     // what is merged
};

std::string Communicator::library() { return Nccl::version(); }

void Communicator::check(const Rank& rank) {
    if (rank.size > 1 && library().empty())
        die(Exit::Usage,
            "%d processes: this program was built without NCCL; install libnccl-dev (and libnccl2) and build it again",
            rank.size);
}

Communicator::Communicator() = default;
Communicator::Communicator(const Peers& peers)
    : rank_(peers.rank()), size_(peers.size()), state_(peers.size() > 1 ? std::make_unique<State>(peers) : nullptr) {
    if (state_) stream_.cuda = make_stream();
}
Communicator::~Communicator() {
    if (!state_) return;
    cudaStreamSynchronize(stream_.cuda);  // unchecked, as is the next: nothing could be done about it
    state_.reset();
    cudaStreamDestroy(stream_.cuda);
}

void Communicator::follow(stream_t stream) {
    if (!state_) return;
    record(state_->mark, stream.cuda);
    CUDA_CHECK(cudaStreamWaitEvent(stream_.cuda, state_->mark.get(), 0));
}
void Communicator::wait() {}  // the stream keeps its order
bool Communicator::ready() const { return true; }
void Communicator::join(stream_t stream) {
    if (!state_) return;
    if (state_->spare.empty()) state_->spare.emplace_back();
    state_->waits.push_back(std::move(state_->spare.back()));
    state_->spare.pop_back();
    const Wait& wait = state_->waits.back();
    record(wait.begin, stream.cuda);
    record(state_->mark, stream_.cuda);
    CUDA_CHECK(cudaStreamWaitEvent(stream.cuda, state_->mark.get(), 0));
    record(wait.end, stream.cuda);
}
double Communicator::waited_ms() {
    double sum = 0;
    if (!state_) return sum;
    std::vector<Wait> going_on;
    for (Wait& wait : state_->waits) {
        const bool over = wait.over();
        if (over) sum += wait.milliseconds();
        (over ? state_->spare : going_on).push_back(std::move(wait));
    }
    state_->waits = std::move(going_on);
    return sum;
}

template <class T>
void Communicator::exchange(Span<T> terms, Span<const T> all, const Parts& parts) {
    const size_t own = parts.size(rank_);
    require("exchange: parts", parts.bounds.size() - 1, static_cast<size_t>(size_));
    require("exchange: elements", all.size, parts.total());
    require("exchange: elements of the terms", terms.size, own * static_cast<size_t>(size_));
    const auto term_of = [&](int process) { return terms.data + own * static_cast<size_t>(process); };
    copy_on_device(term_of(rank_), all.data + parts.begin(rank_), own, stream_.cuda);
    if (size_ == 1) return;
    state_->nccl.begin();
    for (int process = 0; process < size_; ++process) {
        if (process == rank_) continue;
        state_->nccl.send(all.data + parts.begin(process), parts.size(process) * sizeof(T), process, stream_.cuda);
        state_->nccl.receive(term_of(process), own * sizeof(T), process, stream_.cuda);
    }
    state_->nccl.end();
}

template <class T>
void Communicator::gather(Span<T> all, const Parts& parts) {
    require("gather: parts", parts.bounds.size() - 1, static_cast<size_t>(size_));
    require("gather: elements", all.size, parts.total());
    if (!state_) return;
    bool equal = true;
    for (int process = 1; process < size_; ++process) equal = equal && parts.size(process) == parts.size(0);
    if (equal) return state_->nccl.all_gather(all.data, parts.size(0) * sizeof(T), rank_, stream_.cuda);
    state_->nccl.begin();
    for (int process = 0; process < size_; ++process)
        state_->nccl.broadcast(all.data + parts.begin(process), parts.size(process) * sizeof(T), process, stream_.cuda);
    state_->nccl.end();
}

template <class T>
void Communicator::collect(Span<T> all, Span<const T> own, const Parts& parts) {
    require("collect: parts", parts.bounds.size() - 1, static_cast<size_t>(size_));
    require("collect: elements of the own part", own.size, parts.size(rank_));
    if (rank_ == 0) {
        require("collect: elements", all.size, parts.total());
        copy_on_device(all.data + parts.begin(0), own.data, own.size, stream_.cuda);
    }
    if (size_ == 1) return;
    state_->nccl.begin();
    if (rank_ != 0) state_->nccl.send(own.data, own.size * sizeof(T), 0, stream_.cuda);
    for (int process = 1; process < size_ && rank_ == 0; ++process)
        state_->nccl.receive(all.data + parts.begin(process), parts.size(process) * sizeof(T), process, stream_.cuda);
    state_->nccl.end();
}

template <class T>
void Communicator::broadcast(Span<T> values) {
    if (state_) state_->nccl.broadcast(values.data, values.size * sizeof(T), 0, stream_.cuda);
}

// As words of 32 bits, of which all but one process's are 0: their sum is that one's bits.
template <class T>
void Communicator::merge(std::vector<T>* values) {
    if (!state_ || values->empty()) return;
    const size_t bytes = values->size() * sizeof(T), n = bytes / 4 + (bytes % 4 != 0);
    std::vector<uint32_t> words(n);
    std::memcpy(words.data(), values->data(), bytes);
    if (state_->words.size() < n) state_->words = DeviceArray<uint32_t>(n);
    uint32_t* on_device = state_->words.get();
    CUDA_CHECK(cudaMemcpyAsync(on_device, words.data(), 4 * n, cudaMemcpyHostToDevice, stream_.cuda));
    state_->nccl.add(on_device, n, stream_.cuda);
    CUDA_CHECK(cudaMemcpyAsync(words.data(), on_device, 4 * n, cudaMemcpyDeviceToHost, stream_.cuda));
    CUDA_CHECK(cudaStreamSynchronize(stream_.cuda));
    std::memcpy(static_cast<void*>(values->data()), words.data(), bytes);
}

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

}  // namespace gpu
