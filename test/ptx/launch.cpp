#include "test/ptx/launch.h"

#include <cuda_runtime.h>
#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>

namespace ptx {

uint32_t shared_bytes_of_launch = 0;

namespace {

// Static objects of other files register themselves before those of this one may have been made.
std::map<std::string, const Entry*>& entries() {
    static std::map<std::string, const Entry*> all;
    return all;
}
std::set<std::string> run_entries;

// A kernel as host code knows it: by the address of its stub.
struct HostKernel {
    std::string name;
    uint32_t dynamic_shared_limit = 48 * 1024;  // until cudaFuncSetAttribute allows more
};
std::map<const void*, HostKernel>& host_kernels() {
    static std::map<const void*, HostKernel> all;
    return all;
}

// Between <<<...>>> and the stub that it calls.
struct Configuration {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
};
std::vector<Configuration> configurations;

constexpr uint32_t MAX_SHARED_BYTES = 227 * 1024, REGISTERS = 64 * 1024, REGISTER_UNIT = 8;

// "gelu_forward_kernel", for messages
std::string short_name(const Entry& entry) {
    std::string name = readable(entry.name);
    if (name.compare(0, 5, "void ") == 0) name.erase(0, 5);
    return name.substr(0, name.find('('));
}

// The grid's limits are simt::run's.
void check(const Entry& entry, dim3 block, size_t dynamic_shared, uint32_t limit) {
    const auto refuse = [&](const std::string& why) { throw simt::Error(short_name(entry) + ": " + why); };
    const size_t threads = size_t{block.x} * block.y * block.z;
    if (threads > entry.max_threads)
        refuse("a block of " + std::to_string(threads) + " threads; __launch_bounds__ allows " +
               std::to_string(entry.max_threads));
    const size_t warps = (threads + 31) / 32;
    const size_t registers = (entry.registers + REGISTER_UNIT - 1) / REGISTER_UNIT * REGISTER_UNIT * 32 * warps;
    if (registers > REGISTERS)
        refuse(std::to_string(threads) + " threads of " + std::to_string(entry.registers) + " registers need " +
               std::to_string(registers) + "; there are " + std::to_string(REGISTERS));
    if (dynamic_shared > limit)
        refuse(std::to_string(dynamic_shared) + " bytes of dynamic shared memory; cudaFuncSetAttribute has allowed " +
               std::to_string(limit));
    if (dynamic_shared + entry.static_shared > MAX_SHARED_BYTES)
        refuse(std::to_string(dynamic_shared + entry.static_shared) + " bytes of shared memory; there are " +
               std::to_string(MAX_SHARED_BYTES));
}

cudaError_t launch(const HostKernel& kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                   cudaStream_t stream) {
    const Entry* entry = find_entry(kernel.name);
    if (!entry) throw simt::Error(readable(kernel.name) + ": its PTX was not translated");
    if (!entry->thread) throw LeftOut(readable(kernel.name) + ": left out of the translation");
    check(*entry, block, shared, kernel.dynamic_shared_limit);
    Launch launch{entry, grid, block, static_cast<uint32_t>(shared), std::vector<char>(entry->parameter_bytes)};
    for (size_t i = 0; i < entry->parameters.size(); ++i)
        memcpy(&launch.parameters[entry->parameters[i].offset], arguments[i], entry->parameters[i].bytes);
    simt::queue(entry->name.c_str(), stream, [launch](cudaStream_t) { run(launch); });
    return cudaSuccess;
}

HostKernel& host_kernel(const void* function) {
    const auto found = host_kernels().find(function);
    if (found == host_kernels().end()) throw simt::Error("a launch of a function that is no kernel");
    return found->second;
}

}  // namespace

Entry::Entry(const char* name) : name(name) { entries()[this->name] = this; }
Entry::Entry(const char* name, void (*thread)(const char*), std::vector<Parameter> parameters, uint32_t parameter_bytes,
             uint32_t max_threads, uint32_t registers, uint32_t static_shared)
    : name(name),
      thread(thread),
      parameters(std::move(parameters)),
      parameter_bytes(parameter_bytes),
      max_threads(max_threads),
      registers(registers),
      static_shared(static_shared) {
    entries()[this->name] = this;
}

void run(const Launch& launch) {
    run_entries.insert(launch.entry->name);
    shared_bytes_of_launch = launch.dynamic_shared + launch.entry->static_shared;
    simt::run(
        short_name(*launch.entry).c_str(), launch.grid, launch.block, shared_bytes_of_launch,
        [](const void* context) {
            const auto& running = *static_cast<const Launch*>(context);
            running.entry->thread(running.parameters.data());
        },
        &launch);
}

const Entry* find_entry(const std::string& name) {
    const auto found = entries().find(name);
    return found == entries().end() ? nullptr : found->second;
}

std::vector<std::string> never_run() {
    std::vector<std::string> names;
    for (const auto& [name, entry] : entries())
        if (entry->thread && !run_entries.count(name) && readable(name) != name) names.push_back(readable(name));
    return names;
}

std::string readable(const std::string& mangled) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status),
                                                      free);
    return status == 0 ? name.get() : mangled;
}

}  // namespace ptx

// ---- what nvcc's host code calls (crt/host_runtime.h of CUDA 12 and 13) ---------------------------------------------

extern "C" {

void** __cudaRegisterFatBinary(void*) {
    static void* handle = nullptr;
    return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*,
                            int*) {
    ptx::host_kernels()[host].name = name;
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, CUstream_st* stream) {
    ptx::configurations.push_back({grid, block, shared, stream});
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    const ptx::Configuration last = ptx::configurations.back();
    ptx::configurations.pop_back();
    *grid = last.grid, *block = last.block, *shared = last.shared;
    *static_cast<cudaStream_t*>(stream) = last.stream;
    return cudaSuccess;
}

cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
    *kernel = reinterpret_cast<cudaKernel_t>(&ptx::host_kernel(function));
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared,
                               cudaStream_t stream) {
    return ptx::launch(*reinterpret_cast<ptx::HostKernel*>(kernel), grid, block, arguments, shared, stream);
}
cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                             cudaStream_t stream) {
    return ptx::launch(ptx::host_kernel(function), grid, block, arguments, shared, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* c, const void* function, void** arguments) {
    if (c->numAttrs > 0) return cudaErrorNotSupported;
    return cudaLaunchKernel(function, c->gridDim, c->blockDim, arguments, c->dynamicSmemBytes, c->stream);
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
    ptx::HostKernel& kernel = ptx::host_kernel(function);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaErrorNotSupported;
    const ptx::Entry* entry = ptx::find_entry(kernel.name);
    const uint32_t limit = ptx::MAX_SHARED_BYTES - (entry ? entry->static_shared : 0);
    if (value < 0 || static_cast<uint32_t>(value) > limit) return cudaErrorInvalidValue;
    kernel.dynamic_shared_limit = static_cast<uint32_t>(value);
    return cudaSuccess;
}

}  // extern "C"
