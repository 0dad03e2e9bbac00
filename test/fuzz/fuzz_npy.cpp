// .npy headers, read as each of the arrays of a knowledge source and a ledger.
#include "test/fuzz/fuzz.h"
#include "util/npy.h"

namespace {

void read_as(const uint8_t* data, size_t size, const char* dtype, size_t item_bytes, uint64_t columns) {
    fuzz([&] {
        const NpyLayout layout = parse_npy("fuzz", data, size, dtype, item_bytes, columns);
        const uint64_t bytes = layout.rows * (columns ? columns : 1) * item_bytes;
        if (layout.offset > size || bytes != size - layout.offset) abort();
    });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    read_as(data, size, "<u2", 2, 2);
    read_as(data, size, "<u4", 4, 0);
    read_as(data, size, "[('count', '<u4'), ('cut', '<u4'), ('first_step', '<u4'), ('last_step', '<u4')]", 16, 3);
    return 0;
}
