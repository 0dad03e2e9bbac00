// mapped_file.h - a file mapped read-only; nothing of it is copied.
#pragma once
#include <cstddef>
#include <string>

class MappedFile {
  public:
    MappedFile() = default;
    // Dies with Exit::Data when the file is missing or unreadable. An empty file maps to size 0.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const unsigned char* data() const { return data_; }
    size_t size() const { return size_; }

  private:
    const unsigned char* data_ = nullptr;
    size_t size_ = 0;
};
