#include "train/tensorboard.h"

#include <unistd.h>

#include <chrono>
#include <ctime>

#include "util/check.h"
#include "util/crc32c.h"

namespace {

template <class T>
void put_raw(std::string* out, T value) {
    out->append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_varint(std::string* out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *out += static_cast<char>(value | 0x80);
    *out += static_cast<char>(value);
}

// Protobuf: a field's key is number << 3 | wire type (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).
constexpr char WALL_TIME = 1 << 3 | 1, STEP = 2 << 3 | 0, FILE_VERSION = 3 << 3 | 2, SUMMARY = 5 << 3 | 2,
               SESSION_LOG = 7 << 3 | 2;
constexpr char VALUE = 1 << 3 | 2, TAG = 1 << 3 | 2, SIMPLE_VALUE = 2 << 3 | 5;

void put_bytes(std::string* out, char key, const std::string& bytes) {
    *out += key;
    put_varint(out, bytes.size());
    *out += bytes;
}

std::string event_at_now() {
    std::string event(1, WALL_TIME);
    put_raw(&event, std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
    return event;
}

uint32_t masked_crc(const void* data, size_t bytes) {
    const uint32_t crc = crc32c(data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

}  // namespace

TensorBoard::TensorBoard(const std::string& directory, int64_t first_step) {
    char host[256] = "localhost";
    gethostname(host, sizeof host - 1);
    std::string path;
    for (int n = 0; n == 0 || file_exists(path); ++n)
        path = path_join(directory, format_text("events.out.tfevents.%d.%s.%d.%d", time(nullptr), host,
                                                static_cast<int>(getpid()), n));
    file_ = AppendFile(path);
    std::string event = event_at_now();
    put_bytes(&event, FILE_VERSION, "brain.Event:2");
    record(event);
    event = event_at_now();
    event += STEP;
    put_varint(&event, static_cast<uint64_t>(first_step));
    put_bytes(&event, SESSION_LOG, std::string{1 << 3 | 0, 1});
    record(event);
}

void TensorBoard::write(int64_t step, const JsonLine& line) {
    if (!file_) return;
    std::string summary;
    for (const auto& [tag, number] : line.numbers()) {
        if (tag.find('/') == std::string::npos) continue;
        std::string value;
        put_bytes(&value, TAG, tag);
        value += SIMPLE_VALUE;
        put_raw(&value, static_cast<float>(number));
        put_bytes(&summary, VALUE, value);
    }
    std::string event = event_at_now();
    event += STEP;
    put_varint(&event, static_cast<uint64_t>(step));
    put_bytes(&event, SUMMARY, summary);
    record(event);
}

void TensorBoard::record(const std::string& event) {
    std::string bytes;
    const uint64_t length = event.size();
    put_raw(&bytes, length);
    put_raw(&bytes, masked_crc(&length, sizeof length));
    bytes += event;
    put_raw(&bytes, masked_crc(event.data(), event.size()));
    file_.write(bytes);
}
