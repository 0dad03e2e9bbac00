// packing.h - many short segments into few rows of one length.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

// Segments row by row: those of row r are segments[first[r]] .. segments[first[r + 1] - 1], laid one after the other
// from the row's position 0.
struct Packing {
    std::vector<uint32_t> segments;
    std::vector<uint64_t> first;
    size_t rows() const { return first.size() - 1; }
};

// Best fit, longest first (Johnson et al. 1974): a segment goes to the fullest row that still takes it. Every length
// must be in [1, T].
Packing pack_segments(const std::vector<int>& lengths, int T);
