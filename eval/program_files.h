// program_files.h - the files that an evaluation reads and writes, checked before any work: by what they are (device
// and inode), not by their names.
#pragma once
#include <string>
#include <utility>
#include <vector>

// Files that belong to a shard, a knowledge source or a question set: those of PREFIX's endings that are there.
std::vector<std::string> files_of_prefix(const std::string& prefix);

// Dies with Exit::Data where an input is there but is no regular file: opening a FIFO would wait for ever.
void check_inputs(const std::vector<std::string>& inputs);

// Outputs are pairs of flag and path; those without a path are passed over, and a link is followed: the path becomes
// that of its file. Dies with Exit::Usage on a directory, a device or FIFO (a result would take its place), on an
// output that is an input and on two that are one file; with Exit::Runtime where a file cannot be written. Makes the
// folders of the outputs, nothing else.
void check_outputs(const std::vector<std::pair<const char*, std::string*>>& outputs,
                   const std::vector<std::string>& inputs);
