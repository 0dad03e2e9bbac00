// bench_gpu.cpp - every CUDA kernel at the shapes of real training steps (the timed cases of test/cases): what it
// reaches on this GPU, against the floor that its bytes and flops set.
//
//   bench_gpu [FILTER...] [--check] [--floors] [--done FILE]
//
// FILTERs keep the cases whose name contains one, those of the first FILTER first ('' is in every name). A line: median
// time of a run that finds nothing in the caches, GB/s or TFLOP/s (whichever takes the larger share), its share of the
// floor; with --check also whether the result is right. --floors needs no GPU: bytes, flops and the least time they
// take. --done leaves out the cases that begin a line of FILE, up to a comma: what an earlier run timed. Exit code 1
// after a wrong result, 4 without a GPU.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "kernels/choices.h"
#include "kernels/matmul_context.h"
#include "test/cases/case.h"
#include "util/check.h"

namespace {

constexpr int HEAD_ROWS = 8192, QUESTION_ROWS = 1024;  // a GPU's, also in the build for the CPU, which prints floors
#ifndef KNAPSACK_SIMT
static_assert(HEAD_ROWS == MAX_HEAD_ROWS && QUESTION_ROWS == SCORE_ROWS);
#endif
constexpr TrainingStep STEPS[] = {
    {6, 512, 8, 2048, 32, 50304, HEAD_ROWS, QUESTION_ROWS, true, true},                // Pythia 70M
    {6, 128, 4, 2048, 32, 50304, HEAD_ROWS, QUESTION_ROWS, true, false},               // Pythia 14M
    {12, 768, 12, 1024, 32, 50257, HEAD_ROWS, QUESTION_ROWS, false, false},            // GPT-2 124M
    {24, 2048, 16, 2048, 8, 50304, HEAD_ROWS, QUESTION_ROWS, true, false},             // Pythia 1.4B
    {16, 2048, 32, 2048, 8, 128256, HEAD_ROWS, QUESTION_ROWS, false, false, 8, 8192},  // Llama 3.2 1B
};
constexpr size_t MIN_RUNS = 11, MAX_RUNS = 200;
constexpr double SECONDS_A_CASE = 0.5;         // of runs
constexpr size_t MIN_FLUSH_BYTES = 256 << 20;  // takes the GPU longer than its next work takes to queue

// Dense peaks, as NVIDIA's data sheets give them.
struct Peak {
    const char* device;  // contained in its name
    double bytes, bf16_flops, fp32_flops;
};
constexpr Peak PEAKS[] = {{"H200", 4.8e12, 989e12, 67e12}, {"H100", 3.35e12, 989e12, 67e12}};

const Peak* peak_of(const char* device) {
    for (const Peak& peak : PEAKS)
        if (strstr(device, peak.device)) return &peak;
    return nullptr;
}

struct Floor {
    double memory, arithmetic;  // seconds
    double seconds() const { return std::max(memory, arithmetic); }
};
// Matrix products of bf16 run on the tensor cores; everything else that has flops to speak of, on float.
Floor floor_of(const Case& c, const Peak& peak) {
    const bool is_bf16 = c.name.find(TYPE_NAME<bf16>) != std::string::npos;
    return {c.bytes / peak.bytes, c.flops / (is_bf16 ? peak.bf16_flops : peak.fp32_flops)};
}

void print_floors(const std::vector<Case>& cases, const Peak& peak) {
    printf("the least time on an %s: %.2f TB/s, %.0f TFLOP/s bf16, %.0f TFLOP/s fp32\n\n", peak.device,
           1e-12 * peak.bytes, 1e-12 * peak.bf16_flops, 1e-12 * peak.fp32_flops);
    printf("%-64s %10s %10s %10s  %s\n", "case", "MB", "GFLOP", "us", "set by");
    for (const Case& c : cases) {
        const Floor floor = floor_of(c, peak);
        printf("%-64s %10.1f %10.1f %10.1f  %s\n", c.name.c_str(), 1e-6 * c.bytes, 1e-9 * c.flops,
               1e6 * floor.seconds(), floor.memory >= floor.arithmetic ? "memory" : "arithmetic");
    }
}

// ---- on a GPU -------------------------------------------------------------------------------------------------------

class Event {
  public:
    Event() { CUDA_CHECK(cudaEventCreate(&event_)); }
    ~Event() { cudaEventDestroy(event_); }
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    void record(gpu::stream_t stream) { CUDA_CHECK(cudaEventRecord(event_, stream.cuda)); }
    double seconds_since(const Event& begin) const {
        CUDA_CHECK(cudaEventSynchronize(event_));
        float milliseconds = 0;
        CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin.event_, event_));
        return 1e-3 * static_cast<double>(milliseconds);
    }

  private:
    cudaEvent_t event_ = nullptr;
};

// Before each run the L2 cache is filled with something else; the GPU is still busy with that when the run is queued,
// so that the time of the launch itself does not count.
double median_seconds(const Instance& instance, const DeviceArray<char>& flush, gpu::stream_t stream) {
    instance.run(stream, true);  // the first run chooses algorithms
    std::vector<double> times;
    double sum = 0;
    Event begin, end;
    while (times.size() < MIN_RUNS || (sum < SECONDS_A_CASE && times.size() < MAX_RUNS)) {
        CUDA_CHECK(cudaMemsetAsync(flush.get(), static_cast<int>(times.size() % 2), flush.size(), stream.cuda));
        begin.record(stream);
        instance.run(stream, false);
        end.record(stream);
        times.push_back(end.seconds_since(begin));
        sum += times.back();
    }
    std::nth_element(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2), times.end());
    return times[times.size() / 2];
}

bool is_right(const Instance& instance, gpu::stream_t stream) {
    instance.run(stream, true);
    for (const Output& output : instance.check())
        if (output.got.size() != output.want.size() || !(worst_row(output).error <= output.tolerance)) return false;
    return true;
}

bool run_benchmark(const std::vector<Case>& cases, const cudaDeviceProp& device, bool check) {
    cudaStream_t cuda = nullptr;
    CUDA_CHECK(cudaStreamCreate(&cuda));
    bool all_right = true;
    {
        gpu::Choices choices;
        gpu::MatmulContext matmul(choices);
        const gpu::stream_t stream{cuda, &matmul, &choices};
        const DeviceArray<char> flush(std::max(MIN_FLUSH_BYTES, 3 * static_cast<size_t>(device.l2CacheSize)));
        const Peak* peak = peak_of(device.name);
        printf("%s%s\n\n", device.name, peak ? "" : ": peaks unknown, so no share of the floor");
        printf("%-64s %10s %18s %9s\n", "case", "us", "reached", "of floor");
        for (const Case& c : cases) {
            const Instance instance = c.make();
            std::string verdict;
            if (check && instance.check) {
                const bool right = is_right(instance, stream);
                all_right = all_right && right;
                verdict = right ? "  ok" : "  WRONG";
            }
            const double seconds = median_seconds(instance, flush, stream);
            const Floor floor = floor_of(c, peak ? *peak : PEAKS[0]);
            std::string reached = floor.memory >= floor.arithmetic
                                      ? format_text("%.0f GB/s", 1e-9 * c.bytes / seconds)
                                      : format_text("%.1f TFLOP/s", 1e-12 * c.flops / seconds);
            const std::string share = peak ? format_text("%.0f %%", 100 * floor.seconds() / seconds) : "-";
            printf("%-64s %10.1f %18s %9s%s\n", c.name.c_str(), 1e6 * seconds, reached.c_str(), share.c_str(),
                   verdict.c_str());
            fflush(stdout);
        }
    }
    CUDA_CHECK(cudaStreamDestroy(cuda));
    return all_right;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<std::string> filters;
    std::set<std::string> names;  // of the cases that are there, or done
    bool floors = false, check = false;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument == "--floors")
            floors = true;
        else if (argument == "--check")
            check = true;
        else if (argument == "--done" && i + 1 < argc) {
            std::ifstream file(argv[++i]);
            for (std::string line; std::getline(file, line);) names.insert(line.substr(0, line.find(',')));
        } else if (argument[0] == '-')
            die(Exit::Usage, "%s: expected bench_gpu [FILTER...] [--check] [--floors] [--done FILE]", argv[i]);
        else
            filters.push_back(argument);
    }
    if (filters.empty()) filters = {""};
    std::vector<Case> cases;
    bool found = false;
    for (const std::string& filter : filters)
        for (const TrainingStep& step : STEPS)
            for (Case& c : timed_cases(step)) {
                if (c.name.find(filter) == std::string::npos) continue;
                found = true;
                if (names.insert(c.name).second) cases.push_back(std::move(c));
            }
    if (!found) die(Exit::Usage, "%s: in the name of no timed case", filters[0].c_str());

    int count = 0;
    cudaDeviceProp device{};
#ifndef KNAPSACK_SIMT
    if (cudaGetDeviceCount(&count) == cudaSuccess && count > 0) CUDA_CHECK(cudaGetDeviceProperties(&device, 0));
#endif
    if (floors) {
        const Peak* peak = peak_of(device.name);
        print_floors(cases, peak ? *peak : PEAKS[0]);
        return 0;
    }
    if (count == 0) die(Exit::Device, "timing needs a GPU; --floors does not");
    return run_benchmark(cases, device, check) ? 0 : static_cast<int>(Exit::Runtime);
}
