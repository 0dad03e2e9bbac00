// device.h - memory where the kernels run. The CPU build's device is the host: one aligned allocation, plain copies.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "util/check.h"

// A fixed array of device memory, zero-filled, released with its owner. Dies with Exit::Runtime when there is not
// enough.
template <class T>
class DeviceArray {
  public:
    DeviceArray() = default;
    explicit DeviceArray(size_t size) : size_(size) {
        if (size == 0) return;
        const size_t bytes = (size * sizeof(T) + 63) / 64 * 64;
        data_ = static_cast<T*>(std::aligned_alloc(64, bytes));
        if (!data_)
            die(Exit::Runtime, "out of memory: %.1f MiB asked for; try a smaller --micro-batch or --model",
                static_cast<double>(bytes) / 1048576.0);
        std::memset(static_cast<void*>(data_), 0, bytes);
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
void device_zero(T* data, size_t n) {
    std::memset(static_cast<void*>(data), 0, n * sizeof(T));
}
template <class T>
void copy_to_device(T* to, const T* from, size_t n) {
    if (n) std::memcpy(static_cast<void*>(to), from, n * sizeof(T));
}
template <class T>
void copy_to_host(T* to, const T* from, size_t n) {
    if (n) std::memcpy(static_cast<void*>(to), from, n * sizeof(T));
}
