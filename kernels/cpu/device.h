// device.h - the CPU backend's device is the host: one aligned allocation, plain copies, and a stream on which
// everything is done at once, in the order of the calls. kernels/device.h has the same names for CUDA.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/cpu/bf16.h"
#include "kernels/cpu/pages.h"

using cpu::bf16;

namespace cpu {
struct stream_t {};
}  // namespace cpu

enum class MemoryKind { Device, Pinned };  // all memory is both

// A fixed array, zero-filled, released with its owner. Dies with Exit::Runtime when there is not enough memory.
template <class T, MemoryKind KIND = MemoryKind::Device>
class DeviceArray {
  public:
    DeviceArray() = default;
    explicit DeviceArray(size_t size) : size_(size) {
        if (size > 0) data_ = static_cast<T*>(cpu::allocate_zeros(size * sizeof(T)));
    }
    ~DeviceArray() { std::free(data_); }
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

template <class T>
void copy_to_device(T* to, const T* from, size_t n) {
    if (n > 0) std::memcpy(static_cast<void*>(to), from, n * sizeof(T));
}
template <class T>
void copy_to_host(T* to, const T* from, size_t n) {
    copy_to_device(to, from, n);
}

// A host's view of a whole device array: the array itself.
template <class T>
class HostView {
  public:
    explicit HostView(const DeviceArray<T>& array) : data_(array.get()) {}
    const T* get() const { return data_; }

  private:
    const T* data_;
};

template <class T>
void device_zero(T* data, size_t n, cpu::stream_t) {
    std::memset(static_cast<void*>(data), 0, n * sizeof(T));
}
template <class T>
void upload(T* to, const T* stage, size_t n, cpu::stream_t) {
    copy_to_device(to, stage, n);
}
template <class T>
void copy_on_device(T* to, const T* from, size_t n, cpu::stream_t) {
    copy_to_device(to, from, n);
}
template <class T>
void download(T* to, const T* from, size_t n, cpu::stream_t) {
    copy_to_host(to, from, n);
}

// A point in a stream's work that the host can wait for: it has passed.
struct StreamMark {
    void set(cpu::stream_t) {}
    void wait() {}
};
