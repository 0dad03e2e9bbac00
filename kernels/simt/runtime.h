// runtime.h - CUDA's threads on the CPU: a fiber each, one block at a time, all on the thread that launches.
//
// A fiber runs until it has to wait for others: at a barrier, or in a collective of its warp (a shuffle, a vote, an
// mma). Then the next one runs. Who comes next is a matter of `order`, and a kernel that keeps CUDA's rules gives the
// same bits whatever it is. The lane that arrives last at a collective does the work of all, as a function over their
// operands.
//
// What CUDA leaves undefined ends the launch with an Error that says where; test/simt/README.md has the list.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>

namespace simt {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// ---- for tests ------------------------------------------------------------------------------------------------------

// ASCENDING runs warp 0 as far as it can go before warp 1 begins, DESCENDING the last warp first (and the last block):
// between them every pair of warps, lanes and blocks meets in both orders, as far apart as the barriers allow. SHUFFLED
// draws at every wait, from `seed`.
enum class Order { ASCENDING, DESCENDING, SHUFFLED };
extern Order order;
extern uint64_t seed;

// Refuse also what CUDA allows and our kernels do not do: a barrier after threads have left, one barrier or collective
// on two lines.
extern bool strict;

struct Counters {
    size_t launches, threads, switches;
};
Counters counters();  // since the program began

// What the host has queued since the program began. What goes into a graph counts when the graph is launched.
struct Queued {
    size_t single;     // kernels, products, copies and fills one by one
    size_t graphs;     // launches of graphs
    size_t in_graphs;  // what these had in them
};
Queued queued();

// The kernels that ran, by name: "gelu_forward_kernel".
const std::set<std::string>& launched();

// ---- for device_functions.h and ptx.cuh -----------------------------------------------------------------------------

// Where a thread waits.
struct Site {
    const char* what;
    const char* file;
    int line;
};

// The lanes that a collective serves, and the operand each of them brought, by lane.
struct Group {
    void* const* payload;
    unsigned members;
};
using Finish = void (*)(Group);

// Waits until every living lane of `mask` has come with the same `finish`, which then runs once, in the last to come.
void collective(Finish finish, unsigned mask, void* payload, Site site);
void barrier(Site site);

// cp.async: the bytes land at the wait that promises them, not before; until then the destination holds NaN. Of `bytes`
// the first `valid` are read, also at the wait, and the others become zero.
void async_copy(void* shared, const void* global, int bytes, int valid);
void async_commit();
void async_wait(int groups_left);

int lane();
char* shared_bytes();
[[noreturn]] void fail(const std::string& why);  // from a thread, or a Finish: ends the launch

template <class Visit>
void for_each_lane(unsigned lanes, Visit visit) {
    for (; lanes; lanes &= lanes - 1) visit(__builtin_ctz(lanes));
}

// ---- streams, graphs and processes (cuda_runtime.cpp) ---------------------------------------------------------------

// Given the stream that it is done on. It owns what it needs, the values of arguments among it: it may be done more
// than once, and long after the call that made it.
using Work = std::function<void(cudaStream_t)>;
// Work of a stream: done at once, or, where the stream is recording (cudaStreamBeginCapture), kept for the graph.
// Throws Error with `what`, a kernel's name or words, where CUDA refuses the call.
void queue(const char* what, cudaStream_t stream, Work work);
bool is_recording(cudaStream_t stream);

void queued_on(cudaStream_t stream);  // what the stream has received is there; Error where it is recording
// What another process has sent: NaN until the stream has passed.
void receive_later(void* to, const void* from, size_t bytes, cudaStream_t stream);
bool is_device_memory(const void* pointer, size_t bytes);
bool is_stream(cudaStream_t stream);

// ---- launching ------------------------------------------------------------------------------------------------------

// Runs body(context) in every thread, now. `kernel` as LAUNCH was given it.
void run(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, void (*body)(const void*),
         const void* context);

// Arguments are evaluated once and every thread has its own copy, as on a GPU.
template <class Kernel, class... Arguments>
void launch(const char* name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, Kernel kernel,
            Arguments... arguments) {
    queue(name, stream, [=](cudaStream_t) {
        const auto call = [&] { kernel(arguments...); };
        run(
            name, grid, block, shared_bytes, [](const void* context) { (*static_cast<decltype(call)*>(context))(); },
            &call);
    });
}

}  // namespace simt
