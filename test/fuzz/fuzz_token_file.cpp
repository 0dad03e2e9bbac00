// Fuzz target: token shards of all three formats and their sidecars, from arbitrary bytes. What opens is read whole;
// every refusal is a DieError, anything else is a finding. With libFuzzer (clang++ -fsanitize=fuzzer); without it the
// arguments are files to run, such as a finding.
//
// Input: byte 0 chooses the files beside the shard, bytes 1 and 2 how many of the other bytes are the index, and the
// rest is the shard.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "dataloader/token_file.h"
#include "util/check.h"
#include "util/files.h"

namespace {

// A folder of this process, in memory where there is /dev/shm; files are written without syncing.
struct Folder {
    std::string path = directory_exists("/dev/shm") ? "/dev/shm/fuzz_XXXXXX" : "/tmp/fuzz_XXXXXX";
    Folder() {
        if (!mkdtemp(path.data())) abort();
    }
    ~Folder() { remove_tree(path); }
};

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
    const size_t beside = std::min<size_t>(size - 3, data[1] | data[2] << 8);
    const uint8_t *index = data + 3, *shard = index + beside;
    const size_t rest = size - 3 - beside;
    static const Folder folder;
    const std::string prefix = path_join(folder.path, "x");
    for (const char* ending : {".bin", ".idx", ".json", ".ds", ".ds.index", ".ds.metadata"})
        unlink((prefix + ending).c_str());
    const bool datatrove = kind >= 4;
    put(prefix + (datatrove ? ".ds" : ".bin"), shard, rest);
    if (kind == 0) put(prefix + ".idx", index, beside);
    if (kind == 1) put(prefix + ".json", index, beside);
    if (datatrove) put(prefix + ".ds.index", index, beside / 8 * 8);
    if (kind == 5) put(prefix + ".ds.metadata", index, beside);
    try {
        read_whole(TokenFile(prefix + (datatrove ? ".ds" : ".bin"), 0));
    } catch (const DieError&) {
    }
    return 0;
}

#ifndef __clang__
int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string bytes = read_file(argv[i]);
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    }
    printf("%d files, nothing found\n", argc - 1);
}
#endif
