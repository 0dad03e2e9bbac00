// The fibers of runtime.h. Never compiled with a sanitizer itself, whatever the kernels are compiled with: its own
// bookkeeping goes from thread to thread in ways that no sanitizer could follow. What they need to know it announces.
//
// AddressSanitizer hears of every change of stack, and not to let anyone touch what follows the shared memory.
// ThreadSanitizer takes each fiber for a thread, and hears of exactly the orders that CUDA promises, no others: from
// a launch to its threads, from the arrival at a barrier or collective to the departure of everyone in it, from the
// last thread to the end of the launch. So it also reports the races that did no harm in the order that was run.
#include "kernels/simt/runtime.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <vector>

#include "util/rng.h"
#ifndef __x86_64__
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Null where the program is built without the sanitizer.
extern "C" {
[[gnu::weak]] void __asan_poison_memory_region(const volatile void*, size_t);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void*, size_t);
[[gnu::weak]] void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
[[gnu::weak]] void __sanitizer_finish_switch_fiber(void* fake_stack, const void** old_bottom, size_t* old_size);
[[gnu::weak]] void* __tsan_create_fiber(unsigned flags);
[[gnu::weak]] void __tsan_destroy_fiber(void*);
[[gnu::weak]] void* __tsan_get_current_fiber();
[[gnu::weak]] void __tsan_switch_to_fiber(void*, unsigned flags);
[[gnu::weak]] void __tsan_acquire(void*);
[[gnu::weak]] void __tsan_release(void*);
}

namespace simt {

Order order = Order::ASCENDING;
uint64_t seed = 1;
bool strict = true;

namespace {

constexpr size_t MAX_THREADS = 1024, MAX_SHARED_BYTES = 227 * 1024, STACK_BYTES = 256 << 10, PAGE_BYTES = 4096,
                 STAGGER_BYTES = 17 * 64, GUARD_BYTES = 1024;
constexpr int UNTOUCHED = 0xff;  // of shared memory: NaN as a float, a double or a bf16, -1 as an integer

// An order for ThreadSanitizer: what happened before release happened before what follows acquire. 8 bytes, because it
// knows addresses no finer.
struct alignas(8) Edge {
    char address[8];
};
// Two that take turns, for what happens again and again: who is late to depart must not see what others did before they
// arrived the next time.
using Edges = Edge[2];
struct BlockEdges {
    Edges barrier;
    Edges collective[32][32];  // by warp, and by the first lane of the mask
    Edge left;
};
void release(Edge* edge) {
    if (__tsan_release) __tsan_release(edge);
}
void acquire(Edge* edge) {
    if (__tsan_acquire) __tsan_acquire(edge);
}

// A stack, and where on it the fiber stopped. They are used again, by the threads of later blocks and launches.
struct Fiber {
    char* stack = nullptr;  // its lowest address
    size_t stack_bytes = 0;
    void* tsan = nullptr;
    void* asan_fake_stack = nullptr;
#ifdef __x86_64__
    void* stack_pointer = nullptr;
#else
    ucontext_t context;
#endif
};

// The asynchronous copies of a thread that have not landed, oldest first: [landed, issued) modulo their number. Nothing
// here is allocated while a kernel runs: memory of one fiber freed by another would be a race.
struct AsyncCopies {
    struct Copy {
        void* to;
        const void* from;
        size_t bytes, valid;
        size_t group;  // counted from the thread's first
    };
    static constexpr size_t MAX = 256;
    Copy copies[MAX];
    size_t issued, landed, groups_committed;
};

// A thread of the block that runs. While it waits, `site` says where, and of a collective `finish` and `mask` say
// which.
struct Thread {
    Fiber* fiber;
    uint3 index;
    int warp, lane;
    Site site;
    Finish finish;
    unsigned mask;
};

// Sets of lanes. A living lane is ready (or running), in a collective, or at a barrier.
struct Warp {
    unsigned living, ready, in_collective, at_barrier;
    unsigned turn[32];  // the collectives finished, by the first lane of the mask
    void* payload[32];
};

struct Block {
    Thread threads[MAX_THREADS];
    Warp warps[MAX_THREADS / 32];
    int thread_count, warp_count, living_count, at_barrier_count;
    unsigned ready_warps, turn;  // the barriers finished
    char* shared;
    BlockEdges* edges;
};

struct Launch {
    std::string kernel;
    void (*body)(const void*);
    const void* context;
    std::string failure;           // of the kernel against CUDA's rules
    std::exception_ptr exception;  // that the kernel threw
};

Block block;
AsyncCopies async_copies[MAX_THREADS];
Launch current;
Fiber host_fiber;
Thread host{};
Thread* running = &host;
Edge launch_edge;
uint64_t random_state;
Counters count{};
std::set<std::string> kernel_names;

// ---- from one stack to another --------------------------------------------------------------------------------------

#ifdef __x86_64__
// Leaves what a function must preserve on the old stack, and its end in *save; takes the same from the new stack. An
// indirect jump costs less than a return, which the processor would predict to go elsewhere. Outside of any function,
// so that the compiler knows nothing about it.
extern "C" void simt_switch_stacks(void** save, void* load);
asm(".text\n"
    ".type simt_switch_stacks, @function\n"
    "simt_switch_stacks:\n"
    "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "    mov %rsp, (%rdi)\n"
    "    mov %rsi, %rsp\n"
    "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "    pop %rdx; jmp *%rdx\n"
    ".size simt_switch_stacks, . - simt_switch_stacks\n");
#endif

// On the new stack, after every change of stacks.
void finish_switch() {
    if (!__sanitizer_finish_switch_fiber) return;
    const void* bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(running->fiber->asan_fake_stack, &bottom, &bytes);
    if (!host_fiber.stack) {  // the first change of a launch leaves the host's stack
        host_fiber.stack = static_cast<char*>(const_cast<void*>(bottom));
        host_fiber.stack_bytes = bytes;
    }
}

void switch_to(Thread& next, bool for_good = false) {
    Fiber &from = *running->fiber, &to = *next.fiber;
    running = &next;
    threadIdx = next.index;
    ++count.switches;
    if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(to.tsan, 1);  // 1: which orders nothing
    if (__sanitizer_start_switch_fiber)
        __sanitizer_start_switch_fiber(for_good ? nullptr : &from.asan_fake_stack, to.stack, to.stack_bytes);
#ifdef __x86_64__
    simt_switch_stacks(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.context, &to.context);
#endif
    finish_switch();
}

// ---- who is next ----------------------------------------------------------------------------------------------------

int choose(unsigned candidates) {
    if (order == Order::ASCENDING) return __builtin_ctz(candidates);
    if (order == Order::DESCENDING) return 31 - __builtin_clz(candidates);
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    const unsigned from =
        static_cast<unsigned>(random_state >> 40) % 32;  // the first candidate from here on, round about
    const unsigned rotated = candidates >> from | (from ? candidates << (32 - from) : 0);
    return static_cast<int>((static_cast<unsigned>(__builtin_ctz(rotated)) + from) % 32);
}

void make_ready(int warp, unsigned lanes) {
    block.warps[warp].ready |= lanes;
    if (block.warps[warp].ready) block.ready_warps |= 1u << warp;
}
void make_unready(const Thread& thread) {
    Warp& warp = block.warps[thread.warp];
    warp.ready &= ~(1u << thread.lane);
    if (!warp.ready) block.ready_warps &= ~(1u << thread.warp);
}

std::string text(const Site& site) {
    const char* slash = strrchr(site.file, '/');
    return std::string(site.what) + " at " + (slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}
bool same_line(const Site& a, const Site& b) {
    return a.line == b.line && (a.file == b.file || strcmp(a.file, b.file) == 0);
}

std::string lanes_text(int warp, unsigned lanes) {
    char buffer[64];
    snprintf(buffer, sizeof buffer, "\n    warp %d lanes %08x ", warp, lanes);
    return buffer;
}
// Who waits where, and who has left.
std::string waiting() {
    std::string list;
    for (int w = 0; w < block.warp_count; ++w) {
        const Warp& warp = block.warps[w];
        const Thread* threads = &block.threads[w * 32];
        for (unsigned left = warp.in_collective | warp.at_barrier; left;) {
            const Site& site = threads[__builtin_ctz(left)].site;
            unsigned here = 0;
            for_each_lane(left, [&](int lane) {
                if (same_line(site, threads[lane].site) && site.what == threads[lane].site.what) here |= 1u << lane;
            });
            list += lanes_text(w, here) + "wait in " + text(site);
            left &= ~here;
        }
        const unsigned born = block.thread_count - w * 32 >= 32 ? ~0u : (1u << (block.thread_count - w * 32)) - 1;
        if (born & ~warp.living) list += lanes_text(w, born & ~warp.living) + "have left";
    }
    return list;
}

std::string text(const uint3& index) {
    return "(" + std::to_string(index.x) + "," + std::to_string(index.y) + "," + std::to_string(index.z) + ")";
}

// The calling thread cannot go on for now: the next one does. Within a warp first, so that warps run as far apart as
// they can.
void let_others_run() {
    int warp = running->warp;
    if (order == Order::SHUFFLED || !block.warps[warp].ready) {
        if (!block.ready_warps) {
            if (block.living_count) fail("deadlock, everyone waits:" + waiting());
            return switch_to(host, true);
        }
        warp = choose(block.ready_warps);
    }
    Thread& next = block.threads[warp * 32 + choose(block.warps[warp].ready)];
    make_unready(next);
    switch_to(next, !(block.warps[running->warp].living >> running->lane & 1));
}

// ---- barriers and collectives ---------------------------------------------------------------------------------------

// When all living threads are at the barrier they become ready. True: they have.
bool finish_barrier() {
    if (block.at_barrier_count == 0 || block.at_barrier_count < block.living_count) return false;
    if (strict && block.living_count < block.thread_count) fail("a barrier after threads have left:" + waiting());
    const Site* first = nullptr;
    for (int w = 0; w < block.warp_count; ++w)
        for_each_lane(block.warps[w].at_barrier, [&](int lane) {
            Thread& thread = block.threads[w * 32 + lane];
            if (!first) first = &thread.site;
            if (strict && !same_line(thread.site, *first)) fail("one barrier on two lines:" + waiting());
        });
    for (int w = 0; w < block.warp_count; ++w) {
        Warp& warp = block.warps[w];
        make_ready(w, warp.at_barrier);
        warp.at_barrier = 0;
    }
    block.at_barrier_count = 0;
    ++block.turn;
    return true;
}

Edge* collective_edge(int w, unsigned mask) {
    const int first = __builtin_ctz(mask);
    return &block.edges->collective[w][first][block.warps[w].turn[first] % 2];
}

// When all living lanes of `mask` are in a collective they become ready. True: they have.
bool finish_collective(int w, unsigned mask) {
    Warp& warp = block.warps[w];
    Thread* threads = &block.threads[w * 32];
    const unsigned members = mask & warp.living;
    if (members == 0 || (warp.in_collective & members) != members) return false;
    const Thread& first = threads[__builtin_ctz(members)];
    for_each_lane(members, [&](int lane) {
        const Thread& thread = threads[lane];
        if (thread.finish != first.finish || thread.mask != mask)
            fail("the lanes of a mask have diverged:" + waiting());
        if (strict && !same_line(thread.site, first.site)) fail("one collective on two lines:" + waiting());
    });
    Edge* const edge = collective_edge(w, mask);  // the finish follows every arrival, every departure the finish
    acquire(edge);
    first.finish({warp.payload, members});
    release(edge);
    ++warp.turn[__builtin_ctz(mask)];
    warp.in_collective &= ~members;
    make_ready(w, members);
    return true;
}

void check_in_kernel(const Site& site) {
    if (running == &host) throw Error(text(site) + ": not in a kernel");
}

// ---- a thread's life ------------------------------------------------------------------------------------------------

void leave() {
    running->site = {};
    Warp& warp = block.warps[running->warp];
    warp.living &= ~(1u << running->lane);
    --block.living_count;
    release(&block.edges->left);
    // those who wait no longer wait for this one
    finish_barrier();
    for (unsigned waiting_lanes = warp.in_collective; waiting_lanes; waiting_lanes &= warp.in_collective) {
        const int lane = __builtin_ctz(waiting_lanes);
        const Thread& waiter = block.threads[running->warp * 32 + lane];
        running->site = waiter.site;  // should it fail
        finish_collective(running->warp, waiter.mask);
        waiting_lanes &= ~(1u << lane);
    }
    let_others_run();
}

// What fail() throws, so that the stack of its thread is unwound.
struct Failed {};

void fiber_main() {
    finish_switch();
    acquire(&launch_edge);
    try {
        current.body(current.context);
        const AsyncCopies& queue = async_copies[running - block.threads];
        if (queue.landed < queue.issued && queue.copies[(queue.issued - 1) % queue.MAX].group == queue.groups_committed)
            fail("left with an asynchronous copy that was never committed");
        leave();
    } catch (const Failed&) {
    } catch (...) {
        current.exception = std::current_exception();
    }
    switch_to(host, true);
    __builtin_trap();
}

void make_stack(Fiber& fiber) {
    if (!fiber.stack) {
        void* memory = mmap(nullptr, STACK_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw Error("no memory for a fiber's stack");
        mprotect(memory, PAGE_BYTES, PROT_NONE);  // an overflow faults
        // begun at different places of a page, for else all would meet in the same few sets of the nearest cache
        static size_t stacks = 0;
        fiber.stack = static_cast<char*>(memory) + PAGE_BYTES;
        fiber.stack_bytes = STACK_BYTES - stacks++ * STAGGER_BYTES % PAGE_BYTES;
    }
    if (__tsan_create_fiber && !fiber.tsan) fiber.tsan = __tsan_create_fiber(0);
    fiber.asan_fake_stack = nullptr;
#ifdef __x86_64__
    // what simt_switch_stacks takes from it: six registers and an address; above them the place of a return address,
    // which a function expects 8 bytes off a multiple of 16
    void** top = reinterpret_cast<void**>(fiber.stack + fiber.stack_bytes);
    top[-1] = nullptr;
    top[-2] = reinterpret_cast<void*>(fiber_main);
    fiber.stack_pointer = top - 8;
#else
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack;
    fiber.context.uc_stack.ss_size = fiber.stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
#endif
}

// The other stacks of a failed launch are never unwound: what AddressSanitizer knows of their frames must be forgotten,
// and for ThreadSanitizer all that the fiber did comes before what the host does next.
void abandon(Fiber& fiber) {
    if (__asan_unpoison_memory_region) __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
    if (__tsan_switch_to_fiber) {
        __tsan_switch_to_fiber(fiber.tsan, 1);
        __tsan_switch_to_fiber(host_fiber.tsan, 0);  // 0: which orders
        __tsan_destroy_fiber(fiber.tsan);
    }
    fiber.tsan = nullptr;
}

// The fiber of thread t of the i-th block. ThreadSanitizer sees no race within a fiber, so that blocks take turns with
// two sets of them: no two neighbours share one. More sets would cost it time with every barrier.
Fiber& fiber_of(size_t i, size_t t, size_t threads) {
    static std::vector<std::unique_ptr<Fiber>> fibers;
    const size_t index = __tsan_create_fiber && i % 2 == 1 ? threads + t : t;
    while (fibers.size() <= index) fibers.push_back(std::make_unique<Fiber>());
    return *fibers[index];
}

// ---- memory of the blocks -------------------------------------------------------------------------------------------

// Shared memory, then bytes that nobody may write, then the edges of its threads. Blocks are not ordered with each
// other, so for ThreadSanitizer each has addresses of its own.
class Arena {
  public:
    Arena(size_t shared_bytes, size_t blocks)
        : shared_bytes_(shared_bytes),
          edges_at_((shared_bytes + GUARD_BYTES + 7) / 8 * 8),
          stride_((edges_at_ + sizeof(BlockEdges) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES),
          count_(__tsan_acquire ? blocks : 1) {
        void* memory =
            mmap(nullptr, stride_ * count_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw Error("no memory for shared memory");
        memory_ = static_cast<char*>(memory);
    }
    ~Arena() {
        unguard();
        munmap(memory_, stride_ * count_);
    }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    char* shared(size_t i) const { return memory_ + i % count_ * stride_; }
    BlockEdges* edges(size_t i) const { return reinterpret_cast<BlockEdges*>(shared(i) + edges_at_); }

    void begin_block(size_t i) {
        guarded_ = shared(i);
        memset(guarded_, UNTOUCHED, shared_bytes_ + GUARD_BYTES);
        if (__asan_poison_memory_region) __asan_poison_memory_region(guarded_ + shared_bytes_, GUARD_BYTES);
    }
    void end_block() {
        const char* guard = guarded_ + shared_bytes_;
        unguard();
        const char* written =
            std::find_if(guard, guard + GUARD_BYTES, [](char c) { return c != static_cast<char>(UNTOUCHED); });
        if (written != guard + GUARD_BYTES)
            throw Error(current.kernel + ": written at byte " +
                        std::to_string(shared_bytes_ + static_cast<size_t>(written - guard)) + " of " +
                        std::to_string(shared_bytes_) + " bytes of shared memory");
    }

    // What the threads of the first `blocks` blocks did comes before what the host does next.
    void end_threads(size_t blocks) const {
        for (size_t i = 0; i < blocks && __tsan_acquire; ++i) acquire(&edges(i)->left);
    }

  private:
    void unguard() {
        if (guarded_ && __asan_unpoison_memory_region)
            __asan_unpoison_memory_region(guarded_ + shared_bytes_, GUARD_BYTES);
        guarded_ = nullptr;
    }
    size_t shared_bytes_, edges_at_, stride_, count_;
    char *memory_ = nullptr, *guarded_ = nullptr;
};

// "(gpu::gelu_forward_kernel<T, Gelu::Tanh>)" without parentheses, namespaces and template arguments
std::string plain_name(std::string name) {
    name.erase(0, name.find_first_not_of("( "));
    name.erase(std::min(name.find_first_of("<) "), name.size()));
    const size_t colons = name.rfind("::");
    return colons == std::string::npos ? name : name.substr(colons + 2);
}

void begin_block(const dim3& size, size_t i, const Arena& arena) {
    const size_t threads = static_cast<size_t>(size.x) * size.y * size.z;
    block.thread_count = block.living_count = static_cast<int>(threads);
    block.warp_count = static_cast<int>((threads + 31) / 32);
    block.at_barrier_count = 0;
    block.ready_warps = 0;
    block.turn = 0;
    block.shared = arena.shared(i);
    block.edges = arena.edges(i);
    for (int w = 0; w < block.warp_count; ++w) {  // not the payloads, which a Finish reads under ThreadSanitizer's eyes
        Warp& warp = block.warps[w];
        warp.living = warp.ready = warp.in_collective = warp.at_barrier = 0;
        for (unsigned& turn : warp.turn) turn = 0;
    }
    for (size_t t = 0; t < threads; ++t) {
        Thread& thread = block.threads[t];
        thread.fiber = &fiber_of(i, t, threads);
        make_stack(*thread.fiber);
        thread.index = {static_cast<unsigned>(t % size.x), static_cast<unsigned>(t / size.x % size.y),
                        static_cast<unsigned>(t / (static_cast<size_t>(size.x) * size.y))};
        thread.warp = static_cast<int>(t / 32);
        thread.lane = static_cast<int>(t % 32);
        thread.site = {};
        async_copies[t].issued = async_copies[t].landed = async_copies[t].groups_committed = 0;
        block.warps[thread.warp].living |= 1u << thread.lane;
        make_ready(thread.warp, 1u << thread.lane);
    }
}

}  // namespace

Counters counters() { return count; }
const std::set<std::string>& launched() { return kernel_names; }
int lane() { return running->lane; }
char* shared_bytes() { return block.shared; }

void fail(const std::string& why) {
    if (running == &host) throw Error(why);
    current.failure = current.kernel + ": " + why + "\n    in block " + text(blockIdx) + " thread " +
                      text(running->index) + (running->site.what ? ", " + text(running->site) : "");
    throw Failed();
}

void barrier(Site site) {
    check_in_kernel(site);
    Thread& me = *running;
    me.site = site;
    block.warps[me.warp].at_barrier |= 1u << me.lane;
    ++block.at_barrier_count;
    Edge* const edge = &block.edges->barrier[block.turn % 2];
    release(edge);
    if (finish_barrier())
        make_unready(me);
    else
        let_others_run();
    acquire(edge);
}

void collective(Finish finish, unsigned mask, void* payload, Site site) {
    check_in_kernel(site);
    Thread& me = *running;
    me.site = site;
    me.finish = finish;
    me.mask = mask;
    if (!(mask >> me.lane & 1)) fail("a lane is not in its own mask");
    Warp& warp = block.warps[me.warp];
    warp.payload[me.lane] = payload;
    warp.in_collective |= 1u << me.lane;
    Edge* const edge = collective_edge(me.warp, mask);
    release(edge);
    if (finish_collective(me.warp, mask))
        make_unready(me);
    else
        let_others_run();
    acquire(edge);
}

void async_copy(void* shared, const void* global, int bytes, int valid) {
    AsyncCopies& queue = async_copies[running - block.threads];
    if (queue.issued - queue.landed == queue.MAX)
        fail("more than " + std::to_string(queue.MAX) + " asynchronous copies of one thread under way");
    const size_t size = static_cast<size_t>(bytes);
    memset(shared, UNTOUCHED, size);
    queue.copies[queue.issued++ % queue.MAX] = {shared, global, size, static_cast<size_t>(valid),
                                                queue.groups_committed};
}
void async_commit() { ++async_copies[running - block.threads].groups_committed; }
void async_wait(int groups_left) {
    AsyncCopies& queue = async_copies[running - block.threads];
    for (; queue.landed < queue.issued; ++queue.landed) {
        const AsyncCopies::Copy& copy = queue.copies[queue.landed % queue.MAX];
        if (copy.group + static_cast<size_t>(groups_left) >= queue.groups_committed) break;
        if (copy.valid) memcpy(copy.to, copy.from, copy.valid);
        memset(static_cast<char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
    }
}

void run(const char* kernel, dim3 grid, dim3 size, size_t shared_bytes, void (*body)(const void*),
         const void* context) {
    if (running != &host) fail("a kernel launches a kernel");
    current = {plain_name(kernel), body, context, "", nullptr};
    const auto refuse = [](const std::string& what) { throw Error(current.kernel + ": " + what); };
    const size_t threads = static_cast<size_t>(size.x) * size.y * size.z;
    const size_t blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
    if (threads == 0 || threads > MAX_THREADS || size.z > 64)
        refuse("a block of " + std::to_string(threads) + " threads; there can be 1 to 1024");
    if (blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        refuse("a grid of (" + std::to_string(grid.x) + "," + std::to_string(grid.y) + "," + std::to_string(grid.z) +
               "); there can be 1 to 2^31 - 1, 65535, 65535");
    if (shared_bytes > MAX_SHARED_BYTES)
        refuse(std::to_string(shared_bytes) + " bytes of shared memory; there are " + std::to_string(MAX_SHARED_BYTES));
    kernel_names.insert(current.kernel);
    ++count.launches;
    count.threads += blocks * threads;

    gridDim = grid;
    blockDim = size;
    host = {};
    host.fiber = &host_fiber;
    host_fiber = {};
    if (__tsan_get_current_fiber) host_fiber.tsan = __tsan_get_current_fiber();
    random_state = random_u64(seed, 0, 0) | 1;
    const Permutation shuffled(blocks, seed, 1);
    Arena arena(shared_bytes, blocks);
    for (size_t i = 0; i < blocks; ++i) {
        const size_t b = order == Order::ASCENDING ? i : order == Order::DESCENDING ? blocks - 1 - i : shuffled(i);
        blockIdx = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                    static_cast<unsigned>(b / (static_cast<size_t>(grid.x) * grid.y))};
        arena.begin_block(i);
        begin_block(size, i, arena);
        release(&launch_edge);
        Thread& first = block.threads[choose(block.ready_warps) * 32];
        Thread& next = block.threads[first.warp * 32 + choose(block.warps[first.warp].ready)];
        make_unready(next);
        switch_to(next);  // back when every thread has left, or one has failed
        const bool failed = !current.failure.empty() || current.exception;
        if (failed || i + 1 == blocks) arena.end_threads(i + 1);
        if (failed) {
            for (size_t t = 0; t < threads; ++t) abandon(*block.threads[t].fiber);
            if (current.exception) std::rethrow_exception(current.exception);
            throw Error(current.failure);
        }
        arena.end_block();
    }
}

}  // namespace simt
