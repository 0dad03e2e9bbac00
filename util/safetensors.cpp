#include "util/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/files.h"
#include "util/json.h"

using nlohmann::json;

namespace {

constexpr uint64_t max_header = 100'000'000;  // the reference reader's limit

// Bytes an element; 0: a type that this reader does not know.
size_t dtype_bytes(const std::string& dtype) {
    static const std::map<std::string, size_t> sizes = {
        {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1}, {"I16", 2}, {"U16", 2}, {"F16", 2},
        {"BF16", 2}, {"I32", 4}, {"U32", 4}, {"F32", 4},     {"I64", 8},     {"U64", 8}, {"F64", 8}};
    const auto found = sizes.find(dtype);
    return found == sizes.end() ? 0 : found->second;
}

struct Span {
    uint64_t begin, end;
    std::string name;
};

// One entry of the header: {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}.
SafeTensor parse_entry(const std::string& file, const std::string& name, const json& entry, Span* span) {
    const std::string where = format_text("%s: tensor '%s'", file, name);
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() || !entry.contains("shape") ||
        !entry["shape"].is_array() || !entry.contains("data_offsets") || !entry["data_offsets"].is_array())
        die(Exit::Data, "%s: expected dtype, shape and data_offsets in the header", where);
    SafeTensor tensor;
    tensor.dtype = entry["dtype"];
    uint64_t bytes = dtype_bytes(tensor.dtype);
    if (bytes == 0) die(Exit::Data, "%s: dtype %s is not known", where, entry["dtype"].dump());
    for (const json& n : entry["shape"]) {
        if (!n.is_number_unsigned() || n.get<uint64_t>() > INT64_MAX ||
            __builtin_mul_overflow(bytes, n.get<uint64_t>(), &bytes))
            die(Exit::Data, "%s: impossible shape %s", where, entry["shape"].dump());
        tensor.shape.push_back(n.get<int64_t>());
    }
    const json& offsets = entry["data_offsets"];
    if (offsets.size() != 2 || !offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned() ||
        offsets[0].get<uint64_t>() > offsets[1].get<uint64_t>())
        die(Exit::Data, "%s: impossible data_offsets %s", where, offsets.dump());
    *span = {offsets[0].get<uint64_t>(), offsets[1].get<uint64_t>(), name};
    if (span->end - span->begin != bytes)
        die(Exit::Data, "%s: %s of shape %s takes %d bytes, data_offsets %s hold another number", where, tensor.dtype,
            shape_text(tensor.shape), bytes, offsets.dump());
    tensor.bytes = static_cast<size_t>(bytes);
    return tensor;
}

// The data section is covered from its first to its last byte, each byte by one tensor.
void check_cover(const std::string& file, std::vector<Span> spans, uint64_t data_bytes) {
    std::sort(spans.begin(), spans.end(),
              [](const Span& a, const Span& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
    uint64_t at = 0;
    for (const Span& span : spans) {
        if (span.begin != at)
            die(Exit::Data, "%s: tensor '%s' starts at byte %d of the data, expected %d (a hole or an overlap)", file,
                span.name, span.begin, at);
        at = span.end;
    }
    if (at != data_bytes)
        die(Exit::Data, "%s: %s: the header describes %d bytes of data, the file has %d", file,
            at > data_bytes ? "truncated" : "trailing bytes", at, data_bytes);
}

}  // namespace

std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text = "(";
    for (const int64_t n : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(n);
    return text + ")";
}

std::map<std::string, SafeTensor> parse_safetensors(const std::string& name, const unsigned char* data, size_t size) {
    uint64_t header_bytes = 0;
    if (size < 8) die(Exit::Data, "%s: %d bytes; a safetensors file has at least 8", name, size);
    memcpy(&header_bytes, data, 8);
    constexpr char POINTER[] = "version https://git-lfs";
    if (size >= sizeof POINTER && memcmp(data, POINTER, sizeof POINTER - 1) == 0)
        die(Exit::Data, "%s: a pointer of git-lfs, not the weights; fetch them: git lfs pull", name);
    if (header_bytes > max_header)
        die(Exit::Data, "%s: not a safetensors file: a header of %d bytes (at most %d)", name, header_bytes,
            max_header);
    if (header_bytes > size - 8)
        die(Exit::Data, "%s: truncated: a header of %d bytes in a file of %d", name, header_bytes, size);
    const std::string_view text(reinterpret_cast<const char*>(data) + 8, static_cast<size_t>(header_bytes));
    if (text.empty() || text[0] != '{') die(Exit::Data, "%s: not a safetensors file: its header is no object", name);
    const json header = parse_json(name + ", header", text);

    const size_t data_start = 8 + static_cast<size_t>(header_bytes);
    std::map<std::string, SafeTensor> tensors;
    std::vector<Span> spans;
    for (const auto& [key, entry] : header.items()) {
        if (key == "__metadata__") {
            if (!entry.is_object()) die(Exit::Data, "%s: __metadata__ is not an object", name);
            for (const auto& item : entry.items())
                if (!item.value().is_string()) die(Exit::Data, "%s: __metadata__ holds more than strings", name);
            continue;
        }
        Span span;
        tensors[key] = parse_entry(name, key, entry, &span);
        spans.push_back(span);
    }
    check_cover(name, spans, size - data_start);
    for (const Span& span : spans) tensors[span.name].data = data + data_start + span.begin;
    return tensors;
}

SafeTensorsFile::SafeTensorsFile(const std::string& path)
    : path_(path), file_(path), tensors_(parse_safetensors(path, file_.data(), file_.size())) {}

void write_safetensors(const std::string& path, const std::vector<SafeTensorSpec>& tensors) {
    // transformers wants this metadata
    nlohmann::ordered_json header = {{"__metadata__", {{"format", "pt"}}}};
    uint64_t at = 0;
    size_t largest = 0;
    for (const SafeTensorSpec& t : tensors) {
        uint64_t bytes = dtype_bytes(t.dtype);
        for (const int64_t n : t.shape) bytes *= static_cast<uint64_t>(n);
        ENSURE(bytes == t.bytes, "%s: tensor '%s' of shape %s is given %d bytes", path, t.name, shape_text(t.shape),
               t.bytes);
        header[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {at, at + bytes}}};
        at += bytes;
        if (!t.data && t.fill) largest = std::max(largest, t.bytes);
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');

    FileWriter writer(path);
    const uint64_t header_bytes = text.size();
    writer.write(&header_bytes, sizeof header_bytes);
    writer.write(text.data(), text.size());
    std::vector<unsigned char> buffer(largest);
    for (const SafeTensorSpec& t : tensors) {
        if (t.write) {
            size_t written = 0;
            t.write([&](const void* data, size_t bytes) {
                writer.write(data, bytes);
                written += bytes;
            });
            ENSURE(written == t.bytes, "%s: tensor '%s' of %d bytes came with %d", path, t.name, t.bytes, written);
            continue;
        }
        if (!t.data) t.fill(buffer.data());
        writer.write(t.data ? t.data : buffer.data(), t.bytes);
    }
    writer.commit();
}
