// spelling.h - which of the names that there are a mistyped one may have meant.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

// Letters to change, add or leave out until a is b.
inline size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<size_t> row(b.size() + 1);
    for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= a.size(); ++i) {
        size_t diagonal = row[0]++;
        for (size_t j = 1; j <= b.size(); ++j) {
            const size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
            diagonal = above;
        }
    }
    return row.back();
}

// The nearest of `names`, the first of several; "" where all are more than `limit` letters away.
inline std::string nearest_name(const std::string& name, const std::vector<std::string>& names, size_t limit) {
    std::string best;
    size_t least = limit + 1;
    for (const std::string& other : names)
        if (const size_t distance = edit_distance(name, other); distance < least) least = distance, best = other;
    return best;
}
