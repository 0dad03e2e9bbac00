// Outside formats: .npy, safetensors, tokenizer.json - hand-made bytes, NumPy where it is there, and refusals.
#include <cstring>

#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"
#include "util/npy.h"
#include "util/safetensors.h"
#include "util/tokenizer.h"
#include "util/tokenizer_id.h"

namespace {

constexpr char LEDGER[] = "[('count', '<u4'), ('first', '<u4')]";

std::string npy_bytes(const std::string& dictionary, const std::string& data) {
    std::string header = dictionary;
    header.resize(117, ' ');
    header += '\n';
    return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + data;
}

NpyLayout parse(const std::string& bytes, const std::string& dtype, size_t item, uint64_t columns) {
    return parse_npy("x.npy", reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), dtype, item, columns);
}

std::string safetensors_bytes(const std::string& header, const std::string& data) {
    const uint64_t size = header.size();
    return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

std::map<std::string, SafeTensor> parse(const std::string& bytes) {
    return parse_safetensors("x.safetensors", reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

}  // namespace

TEST_CASE(".npy: what NumPy writes is read, anything else refused", "[util]") {
    const std::string data(24, 'x');
    const std::string good = npy_bytes("{'descr': '<u4', 'fortran_order': False, 'shape': (3, 2), }", data);
    const NpyLayout two = parse(good, "<u4", 4, 2);
    CHECK(two.offset == 128);
    CHECK(two.rows == 3);
    CHECK(parse(npy_bytes("{\"shape\":(12,),'descr':'<u2','fortran_order':False}", data), "<u2", 2, 0).rows == 12);
    const std::string ledger =
        "{'descr': [('count', '<u4'), ('first', '<u4')], 'fortran_order': False, 'shape': (1, 3), }";
    CHECK(parse(npy_bytes(ledger, data), LEDGER, 8, 3).rows == 1);

    auto with = [&](const char* order, const char* shape) {
        return npy_bytes(format_text("{'descr': '<u4', 'fortran_order': %s, 'shape': %s, }", order, shape), data);
    };
    auto refused = [](const std::string& bytes, const char* part) {
        REQUIRE_DIES(Exit::Data, part, parse(bytes, "<u4", 4, 2));
    };
    REQUIRE_DIES(Exit::Data, "expected <u2", parse(good, "<u2", 2, 2));
    REQUIRE_DIES(Exit::Data, "shape (3,2), expected (rows,3)", parse(good, "<u4", 4, 3));
    REQUIRE_DIES(Exit::Data, "expected (rows,)", parse(good, "<u4", 4, 0));
    refused(with("True", "(3, 2)"), "fortran_order");
    refused(with("False", "(9223372036854775807, 2)"), "more than memory");
    refused(with("False", "(99999999999999999999, 2)"), "shape");
    refused(with("False", "(-3, 2)"), "shape");
    refused(good + "x", "25 bytes of data");
    refused(good.substr(0, good.size() - 1), "23 bytes of data");
    refused(good.substr(0, 60), "truncated");
    refused("", "magic");
    refused(std::string("\x93NUMPY\x02\x00\x76\x00", 10) + good.substr(10), "version 2.0");
}

TEST_CASE(".npy: NumPy reads what we write and we read what NumPy writes", "[util]") {
    const std::string python = python_with("numpy");
    if (python.empty()) SKIP_TEST(".npy with NumPy: no Python with numpy");
    const TemporaryFolder folder;
    const uint32_t values[] = {1, 2, 3, 4, 5, 4294967295u};
    write_npy(folder / "a.npy", "<u4", 4, {3, 2}, values);
    write_npy(folder / "b.npy", "<u4", 4, {6}, values);
    write_npy(folder / "c.npy", LEDGER, 8, {3, 1}, values);
    const std::string script =
        "import os, sys, numpy as np\n"
        "os.chdir(sys.argv[1])\n"
        "a, b, c = (np.load(n + '.npy') for n in 'abc')\n"
        "assert a.tolist() == [[1, 2], [3, 4], [5, 4294967295]] and a.dtype == 'u4', a\n"
        "assert b.tolist() == [1, 2, 3, 4, 5, 4294967295]\n"
        "assert c.shape == (3, 1) and c['first'].tolist() == [[2], [4], [4294967295]], c\n"
        "for n, x in zip('abc', (a, b, c)): np.save(n + '2.npy', x)\n"
        "np.save('d.npy', np.arange(5, dtype='u2'))\n";
    write_file(folder / "script.py", script);
    std::string output;
    const int status = run_command(python + " " + (folder / "script.py") + " " + folder.path(), &output);
    INFO(output);
    REQUIRE(status == 0);
    for (const std::string name : {"a", "b", "c"})
        CHECK(read_file(folder / (name + "2.npy")) == read_file(folder / (name + ".npy")));
    const NpyArray d(folder / "d.npy", "<u2", 2, 0);
    REQUIRE(d.rows() == 5);
    CHECK(static_cast<const uint16_t*>(d.data())[4] == 4);
}

TEST_CASE("safetensors: written bytes", "[util]") {
    const TemporaryFolder folder;
    const float a[] = {1, 2};
    write_safetensors(folder / "x", {{"a", "F32", {2, 1}, 8, a, nullptr},
                                     {"b", "U8", {3}, 3, nullptr, [](unsigned char* out) { memcpy(out, "xyz", 3); }}});
    std::string header = R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},)"
                         R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    CHECK(read_file(folder / "x") == safetensors_bytes(header, std::string("\0\0\x80\x3f\0\0\0\x40xyz", 11)));
    const SafeTensorsFile file(folder / "x");
    CHECK(file.tensors().at("a").shape == std::vector<int64_t>{2, 1});
    CHECK(memcmp(file.tensors().at("b").data, "xyz", 3) == 0);
}

TEST_CASE("safetensors: every kind of damage is refused", "[util]") {
    auto entry = [](const char* name, const char* dtype, const char* shape, const char* offsets) {
        return format_text(R"("%s":{"dtype":"%s","shape":%s,"data_offsets":%s})", name, dtype, shape, offsets);
    };
    const std::string a = entry("a", "F32", "[2]", "[0,8]"), b = entry("b", "U8", "[3]", "[8,11]");
    const std::string data(11, 'x');
    CHECK(parse(safetensors_bytes("{" + b + "," + a + "}  ", data)).size() == 2);
    CHECK(parse(safetensors_bytes("{}", "")).empty());
    CHECK(parse(safetensors_bytes("{" + entry("s", "F32", "[]", "[0,4]") + "}", "xxxx")).at("s").shape.empty());

    auto refused = [&](const std::string& first, const char* part) {
        REQUIRE_DIES(Exit::Data, part, parse(safetensors_bytes("{" + first + "," + b + "}", data)));
    };
    refused(entry("a", "F32", "[3]", "[0,8]"), "takes 12 bytes");
    refused(entry("a", "F99", "[2]", "[0,8]"), "F99");
    refused(entry("a", "F32", "[1]", "[0,4]"), "a hole or an overlap");
    refused(entry("a", "F32", "[3]", "[0,12]"), "a hole or an overlap");
    refused(entry("a", "F32", "[2]", "[8,0]"), "data_offsets");
    refused(entry("a", "F32", "[2]", "[0,-8]"), "data_offsets");
    refused(entry("a", "F32", "[-2]", "[0,8]"), "impossible shape");
    refused(entry("a", "F32", "[4611686018427387904,2]", "[0,8]"), "impossible shape");
    refused(entry("a", "F32", "[2.0]", "[0,8]"), "impossible shape");
    refused(R"("a":[])", "expected dtype");
    refused(R"("__metadata__":{"x":1})", "__metadata__");
    REQUIRE_DIES(Exit::Data, "truncated", parse(safetensors_bytes("{" + a + "," + b + "}", data.substr(1))));
    REQUIRE_DIES(Exit::Data, "trailing", parse(safetensors_bytes("{" + a + "," + b + "}", data + "x")));
    REQUIRE_DIES(Exit::Data, "at least 8", parse(std::string("short")));
    REQUIRE_DIES(Exit::Data, "truncated", parse(safetensors_bytes("{}", "").substr(0, 9)));
    REQUIRE_DIES(Exit::Data, "at most", parse(std::string(16, '\xff')));
    REQUIRE_DIES(Exit::Data, "not JSON", parse(safetensors_bytes("{\"a\":", "")));
    REQUIRE_DIES(Exit::Data, "no object", parse(safetensors_bytes(" {}", "")));
}

TEST_CASE("Tokenizer: ids become the bytes they mean", "[util]") {
    // U+0120 means a blank, U+010A for a line feed, U+00C3 U+00A9 for the two bytes of an e with an acute accent
    const std::string text = R"({"added_tokens": [{"id": 6, "content": "<|endoftext|>", "special": true}],
        "decoder": {"type": "ByteLevel"}, "pre_tokenizer": null,
        "model": {"type": "BPE", "vocab": {"Hello": 0, "Ġworld": 1, "Ċ": 2, "Ã©": 3, "Ń": 5}, "merges": []}})";
    const Tokenizer t = Tokenizer::from_json("tokenizer.json", text);
    const int32_t ids[] = {0, 1, 2, 3, 6, 5, 4, 7, -1};
    CHECK(t.decode(ids, 9) == "Hello world\n\xC3\xA9<|endoftext|>\xAD<id 4><id 7><id -1>");
    CHECK(t.eot_id() == 6);
    CHECK(t.vocab_size() == 7);

    REQUIRE_DIES(Exit::Data, "not JSON", Tokenizer::from_json("t", "{"));
    REQUIRE_DIES(Exit::Data, "model.vocab", Tokenizer::from_json("t", "[1]"));
    REQUIRE_DIES(Exit::Data, "model.vocab", Tokenizer::from_json("t", R"({"model": {"vocab": []}})"));
    REQUIRE_DIES(Exit::Data, "Unigram", Tokenizer::from_json("t", R"({"model": {"type": "Unigram", "vocab": {}}})"));
    REQUIRE_DIES(Exit::Data, "ByteLevel",
                 Tokenizer::from_json("t", R"({"model": {"type": "BPE", "vocab": {"a": 0}}})"));
    const std::string head = R"({"decoder": {"type": "ByteLevel"}, "model": {"vocab": {)";
    REQUIRE_DIES(Exit::Data, "empty", Tokenizer::from_json("t", head + "}}}"));
    REQUIRE_DIES(Exit::Data, "id -1", Tokenizer::from_json("t", head + R"("a": -1}}})"));
    REQUIRE_DIES(Exit::Data, "99999999999", Tokenizer::from_json("t", head + R"("a": 99999999999}}})"));
    REQUIRE_DIES(Exit::Data, "no such file", Tokenizer(test_file("golden")));
}

// As the tokenizers library (0.23) decodes these ids; with skip_special_tokens for the bytes.
TEST_CASE("Tokenizer: spaces as U+2581 and bytes as <0xNN>", "[util]") {
    const std::string model = R"("added_tokens": [{"id": 1, "content": "<s>", "special": true},
        {"id": 2, "content": "</s>", "special": true}], "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581"},
        "model": {"type": "BPE", "byte_fallback": true, "merges": [], "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2,
        "<0xC3>": 3, "<0xA9>": 4, "\u2581the": 5, "\u2581": 6, "cat": 7, "\u2581\u2581": 8, "<0x0A>": 9, "s": 10}})";
    const std::string sequence = R"("decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern":
        {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
    const std::string metaspace =
        R"("decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"})";
    const struct {
        std::vector<int32_t> ids;
        const char *sequence, *metaspace;
        int64_t bytes, metaspace_bytes;
    } cases[] = {{{5, 6, 7, 3, 4, 9, 5}, "the cat\xC3\xA9\n the", "the cat<0xC3><0xA9><0x0A> the", 14, 29},
                 {{8, 7}, " cat", "cat", 4, 3},
                 {{1, 5, 7, 2}, "<s> thecat</s>", "<s> thecat</s>", 6, 6},
                 {{7, 10}, "cats", "cats", 4, 4}};
    const Tokenizer s = Tokenizer::from_json("s", "{" + sequence + "," + model + "}"),
                    m = Tokenizer::from_json("m", "{" + metaspace + "," + model + "}");
    for (const auto& c : cases) {
        CHECK(s.decode(c.ids.data(), c.ids.size()) == c.sequence);
        CHECK(m.decode(c.ids.data(), c.ids.size()) == c.metaspace);
        CHECK(s.text_bytes(c.ids.data(), c.ids.size(), true) == c.bytes);
        CHECK(m.text_bytes(c.ids.data(), c.ids.size(), true) == c.metaspace_bytes);
    }
    const int32_t the[] = {5, 11};
    CHECK(s.text_bytes(the, 1, true) == 3);
    CHECK(s.text_bytes(the, 1, false) == 4);  // in the middle of a text the space is one
    CHECK(s.text_bytes(the, 2, false) == -1);
    REQUIRE_DIES(Exit::Data, "WordPiece",
                 Tokenizer::from_json("t", "{\"decoder\": {\"type\": \"WordPiece\"}, " + model + "}"));
    const Tokenizer unigram = Tokenizer::from_json(
        "u", "{" + metaspace + R"(, "model": {"type": "Unigram", "vocab": [["<unk>", 0], ["\u2581a", -1.5]]}})");
    const int32_t a[] = {1, 1};
    CHECK(unigram.decode(a, 2) == "a a");
}

// test/python/test_shards.py has the same texts and the same digits.
TEST_CASE("a tokenizer written by another library version is the same tokenizer", "[util]") {
    const std::string old = R"({"version": "1.0", "truncation": null, "added_tokens": [{"id": 6, "content":
        "<|endoftext|>", "special": true, "lstrip": false}], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel",
        "add_prefix_space": false, "trim_offsets": true}, "model": {"type": "BPE", "dropout": null,
        "vocab": {"a": 0, "b": 1, "\u0120c": 2, "ab": 3}, "merges": ["a b"]}})",
                      newer = R"({"model": {"ignore_merges": false, "merges": [["a", "b"]], "vocab": {"ab": 3,
        "\u0120c": 2, "b": 1, "a": 0}, "continuing_subword_prefix": "", "type": "BPE"},
        "decoder": {"type": "ByteLevel"}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": false, "use_regex": true},
        "added_tokens": [{"content": "<|endoftext|>", "id": 6, "special": true}]})";
    const char* const content = "d90099e7986530e966623c16a0fb521d8266d9ce83d6afe9b73c20b665da9cd3";
    CHECK(tokenizer_content("t", old) == content);
    CHECK(tokenizer_content("t", newer) == content);
    // what changes ids changes it
    for (const auto& [from, to] : {std::pair("\"ab\": 3", "\"ab\": 4"),
                                   {"[\"a\", \"b\"]", ""},
                                   {"_space\": false", "_space\": true"},
                                   {"\"id\": 6", "\"id\": 7"}}) {
        std::string other = newer;
        other.replace(other.find(from), strlen(from), to);
        CHECK(tokenizer_content("t", other) != content);
    }
    REQUIRE_DIES(Exit::Data, "not a tokenizer.json", tokenizer_content("t", "[]"));

    const TemporaryFolder folder;
    put_file(folder / "old.json", old);
    put_file(folder / "newer.json", newer);
    const TokenizerId first = tokenizer_id(folder / "old.json"), second = tokenizer_id(folder / "newer.json");
    CHECK(first.sha256 != second.sha256);
    CHECK(same_tokenizer(first, second));
    CHECK(same_tokenizer({first.sha256, "", ""}, first));                    // an old sidecar without its tokenizer
    CHECK(!same_tokenizer({first.sha256, "", ""}, second));                  // nothing known but another file
    CHECK(same_tokenizer({first.sha256, content, ""}, second));              // a new sidecar
    CHECK(!same_tokenizer({std::string(64, 'a'), "", first.file}, second));  // its file has been replaced
}

TEST_CASE("Tokenizer: published vectors of GPT-NeoX", "[util]") {
    const std::string path = test_file("../../shared/data/tokenizers/neox/20B_tokenizer.json");
    if (!file_exists(path)) SKIP_TEST("GPT-NeoX tokenizer: no shared/data next to the project");
    const Tokenizer t(path);
    auto text = [&](const std::vector<int32_t>& ids) { return t.decode(ids.data(), ids.size()); };
    CHECK(text({22495, 187, 1282, 186, 1156}) == "Multi\nline\ttext");
    CHECK(text({29, 93, 43274, 49651}) == "<|prompt|>");
    CHECK(text({1276, 310, 6086, 25299, 249, 434, 17238, 32}) == "What is George Rankin's occupation?");
    CHECK(text({50276, 0}) == "  <|endoftext|>");
    CHECK(t.vocab_size() == 50277);
    CHECK(t.eot_id() == 0);
}
