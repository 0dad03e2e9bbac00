// device.h - memory where the kernels run. The CPU build's device is the host: one aligned allocation, plain copies.
// Elsewhere it is the GPU's (or, in tests, the stand-in of test/simt).
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "util/check.h"
#ifndef KNAPSACK_CPU
#include <cuda_runtime.h>

#define CUDA_CHECK(call) cuda_check((call), #call, __FILE__, __LINE__)
inline void cuda_check(cudaError_t error, const char* call, const char* file, int line) {
    if (error == cudaSuccess) return;
    const Exit code = error == cudaErrorMemoryAllocation ? Exit::Runtime : Exit::Device;
    die(code, "%s:%d: %s: %s%s", file, line, call, cudaGetErrorString(error),
        code == Exit::Runtime ? "; try a smaller --micro-batch or --model, or --recompute on" : "");
}
#endif

enum class MemoryKind { Device, Pinned };  // Pinned: host memory that copies to the device without waiting

// A fixed array of device memory, zero-filled, released with its owner. Dies with Exit::Runtime when there is not
// enough.
template <class T, MemoryKind KIND = MemoryKind::Device>
class DeviceArray {
  public:
    DeviceArray() = default;
    explicit DeviceArray(size_t size) : size_(size) {
        if (size == 0) return;
        const size_t bytes = (size * sizeof(T) + 63) / 64 * 64;
#ifdef KNAPSACK_CPU
        data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
        if (!data_)
            die(Exit::Runtime, "out of memory: %.1f MiB asked for; try a smaller --micro-batch or --model",
                static_cast<double>(bytes) / 1048576.0);
        std::memset(static_cast<void*>(data_), 0, bytes);
#else
        void* memory = nullptr;
        if constexpr (KIND == MemoryKind::Pinned) {
            CUDA_CHECK(cudaMallocHost(&memory, size * sizeof(T)));
            std::memset(memory, 0, size * sizeof(T));
        } else {
            CUDA_CHECK(cudaMalloc(&memory, size * sizeof(T)));
            CUDA_CHECK(cudaMemset(memory, 0, size * sizeof(T)));
        }
        data_ = static_cast<T*>(memory);
        (void)bytes;
#endif
    }
    ~DeviceArray() {
#ifdef KNAPSACK_CPU
        std::free(data_);
#else
        if constexpr (KIND == MemoryKind::Pinned)
            cudaFreeHost(data_);  // unchecked: nothing could be done about it
        else
            cudaFree(data_);
#endif
    }
    DeviceArray(DeviceArray&& other) noexcept { swap(other); }
    DeviceArray& operator=(DeviceArray&& other) noexcept {
        swap(other);
        return *this;
    }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* get() const { return data_; }
    size_t size() const { return size_; }

  private:
    void swap(DeviceArray& other) {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
    }
    T* data_ = nullptr;
    size_t size_ = 0;
};
template <class T>
using PinnedArray = DeviceArray<T, MemoryKind::Pinned>;

// Copies of whole arrays, in the order of the null stream's work; the caller may use both sides when they return.
template <class T>
void copy_to_device(T* to, const T* from, size_t n) {
    if (n == 0) return;
#ifdef KNAPSACK_CPU
    std::memcpy(static_cast<void*>(to), from, n * sizeof(T));
#else
    CUDA_CHECK(cudaMemcpy(to, from, n * sizeof(T), cudaMemcpyHostToDevice));
#endif
}
template <class T>
void copy_to_host(T* to, const T* from, size_t n) {
    if (n == 0) return;
#ifdef KNAPSACK_CPU
    std::memcpy(static_cast<void*>(to), from, n * sizeof(T));
#else
    CUDA_CHECK(cudaMemcpy(to, from, n * sizeof(T), cudaMemcpyDeviceToHost));
#endif
}

// A host's view of a whole device array: the array itself on the CPU, a copy elsewhere.
template <class T>
class HostView {
  public:
    explicit HostView(const DeviceArray<T>& array) {
#ifdef KNAPSACK_CPU
        data_ = array.get();
#else
        copy_ = std::unique_ptr<T[]>(new T[array.size()]);
        copy_to_host(copy_.get(), array.get(), array.size());
        data_ = copy_.get();
#endif
    }
    const T* get() const { return data_; }

  private:
    std::unique_ptr<T[]> copy_;
    const T* data_;
};

// What follows is queued on a stream (of kernels/backend.h) and does not wait. The CPU does it at once.
template <class T, class Stream>
void device_zero(T* data, size_t n, const Stream& stream) {
#ifdef KNAPSACK_CPU
    (void)stream;
    std::memset(static_cast<void*>(data), 0, n * sizeof(T));
#else
    CUDA_CHECK(cudaMemsetAsync(data, 0, n * sizeof(T), stream.cuda));
#endif
}
// By way of `stage`, which must stay as it is until the stream has passed; `from` may change at once.
template <class T, class Stream>
void upload(T* to, T* stage, const T* from, size_t n, const Stream& stream) {
    if (n == 0) return;
#ifdef KNAPSACK_CPU
    (void)stage, (void)stream;
    std::memcpy(to, from, n * sizeof(T));
#else
    std::memcpy(stage, from, n * sizeof(T));
    CUDA_CHECK(cudaMemcpyAsync(to, stage, n * sizeof(T), cudaMemcpyHostToDevice, stream.cuda));
#endif
}
// `to` is pinned memory, to be read after the stream has passed.
template <class T, class Stream>
void download(T* to, const T* from, size_t n, const Stream& stream) {
#ifdef KNAPSACK_CPU
    (void)stream;
    std::memcpy(to, from, n * sizeof(T));
#else
    CUDA_CHECK(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyDeviceToHost, stream.cuda));
#endif
}

// A point in a stream's work that the host can wait for.
class StreamMark {
  public:
#ifdef KNAPSACK_CPU
    template <class Stream>
    void set(const Stream&) {}
    void wait() {}
#else
    StreamMark() { CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
    ~StreamMark() { cudaEventDestroy(event_); }
    StreamMark(const StreamMark&) = delete;
    StreamMark& operator=(const StreamMark&) = delete;
    template <class Stream>
    void set(const Stream& stream) {
        CUDA_CHECK(cudaEventRecord(event_, stream.cuda));
    }
    void wait() { CUDA_CHECK(cudaEventSynchronize(event_)); }

  private:
    cudaEvent_t event_ = nullptr;
#endif
};
