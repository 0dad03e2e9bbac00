#include "test/cases/case.h"

std::vector<Case> all_cases() {
    std::vector<Case> cases;
    for (const auto& room : {embedding_cases, layernorm_cases, rotary_cases, gelu_cases, attention_cases,
                             classifier_cases, matmul_cases, update_cases})
        for (Case& c : room()) cases.push_back(std::move(c));
    return cases;
}
