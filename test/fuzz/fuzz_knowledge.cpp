// A knowledge source of which one file is damaged: opened and read whole, or refused as bad data.
//
// Input: byte 0 chooses the file, the rest says how it is damaged (fuzz.h).
#include <algorithm>
#include <vector>

#include "dataloader/knowledge.h"
#include "test/fuzz/fuzz.h"
#include "test/shard_builder.h"

namespace {

const char* const ENDINGS[] = {".facts.json", ".spans.npy", ".values.npy", ".group.npy", ".names.txt", ".idx", ".json"};
constexpr size_t NUM_ENDINGS = sizeof(ENDINGS) / sizeof(ENDINGS[0]);

struct Source {
    FuzzFolder folder;
    std::string prefix = folder.path + "/people";
    std::vector<std::string> valid;
    Source() {
        KnowledgeBuilder people;
        people.entities = 5;
        people.weights = {0.5, 0.5};
        people.write(prefix);
        for (const char* ending : ENDINGS) valid.push_back(read_file(prefix + ending));
    }
};

void read_whole(const KnowledgeFile& file) {
    uint64_t longest = 0;
    for (uint64_t entity = 0; entity < file.entities(); ++entity) {
        longest = std::max(longest, file.lengths(entity).longest);
        // groups without names are only numbers
        const size_t groups = file.group_names().size();
        if ((groups > 0 && file.group(entity) >= groups) || file.entity_name(entity).size() > 1000) abort();
    }
    if (longest > 1000000) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    static const Source source;
    const size_t file = data[0] % NUM_ENDINGS;
    put_file(source.prefix + ENDINGS[file], damaged(source.valid[file], data + 1, size - 1));
    const int result = fuzz([] { read_whole(KnowledgeFile(TokenFile(source.prefix + ".bin", 1))); });
    put_file(source.prefix + ENDINGS[file], source.valid[file]);
    return result;
}
