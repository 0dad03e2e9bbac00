#include "eval/program_files.h"

#include <sys/stat.h>

#include <filesystem>

#include "util/check.h"
#include "util/files.h"

namespace fs = std::filesystem;

namespace {

// Where writing to this path goes: links followed, also one to a file that is not there yet.
std::string target_of(const std::string& path) {
    std::error_code error;
    fs::path target = path;
    for (int links = 0; links < 40 && fs::is_symlink(target, error); ++links) {
        const fs::path next = fs::read_symlink(target, error);
        target = next.is_absolute() ? next : target.parent_path() / next;
    }
    const fs::path folder = fs::weakly_canonical(folder_of(target.string()), error);
    return error ? target.string() : (folder / target.filename()).string();
}

bool is_one_file(const std::string& a, const std::string& b) {
    struct stat of_a, of_b;
    return stat(a.c_str(), &of_a) == 0 && stat(b.c_str(), &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

}  // namespace

std::vector<std::string> files_of_prefix(const std::string& prefix) {
    std::vector<std::string> files;
    for (const char* ending :
         {".bin", ".idx", ".json", ".ds", ".ds.index", ".ds.metadata", ".facts.json", ".spans.npy", ".values.npy",
          ".group.npy", ".names.txt", ".questions.json", ".q.npy", ".popularity.npy"})
        if (std::error_code error; fs::exists(prefix + ending, error)) files.push_back(prefix + ending);
    return files;
}

void check_inputs(const std::vector<std::string>& inputs) {
    std::error_code error;
    for (const std::string& input : inputs)
        if (fs::exists(input, error) && !fs::is_regular_file(input, error) && !fs::is_directory(input, error))
            die(Exit::Data, "%s: a device, socket or FIFO; expected a regular file", input);
}

void check_outputs(const std::vector<std::pair<const char*, std::string*>>& outputs,
                   const std::vector<std::string>& inputs) {
    std::error_code error;
    for (size_t i = 0; i < outputs.size(); ++i) {
        const auto& [flag, path] = outputs[i];
        if (path->empty()) continue;
        if (fs::is_directory(*path, error))
            die(Exit::Usage, "%s %s: a directory; expected the name of a file", flag, *path);
        if (fs::exists(*path, error) && !fs::is_regular_file(*path, error))
            die(Exit::Usage, "%s %s: a device, socket or FIFO, which a result would replace; expected a file", flag,
                *path);
        for (const std::string& input : inputs)
            if (is_one_file(*path, input))
                die(Exit::Usage, "%s %s: this is an input (%s), which the result would replace", flag, *path, input);
        for (size_t j = 0; j < i; ++j)
            if (!outputs[j].second->empty() &&
                (is_one_file(*outputs[j].second, *path) || target_of(*outputs[j].second) == target_of(*path)))
                die(Exit::Usage, "%s and %s: two results cannot be one file (%s)", outputs[j].first, flag, *path);
    }
    for (const auto& [flag, path] : outputs) {
        if (path->empty()) continue;
        if (fs::is_symlink(*path, error)) *path = target_of(*path);
        make_directories(folder_of(*path));
        FileWriter probe(*path);  // before the work, not after it; not committed, so that nothing stays
    }
}
