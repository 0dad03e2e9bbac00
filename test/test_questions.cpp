// Question sets: what is read is what was written, each broken file is refused by name, and a sample is exact.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "eval/question_task.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"

TEST_CASE("a question set is read as written, by any of its names", "[questions]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(7, 2, 2);
    built.questions[3].others = {{5}, {6, 7}, {8}};
    built.questions[3].columns.first_candidate = 2;
    built.questions[3].columns.first_alias = 4;
    built.questions[4].prompt.resize(30, 9);
    built.questions[4].others = {{5, 6, 7, 8, 9, 10, 11, 12}};
    built.questions[4].columns.first_alias = 2;
    built.write(folder / "set");
    for (const char* name : {"set", "set.bin", "set.questions.json"}) {
        const QuestionSet set(folder / name, 64, 40);
        REQUIRE(set.size() == built.questions.size());
        CHECK(set.prefix() == folder / "set");
        CHECK(set.eot_id() == 0);
        int longest = 0;
        for (uint32_t i = 0; i < set.size(); ++i) {
            const BuiltQuestion& q = built.questions[i];
            const QuestionSet::Length n = set.length(i);
            std::vector<int> expected = q.prompt, found(static_cast<size_t>(n.both()));
            expected.insert(expected.end(), q.answer.begin(), q.answer.end());
            set.read(i, found.data());
            REQUIRE(found == expected);
            REQUIRE(n.answer == static_cast<int>(q.answer.size()));
            REQUIRE(set.question(i).template_index == q.columns.template_index);
            REQUIRE(set.question(i).group == q.columns.group);
            longest = std::max(longest, n.both());
            REQUIRE(set.texts(i).all() == 1 + q.others.size());
            for (uint32_t k = 0; k < q.others.size(); ++k) {
                const std::vector<int>& other = q.others[k];
                expected.resize(q.prompt.size());
                expected.insert(expected.end(), other.begin(), other.end());
                REQUIRE(set.length(i, 1 + k).both() == static_cast<int>(expected.size()));
                found.resize(expected.size());
                set.read(i, found.data(), 1 + k);
                REQUIRE(found == expected);
            }
        }
        CHECK((set.texts(3).candidates == 2 && set.texts(3).aliases == 1));
        CHECK((set.texts(4).candidates == 0 && set.texts(4).aliases == 1));
        CHECK(set.has_candidates());
        CHECK(set.longest() == std::max(longest, 38));  // an alias
        CHECK(set.seen_entities(0) == 7);
    }
}

TEST_CASE("the majority answer and the people are those of the whole set", "[questions]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(10, 1);
    for (BuiltQuestion& q : built.questions)
        q.answer = {q.columns.entity < 4 ? 9 : 10 + static_cast<int>(q.columns.entity)};
    for (BuiltQuestion& q : built.questions)
        if (q.columns.entity == 9) q.columns.kind = 2;  // no question of kind "seen" about this one
    built.write(folder / "set");
    const QuestionTask task(folder / "set", 64, 40, 5);
    CHECK(task.chosen.size() == 5);
    CHECK(task.set->seen_entities(0) == 9);
    CHECK(task.majority.answer[0] == Approx(4.0 / 9));
    CHECK(task.majority.answer[2] ==
          Approx(6.0 / 15));  // nine people once, four with one answer; the last one six times
}

TEST_CASE("broken question sets are refused with file and question", "[questions]") {
    const TemporaryFolder folder;
    const std::string path = folder / "set";
    using Builder = QuestionBuilder;
    struct Broken {
        const char* message;
        std::function<void(Builder&)> breaks;
    };
    const Broken columns[] = {
        {"question 5: relation 2", [](Builder& b) { b.questions[5].columns.relation = 2; }},
        {"question 5: attribute 2", [](Builder& b) { b.questions[5].columns.attribute = 2; }},
        {"question 5: template 12", [](Builder& b) { b.questions[5].columns.template_index = 12; }},
        {"question 5: kind 3", [](Builder& b) { b.questions[5].columns.kind = 3; }},
        {"question 5: entity 4", [](Builder& b) { b.questions[5].columns.entity = 4; }},
        {"question 5: group 1", [](Builder& b) { b.questions[5].columns.group = 1; }},
        {"question 5: 2 sequences", [](Builder& b) { b.questions[5].columns.first_candidate = 2; }},
        {"question 5: 2 sequences", [](Builder& b) { b.questions[5].columns.first_alias = 7; }},
        {"question 5: 3 sequences", [](Builder& b) { b.questions[5].others = {{1}}; }},
        {"question 5: the answer is empty", [](Builder& b) { b.questions[5].answer = {}; }},
        {"question 5: the end-of-text id 0",
         [](Builder& b) {
             b.questions[5].answer = {4, 0};
         }},
        {"document 5", [](Builder& b) { b.questions[5].prompt[1] = 64; }},
        {"question 5: the candidate 1 is empty",
         [](Builder& b) { add_others(&b, 5, 2, 0), b.questions[5].others[1].clear(); }},
        {"question 5: the alias 0 is empty",
         [](Builder& b) { add_others(&b, 5, 2, 1), b.questions[5].others[2].clear(); }},
        {"question 5: the end-of-text id 0 stands inside the candidate 1",
         [](Builder& b) { add_others(&b, 5, 2, 1), b.questions[5].others[1].push_back(0); }},
        {"question 5: candidate 1 repeats the tokens of answer",
         [](Builder& b) { add_others(&b, 5, 2, 1), b.questions[5].others[1] = b.questions[5].answer; }},
        {"question 5: alias 0 repeats the tokens of candidate 0",
         [](Builder& b) { add_others(&b, 5, 2, 1), b.questions[5].others[2] = b.questions[5].others[0]; }},
        {"document 5", [](Builder& b) { add_others(&b, 5, 2, 1), b.questions[5].others[1].back() = 64; }},
        {"eot_id 63", [](Builder& b) { b.eot_id = 63, b.vocab = 64; }},
        {"\"kinds\" knows",
         [](Builder& b) {
             b.names.kinds = {"seen", "heldout", "asked"};
         }},
        {"twice",
         [](Builder& b) {
             b.names.kinds = {"seen", "heldout", "seen"};
         }},
        {"\"attributes\" names \"a1\" twice, at positions 1 and 2",
         [](Builder& b) { b.names.attributes.push_back("a1"); }},
        {"\"relations\" names \"a0\" twice, at positions 0 and 2",
         [](Builder& b) { b.names.relations.push_back("a0"); }},
        {"\"groups\" names \"g0\" twice", [](Builder& b) { b.names.groups.push_back("g0"); }},
        {"\"attribute_bits\" must list", [](Builder& b) { b.names.bits = {3}; }},
        {"\"attribute_bits\" must hold",
         [](Builder& b) {
             b.names.bits = {-1, 2};
         }},
        {"\"attribute_bits\" must hold",
         [](Builder& b) {
             b.names.bits = {INFINITY, 2};
         }},
        {"\"attribute_bits\" says 4.5 for a1",
         [](Builder& b) {
             b.names.bits = {3, 4.5};
         }},
        {"\"group_weights\" must list",
         [](Builder& b) {
             b.names.group_weights = {1, 1};
         }},
        {"\"group_weights\" must hold", [](Builder& b) { b.names.group_weights = {-1}; }},
        {"\"group_weights\" sum to 0", [](Builder& b) { b.names.group_weights = {0}; }},
        {"\"name\" becomes", [](Builder& b) { b.names.name = "a/b"; }},
        {"\"attribute_pools\" must list", [](Builder& b) { b.names.pools = {3}; }},
        {"\"attribute_pools\" must hold", [](Builder& b) { b.names.pools[1] = -3; }},
        {"\"templates\" must be", [](Builder& b) { b.names.templates.clear(); }},
        {"entities", [](Builder& b) { b.names.entities = 0; }},
    };
    for (const Broken& broken : columns) {
        QuestionBuilder built = synthetic_questions(4, 2);
        broken.breaks(built);
        built.write(path);
        const int vocab = std::string(broken.message) == "eot_id 63" ? 63 : 64;
        REQUIRE_DIES(Exit::Data, broken.message, QuestionSet(path, vocab, 45));
        REQUIRE_DIES(Exit::Data, "set.", QuestionSet(path, vocab, 45));
    }

    const QuestionBuilder fine = synthetic_questions(4, 2);
    auto rewrite = [&](const char* ending, auto change) {
        fine.write(path);
        std::string bytes = read_file(path + ending);
        change(&bytes);
        plain_write(path + ending, bytes);
    };
    auto edit = [&](const char* key, const nlohmann::json& value) {
        fine.write(path);
        nlohmann::json object = fine.questions_json();
        object[key] = value;
        if (value.is_null()) object.erase(key);
        plain_write(path + ".questions.json", object.dump());
    };
    fine.write(path);
    CHECK(QuestionSet(path, 64, 45).size() == 48);
    edit("format_version", 2);
    REQUIRE_DIES(Exit::Data, "format_version", QuestionSet(path, 64, 45));
    edit("questions", 47);
    REQUIRE_DIES(Exit::Data, "47 questions", QuestionSet(path, 64, 45));
    for (const char* key :
         {"name", "questions", "relations", "attributes", "attribute_pools", "templates", "kinds", "groups"}) {
        edit(key, nullptr);
        REQUIRE_DIES(Exit::Data, key, QuestionSet(path, 64, 45));
        edit(key, 1.5);
        REQUIRE_DIES(Exit::Data, key, QuestionSet(path, 64, 45));
    }
    for (const char* ending : {".bin", ".idx", ".q.npy", ".questions.json", ".json"}) {
        rewrite(ending, [](std::string* bytes) { bytes->resize(bytes->size() - 2); });
        REQUIRE_DIES(Exit::Data, "set.", QuestionSet(path, 64, 45));
        rewrite(ending, [](std::string* bytes) { bytes->clear(); });
        REQUIRE_DIES(Exit::Data, "set.", QuestionSet(path, 64, 45));
        fine.write(path);
        remove_tree(path + ending);
        REQUIRE_DIES(Exit::Data, "set.", QuestionSet(path, 64, 45));
    }
    plain_write(path + ".questions.json", "{\n \"name\": \"set\",\n \"source\": }\n");
    REQUIRE_DIES(Exit::Data, "set.questions.json: not JSON", QuestionSet(path, 64, 45));
    REQUIRE_DIES(Exit::Data, "line 3, column 12", QuestionSet(path, 64, 45));
    rewrite(".json", [](std::string* bytes) { bytes->replace(bytes->find("questions"), 9, "knowledge"); });
    REQUIRE_DIES(Exit::Data, "kind \"knowledge\"", QuestionSet(path, 64, 45));
}

TEST_CASE("what can be learned of an attribute is the pool's bits unless the file says less", "[questions]") {
    QuestionBuilder built = synthetic_questions(4, 3);
    built.names.pools = {8, 67200, 0};
    built.questions.resize(1);
    const auto bits = [&] { return parse_question_names("set", built.questions_json().dump()).bits; };
    CHECK(bits() == std::vector<double>{3, std::log2(67200), 0});
    built.names.bits = {2.5, 16.04, 7};  // rounded up in the file
    CHECK(bits() == std::vector<double>{2.5, std::log2(67200), 0});
    CHECK(parse_question_names("set", built.questions_json().dump()).group_weights.empty());
}

TEST_CASE("a sample has exactly n questions and every stratum its share", "[questions]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(41, 3, 4);
    built.write(folder / "set");
    const QuestionSet set(folder / "set", 64, 45);
    auto stratum = [&](uint32_t i) {
        const Question q = set.question(i);
        return (q.attribute * 3 + q.kind) * 4 + q.group;
    };
    std::map<uint32_t, double> sizes;
    for (uint32_t i = 0; i < set.size(); ++i) ++sizes[stratum(i)];

    for (const uint64_t n : {1u, 7u, 100u, 360u, 737u}) {
        const std::vector<uint32_t> chosen = set.choose(n, 5);
        REQUIRE(chosen.size() == n);
        REQUIRE(std::is_sorted(chosen.begin(), chosen.end()));
        REQUIRE(std::adjacent_find(chosen.begin(), chosen.end()) == chosen.end());
        REQUIRE(chosen == set.choose(n, 5));
        std::map<uint32_t, double> taken;
        for (const uint32_t i : chosen) ++taken[stratum(i)];
        for (const auto& [key, size] : sizes)
            REQUIRE(std::abs(taken[key] - size * static_cast<double>(n) / set.size()) < 1);
    }
    CHECK(set.choose(100, 5) != set.choose(100, 6));
    for (const uint64_t all : {0u, 738u, 10000u}) CHECK(set.choose(all, 5).size() == set.size());

    // every question of a stratum is as likely as the others
    std::vector<int> times(set.size());
    for (uint64_t seed = 0; seed < 600; ++seed)
        for (const uint32_t i : set.choose(123, seed)) ++times[i];
    const auto [least, most] = std::minmax_element(times.begin(), times.end());
    CHECK(*least > 100 - 50);  // 100 expected, standard deviation 9
    CHECK(*most < 100 + 50);
}
