// The threshold popularity, worked by hand; its column; what is printed and written of it.
#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/evaluation.h"
#include "eval/results.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/table_text.h"
#include "util/npy.h"

namespace {

constexpr int MAX_T = 48;
constexpr uint32_t UNKNOWN = UNKNOWN_POPULARITY;

void write_popularity(const std::string& prefix, const std::vector<uint32_t>& popularity,
                      const std::string& dtype = "<u4") {
    write_npy(prefix + ".popularity.npy", dtype, 4, {popularity.size()}, popularity.data());
}

// One question an item, all of kind seen.
QuestionBuilder questions(size_t items) {
    QuestionBuilder built = synthetic_questions(static_cast<int>(items), 1);
    std::vector<BuiltQuestion> first;
    for (size_t i = 0; i < items; ++i) first.push_back(built.questions[6 * i]);
    built.questions = first;
    return built;
}

struct Item {
    uint32_t popularity;
    int correct;
};

std::vector<PopularityThreshold> thresholds(const std::vector<Item>& items, double target, int64_t failures,
                                            bool normalized = false) {
    const TemporaryFolder folder;
    questions(items.size()).write(folder / "set");
    std::vector<uint32_t> popularity;
    std::vector<QuestionResult> results;
    for (const Item& item : items) {
        popularity.push_back(item.popularity);
        results.push_back({1.0, 1, 1, !normalized && item.correct > 0});
        if (normalized) results.back().normalized = item.correct;
    }
    write_popularity(folder / "set", popularity);
    return popularity_thresholds(QuestionTask(folder / "set", 64, MAX_T), results, {target, {failures}, {1}});
}

PopularityThreshold threshold(const std::vector<Item>& items, double target, int64_t failures) {
    const std::vector<PopularityThreshold> found = thresholds(items, target, failures);
    REQUIRE(found.size() == 1);
    CHECK((found[0].kind == "seen" && !found[0].normalized));
    return found[0];
}

}  // namespace

TEST_CASE("the threshold popularity, by hand", "[eval]") {
    // accuracy so far: 1, 1, 2/3, 1/2, 2/5, 1/2, 3/7, 3/8; the file's order says nothing
    const std::vector<Item> falls = {{30, 0}, {100, 1}, {10, 0}, {90, 1}, {80, 0}, {20, 1}, {70, 0}, {15, 0}};
    const PopularityThreshold first = threshold(falls, 0.6, 1);
    CHECK((first.reached && first.popularity == 70 && first.accuracy == 0.5));
    CHECK((first.items_at_least == 4 && first.items == 8));
    const PopularityThreshold fifth = threshold(falls, 0.6, 5);  // at 70, 30, 20, 15, 10
    CHECK((fifth.reached && fifth.popularity == 10 && fifth.accuracy == 3.0 / 8 && fifth.items_at_least == 8));
    CHECK(threshold(falls, 0.6, 2).popularity == 30);
    const PopularityThreshold sixth = threshold(falls, 0.6, 6);  // there are only five
    CHECK((!sixth.reached && sixth.popularity == 10 && sixth.accuracy == 3.0 / 8 && sixth.items_at_least == 8));

    // it never fails: reaching the target is enough
    const PopularityThreshold never = threshold({{5, 1}, {4, 0}, {3, 1}, {2, 0}}, 0.5, 1);
    CHECK((!never.reached && never.popularity == 2 && never.accuracy == 0.5 && never.items == 4));

    // it fails at once
    const PopularityThreshold once = threshold({{9, 0}, {8, 1}, {7, 1}, {6, 1}}, 0.6, 1);
    CHECK((once.reached && once.popularity == 9 && once.accuracy == 0 && once.items_at_least == 1));

    // failures are not taken back where the accuracy recovers: 0, 1/2, 2/3, 1/2, 3/5, 1/2 fail at 60, 50, 30, 10
    const std::vector<Item> recovers = {{60, 0}, {50, 1}, {40, 1}, {30, 0}, {20, 1}, {10, 0}};
    CHECK(threshold(recovers, 0.6, 2).popularity == 50);
    CHECK(threshold(recovers, 0.6, 3).popularity == 30);
    CHECK(threshold(recovers, 0.6, 4).popularity == 10);
    CHECK(!threshold(recovers, 0.6, 5).reached);
}

TEST_CASE("items of one popularity are one group, those of none are left out", "[eval]") {
    // groups 40: 1 1 0 (2/3), 30: 0 0 1 0 (3/7), 20: 1 1 (5/9), 10: 0 (5/10)
    const std::vector<Item> items = {{30, 0}, {40, 1}, {UNKNOWN, 0}, {30, 0}, {40, 0},      {10, 0},     {30, 1},
                                     {20, 1}, {40, 1}, {20, 1},      {30, 0}, {UNKNOWN, 1}, {UNKNOWN, 1}};
    const PopularityThreshold one = threshold(items, 0.6, 1);
    CHECK((one.reached && one.popularity == 30 && one.accuracy == 3.0 / 7 && one.items_at_least == 7));
    CHECK(one.items == 10);
    const PopularityThreshold three = threshold(items, 0.6, 3);
    CHECK((three.reached && three.popularity == 10 && three.accuracy == 0.5));
    CHECK(!threshold(items, 0.6, 5).reached);  // four groups cannot fail five times
    CHECK(threshold({{7, 0}, {7, 0}, {7, 0}, {7, 0}, {7, 0}}, 0.6, 2).reached == false);
    // popularities of 0 and the largest there is
    CHECK(threshold({{0, 0}, {UNKNOWN - 1, 1}}, 0.6, 1).popularity == 0);
    CHECK(thresholds({{UNKNOWN, 0}, {UNKNOWN, 1}}, 0.6, 1).empty());
}

TEST_CASE("the threshold popularity by kind and match, printed and written", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(10, 1);  // kinds: 3 seen, 2 heldout, 1 question of each of ten people
    built.write(folder / "set");
    std::vector<uint32_t> popularity;
    for (const BuiltQuestion& q : built.questions)
        popularity.push_back(q.columns.kind == 1 ? UNKNOWN : 100 - 10 * q.columns.entity);
    write_popularity(folder / "set", popularity);
    EvaluationOptions options;
    options.questions = {folder / "set"};
    options.report.popularity = {0.6, {2}, {1}};
    const EvaluationPlan plan = plan_evaluation(options, 64, MAX_T);
    const QuestionTask& task = plan.questions[0];
    const QuestionSet& set = *task.set;
    CHECK(
        (set.has_popularity() && set.popularity(0) == 100 && set.popularity(3) == UNKNOWN && set.popularity(59) == 10));
    std::vector<QuestionResult> results;
    // exact match: seen of people 0 to 2, questions of all; words: questions of nobody
    for (const uint32_t i : task.chosen) {
        const Question q = set.question(i);
        results.push_back({1.0, 1, 1, q.kind == 2 || q.entity < 3});
        if (q.kind == 2) results.back().normalized = 0;
    }
    ReportOptions report_options{1, 1, 0, 1};
    report_options.popularity = plan.options.report.popularity;
    Evaluation evaluation;
    evaluation.knowledge.push_back({results, {}, summarize(task, results, report_options), {}});
    const std::vector<PopularityThreshold>& found = evaluation.knowledge[0].report.popularity;
    REQUIRE(found.size() == 3);
    // seen: 1 1 1 3/4 3/5 3/6 3/7: twice under 0.6 at person 6
    CHECK((found[0].kind == "seen" && found[0].reached && found[0].popularity == 40));
    CHECK((found[0].items == 30 && found[0].items_at_least == 21 && found[0].accuracy == 9.0 / 21));
    CHECK((found[1].kind == "question" && !found[1].normalized && !found[1].reached && found[1].popularity == 10));
    CHECK((found[2].kind == "question" && found[2].normalized && found[2].reached && found[2].popularity == 90));

    const nlohmann::json root =
        nlohmann::json::parse(results_json(plan, evaluation, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5}));
    const nlohmann::json& list = root["know"]["people"]["popularity_threshold"];
    REQUIRE(list.size() == 3);
    nlohmann::json walk = list[0];
    CHECK(walk["curve"]["answers"] == 30);
    walk.erase("curve");
    CHECK(walk == nlohmann::json{{"kind", "seen"},
                                 {"match", "exact"},
                                 {"target", 0.6},
                                 {"failures", 2},
                                 {"least_items", 1},
                                 {"reached", true},
                                 {"popularity", 40},
                                 {"accuracy", 9.0 / 21},
                                 {"items_at_least", 21},
                                 {"items", 30}});
    CHECK((list[2]["match"] == "normalized" && list[2]["accuracy"] == 0));
    const std::string table = table_text(plan, evaluation);
    CHECK(table.find("popularity threshold, seen: 40 (target 60 %, 2 failures; 42.9 % of the 21 items") !=
          std::string::npos);
    CHECK(table.find("popularity threshold, question: none, down to 10 (") != std::string::npos);
    CHECK(table.find("popularity threshold, question, normalized: 90 (") != std::string::npos);

    // of a sample: what was asked; without the column, or without a target: nothing
    const std::vector<QuestionResult> none(6, {1.0, 9, 1, false});
    report_options.popularity.failures.n = 1;
    QuestionTask sample(folder / "set", 64, MAX_T);
    sample.ask({54, 55, 56, 57, 58, 59});
    CHECK(summarize(sample, none, report_options).popularity[0].popularity == 10);
    report_options.popularity.target = 0;
    CHECK(summarize(task, results, report_options).popularity.empty());
    remove_tree(folder / "set.popularity.npy");
    const QuestionTask without(folder / "set", 64, MAX_T);
    CHECK(!without.set->has_popularity());
    report_options.popularity.target = 0.6;
    CHECK(summarize(without, results, report_options).popularity.empty());

    options.report.popularity = {1.5, {5}};
    REQUIRE_DIES(Exit::Usage, "--popularity-target 1.5", plan_evaluation(options, 64, MAX_T));
    options.report.popularity = {0.6, {0}};
    REQUIRE_DIES(Exit::Usage, "--popularity-failures 0", plan_evaluation(options, 64, MAX_T));
}

TEST_CASE("broken popularity columns are refused by name", "[questions]") {
    const TemporaryFolder folder;
    questions(5).write(folder / "set");
    const auto open = [&] { QuestionSet(folder / "set", 64, MAX_T); };
    write_popularity(folder / "set", {1, 2, 3, 4, 5});
    CHECK_NOTHROW(open());
    write_popularity(folder / "set", {1, 2, 3, 4});
    REQUIRE_DIES(Exit::Data, "set.popularity.npy: 4 rows, but", open());
    write_popularity(folder / "set", {1, 2, 3, 4, 5, 6});
    REQUIRE_DIES(Exit::Data, "set.popularity.npy: 6 rows, but", open());
    write_popularity(folder / "set", {});
    REQUIRE_DIES(Exit::Data, "set.popularity.npy", open());
    write_popularity(folder / "set", {1, 2, 3, 4, 5}, "<i4");
    REQUIRE_DIES(Exit::Data, "set.popularity.npy", open());
    const uint32_t column[] = {1, 2, 3, 4, 5};
    write_npy(folder / "set.popularity.npy", "<u4", 4, {5, 1}, column);
    REQUIRE_DIES(Exit::Data, "set.popularity.npy", open());
    write_popularity(folder / "set", {1, 2, 3, 4, 5});
    const std::string whole = read_file(folder / "set.popularity.npy");
    plain_write(folder / "set.popularity.npy", whole.substr(0, whole.size() - 3));
    REQUIRE_DIES(Exit::Data, "set.popularity.npy", open());
    plain_write(folder / "set.popularity.npy", "");
    REQUIRE_DIES(Exit::Data, "set.popularity.npy", open());
}

TEST_CASE("the walk does not end by its first wrong answers, and the curve says that nothing rises",
          "[eval][frequencies]") {
    // 75 % are right at any popularity; the target is 60 %
    constexpr size_t ITEMS = 400;
    constexpr uint64_t WORLDS = 60;
    const TemporaryFolder folder;
    questions(ITEMS).write(folder / "set");
    std::vector<uint32_t> popularity;
    for (uint32_t i = 0; i < ITEMS; ++i) popularity.push_back(100000 / (i + 1));
    write_popularity(folder / "set", popularity);
    const QuestionTask task(folder / "set", 64, MAX_T);
    int ended = 0, ended_early = 0, numbers = 0;
    for (uint64_t world = 0; world < WORLDS; ++world) {
        std::vector<QuestionResult> results;
        for (size_t i = 0; i < ITEMS; ++i) results.push_back({1.0, 1, 1, random_below(4, world, 1, i) > 0});
        const PopularityThreshold threshold = popularity_thresholds(task, results, {0.6, {5}})[0];
        ended += threshold.reached;
        ended_early += popularity_thresholds(task, results, {0.6, {5}, {1}})[0].reached;
        numbers += !std::isnan(threshold.curve.F50);
        CHECK(threshold.curve.answers == ITEMS);
    }
    CHECK(ended <= 1);
    CHECK(ended_early >= 6);
    CHECK(numbers <= 3);

    // where it rises the curve finds it
    std::vector<QuestionResult> results;
    for (size_t i = 0; i < ITEMS; ++i)
        results.push_back(
            {1.0, 1, 1, popularity[i] > 1000 ? random_below(20, 1, 2, i) > 0 : random_below(20, 1, 3, i) == 0});
    const PopularityThreshold threshold = popularity_thresholds(task, results, {0.6, {5}, {1}}, 100, 1)[0];
    CHECK(threshold.curve.state == DoseState::REACHED);
    CHECK(threshold.curve.F50 == Approx(1000).epsilon(0.2));
    CHECK((threshold.curve.F50_interval.low < threshold.curve.F50 &&
           threshold.curve.F50 < threshold.curve.F50_interval.high));
}
