// test_communicator - what kernels/communicator.h promises, checked in every process of several:
//   mpirun -np N test_communicator
//   mpirun -np N test_communicator WRONG      what NCCL would hang on or refuse, on its stand-in: sizes, gpus, host
// Parts are equal, unequal, empty; values are a function of the process that has them and of their place.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "kernels/backend.h"
#ifdef KNAPSACK_CPU
#include "kernels/cpu/communicator.h"
#else
#include "kernels/communicator.h"
#endif

namespace {

using backend::Communicator;
using backend::stream_t;

int checks = 0;

template <class T>
T value(int process, size_t i) {
    return T(static_cast<float>(process * 1000 + static_cast<int>(i % 241) + 1));
}
template <class T>
bool same(const T& a, const T& b) {
    return memcmp(&a, &b, sizeof a) == 0;
}

// An array on the device with its values on the host.
template <class T>
struct Array {
    template <class Value>
    Array(size_t n, Value value_at) : host(n), device(n) {
        for (size_t i = 0; i < n; ++i) host[i] = value_at(i);
        copy_to_device(device.get(), host.data(), n);
    }
    template <class Value>
    void expect(const std::string& what, Value value_at) {
        copy_to_host(host.data(), device.get(), host.size());
        for (size_t i = 0; i < host.size(); ++i)
            if (!same(host[i], static_cast<T>(value_at(i))))
                die(Exit::Runtime, "%s: element %d of %d is %g, expected %g", what, i, host.size(),
                    static_cast<double>(static_cast<float>(host[i])),
                    static_cast<double>(static_cast<float>(value_at(i))));
        ++checks;
    }
    Span<T> span() const { return {device.get(), device.size()}; }
    Span<const T> const_span() const { return {device.get(), device.size()}; }
    std::vector<T> host;
    DeviceArray<T> device;
};

Parts parts_of(const std::vector<size_t>& sizes) {
    Parts parts{{0}};
    for (const size_t size : sizes) parts.bounds.push_back(parts.bounds.back() + size);
    return parts;
}
// Equal, growing, large and odd; the first process has all, or the last, or nobody anything.
std::vector<Parts> many_parts(int processes) {
    const size_t n = static_cast<size_t>(processes);
    std::vector<size_t> growing, large, first(n), last(n);
    for (size_t r = 0; r < n; ++r) {
        growing.push_back(3 * r + 1);
        large.push_back(100003 + 16 * r);
    }
    first.front() = 7;
    last.back() = 4;
    return {parts_of(std::vector<size_t>(n, 64)), parts_of(growing), parts_of(large), parts_of(first), parts_of(last),
            parts_of(std::vector<size_t>(n, 0))};
}
int owner(const Parts& parts, size_t i) {
    int r = 0;
    while (i >= parts.begin(r + 1)) ++r;
    return r;
}

struct Test {
    Communicator& communicator;
    stream_t stream;  // that computes
    int rank = communicator.rank(), n = communicator.size();

    template <class T>
    void moves(const std::string& type) {
        for (const Parts& parts : many_parts(n)) {
            const std::string what = format_text("%s, %d elements, process %d of %d: ", type, parts.total(), rank, n);
            exchange<T>(what + "exchange", parts);
            gather<T>(what + "gather", parts);
            collect<T>(what + "collect", parts);
        }
        for (const size_t size : {1, 5, 70001}) {
            Array<T> values(size, [&](size_t i) { return value<T>(rank, i); });
            communicator.follow(stream);
            communicator.broadcast(values.span());
            communicator.join(stream);
            values.expect(type + ": broadcast", [](size_t i) { return value<T>(0, i); });
        }
        for (const size_t size : {0, 1, 5, 4099}) {
            std::vector<T> values(size);
            const auto owner_of = [&](size_t i) { return static_cast<int>(i % static_cast<size_t>(n)); };
            for (size_t i = 0; i < size; ++i)
                if (owner_of(i) == rank) values[i] = value<T>(rank, i);
            communicator.merge(&values);
            for (size_t i = 0; i < size; ++i)
                if (!same(values[i], value<T>(owner_of(i), i)))
                    die(Exit::Runtime, "%s: merge: element %d of %d", type, i, size);
            ++checks;
        }
    }

    template <class T>
    void exchange(const std::string& what, const Parts& parts) {
        const size_t own = parts.size(rank);
        Array<T> all(parts.total(), [&](size_t i) { return value<T>(rank, i); });
        Array<T> terms(own * static_cast<size_t>(n), [](size_t) { return T(-1.0f); });
        for (int time = 0; time < 2; ++time) {
            communicator.follow(stream);
            communicator.exchange(terms.span(), all.const_span(), parts);
            communicator.join(stream);
        }
        terms.expect(what, [&](size_t i) { return value<T>(static_cast<int>(i / own), parts.begin(rank) + i % own); });
        all.expect(what + ": what was sent", [&](size_t i) { return value<T>(rank, i); });
    }
    template <class T>
    void gather(const std::string& what, const Parts& parts) {
        Array<T> all(parts.total(), [&](size_t i) { return value<T>(owner(parts, i) == rank ? rank : 77, i); });
        communicator.follow(stream);
        communicator.gather(all.span(), parts);
        communicator.join(stream);
        all.expect(what, [&](size_t i) { return value<T>(owner(parts, i), i); });
    }
    template <class T>
    void collect(const std::string& what, const Parts& parts) {
        Array<T> all(parts.total(), [](size_t i) { return value<T>(77, i); });
        const Array<T> own(parts.size(rank), [&](size_t i) { return value<T>(rank, parts.begin(rank) + i); });
        communicator.follow(stream);
        communicator.collect(all.span(), own.const_span(), parts);
        communicator.join(stream);
        all.expect(what, [&](size_t i) { return value<T>(rank == 0 ? owner(parts, i) : 77, i); });
    }

    // As a step has it: a transfer, the sum of what came on the communicator's own stream, the next transfer.
    void sums() {
        constexpr size_t OWN = 1003;
        const Parts parts = parts_of(std::vector<size_t>(static_cast<size_t>(n), OWN));
        Array<float> all(parts.total(), [&](size_t i) { return value<float>(rank, i); });
        Array<float> terms(parts.total(), [](size_t) { return -1.0f; });
        float* const own = all.device.get() + parts.begin(rank);
        for (int time = 0; time < 3; ++time) {
            communicator.follow(stream);
            communicator.exchange(terms.span(), all.const_span(), parts);
            communicator.wait();
            backend::add_tree(own, static_cast<const float*>(terms.device.get()), OWN, n, OWN, communicator.stream());
            communicator.gather(all.span(), parts);
            communicator.wait();
        }
        communicator.join(stream);
        all.expect("sums over processes", [&](size_t i) {
            float sum = 0;
            for (int process = 0; process < n; ++process) sum += value<float>(process, i);
            return sum * static_cast<float>(n * n);
        });
    }

#ifdef KNAPSACK_SIMT
    // What a stream reads that has not joined is NaN.
    void missing_join() {
        const Parts parts = parts_of(std::vector<size_t>(static_cast<size_t>(n), 9));
        Array<float> all(parts.total(), [&](size_t i) { return value<float>(rank, i); });
        Array<float> copy(parts.total(), [](size_t) { return 0.0f; });
        const auto read = [&] {
            backend::add_tree(copy.device.get(), static_cast<const float*>(all.device.get()), 0, 1, parts.total(),
                              stream);
        };
        communicator.follow(stream);
        communicator.gather(all.span(), parts);
        read();
        copy_to_host(copy.host.data(), copy.device.get(), copy.host.size());
        for (size_t i = 0; i < parts.total(); ++i)
            if (std::isnan(copy.host[i]) != (owner(parts, i) != rank))
                die(Exit::Runtime, "without join element %d is %g", i, copy.host[i]);
        communicator.join(stream);
        read();
        copy.expect("after join", [&](size_t i) { return value<float>(owner(parts, i), i); });
    }

    void wrong(const std::string& what) {
        const size_t size = 5 + static_cast<size_t>(rank);
        const DeviceArray<float> device(size);
        std::vector<float> host(size);
        communicator.broadcast(Span<float>{what == "host" ? host.data() : device.get(), size});
        communicator.join(stream);
    }
#endif
};

}  // namespace

int main(int argc, char** argv) {
    const std::string what = argc > 1 ? argv[1] : "";
    const Peers peers(find_rank());
    const backend::Machine machine(what == "gpus" ? 0 : peers.local());
    Communicator communicator(peers);
    Test test{communicator, machine.stream()};
#ifdef KNAPSACK_SIMT
    if (!what.empty()) test.wrong(what);
    if (communicator.size() > 1) test.missing_join();
#endif
    test.moves<float>("float");
    test.moves<double>("double");
    test.moves<uint32_t>("uint32");
    test.moves<int>("int");
    test.moves<bf16>("bf16");
    test.sums();
    const double waited = communicator.waited_ms();
    if (!(waited >= 0)) die(Exit::Runtime, "waited %g ms", waited);
    peers.barrier();
    if (peers.first()) printf("%d processes, %s: %d checks\n", peers.size(), Communicator::library().c_str(), checks);
    return 0;
}
