// test_graph.cpp - CUDA graphs on the CPU's stand-in: what is recorded is done with the values it was given, as often
// as it is launched; what CUDA refuses while a stream records is refused; a micro-batch's graph has the bits of its
// launches one by one, and as many as train/README.md says.
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "kernels/graph.h"
#include "kernels/matmul_context.h"
#include "kernels/simt.h"
#include "model/init.h"
#include "model/state.cuh"
#include "test/catch.h"
#include "test/support.h"
#include "train/micro_batch.cuh"

namespace {

struct Stream {
    Stream() { CUDA_CHECK(cudaStreamCreate(&cuda)); }
    ~Stream() { cudaStreamDestroy(cuda); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    cudaStream_t cuda = nullptr;
};

__global__ void add_kernel(int* x, int value) { x[threadIdx.x] += value; }

int value_of(const DeviceArray<int>& array) {
    int value = 0;
    copy_to_host(&value, array.get(), 1);
    return value;
}

size_t nodes_of(cudaGraph_t graph) {
    size_t nodes = 0;
    CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &nodes));
    return nodes;
}

}  // namespace

TEST_CASE("simt: a recording stream does nothing; its graph does it with the values of then", "[graph]") {
    const Stream stream;
    const DeviceArray<int> x(1), copy(1);
    const PinnedArray<int> in(1), out(1);
    int value = 3;
    CUDA_CHECK(cudaStreamBeginCapture(stream.cuda, cudaStreamCaptureModeThreadLocal));
    CUDA_CHECK(cudaMemcpyAsync(x.get(), in.get(), 4, cudaMemcpyHostToDevice, stream.cuda));
    LAUNCH(add_kernel, 1, 1, 0, stream.cuda, x.get(), value);
    CUDA_CHECK(cudaMemcpyAsync(copy.get(), x.get(), 4, cudaMemcpyDeviceToDevice, stream.cuda));
    CUDA_CHECK(cudaMemsetAsync(x.get(), 0, 4, stream.cuda));
    CUDA_CHECK(cudaMemcpyAsync(out.get(), copy.get(), 4, cudaMemcpyDeviceToHost, stream.cuda));
    value = 100;      // is not seen: an argument
    *in.get() = 20;   // is seen: memory
    *out.get() = -7;  // nothing has been done yet
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    CUDA_CHECK(cudaStreamIsCapturing(stream.cuda, &status));
    CHECK(status == cudaStreamCaptureStatusActive);
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(stream.cuda, &graph));
    CUDA_CHECK(cudaStreamIsCapturing(stream.cuda, &status));
    CHECK(status == cudaStreamCaptureStatusNone);
    CHECK(nodes_of(graph) == 5);
    CHECK(value_of(copy) == 0);
    CHECK(*out.get() == -7);

    cudaGraphExec_t executable = nullptr;
    CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
    CUDA_CHECK(cudaGraphDestroy(graph));  // which the other does not need
    const Stream other;                   // than the one it was recorded on
    const simt::Queued before = simt::queued();
    for (int i = 0; i < 2; ++i) {
        CUDA_CHECK(cudaGraphLaunch(executable, other.cuda));
        CHECK(*out.get() == -1);  // on its way
        CUDA_CHECK(cudaStreamSynchronize(other.cuda));
        CHECK(*out.get() == 23 + i);
        ++*in.get();
    }
    CHECK(value_of(x) == 0);
    const simt::Queued after = simt::queued();
    CHECK(after.single == before.single);
    CHECK(after.graphs == before.graphs + 2);
    CHECK(after.in_graphs == before.in_graphs + 10);
    CUDA_CHECK(cudaGraphExecDestroy(executable));
}

TEST_CASE("simt: what CUDA refuses while a stream records, and what that leaves", "[graph]") {
    const Stream stream, other;
    const DeviceArray<int> x(1);
    const PinnedArray<int> pinned(1);
    int host = 0;
    cudaEvent_t inside = nullptr, outside = nullptr;
    CUDA_CHECK(cudaEventCreate(&inside));
    CUDA_CHECK(cudaEventCreate(&outside));
    CUDA_CHECK(cudaEventRecord(outside, other.cuda));
    void* memory = nullptr;
    float time = 0;
    const auto launched_on_null = [&] {
        try {
            LAUNCH(add_kernel, 1, 1, 0, nullptr, x.get(), 1);
        } catch (const simt::Error& error) {
            const std::string message = error.what();
            CHECK(message.find("add_kernel: operation would make the legacy stream depend") == 0);
            return cudaErrorStreamCaptureImplicit;
        }
        return cudaSuccess;
    };
    struct Refused {
        const char* what;
        cudaError_t error;
        std::function<cudaError_t()> call;
    };
    const Refused calls[] = {
        {"cudaMalloc", cudaErrorStreamCaptureUnsupported, [&] { return cudaMalloc(&memory, 4); }},
        {"cudaMallocHost", cudaErrorStreamCaptureUnsupported, [&] { return cudaMallocHost(&memory, 4); }},
        {"cudaFree", cudaErrorStreamCaptureUnsupported, [&] { return cudaFree(x.get()); }},
        {"wait", cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(stream.cuda); }},
        {"wait for all", cudaErrorStreamCaptureUnsupported, [&] { return cudaDeviceSynchronize(); }},
        {"wait for null", cudaErrorStreamCaptureImplicit, [&] { return cudaStreamSynchronize(nullptr); }},
        {"its own event", cudaErrorCapturedEvent, [&] { return cudaEventSynchronize(inside); }},
        {"is its event through", cudaErrorCapturedEvent, [&] { return cudaEventQuery(inside); }},
        {"time of its event", cudaErrorCapturedEvent, [&] { return cudaEventElapsedTime(&time, outside, inside); }},
        {"is another event through", cudaErrorStreamCaptureUnsupported, [&] { return cudaEventQuery(outside); }},
        {"follow what is no part", cudaErrorStreamCaptureIsolation,
         [&] { return cudaStreamWaitEvent(stream.cuda, outside, 0); }},
        {"copy on null", cudaErrorStreamCaptureImplicit,
         [&] { return cudaMemcpy(&host, x.get(), 4, cudaMemcpyDeviceToHost); }},
        {"fill on null", cudaErrorStreamCaptureImplicit, [&] { return cudaMemset(x.get(), 0, 4); }},
        {"launch on null", cudaErrorStreamCaptureImplicit, launched_on_null},
        {"record an event on null", cudaErrorStreamCaptureImplicit, [&] { return cudaEventRecord(outside, nullptr); }},
        {"pageable memory out", cudaErrorStreamCaptureUnsupported,
         [&] { return cudaMemcpyAsync(x.get(), &host, 4, cudaMemcpyHostToDevice, stream.cuda); }},
        {"pageable memory in", cudaErrorStreamCaptureUnsupported,
         [&] { return cudaMemcpyAsync(&host, x.get(), 4, cudaMemcpyDeviceToHost, stream.cuda); }},
    };
    for (const Refused& refused : calls) {
        INFO(refused.what);
        CUDA_CHECK(cudaStreamBeginCapture(stream.cuda, cudaStreamCaptureModeThreadLocal));
        CUDA_CHECK(cudaEventRecord(inside, stream.cuda));
        CHECK(refused.call() == refused.error);
        // the recording is lost, the stream is not
        CHECK_THROWS_AS([&] { LAUNCH(add_kernel, 1, 1, 0, stream.cuda, x.get(), 1); }(), simt::Error);
        auto* graph = reinterpret_cast<cudaGraph_t>(&host);
        CHECK(cudaStreamEndCapture(stream.cuda, &graph) == cudaErrorStreamCaptureInvalidated);
        CHECK(graph == nullptr);
        CHECK(cudaStreamEndCapture(stream.cuda, &graph) == cudaErrorIllegalState);
        CUDA_CHECK(cudaStreamSynchronize(stream.cuda));
    }
    CHECK(value_of(x) == 0);

    // what goes on
    cudaGraph_t graph = nullptr;
    CHECK(cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeRelaxed) == cudaErrorStreamCaptureUnsupported);
    CUDA_CHECK(cudaStreamBeginCapture(stream.cuda, cudaStreamCaptureModeThreadLocal));
    CHECK(cudaStreamBeginCapture(stream.cuda, cudaStreamCaptureModeThreadLocal) == cudaErrorIllegalState);
    LAUNCH(add_kernel, 1, 1, 0, other.cuda, x.get(), 1);  // is done
    CUDA_CHECK(cudaStreamSynchronize(other.cuda));
    cudaError_t of_thread[2] = {};
    std::thread([&] {
        void* of_its_own = nullptr;
        of_thread[0] = cudaMalloc(&of_its_own, 4);
        cudaFree(of_its_own);
        of_thread[1] = cudaStreamEndCapture(stream.cuda, &graph);
    }).join();
    CHECK(of_thread[0] == cudaSuccess);
    CHECK(of_thread[1] == cudaErrorStreamCaptureWrongThread);
    CUDA_CHECK(cudaStreamEndCapture(stream.cuda, &graph));
    CHECK(nodes_of(graph) == 0);
    CUDA_CHECK(cudaGraphDestroy(graph));
    CHECK(value_of(x) == 1);

    CUDA_CHECK(cudaStreamBeginCapture(stream.cuda, cudaStreamCaptureModeRelaxed));
    CUDA_CHECK(cudaMalloc(&memory, 4));
    CUDA_CHECK(cudaFree(memory));
    CUDA_CHECK(cudaStreamEndCapture(stream.cuda, &graph));
    CUDA_CHECK(cudaGraphDestroy(graph));
    CUDA_CHECK(cudaEventDestroy(inside));
    CUDA_CHECK(cudaEventDestroy(outside));
}

TEST_CASE("a Graph runs once as it is, records, and then repeats the record", "[graph]") {
    const Stream stream;
    const DeviceArray<int> x(1);
    gpu::Graph graph;
    int calls = 0;
    const auto queue = [&] { LAUNCH(add_kernel, 1, 1, 0, stream.cuda, x.get(), ++calls); };
    graph.run({stream.cuda, nullptr}, queue);
    CHECK_FALSE(graph.recorded());
    CHECK(value_of(x) == 1);
    for (int i = 1; i <= 3; ++i) {
        graph.run({stream.cuda, nullptr}, queue);
        CHECK(graph.recorded());
        CHECK(value_of(x) == 1 + 2 * i);
    }
    CHECK(calls == 2);
}

TEST_CASE("a Graph that cannot be recorded says what it was and how to do without", "[graph]") {
    const Stream stream;
    const auto fails = [&](const std::function<void()>& queue) {
        gpu::Graph graph;
        bool first = true;  // runs as it is
        for (int i = 0; i < 2; ++i)
            graph.run({stream.cuda, nullptr}, [&] {
                if (!std::exchange(first, false)) queue();
            });
    };
    REQUIRE_DIES(Exit::Device, "capturing; --cuda-graph off does without", fails([] { DeviceArray<int>(1); }));
    CUDA_CHECK(cudaStreamSynchronize(stream.cuda));  // it records no more
    REQUIRE_DIES(Exit::Device, "recording: operation failed due to a previous error during capture; --cuda-graph off",
                 fails([&] { cudaStreamSynchronize(stream.cuda); }));
    CUDA_CHECK(cudaStreamSynchronize(stream.cuda));
}

// ---- a micro-batch --------------------------------------------------------------------------------------------------

namespace {

GptConfig model(const char* name, int V, int T) {
    GptConfig c = config_from_name(name);
    c.V = V;
    c.max_T = T;
    return c;
}

// What a process has of a run, as the trainer has it.
template <class Real>
struct Work {
    Work(const GptConfig& c, int B, int T, int micro_batches, Keep keep, bool mask)
        : choices(""),
          context(choices),
          stream{cuda.cuda, &context, &choices},
          gpt(c),
          gradients(c),
          activations(c, B, T, keep, stream),
          batch(static_cast<size_t>(micro_batches * B * T), static_cast<size_t>(B * T), mask),
          losses(SOURCES) {
        fill_weights(gpt, static_cast<AdamState<Real>*>(nullptr),
                     [&](float* weights) { initialise_parameters(c, 5, weights); });
        Batch host;
        for (int n = 0; n < micro_batches * B * T; ++n) {
            const int t = n % T, first = mask ? t / 5 * 5 : 0;  // documents of 5 tokens
            host.inputs.push_back((n * 7 + n / 13) % c.V);
            host.targets.push_back((n * 5 + 1) % c.V);
            host.positions.push_back(t - first);
            if (mask) host.segment_start.push_back(first);
            host.source.push_back(static_cast<uint16_t>(n % 3 == 0));
        }
        batch.load(host, stream);
    }
    void queue() {
        queue_micro_batch(gpt, activations, batch, gradients, losses.get(), SOURCES,
                          Stat<Real>(1) / static_cast<Stat<Real>>(activations.B * activations.T), stream);
    }

    static constexpr size_t SOURCES = 2;
    Stream cuda;
    gpu::Choices choices;
    gpu::MatmulContext context;
    gpu::stream_t stream;
    Gpt<Real> gpt;
    Gradients<Real> gradients;
    ActivationMemory<Real> activations;
    DeviceBatch batch;
    DeviceArray<double> losses;
};

template <class Real>
void check_same_bits(const GptConfig& c, Keep keep, bool mask) {
    constexpr size_t MICRO_BATCHES = 4;
    std::vector<Stat<Real>> gradients[2];
    std::vector<double> losses[2];
    for (const bool graph : {false, true}) {
        Work<Real> work(c, 2, 16, MICRO_BATCHES, keep, mask);
        gpu::Graph recorded;
        const simt::Queued before = simt::queued();
        for (size_t i = 0; i < MICRO_BATCHES; ++i) {
            work.batch.select(i, work.stream);
            if (graph)
                recorded.run(work.stream, [&] { work.queue(); });
            else
                work.queue();
        }
        const simt::Queued after = simt::queued();
        const size_t launches = (after.single - before.single) / (graph ? 1 : MICRO_BATCHES) -
                                (graph ? MICRO_BATCHES : 1);  // without the copies into the window
        CHECK(after.graphs - before.graphs == (graph ? MICRO_BATCHES - 1 : 0));
        CHECK(after.in_graphs - before.in_graphs == (graph ? launches * (MICRO_BATCHES - 1) : 0));
        gradients[graph].resize(parameter_elements(c));
        losses[graph].resize(work.SOURCES);
        copy_to_host(gradients[graph].data(), work.gradients.memory, gradients[graph].size());
        copy_to_host(losses[graph].data(), work.losses.get(), work.SOURCES);
    }
    CHECK(losses[0][0] > 0);
    CHECK(losses[0] == losses[1]);
    CHECK(memcmp(gradients[0].data(), gradients[1].data(), gradients[0].size() * sizeof(Stat<Real>)) == 0);
}

// Of a micro-batch, recorded and not done.
size_t launches_of(const GptConfig& c) {
    Work<bf16> work(c, 1, 16, 1, Keep::All, false);
    work.queue();  // the first run of a shape chooses, which no recording may
    CUDA_CHECK(cudaStreamBeginCapture(work.stream.cuda, cudaStreamCaptureModeThreadLocal));
    work.queue();
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(work.stream.cuda, &graph));
    const size_t nodes = nodes_of(graph);
    CUDA_CHECK(cudaGraphDestroy(graph));
    return nodes;
}

}  // namespace

TEST_CASE("a micro-batch's graph leaves the bits of its launches one by one", "[graph]") {
    for (const bool mask : {false, true}) {
        INFO("mask " << mask);
        check_same_bits<float>(model("pythia:L2:C32:H2", 300, 16), Keep::All, mask);
        check_same_bits<bf16>(model("gpt2:L2:C32:H2", 300, 16), Keep::Inputs, mask);
    }
}

// train/README.md has these numbers, and scripts/sass/model.py counts on them (test/python/test_sass.py).
TEST_CASE("launches of a micro-batch", "[graph]") {
    struct {
        const char* sizes;
        int V;
        size_t layer, others;
    } const families[] = {
        {"pythia:L%d:C32:H2", 300, 30, 21},        {"gpt2:L%d:C32:H2", 300, 31, 29},
        {"llama:L%d:C64:H4:KV2:F96", 300, 26, 21}, {"llama:L%d:C64:H4:KV2:F96", 70000, 26, 24},
        {"qwen2:L%d:C64:H4:KV2:F96", 300, 28, 21}, {"qwen3:L%d:C64:H4:KV2:HS16:F96", 300, 29, 21},
    };
    for (const auto& family : families)
        for (const int L : {1, 3}) {
            GptConfig c = config_from_name(format_text(family.sizes, L));
            c.V = family.V;
            INFO(family.sizes << " of " << L << " layers, V = " << c.V);
            CHECK(launches_of(c) == family.layer * static_cast<size_t>(L) + family.others);
        }
}
