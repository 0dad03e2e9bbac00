// TensorBoard files, read back by a decoder that shares nothing with the writer but crc32c (tested against the RFC),
// and by TensorBoard itself where it is installed.
#include <cmath>
#include <cstring>

#include "test/catch.h"
#include "test/support.h"
#include "train/tensorboard.h"
#include "util/crc32c.h"

namespace {

// Protobuf's wire format: fields as (number, type, value or bytes).
struct Field {
    uint64_t number, type, value;
    std::string bytes;
};

std::vector<Field> decode(const std::string& message) {
    size_t at = 0;
    auto varint = [&] {
        uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            const uint64_t byte = static_cast<unsigned char>(message.at(at++));
            value |= (byte & 127) << shift;
            if (byte < 128) return value;
        }
    };
    std::vector<Field> fields;
    while (at < message.size()) {
        const uint64_t key = varint();
        Field field{key >> 3, key & 7, 0, ""};
        const size_t width = field.type == 1 ? 8 : field.type == 5 ? 4 : 0;
        if (field.type == 0) {
            field.value = varint();
        } else {
            const size_t bytes = width ? width : static_cast<size_t>(varint());
            field.bytes = message.substr(at, bytes);
            at += bytes;
            memcpy(&field.value, field.bytes.data(), width);
        }
        fields.push_back(field);
    }
    return fields;
}

// The records of a file, their checksums checked.
std::vector<std::string> records(const std::string& file) {
    std::vector<std::string> result;
    auto number = [&](size_t at, size_t width) {
        uint64_t value = 0;
        memcpy(&value, file.substr(at, width).data(), width);
        return value;
    };
    auto masked = [&](size_t at, size_t bytes) {
        const uint32_t crc = crc32c(file.data() + at, bytes);
        return static_cast<uint32_t>(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
    };
    for (size_t at = 0; at < file.size();) {
        const size_t length = static_cast<size_t>(number(at, 8));
        REQUIRE(at + 16 + length <= file.size());
        CHECK(number(at + 8, 4) == masked(at, 8));
        CHECK(number(at + 12 + length, 4) == masked(at + 12, length));
        result.push_back(file.substr(at + 12, length));
        at += 16 + length;
    }
    return result;
}

std::string write_example(const std::string& folder) {
    TensorBoard board(folder, 7);
    for (int step : {7, 8, 300}) {
        JsonLine line;
        line.add("step", step);
        line.add("train/loss", 6.5 - step);
        line.add("data/web/tokens", static_cast<int64_t>(step) << 20);
        board.write(step, line);
    }
    return board.path();
}

}  // namespace

TEST_CASE("TensorBoard: the events are what the format says", "[util]") {
    const TemporaryFolder folder;
    const std::string path = write_example(folder.path());
    CHECK(path.find("/events.out.tfevents.") != std::string::npos);
    CHECK(write_example(folder.path()) != path);  // a resumed run opens another file

    const std::vector<std::string> events = records(read_file(path));
    REQUIRE(events.size() == 5);
    const std::vector<Field> first = decode(events[0]);
    REQUIRE(first.size() == 2);
    CHECK(first[1].number == 3);
    CHECK(first[1].bytes == "brain.Event:2");
    // START of a session at step 7: what older files have of this step and later ones is forgotten
    const std::vector<Field> session = decode(events[1]);
    REQUIRE(session.size() == 3);
    CHECK(session[1].number == 2);
    CHECK(session[1].value == 7);
    CHECK(session[2].number == 7);
    CHECK(session[2].bytes == std::string{1 << 3 | 0, 1});
    const std::vector<Field> last = decode(events[4]);
    REQUIRE(last.size() == 3);
    double wall_time;
    memcpy(&wall_time, last[0].bytes.data(), 8);
    CHECK(last[0].number == 1);
    CHECK(std::abs(wall_time - static_cast<double>(time(nullptr))) < 60);
    CHECK(last[1].number == 2);
    CHECK(last[1].value == 300);
    CHECK(last[2].number == 5);
    const std::vector<Field> values = decode(last[2].bytes);
    REQUIRE(values.size() == 2);  // "step" is no curve
    const std::vector<Field> loss = decode(values[0].bytes);
    CHECK(loss.at(0).bytes == "train/loss");
    CHECK(loss.at(1).number == 2);
    float value;
    memcpy(&value, loss.at(1).bytes.data(), 4);
    CHECK(value == 6.5f - 300);
    CHECK(decode(values[1].bytes).at(0).bytes == "data/web/tokens");
    CHECK(TensorBoard().path().empty());
    REQUIRE_DIES(Exit::Runtime, "cannot be opened", TensorBoard(folder / "none", 0));
}

TEST_CASE("TensorBoard: the real one reads the files", "[util][live]") {
    const std::string python = python_with("tensorboard.backend.event_processing.event_accumulator");
    if (python.empty()) SKIP_TEST("live TensorBoard: no Python with tensorboard");
    const TemporaryFolder folder;
    write_example(folder.path());
    const std::string script =
        "import sys\n"
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "events = EventAccumulator(sys.argv[1]).Reload()\n"
        "assert events.Tags()['scalars'] == ['train/loss', 'data/web/tokens'], events.Tags()\n"
        "assert [(e.step, e.value) for e in events.Scalars('train/loss')] == [(7, -0.5), (8, -1.5), (300, -293.5)]\n";
    write_file(folder / "script.py", script);
    std::string output;
    const int status = run_command(python + " " + (folder / "script.py") + " " + folder.path(), &output);
    INFO(output);
    CHECK(status == 0);
}
