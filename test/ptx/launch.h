// launch.h - kernels that translate.py made, and their launches: what the objects that nvcc compiled ask of the CUDA
// runtime in place of libcudart, on top of kernels/simt. A launch that a GPU would refuse throws simt::Error.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/simt/runtime.h"

namespace ptx {

struct Parameter {
    uint32_t offset, bytes;
};

// A kernel of a PTX module, registered by being constructed. `thread` runs one thread on the bytes of the parameters;
// null where the translation left the kernel out (translate.py --head-sizes).
struct Entry {
    explicit Entry(const char* name);
    Entry(const char* name, void (*thread)(const char*), std::vector<Parameter> parameters, uint32_t parameter_bytes,
          uint32_t max_threads, uint32_t registers, uint32_t static_shared);
    std::string name;  // as the compiler mangles it
    void (*thread)(const char*) = nullptr;
    std::vector<Parameter> parameters;
    uint32_t parameter_bytes = 0;
    uint32_t max_threads = 1024;  // of a block, by __launch_bounds__
    uint32_t registers = 0;       // of a thread, as ptxas counted them; 0: not known
    uint32_t static_shared = 0;   // bytes
};

// All that a launch needs, to be kept and run again: the parameters are copies.
struct Launch {
    const Entry* entry;
    dim3 grid, block;
    uint32_t dynamic_shared;  // bytes
    std::vector<char> parameters;
};
void run(const Launch& launch);

// The kernel that a program asked for was not translated.
struct LeftOut : simt::Error {
    using simt::Error::Error;
};

const Entry* find_entry(const std::string& name);  // null: there is none
// The kernels of C++ that were translated and that no launch has run, as c++filt shows them.
std::vector<std::string> never_run();
std::string readable(const std::string& mangled);

// Static and dynamic, of the launch that runs.
extern uint32_t shared_bytes_of_launch;

}  // namespace ptx
