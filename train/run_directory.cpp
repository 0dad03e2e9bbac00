#include "train/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/files.h"

using ordered_json = nlohmann::ordered_json;

RunDirectory::RunDirectory(const std::string& path, bool resume) : path_(path) {
    if (directory_exists(path)) {
        if (!list_directory(path).empty() && !resume)
            die(Exit::Usage, "--out %s: not empty; give --resume to go on with that run, or another directory",
                path.c_str());
        if (resume && !list_directory(path).empty() && !file_exists(file("config.json")))
            die(Exit::Usage, "--out %s: holds files but no run (no config.json); give the directory of a run",
                path.c_str());
    } else if (file_exists(path)) {
        die(Exit::Usage, "--out %s: a file stands there; give a directory", path.c_str());
    }
}

void RunDirectory::create() const {
    if (!active()) return;
    make_directories(path_);
    if (access(path_.c_str(), W_OK | X_OK) != 0) die(Exit::Runtime, "--out %s: cannot be written to", path_.c_str());
    // Held until the process ends, however it ends. File systems without locks (ENOLCK, ENOTSUP) do not stop a run.
    const int folder = open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        die(Exit::Usage, "--out %s: another process is writing this run; wait for it, or give another directory",
            path_.c_str());
}

std::string RunDirectory::file(const std::string& name) const { return path_join(path_, name); }
bool RunDirectory::done() const { return active() && file_exists(file("DONE")); }

void RunDirectory::write_config(const std::string& options_json,
                                const std::vector<std::pair<std::string, std::string>>& facts) const {
    if (!active()) return;
    ordered_json object = {{"format_version", 1}, {"options", ordered_json::parse(options_json)}};
    for (const auto& [name, value] : facts) object[name] = ordered_json::parse(value);
    write_file(file("config.json"), object.dump(2) + "\n");
}

void RunDirectory::mark_done(const std::string& reason) const {
    if (active()) write_file(file("DONE"), reason + "\n");
}

void RunDirectory::mark_failed(const std::string& reason) const {
    if (!active()) return;
    // Not through write_file: the program is dying already, perhaps of a full disk, and must not die again here.
    if (FILE* f = fopen(file("FAILED").c_str(), "w")) {
        fprintf(f, "%s\n", reason.c_str());
        fclose(f);
    }
}

void RunDirectory::truncate_log(const std::string& name, int64_t bytes) const {
    struct stat info;
    const std::string path = file(name);
    const int64_t size = stat(path.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_size) : 0;
    if (size < bytes)
        die(Exit::Data,
            "%s: holds %lld bytes, the checkpoint was made with %lld; it was changed by hand: restore it, or --branch "
            "from the checkpoint",
            path.c_str(), static_cast<long long>(size), static_cast<long long>(bytes));
    if (size > bytes) truncate_file(path, static_cast<uint64_t>(bytes));
}
