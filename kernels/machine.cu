#include "kernels/machine.h"

#include <algorithm>
#include <string>

#include "kernels/choices.h"
#include "kernels/matmul_context.h"
#include "kernels/operations.h"
#include "util/check.h"

namespace gpu {

namespace {

// FLOP/s of a square product of cuBLASLt, large enough to take a few milliseconds.
double product_rate(bool use_bf16, stream_t stream) {
    cudaEvent_t begin, end;
    CUDA_CHECK(cudaEventCreate(&begin));
    CUDA_CHECK(cudaEventCreate(&end));
    double rate = 0;
    float milliseconds = 0;
    for (int n = 1024; n <= 8192 && milliseconds < 4; n *= 2) {
        const size_t bytes = static_cast<size_t>(n) * static_cast<size_t>(n) * (use_bf16 ? 2 : 4);
        const DeviceArray<char> a(bytes), b(bytes), c(bytes);
        const ProductShape shape{Product::Forward, use_bf16 ? Storage::Bf16 : Storage::Fp32, n, n, n};
        for (int run = 0; run < 2; ++run) {  // the first one warms up
            CUDA_CHECK(cudaEventRecord(begin, stream.cuda));
            stream.matmul->multiply(shape, {c.get(), a.get(), b.get()}, stream.cuda);
            CUDA_CHECK(cudaEventRecord(end, stream.cuda));
            CUDA_CHECK(cudaEventSynchronize(end));
            CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
        }
        rate = std::max(rate, 2.0 * n * n * n / (1e-3 * static_cast<double>(milliseconds)));
    }
    CUDA_CHECK(cudaEventDestroy(begin));
    CUDA_CHECK(cudaEventDestroy(end));
    return rate;
}

}  // namespace

struct Machine::State {
    cudaDeviceProp device{};
    std::string name;
    stream_t stream;
    std::unique_ptr<Choices> choices;
    std::unique_ptr<MatmulContext> matmul;
};

Machine::Machine(int local) : state_(new State) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess || count == 0)
        die(Exit::Device, "no GPU: %s; this is the CUDA build, the CPU's is called %s",
            error != cudaSuccess ? cudaGetErrorString(error) : "the driver sees none", "train_gpt_cpu");
    if (local >= count)
        die(Exit::Device,
            "%d or more processes on this machine and %d GPU%s: each needs one of its own; start fewer, or let each "
            "see "
            "all of the machine's GPUs",
            local + 1, count, count == 1 ? "" : "s");
    CUDA_CHECK(cudaSetDevice(local));
    CUDA_CHECK(cudaGetDeviceProperties(&state_->device, local));
    const cudaDeviceProp& device = state_->device;
    if (device.major < 8)
        die(Exit::Device, "%s has compute capability %d.%d; 8.0 (A100) or newer is needed", device.name, device.major,
            device.minor);
    int driver = 0;
    CUDA_CHECK(cudaDriverGetVersion(&driver));
    state_->name = format_text("%s, compute capability %d.%d, CUDA driver %d.%d", device.name, device.major,
                               device.minor, driver / 1000, driver % 1000 / 10);
    // not cudaStreamNonBlocking: device.h zeroes and copies on the null stream, which this one must wait for
    CUDA_CHECK(cudaStreamCreate(&state_->stream.cuda));
    state_->choices = std::make_unique<Choices>();
    state_->matmul = std::make_unique<MatmulContext>(*state_->choices);
    state_->stream.matmul = state_->matmul.get();
    state_->stream.choices = state_->choices.get();
}

Machine::~Machine() {
    state_->matmul.reset();
    cudaStreamDestroy(state_->stream.cuda);  // unchecked: nothing could be done about it
}

stream_t Machine::stream() const { return state_->stream; }
std::string Machine::name() const { return state_->name; }
std::string Machine::matmul_library(bool) const { return MatmulLibrary::name() + " on " + state_->device.name; }

size_t Machine::available_memory() const {
    size_t free_bytes = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total));
    return free_bytes;
}

double Machine::flops_rate(bool use_bf16) const {
    // dense peaks, as NVIDIA's data sheets give them, in TFLOP/s
    struct Peak {
        const char* name;
        double bf16, fp32;
    };
    for (const Peak& p : {Peak{"H100 PCIe", 756, 51},
                          {"H100 NVL", 835, 60},
                          {"H200 NVL", 835, 60},
                          {"H100", 989, 67},
                          {"H200", 989, 67},
                          {"GH200", 989, 67},
                          {"A100", 312, 19.5},
                          {"L40S", 362, 91.6},
                          {"RTX 4090", 165, 82.6}})
        if (state_->name.find(p.name) != std::string::npos) return 1e12 * (use_bf16 ? p.bf16 : p.fp32);
    return product_rate(use_bf16, state_->stream);
}

std::string Machine::choices() const { return state_->choices->json(); }
void Machine::load_choices(const std::string& json) { state_->choices->load(json); }
void Machine::choose_by_rule() { state_->choices->choose_by_rule(); }

void Machine::check_model(int C, int F, int HS) const {
    if (!attention_has_head_size(HS))
        die(Exit::Usage,
            "a head size of %d: the CUDA attention has 16, 32, 64, 80, 128 and 256; change the number of heads, or HS "
            "where the family has it",
            HS);
    if (C % 8 != 0 || C > 8192) die(Exit::Usage, "%d channels: the CUDA kernels want a multiple of 8, at most 8192", C);
    if (F % 8 != 0)
        die(Exit::Usage, "%d hidden channels of the feed-forward: the CUDA kernels want a multiple of 8", F);
}

}  // namespace gpu
