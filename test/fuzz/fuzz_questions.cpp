// PREFIX.questions.json of any content: parsed or refused, never a crash.
#include "eval/questions.h"
#include "util/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    die_throws = true;
    try {
        parse_question_names("fuzz", std::string(reinterpret_cast<const char*>(data), size));
    } catch (const DieError&) {
    }
    return 0;
}
