// The TOML of --config: what is accepted has a key and values in every entry, its lines in order.
#include "test/fuzz/fuzz.h"
#include "util/config_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto parse = [&] {
        int line = 0;
        for (const ConfigEntry& entry : parse_config("fuzz", {reinterpret_cast<const char*>(data), size})) {
            if (entry.values.empty() || entry.line <= line) abort();
            line = entry.line;
        }
    };
    return fuzz(parse, Exit::Usage);
}
