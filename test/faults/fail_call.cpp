// fail_call.cpp - a preloaded library that makes one call of a program fail, once: the n-th write, fsync, rename, mmap
// or allocation after main began, counted over all threads.
//
//   FAIL_CALL=write FAIL_NUMBER=17 FAIL_ERRNO=28 LD_PRELOAD=build/test/fail_call.so ./train_gpt_cpu ...
//   COUNT_CALLS=FILE LD_PRELOAD=...                   writes how often each was called, when the program ends
//
// Counted are the calls that the program and its C++ library make through the dynamic linker; what the C library does
// inside itself (stdio's own writes, malloc's own mappings) is not. "alloc" is malloc, calloc, realloc and the aligned
// ones.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum Call { WRITE, FSYNC, RENAME, MMAP, ALLOC, CALLS };
const char* const NAMES[CALLS] = {"write", "fsync", "rename", "mmap", "alloc"};

std::atomic<bool> counting{false};
std::atomic<long> counts[CALLS];
int failing_call = -1, failing_errno = EIO;
long failing_number = 0;

// Whether this call is the one to fail. Sets errno.
bool fails(Call call) {
    if (!counting.load(std::memory_order_relaxed)) return false;
    const long number = counts[call].fetch_add(1) + 1;
    if (call != failing_call || number != failing_number) return false;
    errno = failing_errno;
    return true;
}

template <class Function>
Function real(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

void write_counts() {
    counting = false;
    const char* path = getenv("COUNT_CALLS");
    FILE* file = path ? fopen(path, "w") : nullptr;
    if (!file) return;
    for (int i = 0; i < CALLS; ++i) fprintf(file, "%s %ld\n", NAMES[i], counts[i].load());
    fclose(file);
}

int (*program_main)(int, char**, char**);
int counted_main(int argc, char** argv, char** environment) {
    if (const char* name = getenv("FAIL_CALL"))
        for (int i = 0; i < CALLS; ++i)
            if (strcmp(name, NAMES[i]) == 0) failing_call = i;
    if (const char* number = getenv("FAIL_NUMBER")) failing_number = atol(number);
    if (const char* number = getenv("FAIL_ERRNO")) failing_errno = atoi(number);
    atexit(write_counts);
    counting = true;
    return program_main(argc, argv, environment);
}

}  // namespace

extern "C" {

int __libc_start_main(int (*main)(int, char**, char**), int argc, char** argv, void (*init)(), void (*fini)(),
                      void (*loader_fini)(), void* stack_end) {
    program_main = main;
    using Start = int (*)(int (*)(int, char**, char**), int, char**, void (*)(), void (*)(), void (*)(), void*);
    return real<Start>("__libc_start_main")(counted_main, argc, argv, init, fini, loader_fini, stack_end);
}

ssize_t write(int fd, const void* data, size_t bytes) {
    static const auto next = real<ssize_t (*)(int, const void*, size_t)>("write");
    return fails(WRITE) ? -1 : next(fd, data, bytes);
}
int fsync(int fd) {
    static const auto next = real<int (*)(int)>("fsync");
    return fails(FSYNC) ? -1 : next(fd);
}
int rename(const char* from, const char* to) {
    static const auto next = real<int (*)(const char*, const char*)>("rename");
    return fails(RENAME) ? -1 : next(from, to);
}
void* mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    static const auto next = real<void* (*)(void*, size_t, int, int, int, off_t)>("mmap");
    return fails(MMAP) ? MAP_FAILED : next(at, bytes, protection, flags, fd, offset);
}

// dlsym may allocate: glibc's own entries serve until main, and are what the names resolve to anyway.
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void* malloc(size_t bytes) { return fails(ALLOC) ? nullptr : __libc_malloc(bytes); }
void* calloc(size_t n, size_t bytes) { return fails(ALLOC) ? nullptr : __libc_calloc(n, bytes); }
void* realloc(void* old, size_t bytes) { return fails(ALLOC) ? nullptr : __libc_realloc(old, bytes); }
void* aligned_alloc(size_t alignment, size_t bytes) {
    return fails(ALLOC) ? nullptr : __libc_memalign(alignment, bytes);
}
void* memalign(size_t alignment, size_t bytes) { return fails(ALLOC) ? nullptr : __libc_memalign(alignment, bytes); }
int posix_memalign(void** result, size_t alignment, size_t bytes) {
    if (fails(ALLOC)) return ENOMEM;
    *result = __libc_memalign(alignment, bytes);
    return *result ? 0 : ENOMEM;
}

}  // extern "C"
