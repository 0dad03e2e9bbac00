#include "util/build_info.h"

// The build passes both to this file alone, so that a new commit compiles one small file again.
#ifndef BUILD_COMMIT
#define BUILD_COMMIT "unknown"
#endif
#ifndef BUILD_FLAGS
#define BUILD_FLAGS "unknown"
#endif

const char* build_commit() { return BUILD_COMMIT; }
const char* build_flags() { return BUILD_FLAGS; }
const char* build_compiler() {
#ifdef __clang__
    return "clang++ " __clang_version__;
#else
    return "g++ " __VERSION__;
#endif
}
