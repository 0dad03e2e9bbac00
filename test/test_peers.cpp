// The processes of one run: each test starts some of this very program, which then play the scene that the environment
// names (the hidden test case at the end).
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <csignal>
#include <map>
#include <thread>

#include "test/catch.h"
#include "test/support.h"
#include "util/connection.h"
#include "util/mpi.h"
#include "util/peers.h"
#include "util/stop.h"

extern char** environ;

namespace {

using Environment = std::map<std::string, std::string>;

// What a launcher may have set, also around these tests.
bool is_of_launchers(const std::string& name) {
    for (const char* start : {"OMPI_", "PMI", "PMIX", "SLURM_", "TORCHELASTIC_", "MASTER_", "KNAPSACK_P"})
        if (name.rfind(start, 0) == 0) return true;
    return name == "RANK" || name == "WORLD_SIZE" || name == "LOCAL_RANK" || name == "MPI_LOCALRANKID";
}

// The environment without launchers, and with these variables; as it was when the test is over.
class Setting {
  public:
    explicit Setting(const Environment& added) {
        for (char** one = environ; *one; ++one) {
            const std::string line = *one, name = line.substr(0, line.find('='));
            before_[name] = line.substr(line.find('=') + 1);
        }
        for (const auto& [name, value] : before_)
            if (is_of_launchers(name)) unsetenv(name.c_str());
        for (const auto& [name, value] : added) setenv(name.c_str(), value.c_str(), 1);
    }
    ~Setting() {
        clearenv();
        for (const auto& [name, value] : before_) setenv(name.c_str(), value.c_str(), 1);
    }
    Setting(const Setting&) = delete;
    Setting& operator=(const Setting&) = delete;

  private:
    Environment before_;
};

uint16_t bound_port(int fd) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    ENSURE(bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0, "no port");
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    return ntohs(address.sin_port);
}

int free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int port = bound_port(fd);
    close(fd);
    return port;
}

constexpr char PLAYER[] = "plays one of several processes";

// Processes of one run, started as torchrun would.
class Job {
  public:
    Job(const std::string& scene, int size, Environment more = {}) : port_(free_port()) {
        more["KNAPSACK_TEST_SCENE"] = scene;
        more["KNAPSACK_TEST_FOLDER"] = folder_.path();
        more["MASTER_ADDR"] = "localhost";
        more["MASTER_PORT"] = std::to_string(port_);
        more.insert({"WORLD_SIZE", std::to_string(size)});
        environment_ = more;
    }
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    ~Job() {
        for (const auto& [r, pid] : running_) kill(pid, SIGKILL), waitpid(pid, nullptr, 0);
    }
    Job& start_all() {
        for (int r = 0; r < std::stoi(environment_["WORLD_SIZE"]); ++r) start(r);
        return *this;
    }
    void start(int r, const Environment& more = {}) {
        Environment own = environment_;
        own["RANK"] = std::to_string(r);
        for (const auto& [name, value] : more) own[name] = value;
        const Setting setting(own);
        const pid_t pid = fork();
        if (pid == 0) {
            const int out = open(file(r).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
            dup2(out, STDOUT_FILENO);
            dup2(out, STDERR_FILENO);
            execl("/proc/self/exe", "run_tests", PLAYER, nullptr);
            _exit(127);
        }
        running_[r] = pid;
    }
    // Waits until the scene is on in all processes.
    void wait_ready() {
        for (const double end = seconds_now() + 30; seconds_now() < end; usleep(10000)) {
            size_t ready = 0;
            for (const auto& [r, pid] : running_) ready += file_exists(folder_ / ("ready" + std::to_string(r)));
            if (ready == running_.size()) return;
        }
        FAIL("not all processes are there");
    }
    void send(int r, int signal) { kill(running_.at(r), signal); }
    int pid(int r) const { return running_.at(r); }
    int port() const { return port_; }
    // The exit code, or the signal's number as a negative one; -1000 if it does not end within the time.
    int end(int r, double seconds = 20) {
        int status = 0;
        for (const double end = seconds_now() + seconds; waitpid(running_.at(r), &status, WNOHANG) == 0; usleep(5000))
            if (seconds_now() > end) return -1000;
        running_.erase(r);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    std::string said(int r) const { return read_file(file(r)); }
    std::string failed() const {
        return file_exists(folder_ / "FAILED") ? read_file(folder_ / "FAILED") : std::string("no FAILED");
    }

  private:
    std::string file(int r) const { return folder_ / ("said" + std::to_string(r)); }
    TemporaryFolder folder_;
    Environment environment_;
    std::map<int, pid_t> running_;
    int port_;
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

int stray_connection(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (const double end = seconds_now() + 20; seconds_now() < end; usleep(10000))
        if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
    FAIL("process 0 does not listen");
    return -1;
}

}  // namespace

TEST_CASE("A process finds its rank in what launchers set", "[peers]") {
    const auto rank_in = [](const Environment& variables) {
        const Setting setting(variables);
        return find_rank();
    };
    const Rank alone = rank_in({});
    CHECK((alone.rank == 0 && alone.size == 1 && alone.local == 0 && alone.launcher.empty()));
    CHECK(rank_in({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).launcher.empty());
    CHECK(rank_in({{"RANK", "3"}}).size == 1);  // a variable of that name, nothing else
    const Rank torchrun = rank_in({{"RANK", "5"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}});
    CHECK((torchrun.rank == 5 && torchrun.size == 8 && torchrun.local == 1 && torchrun.launcher == "torchrun"));
    const Environment task = {{"SLURM_PROCID", "2"},
                              {"SLURM_STEP_ID", "0"},
                              {"SLURM_STEP_NUM_TASKS", "4"},
                              {"SLURM_LOCALID", "0"},
                              {"SLURM_NTASKS", "16"}};
    const Rank slurm = rank_in(task);
    CHECK((slurm.rank == 2 && slurm.size == 4 && slurm.launcher == "slurm"));
    // a batch script, and a shell that srun gave: one process
    CHECK(rank_in({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "16"}}).size == 1);
    CHECK(rank_in({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "16"}, {"SLURM_STEP_ID", "4294967290"}}).size == 1);
    // torchrun within a task
    Environment both = task;
    both.insert({{"RANK", "7"}, {"WORLD_SIZE", "8"}, {"TORCHELASTIC_RUN_ID", "none"}, {"PMIX_RANK", "1"}});
    CHECK(rank_in(both).rank == 7);

    const Environment mpirun = {
        {"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}, {"RANK", "7"}, {"WORLD_SIZE", "8"}};
    if (mpi_library().empty()) {
        REQUIRE_DIES(Exit::Usage, "built without Open MPI", rank_in(mpirun));
    } else {
        CHECK(rank_in(mpirun).launcher == "mpi");
        CHECK(rank_in(mpirun).rank == 1);
    }
    REQUIRE_DIES(Exit::Usage, "WORLD_SIZE=4 without RANK", rank_in({{"WORLD_SIZE", "4"}}));
    REQUIRE_DIES(Exit::Usage, "RANK=4", rank_in({{"RANK", "4"}, {"WORLD_SIZE", "4"}}));
    REQUIRE_DIES(Exit::Usage, "RANK=-1", rank_in({{"RANK", "-1"}, {"WORLD_SIZE", "4"}}));
    REQUIRE_DIES(Exit::Usage, "WORLD_SIZE=two", rank_in({{"RANK", "0"}, {"WORLD_SIZE", "two"}}));
}

TEST_CASE("Alone there is nobody to ask", "[peers]") {
    const Peers peers;
    CHECK(peers.first());
    CHECK(peers.size() == 1);
    CHECK(peers.exchange("word") == std::vector<std::string>{"word"});
    CHECK(peers.from_first("word") == "word");
    CHECK(peers.largest(-3) == -3);
    peers.barrier();
}

TEST_CASE("Processes exchange words and agree on flags", "[peers]") {
    Job job("talk", 4);
    job.start_all();
    for (int r = 0; r < 4; ++r) {
        CHECK(job.end(r) == 0);
        INFO(job.said(r));
        CHECK(!has(job.said(r), "error"));
    }
}

TEST_CASE("An error of one process ends all, and one message is printed", "[peers]") {
    const std::string scene = GENERATE("third dies", "first dies", "all die", "third sees a bus error");
    Job job(scene, 3);
    job.start_all();
    const std::string third = "process 2 (", message = "shard 7: bad magic";
    std::vector<int> codes;
    for (int r = 0; r < 3; ++r) codes.push_back(job.end(r));
    INFO(scene << "\n" << job.said(0) << "\n" << job.said(1) << "\n" << job.said(2));
    CHECK(codes == std::vector<int>(3, 3));
    CHECK(has(job.said(0), "error: "));
    CHECK(has(job.said(0), message));
    CHECK(has(job.said(0), third) == has(scene, "third"));
    CHECK(has(job.failed(), message));
    CHECK(!has(job.said(1), "error: "));
    CHECK(!has(job.said(2), "error: "));
}

TEST_CASE("A process that is killed is named, and all end", "[peers]") {
    const int victim = GENERATE(0, 2);
    Job job("loop", 3, {{"KNAPSACK_TEST_EARLY", "75"}});
    job.start_all().wait_ready();
    const std::string name = "process " + std::to_string(victim) + " (",
                      pid = ", pid " + std::to_string(job.pid(victim)) + ") ended without a word";
    job.send(victim, SIGKILL);
    for (int r = 0; r < 3; ++r)  // what a launcher does then: it is not taken for a wish to stop
        if (r != victim) job.send(r, SIGTERM);
    const double start = seconds_now();
    for (int r = 0; r < 3; ++r) CHECK(job.end(r) == (r == victim ? -SIGKILL : 4));
    CHECK(seconds_now() - start < 10);
    INFO(job.said(0) << "\n" << job.said(1));
    const int speaker = victim == 0 ? 1 : 0;
    CHECK(has(job.said(speaker), name));
    CHECK(has(job.said(speaker), pid));
    if (victim != 0) CHECK(has(job.failed(), pid));
}

TEST_CASE("A process that is stopped is named, and all end", "[peers]") {
    const Environment limit = {{"KNAPSACK_PEER_TIMEOUT", "2"}};
    Job jobs[2] = {{"loop", 3, limit}, {"loop", 3, limit}};
    for (Job& job : jobs) job.start_all().wait_ready();
    for (const int victim : {0, 1}) jobs[victim].send(victim, SIGSTOP);
    for (const int victim : {0, 1}) {
        Job& job = jobs[victim];
        for (int r = 0; r < 3; ++r)
            if (r != victim) CHECK(job.end(r) == 4);
        const int speaker = victim == 0 ? 1 : 0;
        INFO(job.said(speaker));
        CHECK(has(job.said(speaker), "process " + std::to_string(victim) + " ("));
        CHECK(has(job.said(speaker), "has not been heard of for 2 s"));
        if (victim != 0) CHECK(has(job.failed(), "has not been heard of"));
        job.send(victim, SIGCONT);  // it finds out when it goes on
        CHECK(job.end(victim) == 4);
    }
}

TEST_CASE("A job that is stopped as a whole goes on", "[peers]") {
    Job job("loop", 2, {{"KNAPSACK_PEER_TIMEOUT", "1.5"}});
    job.start_all().wait_ready();
    for (const int signal : {SIGSTOP, SIGCONT}) {
        for (int r = 0; r < 2; ++r) job.send(r, signal);
        usleep(signal == SIGSTOP ? 2000000 : 300000);
    }
    job.send(0, SIGTERM);
    for (int r = 0; r < 2; ++r) CHECK(job.end(r) == 75);
}

TEST_CASE("A signal to one process reaches all", "[peers]") {
    const int receiver = GENERATE(0, 2);
    const std::string early = GENERATE("", "75", "1");
    Job job("loop", 3, {{"KNAPSACK_TEST_EARLY", early}});
    job.start_all().wait_ready();
    job.send(receiver, SIGUSR1);
    const double start = seconds_now();
    for (int r = 0; r < 3; ++r) {
        CHECK(job.end(r) == (early.empty() ? 75 : std::stoi(early)));
        INFO(job.said(r));
        // who stops early says so once; who does not, has the signal
        CHECK(has(job.said(r), "before the first step") == (r == 0 && !early.empty()));
        CHECK(has(job.said(r), "signal " + std::to_string(SIGUSR1)) == early.empty());
    }
    CHECK(seconds_now() - start < 10);
    CHECK(job.failed() == "no FAILED");
}

TEST_CASE("Processes of different runs do not meet", "[peers]") {
    SECTION("other numbers") {
        Job job("talk", 3);
        job.start(0);
        job.start(2, {{"WORLD_SIZE", "4"}});
        usleep(200000);
        job.start(1);  // it comes late, and ends with them
        for (int r = 0; r < 3; ++r) CHECK(job.end(r) == 2);
        CHECK(has(job.said(0), "process 2 ("));
        CHECK(has(job.said(0), "one of 4 processes"));
    }
    SECTION("connections of strangers") {
        Job job("talk", 2);
        job.start(0);
        std::vector<int> strays;
        for (int i = 0; i < 3; ++i) strays.push_back(stray_connection(job.port()));
        CHECK(write(strays[0], "GET / HTTP/1.0\r\n\r\n", 18) == 18);
        Connection other(strays[1]);
        other.post(0, "knapsack peers 1\nanother run\n1\n2\nhost\n1\n");
        job.start(1);
        for (int r = 0; r < 2; ++r) CHECK(job.end(r) == 0);
        close(strays[0]);
        close(strays[2]);
    }
    SECTION("nobody comes, nobody is there") {
        for (const int r : {0, 1}) {
            Job job("talk", 2, {{"KNAPSACK_PEER_TIMEOUT", "0.3"}});
            job.start(r);
            CHECK(job.end(r) == 4);
            INFO(job.said(r));
            CHECK(has(job.said(r), "localhost:" + std::to_string(job.port()) + " within 0.6 s"));
            CHECK(has(job.said(r), r == 0 ? "of 2 processes 1 have not come" : "cannot reach process 0"));
            CHECK(has(job.said(r), "KNAPSACK_PORT"));
        }
    }
}

TEST_CASE("Processes started by mpirun", "[peers][mpi]") {
    std::string said;
    if (mpi_library().empty()) SKIP_TEST("peers under mpirun: this build has no MPI");
    if (run_command("mpirun --version", &said) != 0) SKIP_TEST("peers under mpirun: there is no mpirun");
    const TemporaryFolder folder;
    const auto mpirun = [&](const std::string& scene) {
        const Setting setting({{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
                               {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
                               {"KNAPSACK_TEST_SCENE", scene},
                               {"KNAPSACK_TEST_FOLDER", folder.path()},
                               {"ASAN_OPTIONS", "detect_leaks=0"}});
        char self[4096] = "";
        ENSURE(readlink("/proc/self/exe", self, sizeof self - 1) > 0, "/proc is missing");
        return run_command(format_text("timeout 60 mpirun -np 3 --oversubscribe --bind-to none %s '%s'", self, PLAYER),
                           &said);
    };
    CHECK(mpirun("talk") == 0);
    INFO(said);
    CHECK(!has(said, "error"));
    CHECK(mpirun("all die") == 3);
    CHECK(has(said, "error: shard 7: bad magic"));
    CHECK(mpirun("second is killed") != 0);
    // not what is on the screen: mpirun may leave before it has passed that on
    CHECK(has(read_file(folder / "FAILED"), "process 1 ("));
    CHECK(has(read_file(folder / "FAILED"), "ended without a word"));
}

// ---------------------------------------------------------------------------------------------------------------------

namespace {

std::string variable(const char* name) {
    const char* value = getenv(name);
    return value ? value : "";
}

void expect(bool true_one, const char* what) {
    if (!true_one) die(Exit::Runtime, "wrong: %s", what);
}

int play(const std::string& scene, const Peers& peers) {
    const int rank = peers.rank(), size = peers.size();
    write_file(path_join(variable("KNAPSACK_TEST_FOLDER"), "ready" + std::to_string(rank)), "");
    if (scene == "talk") {
        expect(peers.local() == rank, "local");
        for (int round = 0; round < 200; ++round) {
            const std::vector<std::string> words = peers.exchange(std::string(static_cast<size_t>(rank), 'x'));
            expect(static_cast<int>(words.size()) == size, "size");
            for (int r = 0; r < size; ++r)
                expect(words[static_cast<size_t>(r)].size() == static_cast<size_t>(r), "word");
            expect(peers.largest(rank == round % size ? round : -5) == round, "largest");
        }
        const std::vector<std::string> long_words = peers.exchange(std::string(300000, static_cast<char>('a' + rank)));
        for (int r = 0; r < size; ++r)
            expect(long_words[static_cast<size_t>(r)] == std::string(300000, static_cast<char>('a' + r)), "long word");
        expect(peers.from_first("of " + std::to_string(rank)) == "of 0", "from_first");
        peers.barrier();
        return 0;
    }
    if (scene == "loop") {
        const bool early = !variable("KNAPSACK_TEST_EARLY").empty();  // then nobody asks for signals
        while (early || !signal_received()) usleep(10000);
        fprintf(stderr, "signal %d\n", signal_received());  // the screen is process 0's alone
        fflush(stdout);
        return 75;
    }
    if (scene == "all die" || (scene == "third dies" && rank == 2) || (scene == "first dies" && rank == 0))
        die(Exit::Data, "shard 7: bad magic");
    if (scene == "third sees a bus error" && rank == 2) die_together(Exit::Data, "shard 7: bad magic");
    if (scene == "second is killed" && rank == 1) raise(SIGKILL);
    peers.barrier();  // never comes
    return 0;
}

}  // namespace

TEST_CASE(PLAYER, "[.]") {
    const std::string scene = variable("KNAPSACK_TEST_SCENE"), early = variable("KNAPSACK_TEST_EARLY");
    die_throws = false;
    hear_signals();
    int code;
    {
        const Rank rank = find_rank();
        const Peers peers(rank);
        if (!early.empty()) on_signals_exit(std::stoi(early));
        if (peers.first())
            die_hook = [](Exit, const char* message) {
                write_file(path_join(variable("KNAPSACK_TEST_FOLDER"), "FAILED"), message);
            };
        code = play(scene, peers);
    }
    _Exit(code);
}
