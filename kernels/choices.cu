// choices.cu - host code.
#include "kernels/choices.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "kernels/choices_text.h"
#include "kernels/device.h"
#include "kernels/matmul_library.h"
#include "util/check.h"

namespace gpu {

Choices::Choices(const std::string& cache_folder, Stopwatch stopwatch)
    : library_(MatmulLibrary::name()), stopwatch_(std::move(stopwatch)), by_rule_(!stopwatch_) {
    int device = 0;
    cudaDeviceProp properties;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
    device_ = plain_name(properties.name, ' ');
    if (cache_folder.empty()) return;
    cache_path_ = cache_folder + "/" + plain_name("cublaslt-" + device_ + "-" + MatmulLibrary::version(), '-') + ".txt";
    read_cache(&cached_);
}

#ifdef KNAPSACK_SIMT
std::string Choices::default_cache_folder() { return ""; }
Choices::Stopwatch Choices::cuda_events() { return nullptr; }
#else
std::string Choices::default_cache_folder() {
    const auto folder = [](const char* variable, const char* below) {
        const char* value = getenv(variable);
        return value && *value ? std::string(value) + below : "";
    };
    const std::string cache = folder("XDG_CACHE_HOME", "/knapsack");
    return !cache.empty() ? cache : folder("HOME", "/.cache/knapsack");
}

Choices::Stopwatch Choices::cuda_events() {
    struct Events {
        cudaEvent_t begin = nullptr, end = nullptr;
        Events() {
            CUDA_CHECK(cudaEventCreate(&begin));
            CUDA_CHECK(cudaEventCreate(&end));
        }
        ~Events() {
            cudaEventDestroy(begin);
            cudaEventDestroy(end);
        }
        Events(const Events&) = delete;
        Events& operator=(const Events&) = delete;
    };
    return [events = std::make_shared<Events>()](const std::function<void()>& run, cudaStream_t stream) {
        float milliseconds = 0;
        CUDA_CHECK(cudaEventRecord(events->begin, stream));
        run();
        CUDA_CHECK(cudaEventRecord(events->end, stream));
        CUDA_CHECK(cudaEventSynchronize(events->end));
        CUDA_CHECK(cudaEventElapsedTime(&milliseconds, events->begin, events->end));
        return milliseconds;
    };
}
#endif

int Choices::choose(const std::string& key, std::initializer_list<const char*> names,
                    const std::function<void(int)>& run, cudaStream_t stream, const std::function<bool(int)>& can_run) {
    const auto number_of = [&](const std::string& way) {
        const auto found = std::find(names.begin(), names.end(), way);
        return found == names.end() ? -1 : static_cast<int>(found - names.begin());
    };
    const List list = [&] {
        std::vector<Way> ways;
        for (int way = 0; way < static_cast<int>(names.size()); ++way) {
            if (!ways.empty() && by_rule_ && preferred_.empty()) break;
            if (!can_run || can_run(way)) ways.push_back({names.begin()[way], [&run, way] { run(way); }});
        }
        return ways;
    };
    const Accepts accepts = [&](const std::string& way) {
        const int number = number_of(way);
        return number >= 0 && (!can_run || can_run(number));
    };
    const int number = number_of(choose(key, list, accepts, stream));
    ENSURE(number >= 0, "choices: no way for %s can run", key);
    return number;
}

std::string Choices::choose(const std::string& key, const List& list, const Accepts& accepts, cudaStream_t stream) {
    const auto used = used_.find(key);
    if (used != used_.end()) return used->second;
    ENSURE(is_choice_key(key), "choices: \"%s\" is not a key", key);
    const auto loaded = loaded_.find(key);
    if (loaded != loaded_.end()) {
        if (accepts(loaded->second)) return used_[key] = loaded->second;
        warn(format_text("the checkpoint's way of %s cannot run here", key));
        loaded_.erase(key);
    }
    const auto cached = cached_.find(key);
    if (!by_rule_ && preferred_.empty() && cached != cached_.end() && accepts(cached->second))
        return used_[key] = cached->second;

    // what is queued now is thrown away, and waited for: neither can be in a graph
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    CUDA_CHECK(cudaStreamIsCapturing(stream, &capturing));
    ENSURE(capturing == cudaStreamCaptureStatusNone, "choices: the first run of %s is captured into a graph", key);
    const std::vector<Way> ways = list();
    if (ways.empty()) return "";
    const auto preferred =
        std::find_if(ways.begin(), ways.end(), [&](const Way& way) { return way.name == preferred_; });
    if (preferred != ways.end()) return used_[key] = preferred->name;
    const std::string choice = by_rule_ || ways.size() == 1 ? ways[0].name : fastest(ways, stream);
    ENSURE(is_choice_way(choice), "choices: \"%s\" is not the name of a way", choice);
    used_[key] = choice;
    if (!by_rule_) cached_[key] = choice, write_cache();
    return choice;
}

std::string Choices::fastest(const std::vector<Way>& ways, cudaStream_t stream) const {
    constexpr int WARM_UPS = 2, TIMED_RUNS = 7;
    // a later way must be clearly faster, or noise would choose between equals differently in every run
    constexpr float CLEARLY = 0.98f;
    const Way* choice = nullptr;
    float best = 0;
    for (const Way& way : ways) {
        for (int run = 0; run < WARM_UPS; ++run) way.run();
        float times[TIMED_RUNS];
        for (float& time : times) time = stopwatch_(way.run, stream);
        std::nth_element(times, times + TIMED_RUNS / 2, times + TIMED_RUNS);
        const float median = times[TIMED_RUNS / 2];
        if (choice && median > CLEARLY * best) continue;
        best = median;
        choice = &way;
    }
    return choice->name;
}

std::string Choices::json() const {
    ChoicesText choices{device_, library_, used_};
    choices.way.insert(loaded_.begin(), loaded_.end());
    return to_json(choices);
}

void Choices::load(const std::string& json) {
    ChoicesText text;
    const std::string wrong = parse(json, &text);
    if (!wrong.empty()) die(Exit::Data, "choices among kernels and algorithms: damaged: %s", wrong);
    if (text.device.empty()) return;
    if (text.device != device_ || text.library != library_) {
        warn(format_text("the checkpoint's kernels and algorithms were chosen for %s with %s, this is %s with %s",
                         text.device, text.library, device_, library_));
        return;
    }
    for (const auto& [key, way] : text.way) {
        loaded_[key] = way;
        used_.erase(key);
    }
    ++loads_;
}

void Choices::warn(const std::string& text) {
    if (!warned_) print(stderr, "warning: %s; the last bits of results may differ\n", text);
    warned_ = true;
}

// A cache that cannot be read, is damaged or is another machine's is as good as none.
void Choices::read_cache(Ways* ways) const {
    std::ifstream file(cache_path_, std::ios::binary);
    std::ostringstream content;
    if (!file || !(content << file.rdbuf())) return;
    ChoicesText text;
    if (!parse(content.str(), &text).empty() || text.device != device_ || text.library != library_) return;
    ways->insert(text.way.begin(), text.way.end());
}

// What other processes have added meanwhile stays; a cache that cannot be written costs the next run its timing.
void Choices::write_cache() {
    if (cache_path_.empty()) return;
    read_cache(&cached_);
    std::error_code error;
    std::filesystem::create_directories(std::filesystem::path(cache_path_).parent_path(), error);
    std::string temporary = cache_path_ + ".XXXXXX";
    const int descriptor = mkstemp(temporary.data());
    if (descriptor < 0) return;
    FILE* file = fdopen(descriptor, "w");
    const std::string text = to_json({device_, library_, cached_});
    bool written = file && fwrite(text.data(), 1, text.size(), file) == text.size();
    written = file && fclose(file) == 0 && written;
    if (!written || rename(temporary.c_str(), cache_path_.c_str()) != 0) unlink(temporary.c_str());
}

}  // namespace gpu
