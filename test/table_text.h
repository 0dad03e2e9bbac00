// table_text.h - what print_results prints, as text.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <string>

#include "eval/results.h"

inline std::string table_text(const EvaluationPlan& plan, const Evaluation& evaluation) {
    char* text = nullptr;
    size_t size = 0;
    FILE* out = open_memstream(&text, &size);
    print_results(out, plan, evaluation);
    fclose(out);
    const std::string printed(text, size);
    free(text);
    return printed;
}
