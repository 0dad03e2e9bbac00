// safetensors.h - Hugging Face's tensor file: u64 header size, JSON header, then the data without holes. Fully
// validated on reading, as the reference reader does: sizes, offsets, order, overlaps, dtype against shape, header at
// most 100 MB.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "util/mapped_file.h"

struct SafeTensor {
    std::string dtype;  // F32, BF16, F16, ...
    std::vector<int64_t> shape;
    const unsigned char* data = nullptr;  // not aligned
    size_t bytes = 0;
};

class SafeTensorsFile {
  public:
    // Dies with Exit::Data naming the file, what was expected and what was found.
    explicit SafeTensorsFile(const std::string& path);
    const std::map<std::string, SafeTensor>& tensors() const { return tensors_; }
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    MappedFile file_;
    std::map<std::string, SafeTensor> tensors_;
};

// The header's parser alone, on any bytes (the fuzz target's entry point). Dies as above; `name` is for messages.
std::map<std::string, SafeTensor> parse_safetensors(const std::string& name, const unsigned char* data, size_t size);

// Writes tensors in the order given. `data` is the tensor as it is in memory. Where it is null, `fill` puts the bytes
// into a buffer when the tensor's turn comes, so that nothing is held twice; or `write` hands them over piece by piece.
struct SafeTensorSpec {
    using WriteBytes = std::function<void(const void*, size_t)>;
    std::string name, dtype;
    std::vector<int64_t> shape;
    size_t bytes;
    const void* data;
    std::function<void(unsigned char*)> fill;
    std::function<void(const WriteBytes&)> write = nullptr;
};
void write_safetensors(const std::string& path, const std::vector<SafeTensorSpec>& tensors);

std::string shape_text(const std::vector<int64_t>& shape);  // "(3, 4)"
