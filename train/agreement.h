// agreement.h - several processes are one run only if they were started as one: the same program, options and data.
// Everything here returns at once in a single process.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "util/peers.h"  // defines: Peers

// Of the build (commit, compiler, flags) and the options as they were given. Dies with Exit::Usage in the process that
// differs from process 0, naming what differs.
void agree_on_start(const Peers& peers, const std::string& options_json, const std::string& build);

// Of what was found: the loader's fingerprint (checksums of all shards), the identities of what is evaluated on, the
// weights that are gone on from (start_identity), the kind of arithmetic (Machine::matmul_library). Dies with
// Exit::Data, for the arithmetic with Exit::Usage.
void agree_on_data(const Peers& peers, const std::string& fingerprint,
                   const std::vector<std::pair<std::string, std::string>>& evaluation_data, const std::string& start,
                   const std::string& arithmetic);

// What a directory of weights is known by: the checkpoint's COMPLETE, else sizes and checksums of its weight files
// (read whole; several processes only). "" for "".
std::string start_identity(const Peers& peers, const std::string& directory);

// The smallest.
int smallest(const Peers& peers, int number);
