// tokenizer.json; every id, known or not, must decode to something.
#include "test/fuzz/fuzz.h"
#include "util/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    return fuzz([&] {
        const Tokenizer tokenizer =
            Tokenizer::from_json("fuzz", std::string(reinterpret_cast<const char*>(data), size));
        for (int32_t id = -1; id <= 300; ++id)
            if (tokenizer.decode(&id, 1).empty()) abort();
        if (tokenizer.eot_id() >= tokenizer.vocab_size()) abort();
    });
}
