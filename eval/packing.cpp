#include "eval/packing.h"

#include <algorithm>
#include <numeric>

#include "util/check.h"

Packing pack_segments(const std::vector<int>& lengths, int T) {
    std::vector<uint32_t> order(lengths.size()), row_of(lengths.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return lengths[a] > lengths[b]; });

    std::vector<std::vector<uint32_t>> open(static_cast<size_t>(T) + 1);  // rows by their free positions
    uint32_t rows = 0;
    for (const uint32_t segment : order) {
        const int length = lengths[segment];
        ENSURE(length >= 1 && length <= T, "packing: a segment of %d does not fit rows of %d", length, T);
        size_t space = static_cast<size_t>(length);
        while (space < open.size() && open[space].empty()) ++space;
        uint32_t row = rows;
        if (space < open.size()) {
            row = open[space].back();
            open[space].pop_back();
        } else {
            space = static_cast<size_t>(T);
            ++rows;
        }
        row_of[segment] = row;
        open[space - static_cast<size_t>(length)].push_back(row);
    }

    Packing packing;
    packing.first.assign(static_cast<size_t>(rows) + 1, 0);
    for (const uint32_t row : row_of) ++packing.first[row + 1];
    std::partial_sum(packing.first.begin(), packing.first.end(), packing.first.begin());
    packing.segments.resize(lengths.size());
    std::vector<uint64_t> next(packing.first.begin(), packing.first.end() - 1);
    for (const uint32_t segment : order) packing.segments[next[row_of[segment]]++] = segment;
    return packing;
}
