#include "util/npy.h"

#include <cctype>
#include <cstring>

#include "util/check.h"
#include "util/files.h"

namespace {

constexpr char magic[8] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0};

// The header is a Python dictionary literal. Blanks outside of strings go, and strings get single quotes, so that two
// spellings of one value compare equal.
std::string without_blanks(const std::string& literal) {
    std::string result;
    char quote = 0;
    for (const char c : literal) {
        if (quote) {
            result += c == quote ? '\'' : c;
            if (c == quote) quote = 0;
        } else if (c == '\'' || c == '"') {
            quote = c;
            result += '\'';
        } else if (!isspace(static_cast<unsigned char>(c))) {
            result += c;
        }
    }
    return result;
}

// "<u2" is a string in the header, "[('count', '<u4'), ...]" a list.
std::string descr_literal(const std::string& dtype) { return dtype[0] == '[' ? dtype : "'" + dtype + "'"; }

// The text of the value of 'key': in a dictionary literal without blanks, up to the comma or brace that ends it.
std::string value_of(const std::string& header, const char* key) {
    const std::string label = format_text("'%s':", key);
    const size_t found = header.find(label);
    if (found == std::string::npos) return "";
    const size_t start = found + label.size();
    int depth = 0;
    bool quoted = false;
    for (size_t i = start; i < header.size(); ++i) {
        const char c = header[i];
        if (c == '\'') quoted = !quoted;
        if (quoted) continue;
        if (depth == 0 && (c == ',' || c == '}')) return header.substr(start, i - start);
        if (c == '(' || c == '[') ++depth;
        if (c == ')' || c == ']') --depth;
    }
    return "";
}

// "(3,2)" or "(3,)" as numbers; false when it is anything else or a number leaves 64 bits.
bool parse_shape(const std::string& text, std::vector<uint64_t>* shape) {
    if (text.size() < 2 || text.front() != '(' || text.back() != ')') return false;
    uint64_t value = 0;
    bool digits = false;
    for (size_t i = 1; i < text.size(); ++i) {
        const char c = text[i];
        if (c >= '0' && c <= '9') {
            if (__builtin_mul_overflow(value, 10ull, &value)) return false;
            if (__builtin_add_overflow(value, static_cast<uint64_t>(c - '0'), &value)) return false;
            digits = true;
        } else if (digits) {
            shape->push_back(value);
            value = 0;
            digits = false;
        } else if (i + 1 != text.size()) {
            return false;
        }
    }
    return true;
}

}  // namespace

NpyLayout parse_npy(const std::string& name, const unsigned char* data, size_t size, const std::string& dtype,
                    size_t item_bytes, uint64_t columns) {
    if (size < 10 || memcmp(data, magic, 6) != 0)
        die(Exit::Data, "%s: not a .npy file (no NumPy magic in %d bytes)", name, size);
    if (data[6] != magic[6] || data[7] != magic[7])
        die(Exit::Data, "%s: .npy version %d.%d, expected 1.0; save it again with numpy.save", name, data[6], data[7]);
    const size_t offset = 10 + static_cast<size_t>(data[8] | data[9] << 8);
    if (offset > size) die(Exit::Data, "%s: truncated: its header ends at byte %d, the file at %d", name, offset, size);
    // items are read in place, so they have to be aligned; NumPy always pads to 16 or 64
    if (offset % 16 != 0) die(Exit::Data, "%s: data starts at byte %d, expected a multiple of 16", name, offset);

    const std::string header = without_blanks(std::string(reinterpret_cast<const char*>(data) + 10, offset - 10));
    const std::string descr = value_of(header, "descr"), order = value_of(header, "fortran_order");
    const std::string shape_text = value_of(header, "shape");
    if (descr != without_blanks(descr_literal(dtype))) die(Exit::Data, "%s: dtype %s, expected %s", name, descr, dtype);
    if (order != "False")
        die(Exit::Data, "%s: fortran_order is '%s', expected False (save numpy.ascontiguousarray of it)", name, order);
    std::vector<uint64_t> shape;
    const size_t dimensions = columns ? 2 : 1;
    if (!parse_shape(shape_text, &shape) || shape.size() != dimensions || (columns && shape[1] != columns)) {
        const std::string expected = columns ? format_text("(rows,%d)", columns) : "(rows,)";
        die(Exit::Data, "%s: shape %s, expected %s", name, shape_text, expected);
    }
    uint64_t bytes = 0;
    const bool overflow = __builtin_mul_overflow(shape[0], columns ? columns : 1, &bytes) ||
                          __builtin_mul_overflow(bytes, static_cast<uint64_t>(item_bytes), &bytes);
    if (overflow || bytes != size - offset)
        die(Exit::Data, "%s: %d bytes of data, its shape %s of %d-byte items asks for %s", name, size - offset,
            shape_text, item_bytes, overflow ? "more than memory" : std::to_string(bytes));
    return {offset, shape[0]};
}

NpyArray::NpyArray(const std::string& path, const std::string& dtype, size_t item_bytes, uint64_t columns)
    : file_(path) {
    const NpyLayout layout = parse_npy(path, file_.data(), file_.size(), dtype, item_bytes, columns);
    offset_ = layout.offset;
    rows_ = layout.rows;
}

void write_npy(const std::string& path, const std::string& dtype, size_t item_bytes, const std::vector<uint64_t>& shape,
               const void* data) {
    std::string dims;
    uint64_t bytes = item_bytes;
    for (const uint64_t n : shape) {
        dims += std::to_string(n) + (shape.size() == 1 ? "," : ", ");
        bytes *= n;
    }
    if (shape.size() > 1) dims.resize(dims.size() - 2);
    std::string header = "{'descr': " + descr_literal(dtype) + ", 'fortran_order': False, 'shape': (" + dims + "), }";
    header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10, ' ');
    header.back() = '\n';
    ENSURE(header.size() < 65536, "%s: a header of %d bytes does not fit .npy version 1.0", path, header.size());

    FileWriter writer(path);
    writer.write(magic, sizeof magic);
    const unsigned char length[2] = {static_cast<unsigned char>(header.size() & 255),
                                     static_cast<unsigned char>(header.size() >> 8)};
    writer.write(length, 2);
    writer.write(header.data(), header.size());
    writer.write(data, bytes);
    writer.commit();
}
