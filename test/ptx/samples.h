// samples.h - runs an entry of test/ptx/samples.
#pragma once
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "test/catch.h"
#include "test/ptx/launch.h"

// `arguments` in their order, each by its bytes.
inline void run_sample(const std::string& name, const std::vector<std::vector<char>>& arguments, unsigned threads = 1,
                       unsigned shared = 0) {
    const ptx::Entry* entry = ptx::find_entry(name);
    INFO(name);
    REQUIRE(entry);
    REQUIRE(arguments.size() == entry->parameters.size());
    ptx::Launch launch{entry, 1, threads, shared, std::vector<char>(entry->parameter_bytes)};
    for (size_t i = 0; i < arguments.size(); ++i) {
        REQUIRE(arguments[i].size() == entry->parameters[i].bytes);
        memcpy(&launch.parameters[entry->parameters[i].offset], arguments[i].data(), arguments[i].size());
    }
    ptx::run(launch);
}
template <class T>
std::vector<char> bytes_of(const T& value) {
    std::vector<char> bytes(sizeof value);
    memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

// One number in 8 bytes, by its bits.
using Bits = std::vector<uint64_t>;
inline uint64_t bits(float x) {
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}
inline uint64_t bits(double x) {
    uint64_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

// The first results of an entry (out, in) of one thread. Operands that are not given are zero.
inline Bits results_of(const std::string& name, Bits in, size_t count) {
    in.resize(8);
    Bits out(32);
    run_sample(name, {bytes_of(out.data()), bytes_of(in.data())});
    out.resize(count);
    return out;
}
