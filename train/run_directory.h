// run_directory.h - runs/NAME/: what may be written there, what stands there already, and how a run ends
// (dev/formats.md, 4).
#pragma once
#include <string>
#include <utility>
#include <vector>

class RunDirectory {
  public:
    RunDirectory() = default;  // a run without --out: nothing is written
    // Dies with Exit::Usage when `path` holds something and `resume` is off. Makes nothing yet.
    RunDirectory(const std::string& path, bool resume);
    // Makes the directory and locks it for this process. Dies with Exit::Runtime when it cannot be written, with
    // Exit::Usage when another process has it.
    void create() const;

    bool active() const { return !path_.empty(); }
    const std::string& path() const { return path_; }
    std::string file(const std::string& name) const;
    bool done() const;  // the DONE marker of an earlier run

    // config.json: options as given by OptionTable::json(), then named facts (values are JSON texts).
    void write_config(const std::string& options_json,
                      const std::vector<std::pair<std::string, std::string>>& facts) const;
    void mark_done(const std::string& reason) const;
    void mark_failed(const std::string& reason) const;
    // Cuts a log back to its size at the checkpoint. Dies with Exit::Data when it is shorter than that.
    void truncate_log(const std::string& name, int64_t bytes) const;

  private:
    std::string path_;
};
