// safetensors headers; what is accepted must lie inside of the file and be covered by it.
#include "test/fuzz/fuzz.h"
#include "util/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    return fuzz([&] {
        size_t bytes = 0;
        for (const auto& [name, tensor] : parse_safetensors("fuzz", data, size)) {
            bytes += tensor.bytes;
            if (tensor.data < data || tensor.data + tensor.bytes > data + size) abort();
        }
        if (bytes > size) abort();
    });
}
