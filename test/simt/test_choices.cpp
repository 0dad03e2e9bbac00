// test_choices.cpp - which of several ways is taken for a shape, kept for a checkpoint, taken from one, and found in a
// cache file. The ways are made up and their times planted; everything around them is what runs on a GPU.
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/choices.h"
#include "kernels/device.h"
#include "test/catch.h"
#include "test/support.h"
#include "util/json.h"

using gpu::Choices;

namespace {

const std::string KEY = "attention_forward bf16 B=32 T=2048 NH=8 HS=64", OTHER_KEY = "bias_gradient fp32 N=7 C=8 OC=16";
const std::vector<std::string> NAMES = {"rows64", "rows128", "rows256"};

// Three ways to do nothing, of which each takes the time that is planted.
class Planted {
  public:
    explicit Planted(std::vector<float> milliseconds) : milliseconds_(std::move(milliseconds)) {}

    // A run is slow now and then, as they are.
    Choices::Stopwatch stopwatch() {
        return [this](const std::function<void()>& run, cudaStream_t) {
            run();
            return ++timed_ % 3 == 0 ? 100.0f : milliseconds_[static_cast<size_t>(last_)];
        };
    }
    std::string choose(Choices& choices, const std::string& key = KEY, const std::function<bool(int)>& can_run = {},
                       cudaStream_t stream = nullptr) {
        const auto run = [this](int way) {
            last_ = way;
            ++runs[NAMES[static_cast<size_t>(way)]];
        };
        const int way = choices.choose(key, {"rows64", "rows128", "rows256"}, run, stream, can_run);
        return NAMES[static_cast<size_t>(way)];
    }
    std::map<std::string, int> runs;  // by way

  private:
    std::vector<float> milliseconds_;
    int last_ = 0, timed_ = 0;
};

std::string chosen_of(const std::vector<float>& milliseconds, const std::function<bool(int)>& can_run = {}) {
    Planted planted(milliseconds);
    Choices choices("", planted.stopwatch());
    return planted.choose(choices, KEY, can_run);
}

// The text of a run in which the second way was the fastest.
std::string text_of(const std::vector<std::string>& keys) {
    Planted planted({2, 1, 3});
    Choices choices("", planted.stopwatch());
    for (const std::string& key : keys) planted.choose(choices, key);
    return choices.json();
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

// The only file of the cache's folder.
std::string cache_file(const TemporaryFolder& folder) {
    const std::vector<std::string> names = list_directory(folder.path());
    REQUIRE(names.size() == 1);
    return folder / names[0];
}

}  // namespace

TEST_CASE("the fastest way is taken; of equals the first", "[choices]") {
    CHECK(chosen_of({3, 2, 1}) == "rows256");
    CHECK(chosen_of({3, 1, 2}) == "rows128");
    CHECK(chosen_of({1, 1, 1}) == "rows64");
    CHECK(chosen_of({1, 0.99f, 0.985f}) == "rows64");  // may be noise
    CHECK(chosen_of({1, 0.97f, 0.96f}) == "rows128");
    CHECK(chosen_of({3, 2, 1}, [](int way) { return way < 2; }) == "rows128");
    CHECK(chosen_of({3, 2, 1}, [](int way) { return way == 2; }) == "rows256");
    REQUIRE_DIES(Exit::Runtime, KEY, chosen_of({3, 2, 1}, [](int) { return false; }));
}

TEST_CASE("a shape is timed once: 7 runs of each way after 2 that warm up", "[choices]") {
    Planted planted({2, 1, 3});
    Choices choices("", planted.stopwatch());
    CHECK(planted.choose(choices) == "rows128");
    const std::map<std::string, int> once = {{"rows64", 9}, {"rows128", 9}, {"rows256", 9}};
    CHECK(planted.runs == once);
    CHECK(planted.choose(choices) == "rows128");
    CHECK(planted.runs == once);
    planted.choose(choices, OTHER_KEY);
    CHECK(planted.runs["rows64"] == 18);
}

TEST_CASE("nothing competes, nothing is timed", "[choices]") {
    Planted planted({2, 1, 3});
    Choices choices("", planted.stopwatch());
    CHECK(planted.choose(choices, KEY, [](int way) { return way == 1; }) == "rows128");
    CHECK(planted.runs.empty());
}

TEST_CASE("by rule: the first way that can run, not timed; no cache is read or written, a checkpoint is", "[choices]") {
    const TemporaryFolder folder;
    Planted planted({2, 1, 3});
    {
        Choices timed(folder.path(), planted.stopwatch());
        planted.choose(timed);
    }
    const std::string cache = read_file(cache_file(folder));
    planted.runs.clear();
    Choices by_rule(folder.path(), planted.stopwatch()), no_stopwatch(folder.path(), nullptr);
    by_rule.choose_by_rule();
    for (Choices* choices : {&by_rule, &no_stopwatch}) {
        int asked = 0;
        CHECK(choices->by_rule());
        CHECK(planted.choose(*choices, KEY, [&](int way) { return ++asked, way > 0; }) == "rows128");
        CHECK(asked == 2);  // the third is not looked at
        CHECK(planted.choose(*choices, OTHER_KEY) == "rows64");
        CHECK(planted.runs.empty());
    }
    CHECK(read_file(cache_file(folder)) == cache);
    Choices loaded("", planted.stopwatch());
    loaded.choose_by_rule();
    loaded.load(text_of({OTHER_KEY}));
    CHECK(planted.choose(loaded, OTHER_KEY) == "rows128");
    CHECK(planted.choose(loaded) == "rows64");
}

TEST_CASE("choices in use as JSON: every key once, read again as they were written", "[choices]") {
    const std::string text = text_of({OTHER_KEY, KEY, OTHER_KEY});
    const nlohmann::json json = parse_json("choices", text);
    REQUIRE(json.is_array());
    REQUIRE(json.size() == 4);  // two names, two keys
    CHECK(json[0] == "gpu simt");
    CHECK(json[1] == "library host");
    CHECK(json[2] == KEY + " rows128");
    CHECK(json[3] == OTHER_KEY + " rows128");

    Planted planted({1, 2, 3});
    Choices choices("", planted.stopwatch());
    choices.load(text);
    CHECK(choices.json() == text);  // kept although nothing has run
    CHECK(planted.choose(choices) == "rows128");
    CHECK(choices.json() == text);
    choices.load(json.dump(4));  // as a checkpoint's file may lay it out
    CHECK(choices.json() == text);
    choices.load("[]");
    choices.load(text_of({}));
    CHECK(choices.json() == text);
    CHECK(planted.runs.empty());
}

TEST_CASE("a checkpoint's choices win over those of this run and of the cache", "[choices]") {
    const TemporaryFolder folder;
    Planted planted({3, 2, 1});
    Choices choices(folder.path(), planted.stopwatch());
    CHECK(planted.choose(choices) == "rows256");
    const int loads = choices.loads();
    choices.load(text_of({KEY}));
    CHECK(choices.loads() > loads);
    CHECK(planted.choose(choices) == "rows128");
    CHECK(read_file(cache_file(folder)).find(KEY + " rows256") != std::string::npos);  // still what is fastest here
}

TEST_CASE("a checkpoint of another GPU, library or version: own choices, the rest is passed on", "[choices]") {
    const std::string text = text_of({KEY}), none = text_of({});
    for (const std::string& foreign :
         {replaced(text, "\"gpu ", "\"gpu another "), replaced(text, "\"library host", "\"library cublaslt 1")}) {
        Planted planted({1, 2, 3});
        Choices choices("", planted.stopwatch());
        choices.load(foreign);
        choices.load(foreign);
        CHECK(choices.json() == none);
        CHECK(planted.choose(choices) == "rows64");
    }
    Planted planted({1, 2, 3});
    Choices choices("", planted.stopwatch());
    const std::string future = "some_fusion bf16 X=5 way_9";
    choices.load(replaced(replaced(text, "rows128", "rows512"), "]", ",\"" + future + "\"]"));
    CHECK(planted.choose(choices) == "rows64");  // this version has no such way
    CHECK(choices.json() == replaced(replaced(text, "rows128", "rows64"), "]\n", ",\n \"" + future + "\"]\n"));
    Choices cannot("", planted.stopwatch());
    cannot.load(text);
    CHECK(planted.choose(cannot, KEY, [](int way) { return way != 1; }) == "rows64");
}

TEST_CASE("text that no checkpoint has is refused", "[choices]") {
    const std::string text = text_of({KEY}), none = text_of({});
    Choices choices("");
    const std::vector<std::string> damaged = {
        "",
        "null",
        "{}",
        "[1]",
        "[\"",
        "[\"gpu x\"",
        "[\"gpu x\" \"library y\"]",
        "[\"gpu x\",]",
        "[] []",
        "[\"gpu \\u0041\", \"library y\"]",
        "[\"library host\", \"gpu x\"]",
        "[\"gpu x\"]",
        text + "x",
        text.substr(0, text.size() / 2),
        replaced(text, "attention_forward", "attention-forward"),
        replaced(text, "attention_forward ", ""),
        replaced(text, "bf16", "fp8"),
        replaced(text, "bf16 ", "bf16  "),
        replaced(text, "=32", "=0"),
        replaced(text, "=32", "=032"),
        replaced(text, "=32", "=-3"),
        replaced(text, "=32", "=3.2"),
        replaced(text, "=32", "="),
        replaced(text, "B=32", "=32"),
        replaced(text, "=32", "=99999999999"),
        replaced(text, "=32", "=2147483648"),
        replaced(text, " rows128", " rows128 more"),
        replaced(text, " rows128", " rows-128"),
        replaced(text, " rows128", ""),
        replaced(text, " rows128", " "),
    };
    for (const std::string& wrong : damaged) {
        INFO(wrong);
        REQUIRE_DIES(Exit::Data, "damaged", choices.load(wrong));
    }
    CHECK(choices.json() == none);
}

TEST_CASE("the cache file gathers the choices of many runs; damage costs timing again", "[choices]") {
    const TemporaryFolder folder;
    Planted planted({2, 1, 3});
    {
        Choices first(folder.path(), planted.stopwatch()), second(folder.path(), planted.stopwatch());
        planted.choose(first);
        CHECK(read_file(cache_file(folder)) == first.json());
        planted.choose(second, OTHER_KEY);  // began before the first wrote, yet loses nothing of it
        CHECK(read_file(cache_file(folder)) == text_of({KEY, OTHER_KEY}));
    }
    planted.runs.clear();
    Planted changed({1, 2, 3});
    Choices cached(folder.path(), changed.stopwatch());
    CHECK(changed.choose(cached) == "rows128");  // found, not timed
    CHECK(changed.runs.empty());

    const std::string path = cache_file(folder), text = read_file(path);
    for (const std::string& damaged :
         {std::string("rubbish"), std::string(), text.substr(0, text.size() - 9),
          replaced(text, "\"gpu ", "\"gpu another "), replaced(text, " rows128", " columns"), std::string(100, '\0')}) {
        INFO(damaged);
        write_file(path, damaged);
        Choices choices(folder.path(), planted.stopwatch());
        planted.choose(choices);
        CHECK(choices.json() == text_of({KEY}));
        CHECK(planted.runs["rows64"] == 9);
        CHECK(read_file(path).find(KEY + " rows128") != std::string::npos);
        planted.runs.clear();
    }
    write_file(folder / "a file", "");
    Choices nowhere(folder / "a file/below", planted.stopwatch());  // cannot be made
    planted.choose(nowhere);
    CHECK(nowhere.json() == text_of({KEY}));
}

TEST_CASE("a preferred way is taken where it can run", "[choices]") {
    Planted planted({1, 2, 3});
    for (const bool by_rule : {false, true}) {
        Choices choices("", planted.stopwatch());
        if (by_rule) choices.choose_by_rule();
        choices.prefer("rows256");
        CHECK(planted.choose(choices) == "rows256");
        CHECK(planted.choose(choices, OTHER_KEY, [](int way) { return way < 2; }) == "rows64");
    }
}

TEST_CASE("the first run of a shape is not captured into a graph", "[choices]") {
    Planted planted({2, 1, 3});
    Choices choices("", planted.stopwatch());
    CHECK(planted.choose(choices) == "rows128");
    cudaStream_t stream = nullptr;
    CUDA_CHECK(cudaStreamCreate(&stream));
    CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    CHECK(planted.choose(choices, KEY, {}, stream) == "rows128");
    REQUIRE_DIES(Exit::Runtime, "captured", planted.choose(choices, OTHER_KEY, {}, stream));
    cudaGraph_t graph = nullptr;
    CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    CUDA_CHECK(cudaGraphDestroy(graph));
    CUDA_CHECK(cudaStreamDestroy(stream));
    CHECK(planted.choose(choices, OTHER_KEY) == "rows128");
}

TEST_CASE("a key of another form is a mistake of the program", "[choices]") {
    Planted planted({1, 2, 3});
    Choices choices("", planted.stopwatch());
    for (const char* key : {"", "attention", "attention bf16", "attention fp8 B=1", "two words bf16 B=1"})
        REQUIRE_DIES(Exit::Runtime, "is not a key", planted.choose(choices, key));
}
