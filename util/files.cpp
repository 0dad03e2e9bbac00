#include "util/files.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "util/check.h"
#include "util/crc32c.h"
#include "util/sha256.h"

namespace fs = std::filesystem;

namespace {

[[noreturn]] void die_error(Exit code, const std::string& path, const char* what, int error) {
    const char* hint =
        error == ENOSPC || error == EDQUOT ? "; free some space, what was there before is untouched" : "";
    die(code, "%s: cannot be %s (%s)%s", path, what, strerror(error), hint);
}
[[noreturn]] void die_errno(Exit code, const std::string& path, const char* what) {
    die_error(code, path, what, errno);
}

// A descriptor that closes itself, also when a function dies by exception under test.
struct Descriptor {
    int fd;
    ~Descriptor() {
        if (fd >= 0) close(fd);
    }
};

// False, and errno, when not all of it could be written.
bool write_all(int fd, const void* data, size_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        at += n;
        bytes -= static_cast<size_t>(n);
    }
    return true;
}

// What is removed when the program dies. Of fixed size: nothing may be allocated then.
struct TemporarySlot {
    std::atomic<bool> taken;
    char path[PATH_MAX];  // valid once taken: written by the thread that is about to make the file
};
TemporarySlot temporaries[16];

void remove_temporaries() {
    for (TemporarySlot& slot : temporaries) {
        if (!slot.taken || !slot.path[0]) continue;
        if (unlink(slot.path) == 0 || (errno != EISDIR && errno != EPERM)) continue;
        // another thread may be about to give the folder its final name: one of the two renames wins
        char gone[PATH_MAX + 8];
        snprintf(gone, sizeof gone, "%s.tmp", slot.path);
        if (rename(slot.path, gone) != 0) continue;
        std::error_code error;
        fs::remove_all(gone, error);
    }
}

// False where there is nothing of that name. A disk that cannot say so is no absence: a run would begin anew.
bool look_at(const std::string& path, struct stat* info) {
    if (stat(path.c_str(), info) == 0) return true;
    if (errno == EIO || errno == ESTALE || errno == ENOMEM) die_errno(Exit::Data, path, "looked up");
    return false;
}

bool is_special(const struct stat& info) { return !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode); }

// Where a link leads: what is put in place there leaves the link as it is.
std::string target_of(fs::path path) {
    std::error_code error;
    for (int links = 0; links < 40; ++links) {  // as many as Linux follows
        const fs::path next = fs::read_symlink(path, error);
        if (error) break;
        path = path.parent_path() / next;
    }
    return path;
}

// Calls consume(data, bytes) for the parts of a file; not a mapping, because a file that shrinks meanwhile would kill
// us.
template <class Consume>
void read_parts(const std::string& path, Consume consume) {
    const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat info;
    if (file.fd < 0 || fstat(file.fd, &info) != 0) die_errno(Exit::Data, path, "read");
    if (is_special(info)) die(Exit::Data, "%s: not a regular file", path);
    // small files are many (sidecars, checkpoints' JSON): a megabyte each would be cleared in vain
    std::vector<char> buffer(static_cast<size_t>(std::clamp<int64_t>(info.st_size, 4096, 1 << 20)));
    for (;;) {
        const ssize_t n = ::read(file.fd, buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die_errno(Exit::Data, path, "read");
        if (n == 0) return;
        consume(buffer.data(), static_cast<size_t>(n));
    }
}

}  // namespace

void write_file(const std::string& path, std::string_view bytes) {
    FileWriter writer(path);
    writer.write(bytes.data(), bytes.size());
    writer.commit();
}

Temporary::Temporary(const std::string& path) : slot_(-1) {
    cleanup_hook = remove_temporaries;
    for (TemporarySlot& slot : temporaries) {
        if (path.size() >= sizeof slot.path) return;  // it stays then
        if (slot.taken.exchange(true)) continue;
        memcpy(slot.path, path.c_str(), path.size() + 1);
        slot_ = static_cast<int>(&slot - temporaries);
        return;
    }
}

Temporary::~Temporary() {
    if (slot_ >= 0) temporaries[slot_].taken = false;
}

void check_output(const std::string& path) {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return;
    if (S_ISDIR(info.st_mode)) die(Exit::Usage, "%s: a directory; expected the name of a file", path);
    if (is_special(info))
        die(Exit::Usage, "%s: a device or a pipe, which a finished file would replace; give the name of a file", path);
}

void check_output_directory(const char* flag, const std::string& path) {
    if (!directory_exists(path) && access(path.c_str(), F_OK) == 0)
        die(Exit::Usage, "%s %s: there is a file of that name; give a directory", flag, path);
}

FileWriter::FileWriter(const std::string& path)
    : path_(target_of(path)), temporary_(path_ + ".tmp"), while_open_(temporary_) {
    check_output(path_);
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) die_errno(Exit::Runtime, temporary_, "created");
}

FileWriter::~FileWriter() {
    if (fd_ < 0) return;
    close(fd_);
    unlink(temporary_.c_str());
}

void FileWriter::write(const void* data, size_t bytes) {
    ENSURE(fd_ >= 0, "%s: written to after commit()", path_);
    if (!write_all(fd_, data, bytes)) die_errno(Exit::Runtime, temporary_, "written");
}

void FileWriter::commit() {
    ENSURE(fd_ >= 0, "%s: commit() called twice", path_);
    if (fsync(fd_) != 0) die_errno(Exit::Runtime, temporary_, "synced");
    const int fd = fd_;
    fd_ = -1;
    if (close(fd) != 0) {
        const int error = errno;
        unlink(temporary_.c_str());
        errno = error;
        die_errno(Exit::Runtime, temporary_, "closed");
    }
    rename_path(temporary_, path_);
}

AppendFile::AppendFile(const std::string& path) : path_(path) {
    fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct stat info;
    if (fd_ < 0 || fstat(fd_, &info) != 0) die_errno(Exit::Runtime, path, "opened");
    size_ = info.st_size;
}

AppendFile::~AppendFile() {
    if (fd_ >= 0) close(fd_);
}

AppendFile& AppendFile::operator=(AppendFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    return *this;
}

void AppendFile::write(std::string_view bytes) {
    if (!write_all(fd_, bytes.data(), bytes.size())) {
        const int error = errno;
        if (ftruncate(fd_, size_) != 0) errno = error;  // half a line stays, and the next start cuts it
        die_error(Exit::Runtime, path_, "written", error);
    }
    size_ += static_cast<int64_t>(bytes.size());
}

void AppendFile::sync() {
    if (fsync(fd_) != 0) die_errno(Exit::Runtime, path_, "synced");
}

std::string read_file(const std::string& path) {
    std::string text;
    std::error_code error;
    if (const uintmax_t size = fs::file_size(path, error); !error) text.reserve(size);
    read_parts(path, [&](const char* data, size_t bytes) { text.append(data, bytes); });
    return text;
}

bool file_exists(const std::string& path) {
    struct stat info;
    if (!look_at(path, &info)) return false;
    if (is_special(info)) die(Exit::Data, "%s: not a regular file", path);
    return S_ISREG(info.st_mode);
}

bool directory_exists(const std::string& path) {
    struct stat info;
    return look_at(path, &info) && S_ISDIR(info.st_mode);
}

void make_directories(const std::string& path) {
    // by mkdir itself: the library's create_directories reports what its last look at the path found
    for (size_t end = 0; end < path.size();) {
        end = std::min(path.find('/', end + 1), path.size());
        const std::string folder = path.substr(0, end);
        if (mkdir(folder.c_str(), 0777) == 0) continue;
        const int error = errno;
        if (!directory_exists(folder)) die_error(Exit::Runtime, folder, "created", error == EEXIST ? ENOTDIR : error);
    }
}

void remove_tree(const std::string& path) {
    std::error_code error;
    fs::remove_all(path, error);
    if (error) die_error(Exit::Runtime, path, "removed", error.value());
}

void rename_path(const std::string& from, const std::string& to) {
    if (rename(from.c_str(), to.c_str()) != 0) {
        const int error = errno;
        if (file_exists(from)) unlink(from.c_str());
        errno = error;
        die_errno(Exit::Runtime, to, "put in place");
    }
    sync_directory(folder_of(to));
}

void copy_file(const std::string& from, const std::string& to) {
    FileWriter writer(to);
    read_parts(from, [&](const char* data, size_t bytes) { writer.write(data, bytes); });
    writer.commit();
}

void sync_directory(const std::string& path) {
    const Descriptor folder{open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (folder.fd < 0) die_errno(Exit::Runtime, path, "opened");
    // some network file systems cannot sync a folder and say EINVAL; their rename is durable or nothing is
    if (fsync(folder.fd) != 0 && errno != EINVAL) die_errno(Exit::Runtime, path, "synced");
}

void truncate_file(const std::string& path, uint64_t bytes) {
    std::error_code error;
    fs::resize_file(path, bytes, error);
    if (error) die_error(Exit::Runtime, path, "truncated", error.value());
}

std::vector<std::string> list_directory(const std::string& path) {
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error))
        names.push_back(entry->path().filename());
    if (error) die_error(Exit::Data, path, "listed", error.value());
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<std::string> glob_files(const std::string& pattern) {
    glob_t found{};
    const int result = glob(pattern.c_str(), GLOB_BRACE | GLOB_NOSORT, nullptr, &found);
    std::vector<std::string> paths;
    for (size_t i = 0; i < found.gl_pathc; ++i) paths.push_back(found.gl_pathv[i]);
    globfree(&found);
    if (result == GLOB_NOSPACE) die(Exit::Runtime, "%s: out of memory while looking for files", pattern);
    // glob's own order follows the locale; data order must not
    std::sort(paths.begin(), paths.end());
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
    return paths;
}

std::string sha256_file(const std::string& path) {
    Sha256 hash;
    read_parts(path, [&](const char* data, size_t bytes) { hash.update(data, bytes); });
    return hash.hex();
}

uint32_t crc32c_file(const std::string& path) {
    uint32_t crc = 0;
    read_parts(path, [&](const char* data, size_t bytes) { crc = crc32c(data, bytes, crc); });
    return crc;
}

std::string path_join(const std::string& folder, const std::string& name) { return fs::path(folder) / name; }

std::string folder_of(const std::string& path) {
    const fs::path folder = fs::path(path).parent_path();
    return folder.empty() ? "." : folder;
}
