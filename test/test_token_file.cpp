// The three shard formats: round trips of bytes made by hand, and every way in which a file can be bad.
#include "dataloader/token_file.h"

#include "dataloader/knowledge.h"
#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"

namespace {

std::vector<int32_t> read_all(const TokenFile& file, TokenFile::Range range, int32_t vocab = 70000) {
    std::vector<int32_t> ids(range.size());
    file.read(range.begin, range.size(), vocab, ids.data());
    return ids;
}

using Ids = std::vector<int32_t>;

// Rewrites a file with some bytes exchanged.
void patch(const std::string& path, size_t at, const std::string& bytes) {
    std::string text = read_file(path);
    put_file(path, text.replace(at, bytes.size(), bytes));
}

template <class X>
std::string raw(X value) {
    std::string bytes;
    append(&bytes, value);
    return bytes;
}

void truncate_by(const std::string& path, size_t n) {
    const std::string text = read_file(path);
    put_file(path, text.substr(0, text.size() - n));
}

}  // namespace

TEST_CASE("Shards are known by their ending", "[token_file]") {
    for (const char* path : {"a/web.bin", "web.ds", "a.b/web.x.bin"}) CHECK(is_shard(path));
    for (const char* path : {"", ".bin", "web", "web.idx", "web.bin.tmp", "a.bin/web", "web.ds.index", "webbin"})
        CHECK_FALSE(is_shard(path));
    CHECK(shard_prefix("a/web.x.bin") == "a/web.x");
    CHECK(shard_prefix("web.ds") == "web");
    REQUIRE_DIES(Exit::Data, "web.idx", shard_prefix("web.idx"));
}

TEST_CASE("Megatron shards round trip", "[token_file]") {
    TemporaryFolder folder;
    const int width = GENERATE(2, 4), most = width == 2 ? 65535 : 69999;
    MegatronBuilder builder(width);
    const std::vector<std::vector<std::vector<int>>> documents = {{{1, 2, 3}, {4}}, {}, {{}, {5, most}}, {{6}}};
    for (const auto& document : documents) {
        for (const auto& sequence : document) builder.sequence(sequence.data(), sequence.size());
        builder.end_document();
    }
    builder.write(folder / "a");
    const TokenFile file(folder / "a.bin");
    CHECK(file.format() == TokenFormat::Megatron);
    CHECK_FALSE(file.sidecar().present);
    CHECK(file.eot_id() == -1);
    REQUIRE(file.num_tokens() == 7);
    REQUIRE(file.num_documents() == 4);
    REQUIRE(file.num_sequences() == 5);
    CHECK(read_all(file, file.document(0)) == Ids{1, 2, 3, 4});
    CHECK(file.document(1).size() == 0);
    CHECK(read_all(file, file.document(2)) == Ids{5, most});
    CHECK(read_all(file, file.document(3)) == Ids{6});
    CHECK(read_all(file, file.sequence(1)) == Ids{4});
    CHECK(file.sequence(2).size() == 0);
    CHECK(file.document_sequences(2).begin == 2);
    CHECK(file.document_sequences(2).end == 4);
    CHECK(file.token(5) == most);
    REQUIRE_DIES(Exit::Data, "document 2 at its token 1", read_all(file, {0, 7}, most));
}

TEST_CASE("Megatron bytes by hand", "[token_file]") {
    TemporaryFolder folder;
    const unsigned char index[] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 2,
                                   0,   0,   0,   0,   0,   0,   0,   2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
                                   1,   0,   0,   0,   0,   0,   0,   0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0,
                                   0,   0,   0,   0,   0,   0,   0,   0, 0, 2, 0, 0, 0, 0, 0, 0, 0};
    put_file(folder / "a.idx", {reinterpret_cast<const char*>(index), sizeof index});
    put_file(folder / "a.bin", {"\x01\x00\xff\x00\x00\x01", 6});
    const TokenFile file(folder / "a.bin");
    REQUIRE(file.num_documents() == 1);
    CHECK(read_all(file, file.document(0)) == Ids{1, 255, 256});
    MegatronBuilder builder(2);
    const int first[] = {1, 255}, second[] = {256};
    builder.sequence(first, 2);
    builder.sequence(second, 1);
    builder.end_document();
    CHECK(builder.index() == read_file(folder / "a.idx"));
}

TEST_CASE("llm.c shards: documents are between EOT ids", "[token_file]") {
    TemporaryFolder folder;
    const int width = GENERATE(2, 4);
    const int magic = width == 2 ? 20240520 : 20240801, version = width == 2 ? 1 : 7;
    std::vector<int> ids = {7, 1, 2, 7, 7, 3};
    put_file(folder / "a.bin", llmc_bytes(ids, magic, version, width));
    const TokenFile file(folder / "a.bin", 7);
    CHECK(file.format() == TokenFormat::Llmc);
    REQUIRE(file.num_documents() == 2);
    CHECK(read_all(file, file.document(0)) == Ids{1, 2});
    CHECK(read_all(file, file.document(1)) == Ids{3});
    REQUIRE_DIES(Exit::Usage, "--eot-id", TokenFile(folder / "a.bin"));
    REQUIRE_DIES(Exit::Data, "a.bin", read_all(file, file.document(1), 3));

    ids.assign(5000, 1);  // more than one block of the scan
    for (const size_t at : {0u, 1023u, 1024u, 4999u}) ids[at] = 7;
    put_file(folder / "a.bin", llmc_bytes(ids, magic, version, width));
    const TokenFile blocks(folder / "a.bin", 7);
    REQUIRE(blocks.num_documents() == 2);
    CHECK(blocks.document(0).begin == 1);
    CHECK(blocks.document(0).end == 1023);
    CHECK(blocks.document(1).begin == 1025);
    CHECK(blocks.document(1).end == 4999);

    put_file(folder / "b.bin", llmc_bytes({1, 2}, magic, 3, width));
    REQUIRE_DIES(Exit::Data, "version 3", TokenFile(folder / "b.bin", 7));
    put_file(folder / "b.bin", llmc_bytes({1, 2}, magic + 2, version, width));
    REQUIRE_DIES(Exit::Data, "magic", TokenFile(folder / "b.bin", 7));
    put_file(folder / "b.bin", llmc_bytes({1, 2}, magic, version, width));
    truncate_by(folder / "b.bin", 1);
    REQUIRE_DIES(Exit::Data, "truncated", TokenFile(folder / "b.bin", 7));
    put_file(folder / "b.bin", std::string(1000, '\0'));
    REQUIRE_DIES(Exit::Data, "b.bin", TokenFile(folder / "b.bin", 7));
    put_file(folder / "b.bin", llmc_bytes({}, magic, version, width));
    REQUIRE_DIES(Exit::Data, "no tokens", TokenFile(folder / "b.bin", 7));
}

TEST_CASE("datatrove shards, with metadata and without", "[token_file]") {
    TemporaryFolder folder;
    const int width = GENERATE(2, 4);
    std::string ids;
    for (const int id : {1, 2, 3, 4, 5}) append_id(&ids, id, width);
    put_file(folder / "a.ds", ids);
    put_file(folder / "a.ds.index", raw(uint64_t{2}) + raw(uint64_t{2}) + raw(uint64_t{5}));
    const std::string metadata = folder / "a.ds.metadata";
    if (GENERATE(false, true)) put_file(metadata, format_text("gpt2|%d\n5\n5 T", width));
    const TokenFile file(folder / "a.ds", 0);
    CHECK(file.format() == TokenFormat::Datatrove);
    REQUIRE(file.num_documents() == 3);
    CHECK(read_all(file, file.document(0)) == Ids{1, 2});
    CHECK(file.document(1).size() == 0);
    CHECK(read_all(file, file.document(2)) == Ids{3, 4, 5});

    put_file(metadata, "gpt2|3\n5\n");
    REQUIRE_DIES(Exit::Data, "a.ds.metadata", TokenFile(folder / "a.ds", 0));
    put_file(metadata, "gpt2\n");
    REQUIRE_DIES(Exit::Data, "a.ds.metadata", TokenFile(folder / "a.ds", 0));
    put_file(metadata, "gpt2|2\n6\n");
    REQUIRE_DIES(Exit::Data, "counts 6", TokenFile(folder / "a.ds", 0));
    remove_tree(metadata);
    truncate_by(folder / "a.ds", 1);
    REQUIRE_DIES(Exit::Data, "truncated", TokenFile(folder / "a.ds", 0));
    put_file(folder / "a.ds.index", raw(uint64_t{3}) + raw(uint64_t{2}));
    REQUIRE_DIES(Exit::Data, "document 1", TokenFile(folder / "a.ds", 0));
    put_file(folder / "a.ds.index", "abc");
    REQUIRE_DIES(Exit::Data, "a.ds.index", TokenFile(folder / "a.ds", 0));
    remove_tree(folder / "a.ds.index");
    REQUIRE_DIES(Exit::Data, "a.ds.index", TokenFile(folder / "a.ds", 0));
}

TEST_CASE("a bad Megatron shard is refused with its path", "[token_file]") {
    TemporaryFolder folder;
    write_text(folder / "a", {{11, 12, 13}, {14, 15}});
    const std::string bin = folder / "a.bin", idx = folder / "a.idx";
    const auto open = [&] { TokenFile file(bin); };
    CHECK(outcome_of(open).code == Exit::Ok);
    SECTION("missing") {
        remove_tree(bin);
        REQUIRE_DIES(Exit::Data, bin, open());
    }
    SECTION("no index") {
        remove_tree(idx);
        REQUIRE_DIES(Exit::Data, bin, open());
    }
    SECTION("empty .bin") {
        put_file(bin, "");
        REQUIRE_DIES(Exit::Data, bin, open());
    }
    SECTION("empty .idx") {
        put_file(idx, "");
        REQUIRE_DIES(Exit::Data, idx, open());
    }
    SECTION("truncated .bin") {
        truncate_by(bin, 1);
        REQUIRE_DIES(Exit::Data, "truncated", open());
    }
    SECTION("longer .bin") {
        put_file(bin, read_file(bin) + "xx");
        REQUIRE_DIES(Exit::Data, bin, open());
    }
    SECTION("every truncation of the index") {
        const std::string text = read_file(idx);
        for (size_t n = 0; n < text.size(); ++n) {
            put_file(idx, text.substr(0, n));
            REQUIRE_DIES(Exit::Data, idx, open());
        }
    }
    SECTION("every flipped bit of the index is refused or harmless") {
        const std::string text = read_file(idx);
        for (size_t bit = 0; bit < 8 * text.size(); ++bit) {
            std::string flipped = text;
            flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
            put_file(idx, flipped);
            const DieError outcome = outcome_of(open);
            INFO("bit " << bit << ": " << outcome.message);
            // where a document begins can move by a sequence and still be a shard
            const bool harmless = outcome.code == Exit::Ok && bit / 8 >= 34 + 24 + 8;
            CHECK(
                (harmless || (outcome.code == Exit::Data && outcome.message.find(folder.path()) != std::string::npos)));
        }
    }
    SECTION("magic") {
        patch(idx, 3, "X");
        REQUIRE_DIES(Exit::Data, "MMIDIDX", open());
    }
    SECTION("version") {
        patch(idx, 9, "\x02");
        REQUIRE_DIES(Exit::Data, "version 2", open());
    }
    SECTION("dtype") {
        patch(idx, 17, "\x06");
        REQUIRE_DIES(Exit::Data, "dtype code 6", open());
    }
    SECTION("huge counts") {
        patch(idx, 18, raw(UINT64_MAX / 12));
        REQUIRE_DIES(Exit::Data, idx, open());
    }
    SECTION("no document ends") {
        patch(idx, 26, raw(uint64_t{0}));
        REQUIRE_DIES(Exit::Data, idx, open());
    }
    SECTION("negative length") {
        patch(idx, 34, raw(int32_t{-1}));
        REQUIRE_DIES(Exit::Data, "length -1", open());
    }
    SECTION("hole") {
        patch(idx, 34 + 8 + 8, raw(int64_t{4}));
        REQUIRE_DIES(Exit::Data, "sequence 1", open());
    }
    SECTION("documents descend") {
        patch(idx, 34 + 24 + 8, raw(int64_t{-1}));
        REQUIRE_DIES(Exit::Data, "document 1", open());
    }
    SECTION("sidecar") {
        const std::string json = folder / "a.json";
        put_file(json, "{");
        REQUIRE_DIES(Exit::Data, json, open());
        SidecarText sidecar;
        sidecar.documents = 2;
        sidecar.tokens = 8;
        put_file(json, sidecar.json());
        REQUIRE_DIES(Exit::Data, "8 in 2", open());
        sidecar.format_version = 2;
        put_file(json, sidecar.json());
        REQUIRE_DIES(Exit::Data, "format_version 2", open());
        sidecar = {};
        sidecar.kind = "poem";
        put_file(json, sidecar.json());
        REQUIRE_DIES(Exit::Data, "poem", open());
        sidecar = {};
        sidecar.eot_id = 1000;
        put_file(json, sidecar.json());
        REQUIRE_DIES(Exit::Data, "eot_id", open());
    }
}

TEST_CASE("a bad knowledge source is refused with its path", "[token_file]") {
    TemporaryFolder folder;
    KnowledgeBuilder people;
    people.write(folder / "p");
    const std::string prefix = folder / "p";
    const auto open = [&] { KnowledgeFile file(TokenFile(prefix + ".bin")); };
    CHECK(outcome_of(open).code == Exit::Ok);
    CHECK(KnowledgeFile::is_one(prefix));
    const KnowledgeFile file(TokenFile(prefix + ".bin"));
    CHECK(file.entity_name(0) == "Person 0");
    CHECK(file.entity_name(9) == "Person 9");
    CHECK(file.slot_names() == std::vector<std::string>{"slot0", "slot1", "slot2"});

    SECTION("facts.json") {
        const std::string path = prefix + ".facts.json", text = read_file(path);
        const auto with = [&](const std::string& from, const std::string& to) {
            std::string changed = text;
            put_file(path, changed.replace(changed.find(from), from.size(), to));
        };
        with("\"entities\": 10", "\"entities\": 11");
        REQUIRE_DIES(Exit::Data, path, open());
        with("\"templates\": 2", "\"templates\": 0");
        REQUIRE_DIES(Exit::Data, "templates", open());
        with("[\"initial\", \"continuing1\"]", "[\"initial\"]");
        REQUIRE_DIES(Exit::Data, "two forms", open());
        with("\"format_version\": 1", "\"format_version\": 7");
        REQUIRE_DIES(Exit::Data, "format_version 7", open());
        with("\"name\": \"slot1\"", "\"title\": \"slot1\"");
        REQUIRE_DIES(Exit::Data, "slot 1", open());
        put_file(path, text.substr(0, text.size() / 2));
        REQUIRE_DIES(Exit::Data, path, open());
    }
    SECTION("columns") {
        for (const char* ending : {".spans.npy", ".values.npy", ".group.npy", ".names.txt"}) {
            const std::string path = prefix + ending, text = read_file(path);
            remove_tree(path);
            REQUIRE_DIES(Exit::Data, path, open());
            put_file(path, text.substr(0, text.size() - 12));
            REQUIRE_DIES(Exit::Data, prefix, open());
            put_file(path, text);
        }
        const std::vector<uint32_t> fewer(9, 0);
        write_npy(prefix + ".group.npy", "<u4", 4, {9}, fewer.data());
        REQUIRE_DIES(Exit::Data, "9 in group.npy", open());
    }
    SECTION("spans") {
        const std::string path = prefix + ".spans.npy", text = read_file(path);
        patch(path, text.size() - 2, raw(uint16_t{99}));
        REQUIRE_DIES(Exit::Data, "sequence 119", open());
        put_file(path, text);
        patch(path, text.size() - 4, text.substr(text.size() - 2));  // an empty value
        REQUIRE_DIES(Exit::Data, "sequence 119", open());
    }
    SECTION("not Megatron") {
        remove_tree(prefix + ".idx");
        put_file(prefix + ".bin", llmc_bytes({1, 2, 0}, 20240520, 1, 2));
        SidecarText sidecar;
        sidecar.documents = 1;
        sidecar.tokens = 3;
        put_file(prefix + ".json", sidecar.json());
        REQUIRE_DIES(Exit::Data, "Megatron", open());
    }
}
