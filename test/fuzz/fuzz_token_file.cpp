// Token shards of all three formats and their sidecars, from arbitrary bytes. What opens is read whole; every refusal
// is a DieError, anything else is a finding.
//
// Input: byte 0 chooses the files next to the shard, bytes 1 and 2 how many of the other bytes are the index, and the
// rest is the shard.
#include <algorithm>
#include <vector>

#include "dataloader/token_file.h"
#include "test/fuzz/fuzz.h"

namespace {

void put(const std::string& path, const uint8_t* data, size_t size) {
    FILE* file = fopen(path.c_str(), "wb");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file) != 0) abort();
}

void read_whole(const TokenFile& file) {
    std::vector<int32_t> ids;
    uint64_t total = 0;
    for (uint64_t i = 0; i < file.num_documents(); ++i) {
        const TokenFile::Range document = file.document(i), sequences = file.document_sequences(i);
        if (document.end > file.num_tokens() || document.begin > document.end || sequences.end > file.num_sequences())
            abort();
        ids.resize(document.size());
        file.read(document.begin, document.size(), 60000, ids.data());
        for (uint64_t s = sequences.begin; s < sequences.end; ++s) {
            if (file.sequence(s).size() != file.sequence_size(s)) abort();
            total += file.sequence_size(s);
        }
    }
    if (total > file.num_tokens()) abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    die_throws = true;
    if (size < 3) return 0;
    const int kind = data[0] % 6;
    const size_t index_size = std::min<size_t>(size - 3, data[1] | data[2] << 8);
    const uint8_t *index = data + 3, *shard = index + index_size;
    const size_t rest = size - 3 - index_size;
    static const FuzzFolder folder;
    const std::string prefix = path_join(folder.path, "x");
    for (const char* ending : {".bin", ".idx", ".json", ".ds", ".ds.index", ".ds.metadata"})
        unlink((prefix + ending).c_str());
    const bool datatrove = kind >= 4;
    put(prefix + (datatrove ? ".ds" : ".bin"), shard, rest);
    if (kind == 0) put(prefix + ".idx", index, index_size);
    if (kind == 1) put(prefix + ".json", index, index_size);
    if (datatrove) put(prefix + ".ds.index", index, index_size / 8 * 8);
    if (kind == 5) put(prefix + ".ds.metadata", index, index_size);
    try {
        read_whole(TokenFile(prefix + (datatrove ? ".ds" : ".bin"), 0));
    } catch (const DieError&) {
    }
    return 0;
}
