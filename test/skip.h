// skip.h - a test case that this machine cannot run says so and is counted as skipped, neither passed nor failed.
#pragma once
#include <cstdio>
#include <string>

inline int skipped_tests = 0;

// Leaves the test case; to be used before its first section. The reason begins with what is skipped: "live logits: no
// transformers".
#define SKIP_TEST(reason)                                     \
    do {                                                      \
        printf("skipped: %s\n", std::string(reason).c_str()); \
        ++skipped_tests;                                      \
        return;                                               \
    } while (0)
