// The calls of the CUDA runtime that our programs make, on the host's heap: linked in place of libcudart with the
// kernels that g++ compiled. "Device" memory has its exact size and begins as NaN, so that AddressSanitizer sees every
// stray access and the results every read of what nobody has written.
//
// Everything is done when it is asked for, but for two things, which hold NaN until they arrive: an asynchronous copy
// to pinned memory, when the host has waited for it; what a stream has received from other processes (nccl.cpp), when
// something else is queued on that stream, another stream waits for it, or the host does.
//
// A stream that is recording (cudaStreamBeginCapture) does nothing: its work is kept with the values it was given, and
// done when a graph of it is launched. What CUDA refuses meanwhile is refused, with CUDA's error, and the recording is
// lost: waiting for that stream, the null stream, calls that CUDA calls unsafe (allocating, releasing, asking an
// event). Refused is also what CUDA may allow and our programs do not do: copies from and to pageable memory, forks to
// other streams, a graph in a graph.
#include <cuda_runtime.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "kernels/simt/runtime.h"

struct CUgraph_st {
    std::vector<simt::Work> nodes;  // a chain
};
struct CUgraphExec_st {
    std::vector<simt::Work> nodes;
};
struct CUstream_st {
    bool blocking;  // waits for the null stream, which waits for it
    // while it is recording
    std::unique_ptr<CUgraph_st> graph;
    cudaStreamCaptureMode mode;
    std::thread::id thread;
    bool lost;  // by a call that was refused
};
struct CUevent_st {
    std::chrono::steady_clock::time_point time;
    cudaStream_t stream = nullptr;
    size_t position = 0;    // of the stream's work
    bool recorded = false;  // in a stream that was recording: it is a point of the graph
};

namespace {

enum class Kind { Device, Pinned };
struct Allocation {
    size_t bytes;
    Kind kind;
};
struct Pending {
    char* to;
    std::vector<char> bytes;
    cudaStream_t stream;
    size_t position;
    Kind kind;  // of the memory that it arrives in
};

std::mutex mutex;  // of what follows
std::map<const char*, Allocation> allocations;
std::list<Pending> pending;
std::set<cudaStream_t> streams;
size_t last_position = 0;
int current_device = 0;
simt::Queued counts = {};

// ---- what a recording refuses; the mutex is held ----

// Every recording that `concerned` says yes to is lost.
template <class Concerned>
cudaError_t refused_while(Concerned concerned, cudaError_t error) {
    cudaError_t result = cudaSuccess;
    for (cudaStream_t stream : streams)
        if (stream->graph && concerned(*stream)) {
            stream->lost = true;
            result = error;
        }
    return result;
}
// The null stream would wait for a recording stream.
cudaError_t null_stream_refused() {
    return refused_while([](const CUstream_st& s) { return s.blocking; }, cudaErrorStreamCaptureImplicit);
}
// The device as a whole.
cudaError_t device_refused() {
    return refused_while([](const CUstream_st&) { return true; }, cudaErrorStreamCaptureUnsupported);
}
// "Potentially unsafe" calls (cudaThreadExchangeStreamCaptureMode).
cudaError_t unsafe_refused() {
    const auto concerned = [](const CUstream_st& s) {
        return s.mode == cudaStreamCaptureModeGlobal ||
               (s.mode == cudaStreamCaptureModeThreadLocal && s.thread == std::this_thread::get_id());
    };
    return refused_while(concerned, cudaErrorStreamCaptureUnsupported);
}
// A call that a recording stream cannot keep.
cudaError_t stream_refused(cudaStream_t stream, cudaError_t error = cudaErrorStreamCaptureUnsupported) {
    if (!stream) return null_stream_refused();
    if (streams.count(stream) == 0) return cudaErrorInvalidResourceHandle;
    return refused_while([&](const CUstream_st& s) { return &s == stream; }, error);
}
cudaError_t event_refused(cudaEvent_t event) {
    refused_while([&](const CUstream_st& s) { return &s == event->stream; }, cudaErrorCapturedEvent);
    return cudaErrorCapturedEvent;
}
// A recording stream would have to read, or write, host memory that may be gone by then.
cudaError_t pageable_refused(cudaStream_t stream) {
    return refused_while([&](const CUstream_st& s) { return &s == stream; }, cudaErrorStreamCaptureUnsupported);
}
#define TRY(call)                                                                       \
    do {                                                                                \
        if (const cudaError_t failure = (call); failure != cudaSuccess) return failure; \
    } while (0)

// The allocation that holds [pointer, pointer + bytes), or null.
const Allocation* allocation_of(const void* pointer, size_t bytes) {
    const char* first = static_cast<const char*>(pointer);
    auto next = allocations.upper_bound(first);
    if (next == allocations.begin()) return nullptr;
    --next;
    return first + bytes <= next->first + next->second.bytes ? &next->second : nullptr;
}
bool is(Kind kind, const void* pointer, size_t bytes) {
    const Allocation* allocation = allocation_of(pointer, bytes);
    return allocation && allocation->kind == kind;
}

template <class Condition>
void arrive(Condition condition) {
    for (auto copy = pending.begin(); copy != pending.end();)
        if (condition(*copy)) {
            memcpy(copy->to, copy->bytes.data(), copy->bytes.size());
            copy = pending.erase(copy);
        } else {
            ++copy;
        }
}
// The null stream waits for all others.
void stream_passes(cudaStream_t stream, size_t position) {
    arrive([=](const Pending& p) { return (p.stream == stream || !stream) && p.position <= position; });
}
// The same as a stream sees it, which no memory of the host's concerns.
void stream_passes_on_device(cudaStream_t stream, size_t position) {
    arrive([=](const Pending& p) {
        return p.kind == Kind::Device && (p.stream == stream || !stream) && p.position <= position;
    });
}
void arrive_later(void* to, const void* from, size_t bytes, cudaStream_t stream, Kind kind) {
    const char* first = static_cast<const char*>(from);
    pending.push_back({static_cast<char*>(to), {first, first + bytes}, stream, ++last_position, kind});
    memset(to, 0xff, bytes);
}

// Does the work, or keeps it. Takes the mutex, which the work does not find held.
cudaError_t enqueue(cudaStream_t stream, simt::Work work) {
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!stream) TRY(null_stream_refused());
        if (stream && streams.count(stream) == 0) return cudaErrorInvalidResourceHandle;
        if (stream && stream->graph) {
            if (stream->lost) return cudaErrorStreamCaptureInvalidated;
            stream->graph->nodes.push_back(std::move(work));
            return cudaSuccess;
        }
        ++counts.single;
        stream_passes_on_device(stream, last_position);
    }
    work(stream);
    return cudaSuccess;
}

// A process of several on a machine has a GPU of its own.
int devices() {
    const char* processes = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    return processes ? atoi(processes) : 1;
}

cudaError_t allocate(void** pointer, size_t bytes, Kind kind) {
    *pointer = nullptr;
    const size_t all = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    if (bytes == 0) return cudaSuccess;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        TRY(unsafe_refused());
    }
    if (bytes > all || posix_memalign(pointer, 256, bytes) != 0) return cudaErrorMemoryAllocation;
    memset(*pointer, 0xff, bytes);
    const std::lock_guard<std::mutex> lock(mutex);
    allocations[static_cast<char*>(*pointer)] = {bytes, kind};
    return cudaSuccess;
}
cudaError_t release(void* pointer, Kind kind) {
    if (!pointer) return cudaSuccess;
    const std::lock_guard<std::mutex> lock(mutex);
    TRY(unsafe_refused());
    const auto found = allocations.find(static_cast<char*>(pointer));
    if (found == allocations.end() || found->second.kind != kind) return cudaErrorInvalidValue;
    arrive([&](const Pending& p) { return p.to >= found->first && p.to < found->first + found->second.bytes; });
    allocations.erase(found);
    free(pointer);
    return cudaSuccess;
}

// The sides that `kind` calls the device's must be device memory, the others not.
bool sides_are_right(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    if (kind == cudaMemcpyDefault || bytes == 0) return true;
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    return is(Kind::Device, to, bytes) == to_device && is(Kind::Device, from, bytes) == from_device;
}

}  // namespace

namespace simt {

void queue(const char* what, cudaStream_t stream, Work work) {
    const cudaError_t error = enqueue(stream, std::move(work));
    if (error != cudaSuccess) throw Error(what + std::string(": ") + cudaGetErrorString(error));
}
Queued queued() {
    const std::lock_guard<std::mutex> lock(mutex);
    return counts;
}
bool is_recording(cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    return stream && stream->graph;
}
void queued_on(cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (stream && stream->graph) throw Error("work that is done at once, on a stream that is recording");
    if (!pending.empty()) stream_passes_on_device(stream, last_position);
}
void receive_later(void* to, const void* from, size_t bytes, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    arrive_later(to, from, bytes, stream, Kind::Device);
}
bool is_device_memory(const void* pointer, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    return is(Kind::Device, pointer, bytes);
}
bool is_stream(cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    return !stream || streams.count(stream) > 0;
}

}  // namespace simt

extern "C" {

// ---- the device -----------------------------------------------------------------------------------------------------

cudaError_t cudaGetDeviceCount(int* count) {
    *count = devices();
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= devices()) return cudaErrorInvalidDevice;
    current_device = device;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (device < 0 || device >= devices()) return cudaErrorInvalidDevice;
    memset(properties, 0, sizeof *properties);
    strcpy(properties->name, "simt");
    properties->major = 9;
    properties->multiProcessorCount = 132;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->sharedMemPerBlockOptin = 227 * 1024;
    properties->sharedMemPerMultiprocessor = 228 * 1024;
    properties->l2CacheSize = 50 << 20;
    return cudaMemGetInfo(nullptr, &properties->totalGlobalMem);
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return cudaErrorInvalidDevice;
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount:
            *value = properties.multiProcessorCount;
            break;
        case cudaDevAttrComputeCapabilityMajor:
            *value = properties.major;
            break;
        case cudaDevAttrComputeCapabilityMinor:
            *value = properties.minor;
            break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = static_cast<int>(properties.sharedMemPerBlockOptin);
            break;
        case cudaDevAttrL2CacheSize:
            *value = properties.l2CacheSize;
            break;
        default:
            return cudaErrorInvalidValue;
    }
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    if (free_bytes) *free_bytes = static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) * page;
    if (total) *total = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * page;
    return cudaSuccess;
}

// ---- errors: a wrong launch throws simt::Error instead --------------------------------------------------------------

cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess:
            return "no error";
        case cudaErrorMemoryAllocation:
            return "out of memory";
        case cudaErrorInvalidValue:
            return "invalid argument";
        case cudaErrorInvalidDevice:
            return "invalid device ordinal";
        case cudaErrorInvalidResourceHandle:
            return "invalid resource handle";
        case cudaErrorIllegalState:
            return "the operation cannot be performed in the present state";
        case cudaErrorStreamCaptureUnsupported:
            return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated:
            return "operation failed due to a previous error during capture";
        case cudaErrorStreamCaptureIsolation:
            return "dependency created on uncaptured work in another stream";
        case cudaErrorStreamCaptureImplicit:
            return "operation would make the legacy stream depend on a capturing blocking stream";
        case cudaErrorCapturedEvent:
            return "operation not permitted on an event last recorded in a capturing stream";
        case cudaErrorStreamCaptureWrongThread:
            return "attempt to terminate a thread-local capture sequence from another thread";
        default:
            return "unknown error";
    }
}

// ---- memory ---------------------------------------------------------------------------------------------------------

cudaError_t cudaMalloc(void** pointer, size_t bytes) { return allocate(pointer, bytes, Kind::Device); }
cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return allocate(pointer, bytes, Kind::Pinned); }
cudaError_t cudaFree(void* pointer) { return release(pointer, Kind::Device); }
cudaError_t cudaFreeHost(void* pointer) { return release(pointer, Kind::Pinned); }

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    const std::lock_guard<std::mutex> lock(mutex);
    TRY(null_stream_refused());
    if (!sides_are_right(to, from, bytes, kind)) return cudaErrorInvalidValue;
    stream_passes(nullptr, last_position);
    memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    bool later = false;
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!sides_are_right(to, from, bytes, kind)) return cudaErrorInvalidValue;
        later = kind == cudaMemcpyDeviceToHost && is(Kind::Pinned, to, bytes);
        if (!allocation_of(to, bytes) || !allocation_of(from, bytes)) TRY(pageable_refused(stream));
    }
    return enqueue(stream, [=](cudaStream_t on) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (later)
            arrive_later(to, from, bytes, on, Kind::Pinned);
        else
            memcpy(to, from, bytes);
    });
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    {
        const std::lock_guard<std::mutex> lock(mutex);
        if (bytes > 0 && !is(Kind::Device, to, bytes)) return cudaErrorInvalidValue;
    }
    return enqueue(stream, [=](cudaStream_t) { memset(to, value, bytes); });
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }

// ---- streams and events ---------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
    *stream = new CUstream_st{!(flags & cudaStreamNonBlocking), nullptr, cudaStreamCaptureModeGlobal, {}, false};
    const std::lock_guard<std::mutex> lock(mutex);
    streams.insert(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
    return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
    *lowest = *highest = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    TRY(stream_refused(stream));
    stream_passes(stream, last_position);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    TRY(cudaStreamSynchronize(stream));
    const std::lock_guard<std::mutex> lock(mutex);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
    const std::lock_guard<std::mutex> lock(mutex);
    TRY(device_refused());
    stream_passes(nullptr, last_position);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
    *event = new CUevent_st;
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!stream) TRY(null_stream_refused());
    *event = {std::chrono::steady_clock::now(), stream, last_position, stream && stream->graph};
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (event->recorded) return event_refused(event);
    TRY(unsafe_refused());
    stream_passes(event->stream, event->position);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    const std::lock_guard<std::mutex> lock(mutex);
    return event->recorded ? event_refused(event) : unsafe_refused();
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    const std::lock_guard<std::mutex> lock(mutex);
    for (cudaEvent_t event : {begin, end})
        if (event->recorded) return event_refused(event);
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (event->recorded && event->stream == stream) return cudaSuccess;
    if (event->recorded) return event_refused(event);  // a fork
    TRY(stream_refused(stream, cudaErrorStreamCaptureIsolation));
    stream_passes_on_device(event->stream, event->position);
    return cudaSuccess;
}

// ---- graphs ---------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!stream) return cudaErrorStreamCaptureUnsupported;
    if (streams.count(stream) == 0) return cudaErrorInvalidResourceHandle;
    if (stream->graph) return cudaErrorIllegalState;
    stream->graph = std::make_unique<CUgraph_st>();
    stream->mode = mode;
    stream->thread = std::this_thread::get_id();
    stream->lost = false;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
    const std::lock_guard<std::mutex> lock(mutex);
    *graph = nullptr;
    if (!stream || streams.count(stream) == 0 || !stream->graph) return cudaErrorIllegalState;
    if (stream->mode != cudaStreamCaptureModeRelaxed && stream->thread != std::this_thread::get_id())
        return cudaErrorStreamCaptureWrongThread;
    const std::unique_ptr<CUgraph_st> ended = std::move(stream->graph);
    if (stream->lost) return cudaErrorStreamCaptureInvalidated;
    *graph = new CUgraph_st(std::move(*ended));
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!stream) TRY(null_stream_refused());
    *status = !stream || !stream->graph ? cudaStreamCaptureStatusNone
              : stream->lost            ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
// How many there are: the nodes themselves are nobody's business.
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
    if (nodes) return cudaErrorInvalidValue;
    *count = graph->nodes.size();
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = new CUgraphExec_st{graph->nodes};
    return cudaSuccess;
}
// Within a recording CUDA would make it a part of that graph.
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
    {
        const std::lock_guard<std::mutex> lock(mutex);
        TRY(stream_refused(stream));
        ++counts.graphs;
        counts.in_graphs += graph->nodes.size();
    }
    for (const simt::Work& work : graph->nodes) {
        simt::queued_on(stream);
        work(stream);
    }
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
    delete graph;
    return cudaSuccess;
}

}  // extern "C"
