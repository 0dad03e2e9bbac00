#include "util/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <utility>

#include "util/check.h"

// A list that a signal handler can walk at any moment: entries are added at its head and never leave; one whose file is
// closed (data null) serves the next file.
struct Mapping {
    std::atomic<const unsigned char*> data{nullptr};
    size_t size = 0;
    std::string path;
    Mapping* next = nullptr;
};

namespace {

std::atomic<Mapping*> mappings{nullptr};
std::mutex mappings_mutex;  // of those who change the list

Mapping* remember(const unsigned char* data, size_t size, const std::string& path) {
    const std::lock_guard<std::mutex> lock(mappings_mutex);
    Mapping* entry = mappings;
    // only the newest entries are looked at: files are mostly kept open
    for (int looked = 0; entry && entry->data && looked < 8; ++looked) entry = entry->next;
    const bool reused = entry && !entry->data;
    if (!reused) entry = new Mapping;
    entry->size = size;
    entry->path = path;
    if (!reused) entry->next = mappings, mappings = entry;
    entry->data = data;
    return entry;
}

void append(char* text, size_t* used, size_t room, const char* more) {
    for (; *more && *used + 1 < room; ++more) text[(*used)++] = *more;
    text[*used] = '\0';
}

void on_bus_error(int number, siginfo_t* info, void*) {
    const auto* at = static_cast<const unsigned char*>(info->si_addr);
    for (const Mapping* entry = mappings; entry; entry = entry->next) {
        const unsigned char* data = entry->data;
        // the kernel names the page; a mapping ends inside of one
        if (!data || at < data || at >= data + (entry->size + 4095) / 4096 * 4096) continue;
        static char text[4608];
        size_t used = 0;
        append(text, &used, sizeof text, "error: ");
        append(text, &used, sizeof text, entry->path.c_str());
        append(text, &used, sizeof text,
               ": cannot be read any more (bus error): it was truncated or written over while it was in use, or the "
               "disk failed; restore the file and go on with --resume");
        const char* const message = text + strlen("error: ");
        if (const auto together = die_together.load()) together(Exit::Data, message);
        if (const auto hook = die_hook.load()) hook(Exit::Data, message);
        append(text, &used, sizeof text, "\n");
        while (write(STDERR_FILENO, text, used) < 0 && errno == EINTR) continue;
        _exit(static_cast<int>(Exit::Data));
    }
    signal(number, SIG_DFL);  // none of ours: it happens again on return, and ends the program
}

}  // namespace

void die_of_bus_errors() {
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, nullptr);
}

MappedFile::MappedFile(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) die(Exit::Data, "%s: cannot be read (%s)", path, strerror(errno));
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        die(Exit::Data, "%s: not a regular file", path);
    }
    size_ = static_cast<size_t>(info.st_size);
    if (size_ > 0) {
        void* data = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            const int error = errno;
            close(fd);
            die(Exit::Data, "%s: cannot be mapped (%s)", path, strerror(error));
        }
        data_ = static_cast<const unsigned char*>(data);
        known_ = remember(data_, size_, path);
    }
    close(fd);
}

MappedFile::~MappedFile() {
    if (!data_) return;
    known_->data = nullptr;
    munmap(const_cast<unsigned char*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(known_, other.known_);
    return *this;
}
