// Files, checksums, JSON, messages, options, the learning rate, a run's log and the progress line.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <nlohmann/json.hpp>

#include "test/catch.h"
#include "test/support.h"
#include "train/log.h"
#include "train/schedule.h"
#include "util/config_file.h"
#include "util/crc32c.h"
#include "util/files.h"
#include "util/json.h"
#include "util/json_text.h"
#include "util/options.h"
#include "util/progress.h"
#include "util/sha256.h"

namespace {

std::string sha256_in_parts(const std::string& text, size_t part) {
    Sha256 hash;
    for (size_t i = 0; i < text.size(); i += part) hash.update(text.data() + i, std::min(part, text.size() - i));
    return hash.hex();
}

// While it lives, no file of this process grows beyond `bytes`: what a full disk does, without filling one.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t bytes) {
        getrlimit(RLIMIT_FSIZE, &before_);
        signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{bytes, before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        setrlimit(RLIMIT_FSIZE, &before_);
        signal(SIGXFSZ, SIG_DFL);
    }

  private:
    rlimit before_;
};

bool near(double a, double b) { return std::abs(a - b) < 1e-12; }

template <class Use>
std::string printed_by(Use use) {
    char* text = nullptr;
    size_t size = 0;
    FILE* memory = open_memstream(&text, &size);
    use(memory);
    fclose(memory);
    const std::string result(text, size);
    free(text);
    return result;
}

}  // namespace

TEST_CASE("SHA-256 gives the published digests", "[util]") {  // FIPS 180-4 examples, NIST
    CHECK(Sha256().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256_in_parts("abc", 3) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    const std::string two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (const size_t part : {1, 7, 56, 100})
        CHECK(sha256_in_parts(two_blocks, part) == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(sha256_in_parts(std::string(1000000, 'a'), 4097) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("CRC-32C gives the published values", "[util]") {  // RFC 3720, B.4
    CHECK(crc32c(std::string(32, '\0').data(), 32) == 0x8A9136AAu);
    CHECK(crc32c(std::string(32, '\xFF').data(), 32) == 0x62A8AB43u);
    std::string ascending;
    for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
    CHECK(crc32c(ascending.data(), 32) == 0x46DD794Eu);
    CHECK(crc32c("123456789", 9) == 0xE3069283u);
    CHECK(crc32c("6789", 4, crc32c("12345", 5)) == 0xE3069283u);
}

TEST_CASE("Writing replaces a file or leaves it", "[util]") {
    const TemporaryFolder folder;
    const std::string path = folder / "file";
    write_file(path, "old");
    { FileWriter(path).write("half", 4); }  // no commit
    CHECK(read_file(path) == "old");
    CHECK(list_directory(folder.path()) == std::vector<std::string>{"file"});
    write_file(path, "new\n");
    CHECK(read_file(path) == "new\n");

    SECTION("a disk that fills up") {
        const FileSizeLimit limit(1000);
        REQUIRE_DIES(Exit::Runtime, path, write_file(path, std::string(2000, 'x')));
        REQUIRE_DIES(Exit::Runtime, path, copy_file("/proc/self/exe", path));
        CHECK(read_file(path) == "new\n");
        CHECK(list_directory(folder.path()) == std::vector<std::string>{"file"});
    }
    SECTION("a place that does not exist or cannot be read") {
        REQUIRE_DIES(Exit::Runtime, "none/file", write_file(folder / "none/file", "x"));
        REQUIRE_DIES(Exit::Data, "none", read_file(folder / "none"));
        REQUIRE_DIES(Exit::Data, folder.path(), read_file(folder.path()));
        REQUIRE_DIES(Exit::Runtime, path, make_directories(path_join(path, "below")));
    }
}

TEST_CASE("Directories are made, listed and removed", "[util]") {
    const TemporaryFolder folder;
    make_directories(folder / "a/b/c");
    make_directories(folder / "a/b/c");
    for (const char* name : {"a/B", "a/a", "a/b/10", "a/b/9"}) write_file(folder / name, "");
    CHECK(list_directory(folder / "a") == std::vector<std::string>{"B", "a", "b"});
    CHECK(glob_files(folder / "a/b/*") ==
          std::vector<std::string>{folder / "a/b/10", folder / "a/b/9", folder / "a/b/c"});
    CHECK(glob_files(folder / "a/{a,B}") == std::vector<std::string>{folder / "a/B", folder / "a/a"});
    CHECK(glob_files(folder / "none*").empty());
    CHECK(symlink("/usr", (folder / "a/link").c_str()) == 0);
    remove_tree(folder / "a");  // and not /usr
    remove_tree(folder / "a");
    CHECK(directory_exists("/usr/bin"));
    CHECK(list_directory(folder.path()).empty());
    CHECK(folder_of("a/b") == "a");
    CHECK(folder_of("b") == ".");
    CHECK(folder_of("/b") == "/");
    CHECK(path_join("a/", "b") == "a/b");
    CHECK(path_join("a", "/b") == "/b");
}

TEST_CASE("JSON from outside is bounded", "[util]") {
    REQUIRE_DIES(Exit::Data, "not JSON", parse_json("file", "{\"a\": "));
    REQUIRE_DIES(Exit::Data, "not JSON", parse_json("file", ""));
    REQUIRE_DIES(Exit::Data, "deep", parse_json("file", std::string(1000000, '[')));
    const nlohmann::json object =
        parse_json("file", "{\"format_version\": 2, \"n\": 18446744073709551615, \"x\": 1.5}");
    REQUIRE_DIES(Exit::Data, "format_version 2", check_format_version("file", object));
    REQUIRE_DIES(Exit::Data, "18446744073709551615", json_integer("file", object, "n", INT64_MIN, INT64_MAX));
    REQUIRE_DIES(Exit::Data, "whole number", json_integer("file", object, "x", 0, 10));
    REQUIRE_DIES(Exit::Data, "'y' is missing", json_integer("file", object, "y", 0, 10));
}

TEST_CASE("The learning rate follows its formula", "[util]") {
    const Schedule wsd = make_schedule("wsd", 1.0, 100, 10, 0.2, 0.0);
    CHECK(near(learning_rate(wsd, 0), 0.1));
    CHECK(learning_rate(wsd, 9) == 1.0);
    CHECK(learning_rate(wsd, 80) == 1.0);
    CHECK(near(learning_rate(wsd, 90), 0.5));
    CHECK(near(learning_rate(wsd, 99), 0.05));
    const Schedule cosine = make_schedule("cosine", 2.0, 110, 10, 0, 0.1);
    CHECK(learning_rate(cosine, 10) == 2.0);
    CHECK(near(learning_rate(cosine, 60), 1.1));
    CHECK(near(learning_rate(cosine, 110), 0.2));
    const Schedule linear = make_schedule("linear", 1.0, 100, 0, 0, 0.5);
    CHECK(learning_rate(linear, 0) == 1.0);
    CHECK(near(learning_rate(linear, 50), 0.75));
    CHECK(learning_rate(make_schedule("constant", 0.5, 10, 0, 0.5, 0), 9) == 0.5);
    // a trunk and its branch agree up to the branch's cooldown
    const Schedule longer = make_schedule("wsd", 1.0, 1000, 10, 0.2, 0.0);
    for (int s = 0; s < 80; ++s) CHECK(learning_rate(wsd, s) == learning_rate(longer, s));
    REQUIRE_DIES(Exit::Usage, "--schedule step", make_schedule("step", 1, 10, 0, 0, 0));
    REQUIRE_DIES(Exit::Usage, "--warmup 11", make_schedule("wsd", 1, 10, 11, 0, 0));
}

TEST_CASE("Messages take numbers and strings of every type", "[util]") {
    CHECK(format_text("%d %d %d %d", -3, uint64_t{18446744073709551615u}, INT64_MIN, true) ==
          "-3 18446744073709551615 -9223372036854775808 1");
    CHECK(format_text("%s|%6s|%-6s|%.2s|", std::string("a"), "b", std::string_view("c"), "defg") ==
          "a|     b|c     |de|");
    CHECK(format_text("%08lld %*d|%zu", int64_t{42}, 4, 7, size_t{1}) == "00000042    7|1");
    CHECK(format_text("%.17g %g %5.1f%% %.1e", 0.1, 0.1f, 12.345, 1e-3) == "0.10000000000000001 0.1  12.3% 1.0e-03");
    CHECK(format_text("%g %s %d", 3, 4, 2.5) == "3 4 2.5");  // the type decides, not the letter
    CHECK(format_text("%x %016llx %02x %c", -1, uint64_t{255}, static_cast<unsigned char>(7), 'x') ==
          "ffffffff 00000000000000ff 07 x");
    CHECK(format_text("%600s", "x") == std::string(599, ' ') + "x");
    CHECK(format_text("%d of %d", 1) == "1 of %d");  // an argument too few is seen, and harmless
    CHECK(format_text("100 %% of %s", std::string(1000, 'y')) == "100 % of " + std::string(1000, 'y'));
}

namespace {

struct Numbers {
    double lr = 1, cooldown = NAN;
    Count steps;
    int64_t zero = 0;
};

Numbers parse(std::vector<std::string> words) {
    Numbers n;
    OptionTable table("test", "",
                      {{"", "lr", &n.lr, "X", "", above(0)},
                       {"", "cooldown", &n.cooldown, "X", "", from_to(0, 1)},
                       {"", "steps", &n.steps, "N", "", at_least(1)},
                       {"", "zero", &n.zero, "N", "", from_below(0, 2)}});
    words.insert(words.begin(), "test");
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    table.parse(static_cast<int>(arguments.size()), arguments.data());
    return n;
}

}  // namespace

TEST_CASE("Options take the values of their range", "[util]") {
    const Numbers none = parse({});
    CHECK((none.lr == 1 && std::isnan(none.cooldown) && none.steps.n == -1));
    const Numbers ends = parse({"--lr", "1e-30", "--cooldown", "1", "--steps", "1", "--zero", "1"});
    CHECK((ends.lr == 1e-30 && ends.cooldown == 1 && ends.steps.n == 1 && ends.zero == 1));
    REQUIRE_DIES(Exit::Usage, "--lr 0: expected a number above 0", parse({"--lr", "0"}));
    REQUIRE_DIES(Exit::Usage, "--lr: expected a number", parse({"--lr", "nan"}));
    REQUIRE_DIES(Exit::Usage, "--cooldown 1.5: expected a number from 0 to 1", parse({"--cooldown", "1.5"}));
    REQUIRE_DIES(Exit::Usage, "--cooldown -0.1: expected", parse({"--cooldown=-0.1"}));
    REQUIRE_DIES(Exit::Usage, "--steps 0: expected a number of at least 1", parse({"--steps", "0"}));
    for (const char* odd : {"0x10", "inf", "nan", " 7", "3000000000000000000000"})
        REQUIRE_DIES(Exit::Usage, "--steps: expected a count", parse({"--steps", odd}));
    REQUIRE_DIES(Exit::Usage, "--lr: expected a number", parse({"--lr", "0x1p-3"}));
    REQUIRE_DIES(Exit::Usage, "--zero 2: expected a number from 0 to below 2", parse({"--zero", "2"}));
}

TEST_CASE("A config file is TOML", "[util]") {
    const auto read = [](std::string_view text) {
        std::string found;
        for (const ConfigEntry& entry : parse_config("c.toml", text)) {
            found += format_text("%d %s", entry.line, entry.key);
            for (const std::string& value : entry.values) found += " <" + value + ">";
            found += "\n";
        }
        return found;
    };
    CHECK(read("").empty());
    CHECK(read("\xEF\xBB\xBF# of the day\r\n\r\nlr = 2e-3 # peak\r\n") == "3 lr <2e-3>\n");
    CHECK(read(R"(source = [ # two
 'a=~/x#1.bin',

 "b=[y]\u00e9\"", # last
]
doc-mask=true
"plan" = false)") == "1 source <a=~/x#1.bin> <b=[y]\u00e9\">\n6 doc-mask <on>\n7 plan <off>\n");
    CHECK(read(R"(a = 1_000
b = [-1.5, +2E+3]
c = ""
d = '\n'
e = "\\\t\U0001F600")") == "1 a <1000>\n2 b <-1.5> <+2E+3>\n3 c <>\n4 d <\\n>\n5 e <\\\t\xF0\x9F\x98\x80>\n");
    const std::pair<const char*, const char*> refused[] = {
        {"\n\nlr =\n", "line 3: 'lr' has no value"},
        {"lr = # 3", "line 1: 'lr' has no value"},
        {"lr", "'lr' has no value"},
        {"lr = []", "'lr' has no value"},
        {"= 3", "expected key = value"},
        {"lr = 1\nlr = 2", "line 2: 'lr' is there twice, first in line 1"},
        {"[train]\nlr = 1", "line 1: a table"},
        {"train.lr = 1", "'train' is a table"},
        {"lr = {a = 1}", "a table"},
        {"a = [['b']]", "an array inside an array"},
        {"a = ['b'\n\n", "line 1: 'a': the array does not end"},
        {"a = ['b' 'c']", "expected ',' or ']', found ''c']'"},
        {"a = [,]", "expected a text in quotes"},
        {"a = 1 2", "expected one value and the end of the line, then found '2'"},
        {"model = gpt2:L1:C32:H2", "expected a text in quotes"},
        {"steps = 20k", "expected a text in quotes"},
        {"a = 1__0", "expected a text in quotes"},
        {"a = 1.", "expected a text in quotes"},
        {"a = 0x10", "expected a text in quotes"},
        {"a = nan", "expected a text in quotes"},
        {"a = 'b\n'", "a string does not end"},
        {"a = \"b\\\"", "a string does not end"},
        {"a = '''b'''", "a string over several lines"},
        {R"(a = "\q")", "an escape that TOML does not have"},
        {R"(a = "\ud800")", "an escape that TOML does not have"},
        {R"(a = "\u12")", "hexadecimal digits"},
        {"\xFF = 1", "expected key = value"},
    };
    for (const auto& [text, why] : refused) {
        INFO(text);
        REQUIRE_DIES(Exit::Usage, why, read(text));
    }
    REQUIRE_DIES(Exit::Usage, "'a' has no value", read(std::string_view("a\0b = 1", 7)));
}

TEST_CASE("Flags of a config file give way to those of the command line", "[util]") {
    const TemporaryFolder folder;
    const std::string file = folder / "run.toml";
    write_file(file, "lr = 0.5\nsteps = \"1k\"\nzero = 1\n");
    const Numbers both = parse({"--config", file, "--lr", "2"});
    CHECK((both.lr == 2 && both.steps.n == 1000 && both.zero == 1 && std::isnan(both.cooldown)));
    REQUIRE_DIES(Exit::Usage, "--config: given twice", parse({"--config", file, "--config", file}));
    REQUIRE_DIES(Exit::Data, "none.toml: cannot be read", parse({"--config=" + (folder / "none.toml")}));
    write_file(file, "lr = 1\n\nstep = 3\n");
    REQUIRE_DIES(Exit::Usage, "run.toml: line 3: step: no such option; did you mean --steps?",
                 parse({"--config", file}));
    write_file(file, "lr = [1, 2]\n");
    REQUIRE_DIES(Exit::Usage, "--lr: given twice (1, 2)", parse({"--config", file}));
    write_file(file, "lr = -1\n");
    REQUIRE_DIES(Exit::Usage, "--lr -1: expected a number above 0", parse({"--config", file}));
}

TEST_CASE("A finished file takes the place of files only", "[util]") {
    const TemporaryFolder folder;
    REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
    REQUIRE_DIES(Exit::Usage, "pipe: a device or a pipe", write_file(folder / "pipe", "x"));
    REQUIRE_DIES(Exit::Usage, "a directory; expected the name of a file", write_file(folder.path(), "x"));
    REQUIRE(symlink("pipe", (folder / "to_pipe").c_str()) == 0);
    REQUIRE_DIES(Exit::Usage, "pipe: a device or a pipe", write_file(folder / "to_pipe", "x"));
    make_directories(folder / "real");
    REQUIRE(symlink("real/file", (folder / "link").c_str()) == 0);
    write_file(folder / "link", "one");  // of a file that is not there yet
    write_file(folder / "link", "two");
    CHECK(read_file(folder / "real/file") == "two");
    CHECK(list_directory(folder.path()) == std::vector<std::string>{"link", "pipe", "real", "to_pipe"});
    REQUIRE_DIES(Exit::Usage, "--manifest " + (folder / "pipe") + ": there is a file of that name",
                 check_output_directory("--manifest", folder / "pipe"));
    check_output_directory("--manifest", folder / "real");
    check_output_directory("--manifest", folder / "none");
}

TEST_CASE("A run's log is one voice", "[util]") {
    const TemporaryFolder folder;
    const RunDirectory directory(folder.path(), true);
    Plan plan;
    plan.steps = 10;
    plan.batch_tokens = 8;
    plan.sources.resize(2);
    plan.sources[0].name = "web";
    plan.sources[0].source_tokens = 16;
    plan.sources[1].name = "facts";
    plan.sources[1].source_tokens = 4;
    StepReport report;
    report.step = 1;
    report.lr = 0.5;
    report.loss = 2;
    report.grad_norm = 1;
    report.source_targets = {8, 0};
    report.source_tokens = {12, 4};
    report.source_loss = {16, 0};
    const auto say = [&](FILE* screen, FILE* errors, bool files) {
        Log log(screen, errors);
        log.warn("careful");
        if (files) log.open(directory, 0, 0, 0, 0);
        log.begin(plan, 0, 1e6, 1e9);
        log.step(report, 0.5);
        log.print("%s %d\n", "said", 1);
        log.evaluation(2, {{"val/web/loss", 1.5}});
        log.end();
    };
    std::string errors;
    const std::string said =
        printed_by([&](FILE* screen) { errors = printed_by([&](FILE* err) { say(screen, err, true); }); });
    CHECK(said == "said 1\n");
    CHECK(errors.find("warning: careful\n") == 0);
    CHECK(errors.find("step  2/10  20.0%  loss 2.0000  |g| 1.000  lr 5.0e-01") != std::string::npos);
    nlohmann::json line = parse_json("metrics", read_file(folder / "metrics.jsonl"));
    CHECK(line["time"].is_number());
    line.erase("time");
    CHECK(line == nlohmann::json::parse(R"({"step": 1, "tokens": 16, "train/loss": 2, "train/loss/web": 2,
        "data/web/tokens": 12, "data/web/epochs": 0.75, "data/web/ratio": 0.75,
        "data/facts/tokens": 4, "data/facts/epochs": 1, "data/facts/ratio": 0.25,
        "optim/lr": 0.5, "optim/grad_norm": 1, "perf/tokens_per_s": 16, "perf/mfu": 0.016, "perf/step_ms": 500})"));
    line = parse_json("eval", read_file(folder / "eval.jsonl"));
    CHECK((line["step"] == 2 && line["tokens"] == 16 && line["val/web/loss"] == 1.5));

    const std::vector<std::string> before = list_directory(folder.path());
    FILE* nowhere = fopen("/dev/null", "w");
    say(nowhere, nowhere, false);  // as a process that is not heard
    fclose(nowhere);
    CHECK(list_directory(folder.path()) == before);
}

TEST_CASE("A JSON line is valid and loses no bit", "[util]") {
    JsonLine line;
    const double third = 1.0 / 3, tiny = 4.9e-324;
    line.add("step", 7);
    line.add("train/loss", third);
    line.add("tiny", tiny);
    line.add("whole", 3.0);
    line.add("nan", NAN);
    line.add("inf", -INFINITY);
    line.add("text \"q\"\n", "a\\b\t\xC3\xA9");
    CHECK(line.json().rfind("{\"step\": 7, \"train/loss\": 0.3333333333333333, ", 0) == 0);
    const nlohmann::json read = nlohmann::json::parse(line.json());
    CHECK(read["train/loss"] == third);
    CHECK(read["tiny"] == tiny);
    CHECK(read["nan"] == "NaN");
    CHECK(read["inf"] == "-Infinity");
    CHECK(read["text \"q\"\n"] == "a\\b\t\xC3\xA9");
    CHECK(nlohmann::json::parse(json_quote("\xC3")) == "\xEF\xBF\xBD");  // cut off in the middle of a character
}

TEST_CASE("Members of a JSON object are read as what they should be", "[util]") {
    const std::string object = R"({"n": 7, "negative": -1, "text": "x"})";
    CHECK(integer_member("state", object, "n") == 7);
    CHECK(text_member("state", object, "text") == "x");
    CHECK(text_member("state", object, "n").empty());
    CHECK(text_member("state", object, "none").empty());
    REQUIRE_DIES(Exit::Data, "state: 'none' is missing", integer_member("state", object, "none"));
    REQUIRE_DIES(Exit::Data, "state", integer_member("state", object, "negative"));
    REQUIRE_DIES(Exit::Data, "state", integer_member("state", "{", "n"));
}

TEST_CASE("A file that is appended to is whole after every line", "[util]") {
    const TemporaryFolder folder;
    const std::string path = folder / "metrics.jsonl", line = "{\"step\": 1}\n";
    AppendFile file(path);
    file.write(line);
    const int64_t one = file.size();
    file.write(line);
    CHECK(read_file(path) == line + line);
    CHECK(file.size() == 2 * one);
    truncate_file(path, static_cast<uint64_t>(one));
    AppendFile resumed(path);
    CHECK(resumed.size() == one);
    resumed.write(line);
    CHECK(read_file(path) == line + line);
    AppendFile full("/dev/full");
    REQUIRE_DIES(Exit::Runtime, "No space left", full.write(line));
}

TEST_CASE("Progress: plain lines in a file, a redrawn line on a terminal", "[util]") {
    const std::string plain = printed_by([](FILE* out) {
        Progress progress(200, 0, 1e9, 1e10, 1000, out);  // a memory stream is no terminal
        for (int step = 1; step <= 120; ++step) progress.update(step, 6.125, 0.5, 1e-3, 0.2);
        progress.finish();
    });
    CHECK(plain ==
          "step   1/200   0.5%  loss 6.1250  |g| 0.500  lr 1.0e-03  5.00k tok/s  50% of matmul  ETA 0:40\n"
          "step 120/200  60.0%  loss 6.1250  |g| 0.500  lr 1.0e-03  5.00k tok/s  50% of matmul  ETA 0:16\n");
    const std::string live = printed_by([](FILE* out) {
        Progress progress(10, 0, 1e9, 0, 1000, out);
        progress.set_style(true, true, 0);
        progress.update(1, 2, 1, 1, 0.5);
        progress.clear();
        progress.update(2, 1, 1, 1, 0.5);
        progress.finish();
    });
    CHECK(live ==
          "\rstep  1/10  10.0%  loss \033[1m2.0000\033[0m  |g| 1.000  lr 1.0e+00  2.00k tok/s  ETA 0:05\033[K\r\033[K"
          "\rstep  2/10  20.0%  loss \033[1m1.0000\033[0m  |g| 1.000  lr 1.0e+00  2.00k tok/s  ETA 0:04\033[K\n");
    CHECK(short_count(999.4) == "999");
    CHECK(short_count(999.6) == "1.00k");
    CHECK(short_count(123456) == "123k");
    CHECK(short_count(2.5e9) == "2.50B");
    CHECK(short_duration(59.6) == "1:00");
    CHECK(short_duration(3 * 3600 + 7 * 60 + 15) == "3:07:15");
    CHECK(short_duration(2 * 86400 + 4 * 3600 + 600) == "2d 04:10");
    CHECK(short_duration(INFINITY) == "?");
}
