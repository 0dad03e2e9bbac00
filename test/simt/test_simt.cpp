// test_simt.cpp - the CPU's stand-in for a GPU: what CUDA promises holds, what CUDA leaves undefined is refused by name
// or shows in the result.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"
#include "kernels/pack.cuh"
#include "kernels/reduce.cuh"
#include "kernels/simt.h"
#include "test/catch.h"
#include "test/support.h"

namespace {

constexpr simt::Order ORDERS[] = {simt::Order::ASCENDING, simt::Order::DESCENDING, simt::Order::SHUFFLED};

void in_every_order(const std::function<void()>& body) {
    for (const simt::Order order : ORDERS) {
        simt::order = order;
        INFO("order " << static_cast<int>(order));
        body();
    }
    simt::order = simt::Order::ASCENDING;
}

// What a kernel that takes a pointer to n elements leaves in them; they begin as NaN or -1.
template <class T, class Launch>
std::vector<T> result_of(size_t n, Launch launch) {
    T* data = nullptr;
    CUDA_CHECK(cudaMalloc(reinterpret_cast<void**>(&data), n * sizeof(T)));
    std::vector<T> result(n);
    try {
        launch(data);
        copy_to_host(result.data(), data, n);
    } catch (...) {
        cudaFree(data);
        throw;
    }
    cudaFree(data);
    return result;
}
// The same launch, expected to be refused with a message that contains all of `parts`.
template <class Launch>
void check_refused(std::initializer_list<const char*> parts, Launch launch) {
    in_every_order([&] {
        std::string message = "not refused";
        try {
            result_of<float>(1024, launch);
        } catch (const simt::Error& error) {
            message = error.what();
        }
        INFO(message);
        for (const char* part : parts) CHECK(message.find(part) != std::string::npos);
    });
}

template <class T, class F>
std::vector<T> expected(int n, F f) {
    std::vector<T> values;
    for (int i = 0; i < n; ++i) values.push_back(static_cast<T>(f(i)));
    return values;
}

// ---- what is right --------------------------------------------------------------------------------------------------

__global__ void where_kernel(int* count, int* place) {
    const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned i = block * (blockDim.x * blockDim.y * blockDim.z) + thread;
    count[i] += 2;  // -1 at first
    place[i] = static_cast<int>(blockIdx.z * 100000 + blockIdx.y * 10000 + blockIdx.x * 1000 + threadIdx.z * 100 +
                                threadIdx.y * 10 + threadIdx.x);
}

template <class T>
__global__ void shuffle_kernel(T* out, int kind, int width) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const T mine = static_cast<T>(lane);
    T got = -1;
    if (kind == 0) got = __shfl_sync(~0u, mine, lane + 3, width);
    if (kind == 1) got = __shfl_xor_sync(~0u, mine, 5, width);
    if (kind == 2) got = __shfl_up_sync(~0u, mine, 3, width);
    if (kind == 3) got = __shfl_down_sync(~0u, mine, 3, width);
    out[threadIdx.x] = got;
}

// Two halves of a warp in collectives of their own, at different times.
__global__ void half_warps_kernel(int* out) {
    const int lane = static_cast<int>(threadIdx.x);
    const unsigned mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    int sum = lane;
    for (int distance = 8; distance > 0; distance /= 2) sum += __shfl_xor_sync(mask, sum, distance);
    if (lane < 16) sum += __shfl_sync(0x0000ffffu, sum, 0);
    __syncwarp();
    out[lane] = sum;
}

__global__ void vote_kernel(int* out) {
    const bool odd = threadIdx.x % 2 == 1;
    out[threadIdx.x * 4] = static_cast<int>(__ballot_sync(~0u, odd));
    out[threadIdx.x * 4 + 1] = __any_sync(~0u, threadIdx.x == 7);
    out[threadIdx.x * 4 + 2] = __all_sync(~0u, threadIdx.x < 32);
    out[threadIdx.x * 4 + 3] = __all_sync(~0u, threadIdx.x != 7);
}

// Sums that go back and forth between warps: every element is the sum of its block's numbers.
__global__ void reduce_kernel(float* out) {
    float* scratch = &shared_memory<float>();
    const float sum = gpu::block_sum(static_cast<float>(threadIdx.x), scratch);
    const float largest = gpu::block_max(static_cast<float>(threadIdx.x), scratch);
    if (threadIdx.x < 32) scratch[threadIdx.x] = 0;  // free to use
    out[threadIdx.x] = sum + 1e6f * largest;
}

__global__ void atomic_kernel(int* out, unsigned* shifted) {
    if (threadIdx.x == 0 && blockIdx.x == 0) out[3] = out[3];
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(&out[0], 1);
    atomicMax(&out[1], i);
    atomicMin(&out[2], -i);
    atomicAdd(&shifted[3], 2u);
    atomicMax(&shifted[4], 5u);
}

__global__ void copy_kernel(float* out, const float* in, int groups_left) {
    float* shared = &shared_memory<float>() + threadIdx.x * 8;
    for (int group = 0; group < 2; ++group) {
        simt::async_copy(shared + group * 4, in + group * 4, 16, group == 0 ? 16 : 8);
        simt::async_commit();
    }
    simt::async_wait(groups_left);
    for (int i = 0; i < 8; ++i) out[threadIdx.x * 8 + i] = shared[i];
    simt::async_wait(0);
}

__global__ void fresh_memory_kernel(float* out) {
    float* shared = &shared_memory<float>();
    out[blockIdx.x * blockDim.x + threadIdx.x] = shared[threadIdx.x];
    shared[threadIdx.x] = 1;
}

template <class T>
__global__ void pack_kernel(T* out, const T* in) {
    gpu::Pack<T> x = gpu::load_pack(in), y = x;
    for (int i = 0; i < gpu::Pack<T>::SIZE; ++i) x[i] = gpu::from_float<T>(gpu::to_float(x[i]) + gpu::to_float(y[i]));
    gpu::store_pack(out, x);
    gpu::store_pack_streaming(out + gpu::Pack<T>::SIZE, y);
}

__global__ void misaligned_store_kernel(float* out) { gpu::store_pack(out + 1, gpu::Pack<float>{}); }

__global__ void dying_kernel(float* out) {
    ENSURE(threadIdx.x != 40, "thread 40 dies");
    out[threadIdx.x] = 1;
    __syncthreads();
}

// ---- what is wrong --------------------------------------------------------------------------------------------------

__global__ void divergent_shuffle_kernel(float* out) {
    float x = 1;
    if (threadIdx.x < 16) x = __shfl_xor_sync(~0u, x, 1);
    __syncthreads();
    out[threadIdx.x] = x;
}
__global__ void left_lane_kernel(float* out) {
    if (threadIdx.x == 31) return;
    out[threadIdx.x] = __shfl_sync(~0u, 1.0f, 31);
}
__global__ void lane_outside_mask_kernel(float* out) { out[threadIdx.x] = __shfl_sync(0xffffu, 1.0f, 0); }
__global__ void lane_beyond_mask_kernel(float* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 16);
}
__global__ void different_collectives_kernel(float* out) {
    if (threadIdx.x < 16)
        out[threadIdx.x] = __shfl_sync(~0u, 1.0f, 0);
    else
        out[threadIdx.x] = static_cast<float>(__ballot_sync(~0u, 1));
}
__global__ void collective_on_two_lines_kernel(float* out) {
    if (threadIdx.x < 16)
        out[threadIdx.x] = __shfl_sync(~0u, 1.0f, 0);
    else
        out[threadIdx.x] = __shfl_sync(~0u, 1.0f, 1);
}
__global__ void barrier_on_two_lines_kernel(float* out) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1;
}
__global__ void barrier_after_leaving_kernel(float* out) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    out[threadIdx.x] = 1;
}
__global__ void lonely_lane_kernel(float* out) {
    if (threadIdx.x == 40) __syncwarp();
    __syncthreads();
    out[threadIdx.x] = 1;
}
__global__ void shared_overrun_kernel(float*) { (&shared_memory<float>())[threadIdx.x + 1] = 1; }
__global__ void uncommitted_copy_kernel(float*, const float* in) {
    simt::async_copy(&shared_memory<float>(), in, 16, 16);
    simt::async_wait(0);
}
__global__ void launching_kernel(float* out) { LAUNCH(shared_overrun_kernel, 1, 1, 4, nullptr, out); }

}  // namespace

TEST_CASE("simt: grids and blocks of three dimensions, every thread once", "[simt]") {
    const dim3 grid(3, 2, 2), block(5, 3, 2);
    in_every_order([&] {
        const simt::Counters before = simt::counters();
        std::vector<int> place;
        const std::vector<int> count = result_of<int>(360, [&](int* out) {
            place = result_of<int>(360, [&](int* at) { LAUNCH(where_kernel, grid, block, 0, nullptr, out, at); });
            LAUNCH(where_kernel, grid, block, 0, nullptr, out, result_of<int>(360, [](int*) {}).data());
        });
        CHECK(count == std::vector<int>(360, 3));
        CHECK(place == expected<int>(360, [](int i) {
                  const int thread = i % 30, block = i / 30;
                  return block / 6 * 100000 + block / 3 % 2 * 10000 + block % 3 * 1000 + thread / 15 * 100 +
                         thread / 5 % 3 * 10 + thread % 5;
              }));
        CHECK(simt::counters().launches == before.launches + 2);
        CHECK(simt::counters().threads == before.threads + 720);
    });
    CHECK(simt::launched().count("where_kernel") == 1);
}

TEST_CASE("simt: shuffles, over the warp and over parts of it", "[simt]") {
    const auto check = [](int width, int kind, const std::function<int(int)>& from) {
        INFO("kind " << kind << " width " << width);
        in_every_order([&] {
            CHECK(result_of<double>(64, [&](double* out) {
                      LAUNCH(shuffle_kernel<double>, 1, 64, 0, nullptr, out, kind, width);
                  }) == expected<double>(64, [&](int i) { return from(i % 32); }));
        });
    };
    for (const int width : {32, 8}) {
        const auto part = [=](int lane) { return lane / width * width; };
        check(width, 0, [=](int lane) { return part(lane) + (lane + 3) % width; });
        check(width, 1, [=](int lane) { return lane ^ 5; });
        check(width, 2, [=](int lane) { return lane - 3 >= part(lane) ? lane - 3 : lane; });
        check(width, 3, [=](int lane) { return lane + 3 < part(lane) + width ? lane + 3 : lane; });
    }
    check(4, 1, [](int lane) { return (lane ^ 5) / 4 <= lane / 4 ? lane ^ 5 : lane; });
    CHECK(simt::launched().count("shuffle_kernel") == 1);
}

TEST_CASE("simt: masks of half a warp, votes", "[simt]") {
    in_every_order([&] {
        CHECK(result_of<int>(32, [](int* out) { LAUNCH(half_warps_kernel, 1, 32, 0, nullptr, out); }) ==
              expected<int>(32, [](int lane) { return lane < 16 ? 240 : 376; }));
        const auto votes = result_of<int>(128, [](int* out) { LAUNCH(vote_kernel, 1, 32, 0, nullptr, out); });
        CHECK(votes == expected<int>(128, [](int i) {
                  const int want[] = {static_cast<int>(0xaaaaaaaau), 1, 1, 0};
                  return want[i % 4];
              }));
    });
}

TEST_CASE("simt: reductions over a block, one after another", "[simt]") {
    for (const int threads : {32, 96, 1024})
        in_every_order([&] {
            const float want = static_cast<float>(threads * (threads - 1) / 2) + 1e6f * static_cast<float>(threads - 1);
            CHECK(result_of<float>(static_cast<size_t>(threads), [&](float* out) {
                      LAUNCH(reduce_kernel, 1, threads, 32 * sizeof(float), nullptr, out);
                  }) == std::vector<float>(static_cast<size_t>(threads), want));
        });
}

TEST_CASE("simt: atomics", "[simt]") {
    in_every_order([&] {
        const auto result = result_of<int>(
            5, [](int* out) { LAUNCH(atomic_kernel, 4, 48, 0, nullptr, out, reinterpret_cast<unsigned*>(out)); });
        CHECK(result == std::vector<int>{191, 191, -191, 383, -1});  // -1 is the largest unsigned number
    });
}

TEST_CASE("simt: asynchronous copies land when they are waited for", "[simt]") {
    const std::vector<float> in = {1, 2, 3, 4, 5, 6, 7, 8};
    const DeviceArray<float> d_in(8);
    copy_to_device(d_in.get(), in.data(), 8);
    const auto copied = [&](int groups_left) {
        return result_of<float>(16, [&](float* out) {
            LAUNCH(copy_kernel, 1, 2, 16 * sizeof(float), nullptr, out, d_in.get(), groups_left);
        });
    };
    CHECK(copied(0) == std::vector<float>{1, 2, 3, 4, 5, 6, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0});
    const auto one = copied(1), none = copied(2);
    CHECK(std::vector<float>(one.begin(), one.begin() + 4) == std::vector<float>{1, 2, 3, 4});
    for (size_t i = 4; i < 8; ++i) CHECK(std::isnan(one[i]));
    for (const float x : none) CHECK(std::isnan(x));
}

TEST_CASE("simt: shared memory is NaN for every block, device memory at first", "[simt]") {
    for (const float x :
         result_of<float>(96, [](float* out) { LAUNCH(fresh_memory_kernel, 3, 32, 128, nullptr, out); }))
        CHECK(std::isnan(x));
    for (const float x : result_of<float>(8, [](float*) {})) CHECK(std::isnan(x));
    for (const bf16 x : result_of<bf16>(8, [](bf16*) {})) CHECK(std::isnan(__bfloat162float(x)));
}

TEST_CASE("simt: packs of 16 bytes", "[simt]") {
    const DeviceArray<bf16> in(8);
    std::vector<bf16> values;
    for (int i = 0; i < 8; ++i) values.push_back(bf16(static_cast<float>(i)));
    copy_to_device(in.get(), values.data(), 8);
    const auto out = result_of<bf16>(16, [&](bf16* x) { LAUNCH(pack_kernel<bf16>, 1, 1, 0, nullptr, x, in.get()); });
    for (int i = 0; i < 8; ++i) {
        CHECK(gpu::to_float(out[static_cast<size_t>(i)]) == static_cast<float>(2 * i));
        CHECK(gpu::to_float(out[static_cast<size_t>(8 + i)]) == static_cast<float>(i));
    }
    // half way between two numbers the even one is nearest
    CHECK(gpu::to_float(gpu::from_float<bf16>(1 + 0x1p-8f)) == 1);
    CHECK(gpu::to_float(gpu::from_float<bf16>(1 + 3 * 0x1p-8f)) == 1 + 4 * 0x1p-8f);
}

TEST_CASE("simt: a refusal in a kernel reaches the caller, and the next launch works", "[simt]") {
    in_every_order([] {
        REQUIRE_DIES(Exit::Runtime, "thread 40 dies",
                     result_of<float>(64, [](float* out) { LAUNCH(dying_kernel, 1, 64, 0, nullptr, out); }));
        CHECK(result_of<float>(32, [](float* out) { LAUNCH(dying_kernel, 1, 32, 0, nullptr, out); }) ==
              std::vector<float>(32, 1));
    });
}

TEST_CASE("simt: what a warp cannot do is refused, with the line", "[simt]") {
    check_refused(
        {"divergent_shuffle_kernel: deadlock", "warp 0 lanes 0000ffff wait in __shfl_xor_sync at test_simt.cpp:",
         "warp 0 lanes ffff0000 wait in __syncthreads at test_simt.cpp:"},
        [](float* out) { LAUNCH(divergent_shuffle_kernel, 1, 32, 0, nullptr, out); });
    check_refused({"left_lane_kernel: lane 0 reads lane 31, which takes no part", "__shfl_sync at test_simt.cpp:"},
                  [](float* out) { LAUNCH(left_lane_kernel, 2, 32, 0, nullptr, out); });
    check_refused({"a lane is not in its own mask"},
                  [](float* out) { LAUNCH(lane_outside_mask_kernel, 1, 32, 0, nullptr, out); });
    check_refused({"lane 0 reads lane 16, which takes no part"},
                  [](float* out) { LAUNCH(lane_beyond_mask_kernel, 1, 32, 0, nullptr, out); });
    check_refused({"lane 0 reads lane 31, which takes no part"},  // a block of less than a warp
                  [](float* out) { LAUNCH(left_lane_kernel, 1, 31, 0, nullptr, out); });
    check_refused({"have diverged", "__shfl_sync at", "__ballot_sync at"},
                  [](float* out) { LAUNCH(different_collectives_kernel, 1, 32, 0, nullptr, out); });
    check_refused({"store_16_bytes: misaligned address"},
                  [](float* out) { LAUNCH(misaligned_store_kernel, 1, 1, 0, nullptr, out); });
    check_refused({"one collective on two lines"},
                  [](float* out) { LAUNCH(collective_on_two_lines_kernel, 1, 32, 0, nullptr, out); });
}

TEST_CASE("simt: what a block cannot do is refused, with the line", "[simt]") {
    check_refused({"one barrier on two lines", "warp 0 lanes ffffffff wait in __syncthreads at test_simt.cpp:"},
                  [](float* out) { LAUNCH(barrier_on_two_lines_kernel, 1, 64, 0, nullptr, out); });
    check_refused({"a barrier after threads have left", "warp 1 lanes ffffff00 have left"},
                  [](float* out) { LAUNCH(barrier_after_leaving_kernel, 1, 64, 0, nullptr, out); });
    check_refused({"lonely_lane_kernel: deadlock", "warp 0 lanes ffffffff wait in __syncthreads at test_simt.cpp:",
                   "warp 1 lanes 00000100 wait in __syncwarp at test_simt.cpp:", "warp 1 lanes fffffeff wait in"},
                  [](float* out) { LAUNCH(lonely_lane_kernel, 1, 64, 0, nullptr, out); });
    check_refused({"left with an asynchronous copy that was never committed"},
                  [](float* out) { LAUNCH(uncommitted_copy_kernel, 1, 1, 16, nullptr, out, out); });
    check_refused({"a kernel launches a kernel"}, [](float* out) { LAUNCH(launching_kernel, 1, 1, 0, nullptr, out); });
#ifndef __SANITIZE_ADDRESS__  // which ends the program at the line itself: test_bugs.cpp
    check_refused({"shared_overrun_kernel: written at byte 128 of 128 bytes of shared memory"},
                  [](float* out) { LAUNCH(shared_overrun_kernel, 1, 32, 128, nullptr, out); });
#endif
    simt::strict = false;  // what CUDA allows
    in_every_order([] {
        CHECK(result_of<float>(64, [](float* out) { LAUNCH(barrier_on_two_lines_kernel, 1, 64, 0, nullptr, out); }) ==
              std::vector<float>(64, 1));
        CHECK(result_of<float>(40, [](float* out) { LAUNCH(barrier_after_leaving_kernel, 1, 64, 0, nullptr, out); }) ==
              std::vector<float>(40, 1));
    });
    simt::strict = true;
}

TEST_CASE("simt: launches that a GPU refuses", "[simt]") {
    const auto launch = [](dim3 grid, dim3 block, size_t shared_bytes) {
        return [=](float* out) { LAUNCH(fresh_memory_kernel, grid, block, shared_bytes, nullptr, out); };
    };
    check_refused({"a block of 1056 threads"}, launch(1, dim3(32, 33), 0));
    check_refused({"a block of 0 threads"}, launch(1, 0, 0));
    check_refused({"a grid of (0,1,1)"}, launch(0, 32, 0));
    check_refused({"a grid of (1,65536,1)"}, launch(dim3(1, 65536), 32, 0));
    check_refused({"232449 bytes of shared memory"}, launch(1, 32, 227 * 1024 + 1));
}

// ThreadSanitizer would end the program at the races that make them wrong: test_bugs.cpp.
#ifndef __SANITIZE_THREAD__
namespace {

// Each of these is right when the line with `careful` in it waits.
__global__ void neighbour_kernel(float* out, bool careful) {  // the next warp's value
    float* shared = &shared_memory<float>();
    shared[threadIdx.x] = static_cast<float>(threadIdx.x);
    if (careful) __syncthreads();
    out[threadIdx.x] = shared[(threadIdx.x + 32) % blockDim.x];
}
__global__ void neighbour_lane_kernel(float* out, bool careful) {
    float* shared = &shared_memory<float>();
    shared[threadIdx.x] = static_cast<float>(threadIdx.x);
    if (careful) __syncwarp();
    out[threadIdx.x] = shared[(threadIdx.x + 1) % 32];
}
__global__ void two_sums_kernel(float* out, bool careful) {  // through one scratch
    float* scratch = &shared_memory<float>();
    float sum = 0;
    for (int round = 1; round <= 2; ++round) {
        if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = static_cast<float>(round);
        __syncthreads();
        for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += scratch[warp];
        if (careful) __syncthreads();
    }
    out[threadIdx.x] = sum;
}
__global__ void copied_kernel(float* out, const float* in, bool careful) {
    float* shared = &shared_memory<float>();
    simt::async_copy(shared, in, 16, 16);
    simt::async_commit();
    if (careful) simt::async_wait(0);
    out[threadIdx.x] = shared[threadIdx.x];
}
__global__ void overtaken_kernel(float* out, const float* in, bool careful) {  // a buffer filled while others read it
    float* shared = &shared_memory<float>();
    shared[threadIdx.x] = static_cast<float>(threadIdx.x);
    __syncthreads();
    out[threadIdx.x] = shared[(threadIdx.x + 32) % 64];
    if (careful) __syncthreads();
    simt::async_copy(shared + threadIdx.x, in, 4, 4);
    simt::async_commit();
    simt::async_wait(0);
}

// Right in every order with care, wrong in at least one without.
template <class Launch>
void check_care_is_needed(size_t n, const std::vector<float>& want, Launch launch) {
    size_t wrong = 0;
    in_every_order([&] {
        CHECK(result_of<float>(n, [&](float* out) { launch(out, true); }) == want);
        wrong += result_of<float>(n, [&](float* out) { launch(out, false); }) != want;
    });
    CHECK(wrong > 0);
}

}  // namespace

TEST_CASE("simt: a missing wait makes the result wrong in some order", "[simt]") {
    check_care_is_needed(64, expected<float>(64, [](int i) { return (i + 32) % 64; }), [](float* out, bool careful) {
        LAUNCH(neighbour_kernel, 1, 64, 64 * sizeof(float), nullptr, out, careful);
    });
    check_care_is_needed(32, expected<float>(32, [](int i) { return (i + 1) % 32; }), [](float* out, bool careful) {
        LAUNCH(neighbour_lane_kernel, 1, 32, 32 * sizeof(float), nullptr, out, careful);
    });
    check_care_is_needed(128, std::vector<float>(128, 12), [](float* out, bool careful) {
        LAUNCH(two_sums_kernel, 1, 128, 4 * sizeof(float), nullptr, out, careful);
    });
    const DeviceArray<float> in(4);  // zeros
    check_care_is_needed(
        1, {0}, [&](float* out, bool careful) { LAUNCH(copied_kernel, 1, 1, 16, nullptr, out, in.get(), careful); });
    check_care_is_needed(64, expected<float>(64, [](int i) { return (i + 32) % 64; }), [&](float* out, bool careful) {
        LAUNCH(overtaken_kernel, 1, 64, 64 * sizeof(float), nullptr, out, in.get(), careful);
    });
}
#endif

TEST_CASE("simt: a copy to pinned memory arrives when it is waited for", "[simt]") {
    cudaStream_t stream = nullptr, other = nullptr;
    CUDA_CHECK(cudaStreamCreate(&stream));
    CUDA_CHECK(cudaStreamCreate(&other));
    const DeviceArray<int> device(2);
    const PinnedArray<int> pinned(2);
    const int values[] = {1, 2};
    const auto download = [&] {
        copy_to_device(device.get(), values, 2);
        CUDA_CHECK(cudaMemcpyAsync(pinned.get(), device.get(), 8, cudaMemcpyDeviceToHost, stream));
        CUDA_CHECK(cudaMemsetAsync(device.get(), 0, 8, stream));  // after the copy
        CHECK(pinned.get()[0] == -1);
        CHECK(pinned.get()[1] == -1);
    };
    const auto arrived = [&] { return pinned.get()[0] == 1 && pinned.get()[1] == 2; };
    download();
    CUDA_CHECK(cudaStreamSynchronize(other));
    CHECK_FALSE(arrived());
    CUDA_CHECK(cudaStreamSynchronize(stream));
    CHECK(arrived());

    cudaEvent_t before = nullptr, after = nullptr;
    CUDA_CHECK(cudaEventCreate(&before));
    CUDA_CHECK(cudaEventCreate(&after));
    CUDA_CHECK(cudaEventRecord(before, stream));
    download();
    CUDA_CHECK(cudaEventRecord(after, stream));
    CUDA_CHECK(cudaEventSynchronize(before));
    CHECK_FALSE(arrived());
    CUDA_CHECK(cudaEventSynchronize(after));
    CHECK(arrived());
    float milliseconds = -1;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, before, after));
    CHECK(milliseconds >= 0);
    CUDA_CHECK(cudaEventDestroy(before));
    CUDA_CHECK(cudaEventDestroy(after));

    download();
    CUDA_CHECK(cudaDeviceSynchronize());
    CHECK(arrived());
    CUDA_CHECK(cudaStreamDestroy(stream));
    CUDA_CHECK(cudaStreamDestroy(other));
}

TEST_CASE("simt: the runtime refuses wrong sides of a copy, foreign pointers and impossible sizes", "[simt]") {
    const DeviceArray<int> device(2);
    const PinnedArray<int> pinned(2);
    int host[2] = {};
    CHECK(cudaMemcpy(host, device.get(), 8, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(device.get(), pinned.get(), 8, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(host, device.get(), 12, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
    CHECK(cudaMemcpy(host, device.get(), 8, cudaMemcpyDeviceToHost) == cudaSuccess);
    CHECK(cudaMemset(host, 0, 8) == cudaErrorInvalidValue);
    CHECK(cudaFree(host) == cudaErrorInvalidValue);
    CHECK(cudaFree(pinned.get()) == cudaErrorInvalidValue);
    REQUIRE_DIES(Exit::Runtime, "out of memory", DeviceArray<char>(size_t{1} << 50));
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties(&properties, 0) == cudaSuccess);
    CHECK(std::string(properties.name) == "simt");
    CHECK(cudaSetDevice(1) == cudaErrorInvalidDevice);
}
