// Checkpoint directories as a whole: the trainer's state, the COMPLETE marker with its checksums, latest and prune.
#include "model/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "kernels/choices_text.h"  // defines: ChoicesText, parse
#include "util/check.h"
#include "util/files.h"
#include "util/json.h"

using nlohmann::json;
using nlohmann::ordered_json;

namespace {

constexpr char marker[] = "COMPLETE";

ordered_json parse_object(const std::string& what, const std::string& text) {
    ordered_json value = ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
    ENSURE(value.is_object(), "trainer state: %s is not a JSON object", what.c_str());
    return value;
}

// Paths of all files below a folder, relative to it, sorted.
std::vector<std::string> files_below(const std::string& directory, const std::string& prefix = "") {
    std::vector<std::string> paths;
    for (const std::string& name : list_directory(path_join(directory, prefix))) {
        const std::string path = prefix + name;
        if (directory_exists(path_join(directory, path))) {
            for (const std::string& inner : files_below(directory, path + "/")) paths.push_back(inner);
        } else {
            paths.push_back(path);
        }
    }
    return paths;
}

uint64_t file_size(const std::string& path) {
    struct stat info;
    // never 0 for want of an answer: COMPLETE would list it, and the checkpoint would never be read again
    if (stat(path.c_str(), &info) != 0) die(Exit::Data, "%s: cannot be looked up (%s)", path, strerror(errno));
    return static_cast<uint64_t>(info.st_size);
}

// The marker's list of files; an empty object where there is no marker.
json read_marker(const std::string& directory) {
    const std::string path = path_join(directory, marker);
    if (!file_exists(path)) {
        if (file_exists(path_join(directory, "trainer_state.json")))
            die(Exit::Data, "%s: no COMPLETE file: the save was cut off; take an earlier checkpoint",
                directory.c_str());
        return json::object();
    }
    const json root = parse_json(path, read_file(path));
    check_format_version(path, root);
    if (!root.contains("files") || !root["files"].is_object() || root["files"].empty())
        die(Exit::Data, "%s: no list of files", path.c_str());
    return root["files"];
}

void verify(const std::string& directory, const std::string& name, const json& entry) {
    const std::string path = path_join(directory, name);
    const std::string list = path_join(directory, marker);
    if (!entry.is_object()) die(Exit::Data, "%s: the entry of %s is not an object", list.c_str(), name.c_str());
    const int64_t bytes = json_integer(list, entry, "bytes", 0, INT64_MAX);
    const int64_t crc = json_integer(list, entry, "crc32c", 0, UINT32_MAX);
    if (!file_exists(path)) die(Exit::Data, "%s: missing, but listed in COMPLETE", path.c_str());
    const uint64_t size = file_size(path);
    if (size != static_cast<uint64_t>(bytes))
        die(Exit::Data, "%s: %llu bytes, expected %lld (COMPLETE); take another checkpoint", path.c_str(),
            static_cast<unsigned long long>(size), static_cast<long long>(bytes));
    const uint32_t found = crc32c_file(path);
    if (found != static_cast<uint32_t>(crc))
        die(Exit::Data, "%s: damaged: CRC %08x, expected %08x (COMPLETE); take another checkpoint", path.c_str(), found,
            static_cast<uint32_t>(crc));
}

struct StepDirectory {
    int64_t step;
    std::string path;
};

// step_XXXXXXXX with eight digits or more, nothing after them; -1: another name.
int64_t step_of(const std::string& name) {
    if (name.rfind("step_", 0) != 0 || name.size() < 13 || name.size() > 23) return -1;
    int64_t step = 0;
    for (size_t i = 5; i < name.size(); ++i) {
        if (name[i] < '0' || name[i] > '9') return -1;
        step = step * 10 + (name[i] - '0');
    }
    return step;
}

// Complete ones, by step.
std::vector<StepDirectory> complete_checkpoints(const std::string& run_directory) {
    std::vector<StepDirectory> found;
    const std::string folder = path_join(run_directory, "checkpoints");
    if (!directory_exists(folder)) return found;
    for (const std::string& name : list_directory(folder)) {
        const std::string path = path_join(folder, name);
        if (step_of(name) >= 0 && file_exists(path_join(path, marker))) found.push_back({step_of(name), path});
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step < b.step; });
    return found;
}

}  // namespace

void write_trainer_state(const std::string& directory, const TrainerState& state) {
    const ordered_json out = {{"format_version", 1},
                              {"step", state.step},
                              {"tokens", state.tokens},
                              {"options", parse_object("options", state.options_json)},
                              {"metrics", parse_object("metrics", state.metrics_json)},
                              {"matmul", ordered_json::parse(state.choices_json)}};
    write_file(path_join(directory, "trainer_state.json"), out.dump(2) + "\n");
}

TrainerState read_trainer_state(const std::string& directory) {
    const std::string path = path_join(directory, "trainer_state.json");
    checkpoint_verify_file(directory, "trainer_state.json");
    const std::string text = read_file(path);
    const json root = parse_json(path, text);
    check_format_version(path, root);
    TrainerState state;
    state.step = json_integer(path, root, "step", 0, INT64_MAX);
    state.tokens = json_integer(path, root, "tokens", 0, INT64_MAX);
    for (const char* key : {"options", "metrics"})
        if (!root.contains(key) || !root[key].is_object())
            die(Exit::Data, "%s: key '%s' is missing or not an object", path.c_str(), key);
    const ordered_json ordered = ordered_json::parse(text);
    state.options_json = ordered["options"].dump();
    state.metrics_json = ordered["metrics"].dump();
    if (ordered.contains("matmul")) state.choices_json = ordered["matmul"].dump();
    gpu::ChoicesText choices;
    if (const std::string wrong = gpu::parse(state.choices_json, &choices); !wrong.empty())
        die(Exit::Data, "%s: key 'matmul' (kernels and algorithms that were chosen): %s; take another checkpoint", path,
            wrong);
    return state;
}

void checkpoint_verify(const std::string& directory) {
    const json files = read_marker(directory);
    for (const auto& item : files.items()) verify(directory, item.key(), item.value());
}

void checkpoint_verify_file(const std::string& directory, const std::string& name) {
    const json files = read_marker(directory);
    if (files.empty()) return;
    if (!files.contains(name))
        die(Exit::Data, "%s: not listed in COMPLETE; this checkpoint was saved without it or it was added later",
            path_join(directory, name).c_str());
    verify(directory, name, files[name]);
}

std::string checkpoint_begin(const std::string& run_directory, int64_t step) {
    const std::string path =
        path_join(run_directory, format_text("checkpoints/step_%08lld.tmp", static_cast<long long>(step)));
    remove_tree(path);
    make_directories(path);
    return path;
}

std::string checkpoint_finish(const std::string& temporary_directory) {
    ENSURE(temporary_directory.size() > 4 && temporary_directory.rfind(".tmp") == temporary_directory.size() - 4,
           "checkpoint_finish: %s was not made by checkpoint_begin", temporary_directory.c_str());
    const std::string path = temporary_directory.substr(0, temporary_directory.size() - 4);
    if (file_exists(path_join(path, marker))) {
        remove_tree(temporary_directory);
        return path;
    }
    ordered_json files = ordered_json::object();
    for (const std::string& name : files_below(temporary_directory)) {
        const std::string file = path_join(temporary_directory, name);
        files[name] = {{"bytes", file_size(file)}, {"crc32c", crc32c_file(file)}};
    }
    const ordered_json out = {{"format_version", 1}, {"files", files}};
    write_file(path_join(temporary_directory, marker), out.dump(1) + "\n");
    remove_tree(path);
    rename_path(temporary_directory, path);
    return path;
}

std::string checkpoint_latest(const std::string& run_directory, int64_t at_most) {
    std::string latest;
    for (const StepDirectory& directory : complete_checkpoints(run_directory))
        if (directory.step <= at_most) latest = directory.path;
    return latest;
}

void checkpoint_prune(const std::string& run_directory, int keep) {
    const std::vector<StepDirectory> found = complete_checkpoints(run_directory);
    for (size_t i = 0; keep > 0 && i + static_cast<size_t>(keep) < found.size(); ++i) {
        // renamed first: a removal that is cut off must not leave a directory that still looks complete
        const std::string doomed = found[i].path + ".tmp";
        remove_tree(doomed);
        rename_path(found[i].path, doomed);
        remove_tree(doomed);
    }
    const std::string folder = path_join(run_directory, "checkpoints");
    if (!directory_exists(folder)) return;
    for (const std::string& name : list_directory(folder))
        if (name.size() > 4 && name.rfind(".tmp") == name.size() - 4 && step_of(name.substr(0, name.size() - 4)) >= 0)
            remove_tree(path_join(folder, name));
}
