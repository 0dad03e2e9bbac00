// tensorboard.h - scalars for TensorBoard, without TensorFlow or protobuf: a TFRecord file of Event messages.
//
// A record is  u64 length | u32 masked crc32c(length) | bytes | u32 masked crc32c(bytes),  mask(c) = rotate_right(c, 15) +
// 0xa282ead8. The bytes are an Event in protobuf's wire format: 1 wall_time double, 2 step int64, 3 file_version string,
// 5 summary { 1 value { 1 tag string, 2 simple_value float } }. The first event has the file_version "brain.Event:2".
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

class TensorBoardFile {
  public:
    TensorBoardFile() = default;
    // Creates events.out.tfevents.<unixtime>.<host>.<pid>.<n> in `directory`, n counting up until the name is new: a
    // resumed run opens another file and TensorBoard joins them.
    explicit TensorBoardFile(const std::string& directory);
    ~TensorBoardFile();
    TensorBoardFile(TensorBoardFile&& other) noexcept { *this = std::move(other); }
    TensorBoardFile& operator=(TensorBoardFile&& other) noexcept;
    TensorBoardFile(const TensorBoardFile&) = delete;
    TensorBoardFile& operator=(const TensorBoardFile&) = delete;

    // One event with all the scalars, handed to the system at once. Does nothing without a file (default constructed).
    void write(int64_t step, const std::vector<std::pair<std::string, double>>& scalars);
    const std::string& path() const { return path_; }

  private:
    void record(const std::string& event);
    std::string path_;
    int fd_ = -1;
};
