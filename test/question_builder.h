// question_builder.h - question sets for tests, written as dev/formats.md, 3 says.
#pragma once
#include <algorithm>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "eval/questions.h"
#include "util/rng.h"

// Without fsync, unlike write_file: tests write hundreds of small files.
inline void plain_write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

struct BuiltQuestion {
    Question columns{};
    std::vector<int> prompt, answer;
    std::vector<std::vector<int>> others;  // candidates, then aliases
};

struct QuestionBuilder {
    QuestionNames names;
    int vocab = 64, eot_id = 0;
    std::string kind = "questions", tokenizer_sha256 = std::string(64, 'a');
    std::vector<BuiltQuestion> questions;

    nlohmann::json questions_json() const {
        nlohmann::json object = {{"format_version", 1},
                                 {"name", names.name},
                                 {"source", names.source},
                                 {"questions", questions.size()},
                                 {"entities", names.entities},
                                 {"relations", names.relations},
                                 {"attributes", names.attributes},
                                 {"attribute_pools", names.pools},
                                 {"templates", names.templates},
                                 {"kinds", names.kinds},
                                 {"groups", names.groups}};
        if (!names.bits.empty()) object["attribute_bits"] = names.bits;
        if (!names.facts.names.empty())
            object["source_checksums"] = {{"names", names.facts.names}, {"values", names.facts.values}};
        if (!names.group_weights.empty()) object["group_weights"] = names.group_weights;
        if (names.shuffled) object["shuffled"] = true;
        return object;
    }

    // PREFIX.{bin,idx,json,questions.json,q.npy}
    void write(const std::string& prefix) const {
        std::string bin, index("MMIDIDX\0\0", 9), lengths, offsets, documents, columns;
        auto put = [](std::string* to, auto value) { to->append(reinterpret_cast<const char*>(&value), sizeof value); };
        int64_t sequences = 0;
        for (const BuiltQuestion& q : questions) {
            put(&documents, sequences);
            std::vector<std::vector<int>> texts = {q.prompt, q.answer};
            texts.insert(texts.end(), q.others.begin(), q.others.end());
            for (const std::vector<int>& text : texts) {
                put(&lengths, static_cast<int32_t>(text.size()));
                put(&offsets, static_cast<int64_t>(bin.size()));
                for (const int id : text) put(&bin, static_cast<uint16_t>(id));
                ++sequences;
            }
            put(&columns, q.columns);
        }
        put(&documents, sequences);
        put(&index, uint64_t{1});
        put(&index, uint8_t{8});
        put(&index, static_cast<uint64_t>(sequences));
        put(&index, static_cast<uint64_t>(questions.size() + 1));
        plain_write(prefix + ".bin", bin);
        plain_write(prefix + ".idx", index + lengths + offsets + documents);
        std::string header =
            "{'descr': '<u4', 'fortran_order': False, 'shape': (" + std::to_string(questions.size()) + ", 8), }";
        header.resize(117, ' ');
        plain_write(prefix + ".q.npy", std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n" + columns);
        plain_write(prefix + ".questions.json", questions_json().dump());
        const nlohmann::json sidecar = {{"format_version", 1},
                                        {"kind", kind},
                                        {"tokenizer", {{"name", "test"}, {"sha256", tokenizer_sha256}}},
                                        {"vocab_size", vocab},
                                        {"eot_id", eot_id},
                                        {"documents", questions.size()},
                                        {"tokens", bin.size() / 2},
                                        {"bytes", 4 * bin.size()}};
        plain_write(prefix + ".json", sidecar.dump());
    }
};

// Gives a question `candidates` and `aliases` of drawn ids, all different from one another and from the answer, as long
// as it or (unequal) of 1 to 4 ids.
inline void add_others(QuestionBuilder* set, size_t question, uint32_t candidates, uint32_t aliases,
                       bool unequal = false) {
    BuiltQuestion& q = set->questions[question];
    q.others.clear();
    for (uint64_t draw = 0; q.others.size() < candidates + aliases; ++draw) {
        std::vector<int> text(unequal ? 1 + draw % 4 : q.answer.size());
        for (uint64_t t = 0; t < text.size(); ++t)
            text[t] =
                1 + static_cast<int>(random_below(static_cast<uint64_t>(set->vocab - 1), 77, question, draw * 8 + t));
        if (text != q.answer && std::find(q.others.begin(), q.others.end(), text) == q.others.end())
            q.others.push_back(text);
    }
    q.columns.first_candidate = candidates ? 2 : 0;
    q.columns.first_alias = aliases ? 2 + candidates : 0;
}

// People with `attributes` facts each, asked in 3 seen, 2 heldout and 1 question templates of different lengths.
// Attribute a draws from 10 * (a + 1) values; the value's ids (1 to 3 of them) depend on attribute and value alone.
// Person p belongs to group p % groups.
inline QuestionBuilder synthetic_questions(int people, int attributes, int groups = 1, int vocab = 64,
                                           uint64_t seed = 1) {
    QuestionBuilder set;
    set.vocab = vocab;
    set.names.name = "people";
    set.names.source = "people";
    set.names.entities = people;
    set.names.kinds = {"seen", "heldout", "question"};
    for (int g = 0; g < groups; ++g) set.names.groups.push_back("g" + std::to_string(g));
    const int templates = 6;
    for (int a = 0; a < attributes; ++a) {
        set.names.attributes.push_back("a" + std::to_string(a));
        set.names.pools.push_back(10 * (a + 1));
        for (int w = 0; w < templates; ++w) set.names.templates.push_back("t" + std::to_string(a * templates + w));
    }
    set.names.relations = set.names.attributes;
    auto id = [&](uint64_t stream, uint64_t index) {  // never 0, which is EOT
        return 1 + static_cast<int>(random_below(static_cast<uint64_t>(vocab - 1), seed, stream, index));
    };
    for (int p = 0; p < people; ++p)
        for (int a = 0; a < attributes; ++a) {
            const uint64_t pool = static_cast<uint64_t>(set.names.pools[static_cast<size_t>(a)]);
            const uint64_t value = random_below(pool, seed, 1, static_cast<uint64_t>(p * attributes + a));
            for (int w = 0; w < templates; ++w) {
                BuiltQuestion q;
                const uint32_t attribute = static_cast<uint32_t>(a), kind = w < 3 ? 0 : w < 5 ? 1 : 2;
                q.columns = {attribute,
                             attribute,
                             static_cast<uint32_t>(a * templates + w),
                             kind,
                             static_cast<uint32_t>(p),
                             static_cast<uint32_t>(p % groups),
                             0,
                             0};
                for (uint64_t t = 0; t < 3; ++t) q.prompt.push_back(id(2, static_cast<uint64_t>(p) * 3 + t));
                for (int t = 0; t < 2 + w * w; ++t)
                    q.prompt.push_back(id(3, static_cast<uint64_t>((a * templates + w) * 100 + t)));
                for (uint64_t t = 0; t < 1 + value % 3; ++t)
                    q.answer.push_back(id(4, static_cast<uint64_t>(a) << 32 | (value * 3 + t)));
                set.questions.push_back(q);
            }
        }
    return set;
}
