#include "train/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/files.h"
#include "util/json.h"

using ordered_json = nlohmann::ordered_json;

RunDirectory::RunDirectory(const std::string& path, bool resume) : path_(path) {
    if (directory_exists(path)) {
        if (!list_directory(path).empty() && !resume)
            die(Exit::Usage, "--out %s: not empty; give --resume to go on with that run, or another directory", path);
        // what a start that failed before its first file may leave
        const auto is_left = [](const std::string& name) { return name == "FAILED" || name == "config.json.tmp"; };
        const std::vector<std::string> names = list_directory(path);
        const bool begun = !std::all_of(names.begin(), names.end(), is_left);
        if (resume && begun && !file_exists(file("config.json")))
            die(Exit::Usage, "--out %s: holds files but no run (no config.json); give the directory of a run", path);
    } else if (access(path.c_str(), F_OK) == 0) {
        die(Exit::Usage, "--out %s: there is a file of that name; give a directory", path);
    }
}

void RunDirectory::create() const {
    if (!active()) return;
    make_directories(path_);
    if (access(path_.c_str(), W_OK | X_OK) != 0) die(Exit::Runtime, "--out %s: cannot be written to", path_);
    // Held until the process ends, however it ends. File systems without locks (ENOLCK, ENOTSUP) do not stop a run.
    const int folder = open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        die(Exit::Usage, "--out %s: another process is writing this run; wait for it, or give another directory",
            path_);
}

std::string RunDirectory::file(const std::string& name) const { return path_join(path_, name); }
std::string RunDirectory::answers(int64_t step) const { return file(format_text("answers/step_%08d.jsonl", step)); }
bool RunDirectory::done() const { return active() && file_exists(file("DONE")); }

void RunDirectory::write_config(const std::string& options_json,
                                const std::vector<std::pair<std::string, std::string>>& facts) const {
    if (!active()) return;
    ordered_json object = {{"format_version", 1}, {"options", ordered_json::parse(options_json)}};
    for (const auto& [name, value] : facts) object[name] = ordered_json::parse(value);
    write_file(file("config.json"), object.dump(2) + "\n");
}

std::string RunDirectory::options() const {
    const std::string path = file("config.json");
    const nlohmann::json config = parse_json(path, read_file(path));
    if (!config.is_object() || !config.contains("options") || !config["options"].is_object())
        die(Exit::Data, "%s: no options", path);
    return config["options"].dump();
}

AppendFile RunDirectory::open_log(const std::string& name, int64_t bytes) const {
    const std::string path = file(name);
    const int64_t size = file_exists(path) ? AppendFile(path).size() : 0;
    if (size < bytes)
        die(Exit::Data,
            "%s: holds %d bytes, the checkpoint was made with %d; it was changed by hand: restore it, or --branch from "
            "the checkpoint",
            path, size, bytes);
    if (size > bytes) truncate_file(path, static_cast<uint64_t>(bytes));
    return AppendFile(path);
}

void RunDirectory::remove_results_after(int64_t step) const {
    remove_tree(file("FAILED"));
    remove_tree(file("exposures"));
    if (!directory_exists(file("answers"))) return;
    for (const std::string& name : list_directory(file("answers"))) {
        const std::string path = file("answers/" + name);
        if (step < 0 || path > answers(step)) remove_tree(path);
    }
}

void RunDirectory::mark_done(const std::string& reason) const {
    if (active()) write_file(file("DONE"), reason + "\n");
}

void RunDirectory::mark_failures() const {
    // Not through write_file: the program is dying already, of a full disk or in a signal handler, and must not die
    // again here. A FAILED without its text would say less than none.
    static char failed[PATH_MAX], done[PATH_MAX];
    const std::string path = file("FAILED"), done_path = file("DONE");
    if (path.size() >= sizeof failed) return;
    memcpy(failed, path.c_str(), path.size() + 1);
    memcpy(done, done_path.c_str(), done_path.size() + 1);
    die_hook = [](Exit, const char* message) {
        if (access(done, F_OK) == 0) return;  // what fails after that (the folder's sync) costs nothing
        const int fd = open(failed, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0) return;
        const size_t bytes = strlen(message);
        const bool whole = write(fd, message, bytes) == static_cast<ssize_t>(bytes) && write(fd, "\n", 1) == 1;
        if (close(fd) != 0 || !whole) unlink(failed);
    };
}
