#include "util/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "util/check.h"
#include "util/crc32c.h"
#include "util/sha256.h"

namespace {

[[noreturn]] void die_errno(Exit code, const std::string& path, const char* what) {
    const int error = errno;
    const char* hint =
        error == ENOSPC || error == EDQUOT ? "; free some space, what stood there before is untouched" : "";
    die(code, "%s: cannot be %s (%s)%s", path.c_str(), what, strerror(error), hint);
}

// A descriptor that closes itself, also when a function dies by exception under test.
struct Descriptor {
    int fd;
    ~Descriptor() {
        if (fd >= 0) close(fd);
    }
};

bool status_of(const std::string& path, struct stat* info) { return stat(path.c_str(), info) == 0; }

void write_all(int fd, const void* data, size_t bytes, const std::string& path) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t n = ::write(fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die_errno(Exit::Runtime, path, "written");
        at += n;
        bytes -= static_cast<size_t>(n);
    }
}

// Calls consume(data, bytes) for the parts of a file; not a mapping, because a file that shrinks meanwhile would kill
// us.
template <class Consume>
void read_parts(const std::string& path, Consume consume) {
    const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (file.fd < 0) die_errno(Exit::Data, path, "read");
    std::vector<char> buffer(1 << 20);
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

FileWriter::FileWriter(const std::string& path) : path_(path), temporary_(path + ".tmp") {
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) die_errno(Exit::Runtime, temporary_, "created");
}

FileWriter::~FileWriter() {
    if (fd_ < 0) return;
    close(fd_);
    unlink(temporary_.c_str());
}

void FileWriter::write(const void* data, size_t bytes) {
    ENSURE(fd_ >= 0, "%s: written to after commit()", path_.c_str());
    write_all(fd_, data, bytes, temporary_);
}

void FileWriter::commit() {
    ENSURE(fd_ >= 0, "%s: commit() called twice", path_.c_str());
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

std::string read_file(const std::string& path) {
    struct stat info;
    std::string text;
    if (status_of(path, &info) && S_ISREG(info.st_mode)) text.reserve(static_cast<size_t>(info.st_size));
    read_parts(path, [&](const char* data, size_t bytes) { text.append(data, bytes); });
    return text;
}

bool file_exists(const std::string& path) {
    struct stat info;
    return status_of(path, &info) && S_ISREG(info.st_mode);
}

bool directory_exists(const std::string& path) {
    struct stat info;
    return status_of(path, &info) && S_ISDIR(info.st_mode);
}

void make_directories(const std::string& path) {
    for (size_t slash = path.find('/', 1); !path.empty(); slash = path.find('/', slash + 1)) {
        const std::string part = path.substr(0, slash);
        if (mkdir(part.c_str(), 0777) != 0 && !directory_exists(part)) die_errno(Exit::Runtime, part, "created");
        if (slash == std::string::npos) return;
    }
}

void remove_tree(const std::string& path) {
    struct stat info;
    if (lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return;
        die_errno(Exit::Runtime, path, "removed");
    }
    if (S_ISDIR(info.st_mode)) {
        for (const std::string& name : list_directory(path)) remove_tree(path_join(path, name));
        if (rmdir(path.c_str()) != 0) die_errno(Exit::Runtime, path, "removed");
    } else if (unlink(path.c_str()) != 0) {
        die_errno(Exit::Runtime, path, "removed");
    }
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
    if (truncate(path.c_str(), static_cast<off_t>(bytes)) != 0) die_errno(Exit::Runtime, path, "truncated");
}

std::vector<std::string> list_directory(const std::string& path) {
    DIR* folder = opendir(path.c_str());
    if (!folder) die_errno(Exit::Data, path, "listed");
    std::vector<std::string> names;
    while (const dirent* entry = readdir(folder)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    closedir(folder);
    std::sort(names.begin(), names.end());
    return names;
}

std::vector<std::string> glob_files(const std::string& pattern) {
    glob_t found{};
    const int result = glob(pattern.c_str(), GLOB_BRACE | GLOB_NOSORT, nullptr, &found);
    std::vector<std::string> paths;
    for (size_t i = 0; i < found.gl_pathc; ++i) paths.push_back(found.gl_pathv[i]);
    globfree(&found);
    if (result == GLOB_NOSPACE) die(Exit::Runtime, "%s: out of memory while looking for files", pattern.c_str());
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

std::string path_join(const std::string& folder, const std::string& name) {
    if (folder.empty() || (!name.empty() && name[0] == '/')) return name;
    return folder.back() == '/' ? folder + name : folder + "/" + name;
}

std::string folder_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}
