// mapped_file.h - a file mapped read-only; nothing of it is copied.
#pragma once
#include <cstddef>
#include <string>

// From now on a page that cannot be read (the file was truncated, the disk failed) ends the program with Exit::Data, a
// message that names the file, and what die_hook does: it gets no memory and may call only what a signal handler may.
void die_of_bus_errors();

class MappedFile {
  public:
    MappedFile() = default;
    // Dies with Exit::Data when the file is missing, unreadable or not a regular one. An empty file maps to size 0.
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
    struct Mapping* known_ = nullptr;  // to die_of_bus_errors
};
