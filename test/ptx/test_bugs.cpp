// Kernels and launches that break CUDA's rules are refused, or show in the result.
#include <cuda_runtime.h>
#include <unistd.h>

#include <climits>
#include <functional>

#include "test/ptx/samples.h"
#include "test/support.h"

extern "C" void __cudaRegisterFunction(void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*,
                                       dim3*, int*);

namespace {

std::string message_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const simt::Error& error) {
        return error.what();
    }
    return "not refused";
}
void check_message(const std::string& message, std::initializer_list<const char*> parts) {
    INFO(message);
    for (const char* part : parts) CHECK(message.find(part) != std::string::npos);
}
// Whether threads 0 to 63 read what the one opposite has written, in both orders.
bool exchanges(const char* name) {
    bool right = true;
    for (const simt::Order order : {simt::Order::ASCENDING, simt::Order::DESCENDING}) {
        simt::order = order;
        std::vector<uint32_t> out(64);
        run_sample(name, {bytes_of(out.data())}, 64, 256);
        for (uint32_t i = 0; i < 64; ++i) right = right && out[i] == 63 - i;
    }
    simt::order = simt::Order::ASCENDING;
    return right;
}

// A kernel of samples as the host code of nvcc would know it.
class Stub {
  public:
    explicit Stub(const char* name) {
        __cudaRegisterFunction(nullptr, &address_, nullptr, name, 0, {}, {}, {}, {}, {});
    }
    std::string launch(dim3 grid, dim3 block, size_t shared) const {
        uint32_t stride = 4;
        void* arguments[] = {&stride};
        return message_of([&] { cudaLaunchKernel(&address_, grid, block, arguments, shared, nullptr); });
    }
    cudaError_t allow(int bytes) const {
        return cudaFuncSetAttribute(&address_, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    }

  private:
    char address_ = 0;
};

const ptx::Entry many_registers(
    "many_registers", [](const char*) {}, {}, 0, 1024, 65, 0);

}  // namespace

#ifdef __SANITIZE_THREAD__
TEST_CASE("bug: a missing barrier", "[.bug]") { exchanges("missing_barrier"); }
TEST_CASE("ptx bugs: ThreadSanitizer names a missing barrier by the lines of the CUDA source", "[ptx]") {
    std::string program(PATH_MAX, '\0'), output;
    program.resize(static_cast<size_t>(readlink("/proc/self/exe", program.data(), program.size())));
    CHECK(run_command("'" + program + "' 'bug: a missing barrier'", &output) != 0);
    check_message(output, {"data race", "bugs.cu:3", "bugs.cu:4"});
    CHECK(exchanges("with_barrier"));  // silent
}
#else
TEST_CASE("ptx bugs: a missing barrier shows", "[ptx]") {
    CHECK(exchanges("with_barrier"));
    CHECK_FALSE(exchanges("missing_barrier"));
}
#endif

TEST_CASE("ptx bugs: shared memory out of bounds, or misaligned", "[ptx]") {
    const auto strided = [](uint32_t stride, unsigned shared) {
        return message_of([&] { run_sample("strided", {bytes_of(stride)}, 64, shared); });
    };
    CHECK(strided(4, 256) == "not refused");
    check_message(strided(4, 252),
                  {"strided", "st.shared.u32 at bugs.cu:12", "4 bytes at 252", "out of bounds", "252 bytes"});
    check_message(strided(0x80000000u, 256), {"out of bounds"});
    check_message(strided(2, 256), {"bugs.cu:12", "4 bytes at 2 is not aligned"});
}

TEST_CASE("ptx bugs: lanes of a mask that diverge", "[ptx]") {
    check_message(message_of([] { run_sample("divergent_shuffle", {bytes_of<void*>(nullptr)}, 32); }),
                  {"have diverged", "bar.warp.sync at bugs.cu:20", "shfl.sync.idx.b32 at bugs.cu:22"});
}

TEST_CASE("ptx bugs: launches beyond the limits", "[ptx]") {
    const Stub strided("strided"), registers("many_registers"), unknown("no_such_kernel");
    CHECK(strided.launch(1, 64, 256) == "not refused");
    check_message(strided.launch(1, 65, 1024), {"strided", "65 threads", "__launch_bounds__ allows 64"});
    check_message(strided.launch(dim3(1, 65536), 64, 256), {"strided", "a grid of (1,65536,1)"});
    check_message(strided.launch(1, 64, 48 * 1024 + 4), {"49156 bytes of dynamic shared memory", "allowed 49152"});
    CHECK(strided.allow(64 * 1024) == cudaSuccess);
    CHECK(strided.launch(1, 64, 48 * 1024 + 4) == "not refused");
    check_message(strided.launch(1, 64, 64 * 1024 + 4), {"allowed 65536"});
    CHECK(strided.allow(228 * 1024) == cudaErrorInvalidValue);
    CHECK(registers.launch(1, 896, 0) == "not refused");  // 72 registers each are given
    check_message(registers.launch(1, 928, 0), {"928 threads of 65 registers need 66816", "65536"});
    check_message(unknown.launch(1, 1, 0), {"no_such_kernel", "not translated"});
}
