// build_info.h - what this binary was made from: for config.json of a run, and for whoever reads it a year later.
#pragma once

const char* build_commit();  // "1a2b3c4d5e6f", with "-dirty" where the tree had changes; "unknown" outside a repository
const char* build_compiler();  // "g++ 12.2.0"
const char* build_flags();     // the compiler's flags
