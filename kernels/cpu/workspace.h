// workspace.h - memory for one thread's work, kept for its next.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>

#include "kernels/cpu/pages.h"

namespace cpu {

// `Use` names the work: a thread's workspaces of one Use are the same memory, which outlives them; those of two can be
// in use at once.
template <class Use>
class Workspace {
  public:
    // As many bytes, of which take() hands out the next ones.
    explicit Workspace(size_t bytes) {
        static thread_local Memory memory;
        memory.reserve(bytes);
        next_ = memory.data.get();
    }
    template <class T>
    T* take(size_t n) {
        T* const taken = reinterpret_cast<T*>(next_);
        next_ += bytes<T>(n);
        return taken;
    }
    template <class T>
    static size_t bytes(size_t n) {
        return (n * sizeof(T) + LINE - 1) / LINE * LINE;
    }

  private:
    static constexpr size_t LINE = 64;
    struct Free {
        void operator()(char* data) const { std::free(data); }
    };
    struct Memory {
        std::unique_ptr<char, Free> data;
        size_t size = 0;
        void reserve(size_t bytes) {
            if (bytes <= size) return;
            data.reset();  // first, so that the two are not held at once
            size = 0;      // the allocation may die, which tests survive
            data.reset(static_cast<char*>(allocate_zeros(bytes)));
            size = bytes;
        }
    };
    char* next_;
};

}  // namespace cpu
