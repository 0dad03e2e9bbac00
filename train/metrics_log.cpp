#include "train/metrics_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>

#include "util/check.h"

namespace {

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += {'\\', c};
        else if (static_cast<unsigned char>(c) < 0x20)
            out += format_text("\\u%04x", c);
        else
            out += c;
    }
    return out + "\"";
}

}  // namespace

void MetricsLine::key(std::string_view name) {
    if (!members_.empty()) members_ += ", ";
    members_ += quoted(name) + ": ";
}

void MetricsLine::add(std::string_view name, double value) {
    numbers_.emplace_back(name, value);
    key(name);
    if (std::isfinite(value)) {
        char text[32];
        members_.append(text, std::to_chars(text, text + sizeof text, value).ptr);
    } else {
        members_ += std::isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    }
}

void MetricsLine::add(std::string_view name, int64_t value) {
    numbers_.emplace_back(name, static_cast<double>(value));
    key(name);
    members_ += std::to_string(value);
}

void MetricsLine::add(std::string_view name, std::string_view text) {
    key(name);
    members_ += quoted(text);
}

MetricsFile::MetricsFile(const std::string& path, bool append) : path_(path) {
    fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (append ? 0 : O_TRUNC), 0666);
    struct stat info;
    if (fd_ < 0 || fstat(fd_, &info) != 0)
        die(Exit::Runtime, "%s: cannot be opened (%s)", path.c_str(), strerror(errno));
    size_ = info.st_size;
}

MetricsFile::~MetricsFile() {
    if (fd_ >= 0) close(fd_);
}

MetricsFile& MetricsFile::operator=(MetricsFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    return *this;
}

void MetricsFile::write(const MetricsLine& line) {
    const std::string text = line.json() + "\n";
    size_t done = 0;
    while (done < text.size()) {
        const ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) die(Exit::Runtime, "%s: cannot be written (%s)", path_.c_str(), strerror(errno));
        done += static_cast<size_t>(n);
    }
    size_ += static_cast<int64_t>(text.size());
}

void MetricsFile::sync() {
    if (fd_ >= 0 && fsync(fd_) != 0) die(Exit::Runtime, "%s: cannot be synced (%s)", path_.c_str(), strerror(errno));
}
