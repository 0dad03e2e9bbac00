// fail_call.cpp - a preloaded library that makes one call of a program fail, once: the n-th of its kind after main
// began, counted over all threads.
//
//   FAIL_CALL=write FAIL_NUMBER=17 FAIL_ERRNO=28 LD_PRELOAD=build/test/fail_call.so ./train_gpt_cpu ...
//   COUNT_CALLS=FILE LD_PRELOAD=...                   writes how often each was called, when the program ends
//
// Counted are the calls that the program and its C++ library make through the dynamic linker; what the C library does
// inside itself (stdio's own writes, malloc's own mappings) is not. A kind is all calls of one use: "alloc" is malloc,
// calloc, realloc and the aligned ones, "list" reads folders, "remove" is unlink, rmdir and unlinkat, "thread" starts
// one. A close that fails has closed.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum Call { WRITE, FSYNC, RENAME, MMAP, ALLOC, OPEN, READ, CLOSE, STAT, TRUNCATE, MKDIR, REMOVE, LIST, THREAD, CALLS };
const char* const NAMES[CALLS] = {"write", "fsync", "rename",   "mmap",  "alloc",  "open", "read",
                                  "close", "stat",  "truncate", "mkdir", "remove", "list", "thread"};

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

// FUNCTION with the arguments of the program, or FAILED when it is this call's turn.
#define FORWARDED(call, type, function, failed, parameters, ...)            \
    type function parameters {                                              \
        static const auto next = real<type(*) parameters>(#function);       \
        return fails(call) ? static_cast<type>(failed) : next(__VA_ARGS__); \
    }
FORWARDED(WRITE, ssize_t, write, -1, (int fd, const void* data, size_t bytes), fd, data, bytes)
FORWARDED(FSYNC, int, fsync, -1, (int fd), fd)
FORWARDED(RENAME, int, rename, -1, (const char* from, const char* to), from, to)
FORWARDED(READ, ssize_t, read, -1, (int fd, void* data, size_t bytes), fd, data, bytes)
FORWARDED(STAT, int, stat, -1, (const char* path, struct stat* info), path, info)
FORWARDED(STAT, int, lstat, -1, (const char* path, struct stat* info), path, info)
FORWARDED(STAT, int, fstat, -1, (int fd, struct stat* info), fd, info)
FORWARDED(TRUNCATE, int, truncate, -1, (const char* path, off_t bytes), path, bytes)
FORWARDED(TRUNCATE, int, ftruncate, -1, (int fd, off_t bytes), fd, bytes)
FORWARDED(MKDIR, int, mkdir, -1, (const char* path, mode_t mode), path, mode)
FORWARDED(REMOVE, int, unlink, -1, (const char* path), path)
FORWARDED(REMOVE, int, rmdir, -1, (const char* path), path)
FORWARDED(REMOVE, int, unlinkat, -1, (int folder, const char* path, int flags), folder, path, flags)
FORWARDED(LIST, DIR*, opendir, nullptr, (const char* path), path)
FORWARDED(LIST, DIR*, fdopendir, nullptr, (int fd), fd)
FORWARDED(LIST, struct dirent*, readdir, nullptr, (DIR * folder), folder)
FORWARDED(THREAD, int, pthread_create, errno,
          (pthread_t * thread, const pthread_attr_t* attributes, void* (*routine)(void*), void* argument), thread,
          attributes, routine, argument)
#undef FORWARDED

// A mode is there only with O_CREAT; where there is none, what is passed on is not looked at.
int open(const char* path, int flags, ...) {
    static const auto next = real<int (*)(const char*, int, ...)>("open");
    va_list more;
    va_start(more, flags);
    const mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return fails(OPEN) ? -1 : next(path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
    static const auto next = real<int (*)(int, const char*, int, ...)>("openat");
    va_list more;
    va_start(more, flags);
    const mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return fails(OPEN) ? -1 : next(folder, path, flags, mode);
}
int close(int fd) {
    static const auto next = real<int (*)(int)>("close");
    const int result = next(fd);
    return fails(CLOSE) ? -1 : result;
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
