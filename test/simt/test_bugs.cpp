// test_bugs.cpp - the bugs that only a sanitizer names, and that it is silent where there is none. Each is a hidden
// test that this program, when it is built with that sanitizer, runs as a process of its own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <unistd.h>

#include <climits>
#include <string>
#include <vector>

#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"
#include "kernels/simt.h"
#include "test/catch.h"
#include "test/support.h"

namespace {

// Runs the hidden test `bug` and returns what it printed.
std::string output_of(const std::string& bug, int* status) {
    std::string program(PATH_MAX, '\0'), output;
    program.resize(static_cast<size_t>(readlink("/proc/self/exe", program.data(), program.size())));
    *status = run_command("'" + program + "' '" + bug + "'", &output);
    return output;
}
void check_named(const std::string& bug, const std::string& name) {
    int status = 0;
    const std::string output = output_of("bug: " + bug, &status);
    INFO(bug << ": " << output);
    CHECK(status != 0);
    CHECK(output.find(name) != std::string::npos);
    CHECK(output.find("test_bugs.cpp:") != std::string::npos);  // where
}

}  // namespace

#ifdef __SANITIZE_ADDRESS__
namespace {

__global__ void tail_kernel(float* x, int n) {
    const int i = static_cast<int>(threadIdx.x);
    if (i > n) return;
    x[i] = 1;
}
__global__ void shared_tail_kernel(float* out) { out[0] = (&shared_memory<float>())[threadIdx.x]; }
__global__ void misaligned_kernel(float* x) { x[0] = gpu::load_pack(x + 1)[0]; }

}  // namespace

TEST_CASE("bug: one element too many", "[.bug]") {
    const DeviceArray<float> x(10);
    LAUNCH(tail_kernel, 1, 32, 0, nullptr, x.get(), 10);
}
TEST_CASE("bug: shared memory read past its end", "[.bug]") {
    const DeviceArray<float> x(10);
    LAUNCH(shared_tail_kernel, 1, 33, 128, nullptr, x.get());
}
TEST_CASE("bug: a misaligned pack", "[.bug]") {
    const DeviceArray<float> x(8);
    LAUNCH(misaligned_kernel, 1, 1, 0, nullptr, x.get());
}

TEST_CASE("AddressSanitizer names stray accesses of kernels", "[bugs]") {
    check_named("one element too many", "heap-buffer-overflow");
    check_named("shared memory read past its end", "use-after-poison");
    int status = 0;
    CHECK(output_of("bug: a misaligned pack", &status).find("misaligned address") != std::string::npos);
    CHECK(status != 0);
}
#endif

#ifdef __SANITIZE_THREAD__
namespace {

// Each of these is wrong when `careful` is not set.
__global__ void no_barrier_kernel(float* out, bool careful) {
    float* shared = &shared_memory<float>();
    if (threadIdx.x == 0) shared[0] = 1;  // ascending order does it first
    if (careful) __syncthreads();
    out[threadIdx.x] = shared[0];
}
__global__ void no_warp_barrier_kernel(float* out, bool careful) {
    float* shared = &shared_memory<float>();
    shared[threadIdx.x] = 1;
    if (careful) __syncwarp();
    out[threadIdx.x] = shared[threadIdx.x / 2];
}
__global__ void one_scratch_kernel(float* out, bool careful) {
    float* scratch = &shared_memory<float>();
    float sum = 0;
    for (int round = 0; round < 2; ++round) {
        if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = 1;
        __syncthreads();
        sum += scratch[0] + scratch[1];
        if (careful) __syncthreads();
    }
    out[threadIdx.x] = sum;
}
// Thread 0 of every block: the same fiber's turn would hide it.
__global__ void blocks_kernel(int* out, bool careful) {
    if (threadIdx.x != 0) return;
    if (careful)
        atomicAdd(out, 1);
    else
        ++*out;
}
__global__ void copy_without_barrier_kernel(float* out, const float* in, bool careful) {
    float* shared = &shared_memory<float>();
    simt::async_copy(shared + threadIdx.x, in + threadIdx.x, 4, 4);
    simt::async_commit();
    simt::async_wait(0);
    if (careful) __syncthreads();
    out[threadIdx.x] = shared[threadIdx.x ^ 1];
}
// An atomic orders nothing else.
__global__ void flag_kernel(int* flag, float* out, bool careful) {
    float* shared = &shared_memory<float>();
    if (threadIdx.x == 0) {
        shared[0] = 1;
        atomicAdd(flag, 1);
    }
    if (careful) __syncthreads();
    if (threadIdx.x == 32 && atomicAdd(flag, 0) == 1) *out = shared[0];
}

void launch_no_barrier(bool careful) {
    const DeviceArray<float> out(64);
    LAUNCH(no_barrier_kernel, 1, 64, 4, nullptr, out.get(), careful);
}
void launch_no_warp_barrier(bool careful) {
    const DeviceArray<float> out(32);
    LAUNCH(no_warp_barrier_kernel, 1, 32, 128, nullptr, out.get(), careful);
}
void launch_one_scratch(bool careful) {
    const DeviceArray<float> out(64);
    LAUNCH(one_scratch_kernel, 1, 64, 8, nullptr, out.get(), careful);
}
void launch_blocks(bool careful) {
    const DeviceArray<int> out(1);
    LAUNCH(blocks_kernel, 20, 32, 0, nullptr, out.get(), careful);
}
void launch_copy_without_barrier(bool careful) {
    const DeviceArray<float> out(32), in(32);
    LAUNCH(copy_without_barrier_kernel, 1, 32, 128, nullptr, out.get(), in.get(), careful);
}
void launch_flag(bool careful) {
    const DeviceArray<int> flag(1);
    const DeviceArray<float> out(1);
    LAUNCH(flag_kernel, 1, 64, 4, nullptr, flag.get(), out.get(), careful);
}

__global__ void sums_kernel(float* x) {
    float* scratch = &shared_memory<float>();
    float sum = gpu::block_sum(x[blockIdx.x * blockDim.x + threadIdx.x], scratch);
    sum += gpu::block_max(sum, scratch);
    for (int round = 0; round < 3; ++round) {  // many blocks' worth of fibers, stacks and edges
        scratch[threadIdx.x] = sum;
        __syncwarp();
        sum += scratch[threadIdx.x ^ 1];
        __syncwarp();
    }
    x[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

}  // namespace

TEST_CASE("bug: no barrier", "[.bug]") { launch_no_barrier(false); }
TEST_CASE("bug: no barrier of the warp", "[.bug]") { launch_no_warp_barrier(false); }
TEST_CASE("bug: one scratch for two sums", "[.bug]") { launch_one_scratch(false); }
TEST_CASE("bug: blocks add without atomics", "[.bug]") { launch_blocks(false); }
TEST_CASE("bug: no barrier after a copy", "[.bug]") { launch_copy_without_barrier(false); }
TEST_CASE("bug: a flag instead of a barrier", "[.bug]") { launch_flag(false); }
TEST_CASE("no bug", "[.bug]") {
    for (int order = 0; order < 3; ++order) {
        simt::order = static_cast<simt::Order>(order);
        for (const auto launch : {launch_no_barrier, launch_no_warp_barrier, launch_one_scratch, launch_blocks,
                                  launch_copy_without_barrier, launch_flag})
            launch(true);
        const DeviceArray<float> x(100 * 64);
        for (int i = 0; i < 2; ++i) LAUNCH(sums_kernel, 100, 64, 256, nullptr, x.get());
    }
}

TEST_CASE("ThreadSanitizer names races of kernels, and no others", "[bugs]") {
    for (const char* bug : {"no barrier", "no barrier of the warp", "one scratch for two sums",
                            "no barrier after a copy", "blocks add without atomics", "a flag instead of a barrier"})
        check_named(bug, "ThreadSanitizer: data race");
    int status = 0;
    const std::string output = output_of("no bug", &status);
    INFO(output);
    CHECK(status == 0);
}
#endif
#endif
