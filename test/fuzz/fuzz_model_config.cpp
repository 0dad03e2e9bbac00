// config.json; what is accepted must be a model that can be laid out, and must survive being written and read again.
#include "model/checkpoint.h"
#include "test/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    return fuzz([&] {
        const GptConfig c = parse_model_config("fuzz", std::string(reinterpret_cast<const char*>(data), size));
        validate_config(c);
        const std::string written = model_config_json(c);
        if (model_config_json(parse_model_config("written", written)) != written) abort();
    });
}
