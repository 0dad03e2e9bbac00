// files.h - writing that never leaves half a file: temporary name, fsync, rename. Every failure (a full disk too) dies
// with Exit::Runtime and the path; what was there before stays.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// While it is there, the path is removed if the program dies (die() runs no destructors).
class Temporary {
  public:
    explicit Temporary(const std::string& path);
    ~Temporary();
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;

  private:
    int slot_;
};

// Dies with Exit::Usage where a finished file must not take that name: a directory, a device, a pipe.
void check_output(const std::string& path);
// ... where something else than a directory has the name; `flag` is for the message.
void check_output_directory(const char* flag, const std::string& path);
// Replaces `path` by `bytes`; a link stays, what it points to is replaced.
void write_file(const std::string& path, std::string_view bytes);
// The same for content that comes in parts: write(...) any number of times, then commit(). Without commit the temporary
// file is removed.
class FileWriter {
  public:
    explicit FileWriter(const std::string& path);
    ~FileWriter();
    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;
    void write(const void* data, size_t bytes);
    void commit();

  private:
    std::string path_, temporary_;
    Temporary while_open_;
    int fd_ = -1;
};

// A file that grows at its end, from where it ended before: a log. A write() is handed to the system at once and in one
// piece, so that a killed program leaves whole lines; one that does not fit is taken back.
class AppendFile {
  public:
    AppendFile() = default;  // none
    explicit AppendFile(const std::string& path);
    ~AppendFile();
    AppendFile(AppendFile&& other) noexcept { *this = std::move(other); }
    AppendFile& operator=(AppendFile&& other) noexcept;
    AppendFile(const AppendFile&) = delete;
    AppendFile& operator=(const AppendFile&) = delete;

    explicit operator bool() const { return fd_ >= 0; }
    void write(std::string_view bytes);
    void sync();
    int64_t size() const { return size_; }  // bytes
    const std::string& path() const { return path_; }

  private:
    std::string path_;
    int fd_ = -1;
    int64_t size_ = 0;
};

// Dies with Exit::Data when it cannot be read, and when it is not a regular file: a FIFO would wait for ever.
std::string read_file(const std::string& path);
// A regular file. Dies with Exit::Data where a FIFO, a device or a socket has that name.
bool file_exists(const std::string& path);
bool directory_exists(const std::string& path);
void make_directories(const std::string& path);                    // like mkdir -p
void remove_tree(const std::string& path);                         // no error when it is not there
void rename_path(const std::string& from, const std::string& to);  // then syncs the folder
void copy_file(const std::string& from, const std::string& to);
void sync_directory(const std::string& path);
void truncate_file(const std::string& path, uint64_t bytes);
std::vector<std::string> list_directory(const std::string& path);  // names, sorted
std::vector<std::string> glob_files(const std::string& pattern);   // paths, in name order; empty: none
std::string sha256_file(const std::string& path);                  // 64 hex digits
uint32_t crc32c_file(const std::string& path);                     // ten times as fast: bit flips, not tampering
std::string path_join(const std::string& folder, const std::string& name);
std::string folder_of(const std::string& path);  // "" -> "."
