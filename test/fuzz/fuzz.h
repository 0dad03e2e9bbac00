// fuzz.h - a parser of outside bytes may refuse, and may do nothing else: no crash, no read outside of the input.
#pragma once
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "util/check.h"
#include "util/files.h"

// Runs `parse`; a refusal must be one of bad data (`refusal`), not of a broken precondition.
template <class Parse>
int fuzz(Parse parse, Exit refusal = Exit::Data) {
    die_throws = true;
    try {
        parse();
    } catch (const DieError& error) {
        if (error.code != refusal) {
            fprintf(stderr, "refused with code %d: %s\n", static_cast<int>(error.code), error.message.c_str());
            abort();
        }
    }
    return 0;
}

// A valid file, damaged as the input says: byte 0 even, the rest replaces it whole; odd, each three bytes are a
// position (two bytes, modulo the size) and the byte that is there instead. So the fuzzer gets past the first check
// without having to invent a whole file.
inline std::string damaged(std::string valid, const uint8_t* data, size_t size) {
    if (size == 0) return valid;
    if (data[0] % 2 == 0) return std::string(reinterpret_cast<const char*>(data + 1), size - 1);
    for (size_t i = 1; i + 3 <= size && !valid.empty(); i += 3)
        valid[(data[i] | data[i + 1] << 8) % valid.size()] = static_cast<char>(data[i + 2]);
    return valid;
}

// A folder of this process, in memory where there is /dev/shm.
struct FuzzFolder {
    std::string path;
    FuzzFolder() : path(access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz_XXXXXX" : "/tmp/fuzz_XXXXXX") {
        if (!mkdtemp(path.data())) abort();
    }
    ~FuzzFolder() { remove_tree(path); }
};
