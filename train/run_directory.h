// run_directory.h - runs/NAME/: what may be written there, what is there already, and how a run ends (dev/formats.md,
// 4).
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "util/files.h"  // defines: AppendFile

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
    std::string answers(int64_t step) const;  // of the questions, evaluated after `step` updates

    // config.json: options as given by OptionTable::json(), then named facts (values are JSON texts).
    void write_config(const std::string& options_json,
                      const std::vector<std::pair<std::string, std::string>>& facts) const;
    // The options in config.json, as OptionTable::json() gave them.
    std::string options() const;
    // metrics.jsonl or eval.jsonl, cut back to its size at the checkpoint. Dies with Exit::Data when it is shorter.
    AppendFile open_log(const std::string& name, int64_t bytes) const;
    // Removes what a run that goes on from `step` makes again: FAILED, the ledgers, answers of later steps. -1: a new
    // run.
    void remove_results_after(int64_t step) const;

    bool done() const;  // the DONE marker of an earlier run
    void mark_done(const std::string& reason) const;
    // From now on a program that dies says why in FAILED.
    void mark_failures() const;

  private:
    std::string path_;
};
