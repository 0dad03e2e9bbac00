// tensorboard.h - scalars for TensorBoard, without TensorFlow or protobuf: a TFRecord file of Event messages.
//
// A record is  u64 length | u32 masked crc32c(length) | bytes | u32 masked crc32c(bytes),  mask(c) = rotate_right(c,
// 15) + 0xa282ead8. The bytes are an Event in protobuf's wire format: 1 wall_time double, 2 step int64, 3 file_version
// string, 5 summary { 1 value { 1 tag string, 2 simple_value float } }, 7 session_log { 1 status }. The first event has
// the file_version "brain.Event:2", the second the status START (1).
#pragma once
#include <cstdint>
#include <string>

#include "util/files.h"
#include "util/json_text.h"

class TensorBoard {
  public:
    TensorBoard() = default;
    // Creates events.out.tfevents.<unixtime>.<host>.<pid>.<n> in `directory`, n counting up until the name is new: a
    // resumed run opens another file and TensorBoard joins them. It forgets what older files have of `first_step` and
    // later steps: an earlier life may have gone further than its last checkpoint.
    TensorBoard(const std::string& directory, int64_t first_step);

    // One event with the numbers of a line that have slash names (step, tokens and time are not curves), handed to the
    // system at once. Does nothing without a file (default constructed).
    void write(int64_t step, const JsonLine& line);
    const std::string& path() const { return file_.path(); }

  private:
    void record(const std::string& event);
    AppendFile file_;
};
