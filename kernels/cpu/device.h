// device.h - the CPU backend's device is the host: one aligned allocation, plain copies, and a stream on which
// everything is done at once, in the order of the calls. kernels/device.h has the same names for CUDA.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/cpu/bf16.h"
#include "util/check.h"

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
        if (size == 0) return;
        // Large arrays in pages of 2 MiB, where Linux has them to give: a walk through the table of small ones costs up
        // to a tenth of a matrix product.
        const size_t page = size * sizeof(T) >= 4 * HUGE_PAGE ? HUGE_PAGE : 64;
        const size_t bytes = (size * sizeof(T) + page - 1) / page * page;
        data_ = static_cast<T*>(std::aligned_alloc(page, bytes));
        if (!data_)
            die(Exit::Runtime, "out of memory: %.1f MiB asked for; try a smaller --micro-batch or --model",
                static_cast<double>(bytes) / 1048576.0);
#ifdef MADV_HUGEPAGE
        if (page == HUGE_PAGE) madvise(data_, bytes, MADV_HUGEPAGE);  // a wish: what it answers does not matter
#endif
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
    static constexpr size_t HUGE_PAGE = size_t{1} << 21;
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
