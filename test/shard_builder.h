// shard_builder.h - small shards for tests and benchmarks, written byte by byte as dev/formats.md says, not by the code
// under test.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "util/check.h"
#include "util/files.h"
#include "util/npy.h"
#include "util/rng.h"

using Document = std::vector<int>;

// Without the care of write_file, so that hundreds of them take no time.
inline void put_file(const std::string& path, const std::string& bytes) {
    FILE* file = fopen(path.c_str(), "wb");
    ENSURE(file && fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size() && fclose(file) == 0,
           "%s: cannot be written", path);
}

template <class X>
void append(std::string* bytes, X value) {
    bytes->append(reinterpret_cast<const char*>(&value), sizeof value);
}

inline void append_id(std::string* bytes, int id, int width) {
    if (width == 2)
        append(bytes, static_cast<uint16_t>(id));
    else
        append(bytes, static_cast<int32_t>(id));
}

struct SidecarText {
    std::string kind = "text", sha256 = "aa11";
    int64_t vocab_size = 1000, eot_id = 0, documents = 0, tokens = 0, bytes = 0;
    int64_t format_version = 1;
    std::string json() const {
        return format_text(
            "{\"format_version\": %d, \"kind\": \"%s\", \"tokenizer\": {\"name\": \"made up\", \"sha256\": \"%s\", "
            "\"file\": \"none.json\"}, "
            "\"vocab_size\": %d, \"eot_id\": %d, \"documents\": %d, \"tokens\": %d, \"bytes\": %d, "
            "\"checksums\": {}}",
            format_version, kind, sha256, vocab_size, eot_id, documents, tokens, bytes);
    }
};

// PREFIX.bin and PREFIX.idx, sequence by sequence.
class MegatronBuilder {
  public:
    explicit MegatronBuilder(int width) : width_(width) { append(&documents_, int64_t{0}); }
    void sequence(const int* ids, size_t n) {
        append(&lengths_, static_cast<int32_t>(n));
        append(&offsets_, static_cast<int64_t>(ids_.size()));
        for (size_t i = 0; i < n; ++i) append_id(&ids_, ids[i], width_);
        ++sequences_;
    }
    void end_document() {
        append(&documents_, sequences_);
        ++num_documents_;
    }
    int64_t documents() const { return num_documents_; }
    int64_t tokens() const { return static_cast<int64_t>(ids_.size()) / width_; }
    std::string index() const {
        std::string bytes("MMIDIDX\0\0", 9);
        append(&bytes, uint64_t{1});
        append(&bytes, static_cast<uint8_t>(width_ == 2 ? 8 : 4));
        append(&bytes, static_cast<uint64_t>(sequences_));
        append(&bytes, static_cast<uint64_t>(num_documents_ + 1));
        return bytes + lengths_ + offsets_ + documents_;
    }
    void write(const std::string& prefix) const {
        put_file(prefix + ".bin", ids_);
        put_file(prefix + ".idx", index());
    }

  private:
    int width_;
    int64_t sequences_ = 0, num_documents_ = 0;
    std::string ids_, lengths_, offsets_, documents_;
};

// A Megatron text shard with its sidecar; each document ends in EOT where `append_eot` is set.
inline void write_text(const std::string& prefix, const std::vector<Document>& documents, SidecarText sidecar = {},
                       bool append_eot = true) {
    MegatronBuilder builder(2);
    for (Document document : documents) {
        if (append_eot) document.push_back(static_cast<int>(sidecar.eot_id));
        builder.sequence(document.data(), document.size());
        builder.end_document();
    }
    builder.write(prefix);
    sidecar.documents = builder.documents();
    sidecar.tokens = builder.tokens();
    sidecar.bytes = 4 * builder.tokens();
    put_file(prefix + ".json", sidecar.json());
}

// `n` documents of `shortest` to `longest` ids out of [10, 100).
inline std::vector<Document> random_documents(size_t n, size_t shortest, size_t longest, uint64_t seed) {
    std::vector<Document> documents(n);
    uint64_t draw = 0;
    for (Document& document : documents) {
        document.resize(shortest + random_below(longest - shortest + 1, seed, 0, draw++));
        for (int& id : document) id = 10 + static_cast<int>(random_below(90, seed, 1, draw++));
    }
    return documents;
}

inline std::string llmc_bytes(const std::vector<int>& ids, int magic, int version, int width) {
    std::string bytes;
    append(&bytes, int32_t{magic});
    append(&bytes, int32_t{version});
    append(&bytes, static_cast<int32_t>(ids.size()));
    bytes.resize(1024, '\0');
    for (const int id : ids) append_id(&bytes, id, width);
    return bytes;
}

// A knowledge source. The value of (entity, slot) is `value_length` times the id value_id(...), which occurs nowhere
// else, so that a stream's exposures can be counted without the index. The sentence before it has ids of [10, 100) and
// says slot, template and form: 10 + slot, 30 + template, 50 + form.
struct KnowledgeBuilder {
    int entities = 10, slots = 3, templates = 2, forms = 2, filler = 2;
    SidecarText sidecar = {"knowledge", "aa11", 0, 0, 0, 0, 0, 1};
    std::vector<double> weights = {1};  // of the groups
    std::vector<uint32_t> group;        // (entities); empty: all are of group 0
    std::string rendering;              // the value of facts.json's key; empty: no such key

    int value_id(int entity, int slot) const { return 100 + entity * slots + slot; }
    static int value_length(int entity, int slot) { return 1 + (entity + slot) % 3; }
    int vocab_size() const { return 100 + entities * slots; }
    std::string facts() const {
        std::string text =
            format_text("{\"format_version\": 1, \"entities\": %d, \"templates\": %d, \"forms\": [\"initial\"",
                        entities, templates);
        for (int form = 1; form < forms; ++form) text += format_text(", \"continuing%d\"", form);
        text += "], \"groups\": [";
        for (size_t g = 0; g < weights.size(); ++g) text += format_text("%s\"group%d\"", g ? ", " : "", g);
        text += "], \"group_weights\": [";
        for (size_t g = 0; g < weights.size(); ++g) text += format_text("%s%.17g", g ? ", " : "", weights[g]);
        if (!rendering.empty())
            text += format_text("], \"rendering\": %s, \"slots\": [", rendering);
        else
            text += "], \"slots\": [";
        for (int slot = 0; slot < slots; ++slot)
            text += format_text("%s{\"name\": \"slot%d\", \"pool_size\": %d}", slot ? ", " : "", slot, entities);
        return text + "]}";
    }
    void write(const std::string& prefix) {
        MegatronBuilder builder(4);
        std::vector<uint16_t> spans;
        std::vector<uint32_t> values, groups = group;
        groups.resize(static_cast<size_t>(entities), 0);
        std::string names;
        std::vector<int> ids;
        for (int entity = 0; entity < entities; ++entity) {
            for (int slot = 0; slot < slots; ++slot) {
                values.push_back(static_cast<uint32_t>(entity));
                for (int t = 0; t < templates; ++t)
                    for (int form = 0; form < forms; ++form) {
                        ids = {10 + slot, 30 + t, 50 + form};
                        ids.insert(ids.end(), static_cast<size_t>(filler + t + (entity * 7 + form) % 3), 9);
                        spans.push_back(static_cast<uint16_t>(ids.size()));
                        ids.insert(ids.end(), static_cast<size_t>(value_length(entity, slot)), value_id(entity, slot));
                        spans.push_back(static_cast<uint16_t>(ids.size()));
                        if (t % 2) ids.push_back(9);  // a word after the value
                        builder.sequence(ids.data(), ids.size());
                    }
            }
            builder.end_document();
            names += format_text("Person %d\n", entity);
        }
        builder.write(prefix);
        write_npy(prefix + ".spans.npy", "<u2", 2, {spans.size() / 2, 2}, spans.data());
        write_npy(prefix + ".values.npy", "<u4", 4, {static_cast<uint64_t>(entities), static_cast<uint64_t>(slots)},
                  values.data());
        write_npy(prefix + ".group.npy", "<u4", 4, {static_cast<uint64_t>(entities)}, groups.data());
        put_file(prefix + ".names.txt", names);
        put_file(prefix + ".facts.json", facts());
        if (sidecar.vocab_size == 0) sidecar.vocab_size = vocab_size();
        sidecar.documents = entities;
        sidecar.tokens = builder.tokens();
        put_file(prefix + ".json", sidecar.json());
    }
};
