// npy.h - NumPy's .npy files, version 1.0, C order: mapped for reading, written whole.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "util/mapped_file.h"

// A mapped array of a fixed dtype ("<u2", "<u4", or a structured descr as NumPy prints it) and shape.
class NpyArray {
  public:
    NpyArray() = default;
    // Dies with Exit::Data when the file is not an array of this dtype with `columns` as its second dimension (0:
    // one-dimensional).
    NpyArray(const std::string& path, const std::string& dtype, size_t item_bytes, uint64_t columns);
    uint64_t rows() const { return rows_; }
    const void* data() const { return file_.data() + offset_; }

  private:
    MappedFile file_;
    size_t offset_ = 0;
    uint64_t rows_ = 0;
};

// The parser alone, on any bytes (the fuzz target's entry point). Dies as above; `name` is for messages.
struct NpyLayout {
    size_t offset;  // of the first item
    uint64_t rows;
};
NpyLayout parse_npy(const std::string& name, const unsigned char* data, size_t size, const std::string& dtype,
                    size_t item_bytes, uint64_t columns);

void write_npy(const std::string& path, const std::string& dtype, size_t item_bytes, const std::vector<uint64_t>& shape,
               const void* data);
