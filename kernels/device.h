// device.h - memory of the GPU (or of its stand-in, kernels/simt), copies between it and the host, and the stream that
// work is queued on. kernels/cpu/device.h has the same names for the CPU backend; operations.h includes the one of its
// build.
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <utility>

#include "kernels/types.h"
#include "util/check.h"

using bf16 = __nv_bfloat16;

template <>
struct StatOf<bf16> {
    using type = float;
};

namespace gpu {

class MatmulContext;  // kernels/matmul_context.h: cuBLASLt's handle and workspace
class Choices;        // kernels/choices.h: which of several kernels or algorithms is taken for a shape

struct stream_t {
    cudaStream_t cuda = nullptr;
    MatmulContext* matmul = nullptr;  // used by matmul_* alone
    Choices* choices = nullptr;
};

}  // namespace gpu

#define CUDA_CHECK(call) cuda_check((call), #call, __FILE__, __LINE__)
inline void cuda_check(cudaError_t error, const char* call, const char* file, int line) {
    if (error == cudaSuccess) return;
    const Exit code = error == cudaErrorMemoryAllocation ? Exit::Runtime : Exit::Device;
    const bool recording = error >= cudaErrorStreamCaptureUnsupported && error <= cudaErrorStreamCaptureWrongThread;
    die(code, "%s:%d: %s: %s%s", file, line, call, cudaGetErrorString(error),
        code == Exit::Runtime ? "; try a smaller --micro-batch or --model, or --recompute on"
        : recording           ? "; --cuda-graph off does without a CUDA graph"
                              : "");
}

enum class MemoryKind { Device, Pinned };  // Pinned: host memory that copies to the device without waiting

// A fixed array of device memory, zero-filled, released with its owner. Dies with Exit::Runtime when there is not
// enough.
template <class T, MemoryKind KIND = MemoryKind::Device>
class DeviceArray {
  public:
    DeviceArray() = default;
    explicit DeviceArray(size_t size) : size_(size) {
        if (size == 0) return;
        const size_t bytes = size * sizeof(T);
        void* memory = nullptr;
        if constexpr (KIND == MemoryKind::Pinned) {
            CUDA_CHECK(cudaMallocHost(&memory, bytes));
            std::memset(memory, 0, bytes);
        } else {
            CUDA_CHECK(cudaMalloc(&memory, bytes));
            CUDA_CHECK(cudaMemset(memory, 0, bytes));
        }
        data_ = static_cast<T*>(memory);
    }
    ~DeviceArray() {
        if constexpr (KIND == MemoryKind::Pinned)
            cudaFreeHost(data_);  // unchecked: nothing could be done about it
        else
            cudaFree(data_);
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
    if (n > 0) CUDA_CHECK(cudaMemcpy(to, from, n * sizeof(T), cudaMemcpyHostToDevice));
}
template <class T>
void copy_to_host(T* to, const T* from, size_t n) {
    if (n > 0) CUDA_CHECK(cudaMemcpy(to, from, n * sizeof(T), cudaMemcpyDeviceToHost));
}

// A host's view of a whole device array: a copy.
template <class T>
class HostView {
  public:
    explicit HostView(const DeviceArray<T>& array) : copy_(new T[array.size()]) {
        copy_to_host(copy_.get(), array.get(), array.size());
    }
    const T* get() const { return copy_.get(); }

  private:
    std::unique_ptr<T[]> copy_;
};

// What follows is queued on the stream and does not wait.
template <class T>
void device_zero(T* data, size_t n, gpu::stream_t stream) {
    CUDA_CHECK(cudaMemsetAsync(data, 0, n * sizeof(T), stream.cuda));
}
// `stage` is pinned memory, which must stay as it is until the stream has passed.
template <class T>
void upload(T* to, const T* stage, size_t n, gpu::stream_t stream) {
    if (n > 0) CUDA_CHECK(cudaMemcpyAsync(to, stage, n * sizeof(T), cudaMemcpyHostToDevice, stream.cuda));
}
template <class T>
void copy_on_device(T* to, const T* from, size_t n, gpu::stream_t stream) {
    if (n > 0) CUDA_CHECK(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyDeviceToDevice, stream.cuda));
}
// `to` is pinned memory, to be read after the stream has passed.
template <class T>
void download(T* to, const T* from, size_t n, gpu::stream_t stream) {
    CUDA_CHECK(cudaMemcpyAsync(to, from, n * sizeof(T), cudaMemcpyDeviceToHost, stream.cuda));
}

// A point in a stream's work that the host can wait for.
class StreamMark {
  public:
    StreamMark() { CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming)); }
    ~StreamMark() { cudaEventDestroy(event_); }
    StreamMark(const StreamMark&) = delete;
    StreamMark& operator=(const StreamMark&) = delete;
    void set(gpu::stream_t stream) { CUDA_CHECK(cudaEventRecord(event_, stream.cuda)); }
    void wait() { CUDA_CHECK(cudaEventSynchronize(event_)); }

  private:
    cudaEvent_t event_ = nullptr;
};
