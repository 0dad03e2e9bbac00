// Answers in the model's own words: normalised as SQuAD's evaluation does it, compared, and judged after real passes.
#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/evaluator.cuh"
#include "eval/normalize.h"
#include "eval/results.h"
#include "eval/share_interval.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/test_eval_models.h"

namespace {

// A tokenizer.json whose ids from 1 on are these texts (added tokens stand for themselves); 0 is the end of text.
void write_tokenizer(const std::string& path, const std::vector<std::string>& texts) {
    nlohmann::json added = {{{"id", 0}, {"content", "<|endoftext|>"}}};
    for (size_t i = 0; i < texts.size(); ++i) added.push_back({{"id", i + 1}, {"content", texts[i]}});
    const nlohmann::json tokenizer = {{"model", {{"type", "BPE"}, {"vocab", {{"!", 0}}}}},
                                      {"decoder", {{"type", "ByteLevel"}}},
                                      {"added_tokens", added}};
    plain_write(path, tokenizer.dump());
}

}  // namespace

TEST_CASE("normalised answers are those of SQuAD's evaluation", "[normalize]") {
    if (!lower_cases_unicode()) SKIP_TEST("normalised answers: no locale C.UTF-8");
    // right-hand sides: lower(), string.punctuation, re.sub(r"\b(a|an|the)\b", " ", ...), split() of Python 3.11
    const std::pair<std::string, std::string> pairs[] = {
        {"Paris", "paris"},
        {" Paris.", "paris"},
        {"The Hague", "hague"},
        {"the", ""},
        {"A", ""},
        {"A a an The", ""},
        {"D.C.", "dc"},
        {"U.S.A.", "usa"},
        {"Washington, D.C.", "washington dc"},
        {"Washington DC", "washington dc"},
        {"O'Brien", "obrien"},
        {"rock 'n' roll", "rock n roll"},
        {"Jean-Luc", "jeanluc"},
        {"a-ha", "aha"},
        {"A-Ha!", "aha"},
        {"the-end", "theend"},
        {"an_other", "another"},
        {"a_b", "ab"},
        {"_the_", ""},
        {"Theatre", "theatre"},
        {"panda", "panda"},
        {"anthem", "anthem"},
        {"Bath the", "bath"},
        {"the Bath", "bath"},
        {"Anthony the Great", "anthony great"},
        {"an apple a day", "apple day"},
        {"THE Beatles", "beatles"},
        {"  two \t words\n\n", "two words"},
        {"1,000", "1000"},
        {"$5.00", "500"},
        {"50%", "50"},
        {"R&B", "rb"},
        {"C++", "c"},
        {"a1", "a1"},
        {"a 1", "1"},
        {"...", ""},
        {"?!", ""},
        {"", ""},
        {"   ", ""},
        {"ÉCOLE", "école"},
        {"Zürich", "zürich"},
        {"ŁÓDŹ", "łódź"},
        {"ΑΘΗΝΑ", "αθηνα"},
        {"the МОСКВА", "москва"},
        {"Āstra", "āstra"},
        {"Đà Nẵng", "đà nẵng"},
        {"STRASSE ẞ", "strasse ß"},
        {"ⅣX", "ⅳx"},
        {"Ա", "ա"},
        {"𐐀", "𐐨"},
        {"東京", "東京"},
        {"a 東京 the", "東京"},
        {"a東京", "a東京"},
        {"São Tomé and Príncipe", "são tomé and príncipe"},
        {"Côte d'Ivoire", "côte divoire"},
        {"L’Aquila", "l’aquila"},
        {"a’s", "’s"},
        {"the–end", "–end"},
        {"“The” Who", "“ ” who"},
        {"the é", "é"},
        {"a é", "é"},
        {"aé", "aé"},
        {"éa", "éa"},
        {"🎵 The 🎵", "🎵 🎵"},
        {"a🎵", "🎵"},
        {"x\u00a0y", "x y"},
        {"\u3000x\u2003y\u2028", "x y"},
        {"the\037end", "end"},
        {"x\302\205y", "x y"},
    };
    for (const auto& [text, expected] : pairs) {
        INFO(text);
        CHECK(normalize_answer(text) == expected);
        CHECK(normalize_answer(expected) == expected);  // it is its own normal form
    }
}

TEST_CASE("bytes that are no UTF-8 are kept as they are", "[normalize]") {
    // a byte alone, a cut character, one written longer than it needs, a surrogate, one after the last code point
    for (const std::string bytes : {"\xff", "\xc3", "\xe6\x9d", "\xc1\x81", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
        CHECK(normalize_answer("The " + bytes + " B.") == bytes + " b");
        CHECK(normalize_answer("a" + bytes) == "a" + bytes);  // they count as letters: "a" is no word here
    }
    CHECK(normalize_answer("\xc3\xc3\xa9X") == "\xc3\xc3\xa9x");  // é after a byte that begins nothing
}

TEST_CASE("a continuation is right when its words begin with the answer's", "[normalize]") {
    const struct {
        const char *continuation, *answer;
        bool right;
    } cases[] = {
        {" Paris", " Paris", true},
        {" Paris. The capital", " paris", true},
        {" the city of Paris", " Paris", false},  // begins with "city"
        {" The Hague, seat of", " Hague", true},
        {" Hague", " The Hague", true},
        {" New Yorker", " New York", false},
        {" New York", " New York City", false},
        {" New\nYork City", " New York", true},
        {" Washington, D.C. is", "Washington DC", true},
        {" Washington D. C.", "Washington DC", false},  // "d c"
        {"", " Paris", false},
        {" The Who", " The The", false},  // "The The" is nothing once normalised: looked for as it is
        {" The The  are", " The\tThe ", true},
        {" the the", " The The", false},
        {" ? it said", "?", true},
        {" anything", "", false},
        {"", "", false},
        {" anything", "  ", false},
    };
    for (const auto& c : cases) {
        INFO("'" << c.continuation << "' for '" << c.answer << "'");
        CHECK(begins_with_answer(c.continuation, c.answer) == c.right);
    }
}

TEST_CASE("a lookup table's own words are right exactly where that was written into it", "[eval]") {
    // ids: the end of text; 8 prompts; words. A head whose rows name the token to follow, as in test_eval_choices.cpp.
    const std::vector<std::string> texts = {"p0", "p1",     "p2",   "p3",     "p4",   "p5",    "p6", "p7",   " Paris",
                                            ".",  " PARIS", " The", " Hague", " New", " York", "er", " Rome"};
    const int paris = 9, dot = 10, PARIS = 11, the = 12, hague = 13, new_ = 14, york = 15, er = 16, rome = 17;
    GptConfig config = config_from_name("pythia:L1:C128:H2");
    config.V = 128;
    config.max_T = MAX_T;
    Gpt<float> gpt(config);
    for (int i = 0; i < 128; ++i) gpt.params.lnfw[i] = gpt.params.wte[i * 128 + i] = 1;
    const auto follows = [&](int token, int next) { gpt.params.lmheadw[next * 128 + token] = 4; };
    follows(dot, rome), follows(rome, 0), follows(paris, dot), follows(the, hague), follows(hague, dot);
    follows(PARIS, 0), follows(york, er), follows(er, 0), follows(new_, york);
    struct Planted {
        int said;  // after the prompt
        std::vector<int> answer;
        std::vector<std::vector<int>> others;
        uint32_t candidates;
        bool exact, normalized;
    };
    const Planted planted[] = {
        {paris, {paris}, {}, 0, true, true},          // "Paris. Rome"
        {PARIS, {paris}, {}, 0, false, true},         // "PARIS", then the end
        {the, {hague}, {}, 0, false, true},           // "The Hague. Rome"
        {hague, {the, hague}, {}, 0, false, true},    //
        {new_, {new_, york}, {}, 0, true, false},     // "New Yorker": exact match does not see what follows
        {paris, {rome}, {{paris}}, 1, false, false},  // a candidate is no answer
        {PARIS, {rome}, {{paris}}, 0, false, true},   // an alias is
        {rome, {paris}, {{hague}, {the, rome}}, 1, false, true},
    };
    QuestionBuilder built;
    built.vocab = 128;
    built.names.name = built.names.source = "people";
    built.names.entities = 8;
    built.names.attributes = built.names.relations = {"first", "rest"};
    built.names.pools = {0, 0};
    built.names.templates = {"t"};
    built.names.kinds = {"seen", "question"};
    built.names.groups = {"g"};
    for (uint32_t i = 0; i < 8; ++i) {
        const Planted& p = planted[i];
        follows(static_cast<int>(i) + 1, p.said);
        BuiltQuestion q{{i > 1, i > 1, 0, i % 2, i, 0, 0, 0}, {static_cast<int>(i) + 1}, p.answer, p.others};
        q.columns.first_candidate = p.candidates ? 2 : 0;
        q.columns.first_alias = p.others.size() > p.candidates ? 2 + p.candidates : 0;
        built.questions.push_back(q);
    }
    const TemporaryFolder folder;
    write_tokenizer(folder / "tokenizer.json", texts);
    built.write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    options.tokenizer.file = folder / "tokenizer.json";
    options.generate = true;
    options.generate_tokens.n = 4;
    options.report.resamples.n = 200;
    const EvaluationPlan plan = plan_evaluation(options, config.V, config.max_T);
    const Evaluation evaluation = Evaluator<float>(config, plan).run(gpt, {});
    const KnowledgeResult& knowledge = evaluation.knowledge[0];
    for (size_t i = 0; i < 8; ++i) {
        INFO("question " << i);
        CHECK(knowledge.results[i].correct == planted[i].exact);
        CHECK(knowledge.results[i].normalized == planted[i].normalized);
    }
    CHECK(knowledge.continuations[0] == std::vector<int>{paris, dot, rome});
    CHECK(knowledge.continuations[2] == std::vector<int>{the, hague, dot, rome});
    const KnowledgeReport& report = knowledge.report;
    CHECK((report.all.questions(Over::Judged) == 8 && report.all["accuracy_normalized"].value == 6.0 / 8 &&
           report.all["accuracy"].value == 2.0 / 8));
    CHECK((report.kinds[0]["accuracy_normalized"].value == 3.0 / 4 &&
           report.kinds[1]["accuracy_normalized"].value == 3.0 / 4));
    CHECK((report.attributes[0]["accuracy_normalized"].value == 1 &&
           report.attributes[1]["accuracy_normalized"].value == 4.0 / 6));
    const Interval interval = report.all["accuracy_normalized"].interval;
    CHECK((interval.low > 0 && interval.low < 0.75 && interval.high > 0.75));
    CHECK(report.attributes[0]["accuracy_normalized"].interval.low ==
          Approx(share_interval({{1, 1, 2}}).low));  // both of two entities

    const nlohmann::json root =
        nlohmann::json::parse(results_json(plan, evaluation, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5}));
    CHECK(root["metrics"]["know/people/accuracy_normalized"] == 0.75);
    CHECK(root["results"]["people"]["accuracy_normalized,none"] == 0.75);
    CHECK(root["higher_is_better"]["people"]["accuracy_normalized"] == true);
    CHECK(root["know"]["people"]["all"]["judged"] == 8);
    CHECK(root["know"]["people"]["all"]["accuracy_normalized_interval"][0] == interval.low);
    CHECK(root["know"]["people"]["by_kind"][1]["accuracy_normalized"] == 0.75);

    write_continuations(folder / "said.jsonl", plan, evaluation, 7);
    const std::string lines = read_file(folder / "said.jsonl");
    CHECK(lines.rfind(R"({"step":7,"set":"people","source":"people","question":0,)", 0) == 0);
    CHECK(lines.find(R"("prompt":"p0","text":" Paris. Rome","tokens":3,"ended":true,"normalized":true})") !=
          std::string::npos);
    CHECK(lines.find(R"("prompt":"p2","text":" The Hague. Rome","tokens":4,"ended":false,"normalized":true})") !=
          std::string::npos);
    CHECK(lines.find(R"("prompt":"p4","text":" New Yorker","tokens":3,"ended":true,"normalized":false})") !=
          std::string::npos);

    // without continuations nothing is said of them, and nothing else moves
    options.generate = false;
    const EvaluationPlan without = plan_evaluation(options, config.V, config.max_T);
    const Evaluation other = Evaluator<float>(config, without).run(gpt, {});
    CHECK(other.knowledge[0].report.all.questions(Over::Judged) == 0);
    CHECK(other.knowledge[0].report.all["accuracy"].interval.low == report.all["accuracy"].interval.low);
    CHECK(other.metrics.size() + 1 == evaluation.metrics.size());
    const std::string json = results_json(without, other, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5});
    CHECK(json.find("normalized") == std::string::npos);
}

TEST_CASE("where some continuations were judged, figures are over those", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(20, 2).write(folder / "set");
    const QuestionTask task(folder / "set", 64, MAX_T);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    std::vector<QuestionResult> results;
    for (const uint32_t i : all) {  // of attribute 1, people 0 to 9: right of the first 3
        const Question q = set.question(i);
        results.push_back({1.0, 5, 1, false});
        if (q.attribute == 1 && q.entity < 10) results.back().normalized = q.entity < 3;
    }
    const KnowledgeReport report = summarize(task, results, {1, 1, 300, 1});
    CHECK((report.all.questions() == 240 && report.all.questions(Over::Judged) == 60 &&
           report.all["accuracy_normalized"].value == 0.3));
    CHECK((report.attributes[0].questions(Over::Judged) == 0 && report.attributes[1].questions(Over::Judged) == 60));
    CHECK(report.attributes[1]["accuracy_normalized"].standard_error ==
          Approx(std::sqrt(0.3 * 0.7 / 10)).epsilon(0.25));
    CHECK((report.all["accuracy"].interval.low == 0 && report.all["accuracy"].interval.high < 0.2));
}
