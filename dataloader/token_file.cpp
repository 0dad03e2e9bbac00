#include "dataloader/token_file.h"

#include <algorithm>
#include <cstdio>

#include "util/check.h"
#include "util/crc32c.h"
#include "util/files.h"

namespace {

constexpr size_t megatron_header = 9 + 8 + 1 + 8 + 8;
constexpr size_t llmc_header = 256 * sizeof(int32_t);
constexpr int32_t llmc_magic_u16 = 20240520, llmc_magic_u32 = 20240801;
constexpr uint64_t most_tokens = 1ull << 58;  // so that no product of a size and a width leaves 64 bits

// Calls found(i) for every i with ids[i] == eot. Blocks without one, nearly all, cost a vector loop.
template <class Id, class Found>
void scan(const Id* ids, uint64_t n, int64_t eot, Found found) {
    constexpr uint64_t block = 1024;
    const Id wanted = static_cast<Id>(eot);
    if (static_cast<int64_t>(wanted) != eot) return;
    for (uint64_t start = 0; start < n; start += block) {
        const uint64_t end = std::min(n, start + block);
        unsigned hits = 0;
        for (uint64_t i = start; i < end; ++i) hits += ids[i] == wanted;
        for (uint64_t i = start; hits > 0; ++i)
            if (ids[i] == wanted) {
                found(i);
                --hits;
            }
    }
}

template <class Id>
bool widen(const unsigned char* src, uint64_t n, uint32_t vocab, int32_t* dst) {
    uint32_t wild = 0;
    for (uint64_t i = 0; i < n; ++i) {
        Id id;
        std::memcpy(&id, src + i * sizeof(Id), sizeof(Id));
        wild |= static_cast<uint32_t>(id) >= vocab;
        dst[i] = static_cast<int32_t>(id);
    }
    return wild == 0;
}

// The length of the ending that makes a path a shard's: ".bin" or ".ds" after a name; 0: it is none.
size_t shard_ending(const std::string& path) {
    for (const std::string ending : {".bin", ".ds"})
        if (path.size() > ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0)
            return ending.size();
    return 0;
}

}  // namespace

bool is_shard(const std::string& path) { return shard_ending(path) > 0; }

std::string shard_prefix(const std::string& path) {
    if (!is_shard(path)) die(Exit::Data, "%s: not a token shard, expected a name that ends in .bin or .ds", path);
    return path.substr(0, path.size() - shard_ending(path));
}

TokenFile::TokenFile(const std::string& path, int64_t eot_id) : path_(path), eot_id_(eot_id) {
    const std::string prefix = shard_prefix(path);
    tokens_ = MappedFile(path);
    sidecar_ = read_sidecar(prefix);
    if (sidecar_.present) eot_id_ = sidecar_.eot_id;
    const std::string index_path = prefix + ".idx";
    if (path.back() == 's')
        open_datatrove();
    else if (file_exists(index_path))
        open_megatron(index_path);
    else
        open_llmc();
    if (num_tokens_ == 0) die(Exit::Data, "%s: holds no tokens", path_);
    if (sidecar_.present) check_sidecar();
}

void TokenFile::check_sidecar() const {
    if (static_cast<uint64_t>(sidecar_.tokens) != num_tokens_ ||
        static_cast<uint64_t>(sidecar_.documents) != num_documents_)
        die(Exit::Data,
            "%s: %d tokens in %d documents, its sidecar (.json) says %d in %d; one of them is old: prepare the "
            "data again",
            path_, num_tokens_, num_documents_, sidecar_.tokens, sidecar_.documents);
}

void TokenFile::open_megatron(const std::string& index_path) {
    format_ = TokenFormat::Megatron;
    index_ = MappedFile(index_path);
    const unsigned char* data = index_.data();
    const uint64_t size = index_.size();
    if (size < megatron_header || std::memcmp(data, "MMIDIDX\0\0", 9) != 0)
        die(Exit::Data, "%s: not a Megatron index (no MMIDIDX magic in %d bytes)", index_path, size);
    const uint64_t version = load<uint64_t>(data + 9, 0);
    if (version != 1) die(Exit::Data, "%s: version %d, expected 1", index_path, version);
    const int code = data[17];
    if (code != 8 && code != 4) die(Exit::Data, "%s: dtype code %d, expected 8 (u16) or 4 (i32)", index_path, code);
    width_ = code == 8 ? 2 : 4;
    const uint64_t S = load<uint64_t>(data + 18, 0), E = load<uint64_t>(data + 26, 0);
    if (S > size / 12 || E > size / 8 || E == 0 || megatron_header + 12 * S + 8 * E != size)
        die(Exit::Data, "%s: %d bytes, but %d sequences and %d document ends ask for another size; truncated?",
            index_path, size, S, E);
    lengths_ = data + megatron_header;
    offsets_ = lengths_ + 4 * S;
    first_sequence_ = offsets_ + 8 * S;
    num_sequences_ = S;
    num_documents_ = E - 1;

    // sequences: ascending, without holes, and exactly the .bin
    const uint64_t width = static_cast<uint64_t>(width_);
    uint64_t expected = 0;
    for (uint64_t i = 0; i < S; ++i) {
        const int32_t length = load<int32_t>(lengths_, i);
        const int64_t offset = load<int64_t>(offsets_, i);
        if (length < 0 || offset != static_cast<int64_t>(expected))
            die(Exit::Data, "%s: sequence %d has length %d at byte %d, expected it at byte %d", index_path, i, length,
                offset, expected);
        expected += static_cast<uint64_t>(length) * width;
    }
    if (expected != tokens_.size())
        die(Exit::Data, "%s: %d bytes, its index (.idx) asks for %d; truncated?", path_, tokens_.size(), expected);
    num_tokens_ = expected / width;
    // documents: ascending from the first sequence to the last
    int64_t before = 0;
    for (uint64_t i = 0; i < E; ++i) {
        const int64_t first = load<int64_t>(first_sequence_, i);
        if (first < before || (i == 0 && first != 0) || first > static_cast<int64_t>(S))
            die(Exit::Data, "%s: document %d starts at sequence %d of %d, the one before at %d", index_path, i, first,
                S, before);
        before = first;
    }
    if (before != static_cast<int64_t>(S))
        die(Exit::Data, "%s: documents end at sequence %d of %d", index_path, before, S);
    ids_ = tokens_.data();
}

void TokenFile::open_llmc() {
    format_ = TokenFormat::Llmc;
    if (tokens_.size() < llmc_header)
        die(Exit::Data,
            "%s: %d bytes and no .idx next to it: neither a Megatron nor an llm.c file (%d bytes of header)", path_,
            tokens_.size(), llmc_header);
    const int32_t magic = load<int32_t>(tokens_.data(), 0), version = load<int32_t>(tokens_.data(), 1);
    const int32_t count = load<int32_t>(tokens_.data(), 2);
    if (magic != llmc_magic_u16 && magic != llmc_magic_u32)
        die(Exit::Data, "%s: no .idx next to it, and its magic %d is not llm.c's (%d or %d)", path_, magic,
            llmc_magic_u16, llmc_magic_u32);
    const int32_t expected_version = magic == llmc_magic_u16 ? 1 : 7;
    if (version != expected_version) die(Exit::Data, "%s: version %d, expected %d", path_, version, expected_version);
    width_ = magic == llmc_magic_u16 ? 2 : 4;
    const uint64_t bytes = static_cast<uint64_t>(std::max(count, 0)) * static_cast<uint64_t>(width_);
    if (count < 0 || bytes != tokens_.size() - llmc_header)
        die(Exit::Data, "%s: %d bytes after the header, which counts %d tokens of %d bytes; truncated?", path_,
            tokens_.size() - llmc_header, count, width_);
    if (eot_id_ < 0)
        die(Exit::Usage,
            "%s: an llm.c file's documents end at an EOT id, which is not known; give --eot-id or --tokenizer", path_);
    num_tokens_ = static_cast<uint64_t>(count);
    ids_ = tokens_.data() + llmc_header;

    uint64_t begin = 0;
    const auto end_document = [&](uint64_t end) {
        if (end > begin) found_.push_back({begin, end});
        begin = end + 1;
    };
    if (width_ == 2)
        scan(reinterpret_cast<const uint16_t*>(ids_), num_tokens_, eot_id_, end_document);
    else
        scan(reinterpret_cast<const uint32_t*>(ids_), num_tokens_, eot_id_, end_document);
    end_document(num_tokens_);
    num_documents_ = num_sequences_ = found_.size();
}

void TokenFile::open_datatrove() {
    format_ = TokenFormat::Datatrove;
    const std::string index_path = path_ + ".index", metadata_path = path_ + ".metadata";
    index_ = MappedFile(index_path);
    if (index_.size() == 0 || index_.size() % 8 != 0)
        die(Exit::Data, "%s: %d bytes, expected a multiple of 8 (u64 ends of documents)", index_path, index_.size());
    offsets_ = index_.data();
    num_documents_ = num_sequences_ = index_.size() / 8;
    uint64_t before = 0;
    for (uint64_t i = 0; i < num_documents_; ++i) {
        const uint64_t end = load<uint64_t>(offsets_, i);
        if (end < before || end > most_tokens)
            die(Exit::Data, "%s: document %d ends at token %d, the one before at %d", index_path, i, end, before);
        before = end;
    }
    num_tokens_ = before;
    width_ = tokens_.size() == 2 * num_tokens_ ? 2 : 4;
    if (file_exists(metadata_path)) {
        const std::string text = read_file(metadata_path);
        const size_t bar = text.find('|'), line = text.find('\n');
        unsigned long long count = 0;
        int width = 0;
        if (bar == std::string::npos || line == std::string::npos || bar > line ||
            sscanf(text.c_str() + bar + 1, "%9d", &width) != 1 ||
            sscanf(text.c_str() + line + 1, "%19llu", &count) != 1 || (width != 2 && width != 4))
            die(Exit::Data, "%s: expected 'tokenizer|2' or 'tokenizer|4', then the token count", metadata_path);
        if (count != num_tokens_)
            die(Exit::Data, "%s: counts %d tokens, the index ends at %d", metadata_path, count, num_tokens_);
        width_ = width;
    }
    if (tokens_.size() != num_tokens_ * static_cast<uint64_t>(width_))
        die(Exit::Data, "%s: %d bytes, its index asks for %d ids of 2 or 4 bytes; truncated?", path_, tokens_.size(),
            num_tokens_);
    ids_ = tokens_.data();
}

uint32_t TokenFile::content() const {
    const uint32_t parts[2] = {crc32c_sample(tokens_.data(), tokens_.size()),
                               crc32c_sample(index_.data(), index_.size())};
    return crc32c(parts, sizeof parts, 0);
}

TokenFile::Range TokenFile::sequence(uint64_t i) const {
    switch (format_) {
        case TokenFormat::Megatron: {
            const uint64_t begin = static_cast<uint64_t>(load<int64_t>(offsets_, i)) / static_cast<uint64_t>(width_);
            return {begin, begin + sequence_size(i)};
        }
        case TokenFormat::Datatrove:
            return {i ? load<uint64_t>(offsets_, i - 1) : 0, load<uint64_t>(offsets_, i)};
        case TokenFormat::Llmc:
            break;
    }
    return found_[i];
}

uint64_t TokenFile::sequence_size(uint64_t i) const {
    return format_ == TokenFormat::Megatron ? static_cast<uint64_t>(load<int32_t>(lengths_, i)) : sequence(i).size();
}

TokenFile::Range TokenFile::document_sequences(uint64_t i) const {
    if (format_ != TokenFormat::Megatron) return {i, i + 1};
    return {static_cast<uint64_t>(load<int64_t>(first_sequence_, i)),
            static_cast<uint64_t>(load<int64_t>(first_sequence_, i + 1))};
}

TokenFile::Range TokenFile::document(uint64_t i) const {
    if (format_ != TokenFormat::Megatron) return sequence(i);
    const Range s = document_sequences(i);
    if (s.size() == 0) return {0, 0};
    return {sequence(s.begin).begin, sequence(s.end - 1).end};
}

int32_t TokenFile::token(uint64_t position) const {
    return width_ == 2 ? load<uint16_t>(ids_, position) : load<int32_t>(ids_, position);
}

void TokenFile::read(uint64_t position, uint64_t n, int32_t vocab, int32_t* dst) const {
    const unsigned char* src = ids_ + position * static_cast<uint64_t>(width_);
    const uint32_t V = static_cast<uint32_t>(vocab);
    const bool fine = width_ == 2 ? widen<uint16_t>(src, n, V, dst) : widen<uint32_t>(src, n, V, dst);
    if (fine) return;
    uint64_t i = 0;
    while (static_cast<uint32_t>(dst[i]) < V) ++i;
    die_wild_id(position + i, vocab);
}

void TokenFile::die_wild_id(uint64_t position, int32_t vocab) const {
    uint64_t i = 0;
    while (i + 1 < num_documents_ && document(i).end <= position) ++i;
    die(Exit::Data, "%s: id %d in document %d at its token %d is outside of the vocabulary of %d", path_,
        static_cast<unsigned>(token(position)), i, position - document(i).begin, vocab);
}
