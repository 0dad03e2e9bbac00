// The calls of the CUDA runtime that our programs make, on the host's heap: linked in place of libcudart with the
// kernels that g++ compiled. "Device" memory has its exact size and begins as NaN, so that AddressSanitizer sees every
// stray access and the results every read of what nobody has written.
//
// Everything is done when it is asked for, but for two things, which hold NaN until they arrive: an asynchronous copy
// to pinned memory, when the host has waited for it; what a stream has received from other processes (nccl.cpp), when
// something else is queued on that stream, another stream waits for it, or the host does.
#include <cuda_runtime.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "kernels/simt/runtime.h"

struct CUstream_st {};
struct CUevent_st {
    std::chrono::steady_clock::time_point time;
    cudaStream_t stream = nullptr;
    size_t position = 0;  // of the stream's work
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

// A process of several on a machine has a GPU of its own.
int devices() {
    const char* processes = getenv("OMPI_COMM_WORLD_LOCAL_SIZE");
    return processes ? atoi(processes) : 1;
}

cudaError_t allocate(void** pointer, size_t bytes, Kind kind) {
    *pointer = nullptr;
    const size_t all = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    if (bytes == 0) return cudaSuccess;
    if (bytes > all || posix_memalign(pointer, 256, bytes) != 0) return cudaErrorMemoryAllocation;
    memset(*pointer, 0xff, bytes);
    const std::lock_guard<std::mutex> lock(mutex);
    allocations[static_cast<char*>(*pointer)] = {bytes, kind};
    return cudaSuccess;
}
cudaError_t release(void* pointer, Kind kind) {
    if (!pointer) return cudaSuccess;
    const std::lock_guard<std::mutex> lock(mutex);
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

void queued_on(cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
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
    if (!sides_are_right(to, from, bytes, kind)) return cudaErrorInvalidValue;
    stream_passes(nullptr, last_position);
    memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (!sides_are_right(to, from, bytes, kind)) return cudaErrorInvalidValue;
    stream_passes_on_device(stream, last_position);
    if (kind == cudaMemcpyDeviceToHost && is(Kind::Pinned, to, bytes))
        arrive_later(to, from, bytes, stream, Kind::Pinned);
    else
        memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (bytes > 0 && !is(Kind::Device, to, bytes)) return cudaErrorInvalidValue;
    stream_passes_on_device(stream, last_position);
    memset(to, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemset(void* to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }

// ---- streams and events ---------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    *stream = new CUstream_st;
    const std::lock_guard<std::mutex> lock(mutex);
    streams.insert(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return cudaStreamCreate(stream); }
cudaError_t cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
    *lowest = *highest = 0;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    stream_passes(stream, last_position);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    cudaStreamSynchronize(stream);
    const std::lock_guard<std::mutex> lock(mutex);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return cudaStreamSynchronize(nullptr); }

cudaError_t cudaEventCreate(cudaEvent_t* event) {
    *event = new CUevent_st;
    return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    const std::lock_guard<std::mutex> lock(mutex);
    *event = {std::chrono::steady_clock::now(), stream, last_position};
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    const std::lock_guard<std::mutex> lock(mutex);
    stream_passes(event->stream, event->position);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - begin->time).count();
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
    const std::lock_guard<std::mutex> lock(mutex);
    stream_passes_on_device(event->stream, event->position);
    return cudaSuccess;
}

}  // extern "C"
