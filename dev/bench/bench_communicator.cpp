// bench_communicator - what passes between processes: time and bandwidth of every collective of kernels/communicator.h.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/backend.h"
#ifdef KNAPSACK_CPU
#include "kernels/cpu/communicator.h"
#else
#include "kernels/communicator.h"
#endif
#include "util/numbers.h"  // defines: parse_count

namespace {

using backend::Communicator;
using backend::stream_t;

const char* const HELP =
    R"(usage: mpirun -np N bench_communicator [BYTES...]      default: 64k 1M 16M 128M

Time and bandwidth of every collective between N processes, in float, of S = BYTES in all. Equal parts; median of 9
rounds of calls one after another, by process 0's clock.

  collective   what                                          moved by a process (bus bandwidth of nccl-tests: / time)
  exchange     part r of everybody's S goes to process r     S (n-1)/n      the transfers of a reduce-scatter
  gather       everybody's part of S to all                  S (n-1)/n      all-gather
  collect      everybody's part of S to process 0            S (n-1)/n      gather
  broadcast    process 0's S to all                          S
  merge        host memory, S on every process               2 S (n-1)/n    all-reduce

copy: the bandwidth next to that of a copy of S within the memory of each process, all at the same time; what processes
of one machine send by shared memory is copied at least once.
)";

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Bench {
    const Peers& peers;
    Communicator& communicator;
    stream_t stream;
    size_t S;  // elements
    int n = communicator.size();
    DeviceArray<float> a{S}, b{S};
    std::vector<uint32_t> host = std::vector<uint32_t>(S);
    Parts parts = equal_parts();

    Parts equal_parts() const {
        Parts p;
        for (int r = 0; r <= n; ++r) p.bounds.push_back(S * static_cast<size_t>(r) / static_cast<size_t>(n));
        return p;
    }
    template <class Call>
    double seconds(int calls, Call call) const {
        StreamMark end;
        peers.barrier();
        const double begin = now();
        for (int i = 0; i < calls; ++i) {
            communicator.follow(stream);
            call();
            communicator.join(stream);
        }
        end.set(stream);
        end.wait();
        return (now() - begin) / calls;
    }
    template <class Call>
    double median_seconds(Call call) const {
        seconds(1, call);  // connects
        const double once = seconds(1, call);
        const int calls =
            std::stoi(peers.from_first(std::to_string(std::clamp(static_cast<int>(0.05 / once), 1, 1000))));
        std::vector<double> times;
        while (times.size() < 9) times.push_back(seconds(calls, call));
        std::sort(times.begin(), times.end());
        return times[times.size() / 2];
    }

    void run() {
        const double share = static_cast<double>(n - 1) / n, bytes = 4.0 * static_cast<double>(S);
        const size_t own = parts.size(communicator.rank());
        const Span<float> all{a.get(), S};
        const Span<const float> all_read{a.get(), S}, own_read{b.get(), own};
        const Span<float> terms{b.get(), own * static_cast<size_t>(n)};
        const double copy = bytes / median_seconds([&] {
                                backend::add_tree(b.get(), static_cast<const float*>(a.get()), 0, 1, S, stream);
                            });
        const auto line = [&](const char* name, double moved, double seconds) {
            if (peers.first())
                printf("%-10s %10.3f %10.3f %10.3f %10.2f %7.0f%%\n", name, bytes / 1e6, moved / 1e6, 1e3 * seconds,
                       moved / seconds / 1e9, 100 * moved / seconds / copy);
        };
        line("exchange", share * bytes, median_seconds([&] { communicator.exchange(terms, all_read, parts); }));
        line("gather", share * bytes, median_seconds([&] { communicator.gather(all, parts); }));
        line("collect", share * bytes, median_seconds([&] { communicator.collect(all, own_read, parts); }));
        line("broadcast", bytes, median_seconds([&] { communicator.broadcast(all); }));
        line("merge", 2 * share * bytes, median_seconds([&] { communicator.merge(&host); }));
        if (peers.first())
            printf("%-10s %10.3f %10.3f %10s %10.2f\n", "a copy", bytes / 1e6, bytes / 1e6, "", copy / 1e9);
    }
};

}  // namespace

int main(int argc, char** argv) {
    std::vector<size_t> sizes;
    for (int i = 1; i < argc; ++i) {
        if (std::string(argv[i]) == "--help") {
            fputs(HELP, stdout);
            return 0;
        }
        sizes.push_back(static_cast<size_t>(parse_count("BYTES", argv[i])));
    }
    if (sizes.empty()) sizes = {64'000, 1'000'000, 16'000'000, 128'000'000};
    const Peers peers(find_rank());
    if (peers.size() == 1) {
        puts("bench_communicator: one process has nobody to send to: mpirun -np N bench_communicator; --help");
        return 0;
    }
    const backend::Machine machine(peers.local());
    Communicator communicator(peers);
    if (peers.first())
        printf("%d processes, %s\n%-10s %10s %10s %10s %10s %8s\n", peers.size(), Communicator::library().c_str(),
               "collective", "S MB", "moved MB", "ms", "bus GB/s", "of copy");
    for (const size_t bytes : sizes) Bench{peers, communicator, machine.stream(), std::max<size_t>(bytes / 4, 1)}.run();
    return 0;
}
