// How often facts were seen: linked to questions, binned; the threshold frequency; lines of two evaluations; names.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/evaluator.cuh"
#include "eval/results.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/table_text.h"
#include "test/test_eval_models.h"

namespace {

// Entity e of the second shard "people" was seen e times in slot "a1" and e / 2 times in slot "r0".
std::vector<Ledger> ledgers_of(uint32_t people) {
    Ledger other("a", {{"people", people + 1}}, {"a0", "a1"});  // has the name, not the entities
    Ledger bio("bio", {{"first", 25}, {"people", people}}, {"a1", "r0"});
    for (uint32_t e = 0; e < people; ++e)
        for (uint32_t k = 0; k < e; ++k) {
            bio.book({0, 25 + e, 0, false}, k);
            if (k % 2) bio.book({0, 25 + e, 1, false}, k);
        }
    return {other, bio};
}

nlohmann::json know_json(const EvaluationPlan& plan, const Evaluation& evaluation) {
    const std::string json = results_json(plan, evaluation, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5});
    return nlohmann::json::parse(json)["know"]["people"];
}

Evaluation evaluation_of(const std::vector<QuestionResult>& results, const std::vector<uint32_t>& exposures,
                         const KnowledgeReport& report) {
    Evaluation evaluation;
    evaluation.knowledge.push_back({results, exposures, report, {}});
    return evaluation;
}

}  // namespace

TEST_CASE("exposure counts fall into bins that double", "[eval]") {
    const std::pair<uint32_t, uint32_t> bins[] = {{0, 0}, {1, 1}, {2, 2}, {3, 2},
                                                  {4, 3}, {7, 3}, {8, 4}, {1u << 30, 31}};
    for (const auto& [count, bin] : bins) {
        CHECK(exposure_bin(count) == bin);
        CHECK((exposure_range(bin).low <= count && count <= exposure_range(bin).high));
    }
    CHECK((exposure_range(4).low == 8 && exposure_range(4).high == 15));
}

TEST_CASE("a source of one slot tells the one fact that is asked of each entity", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(12, 3);  // three attributes of each entity
    std::vector<BuiltQuestion> facts;
    for (const BuiltQuestion& q : built.questions)  // now one, which one depends on the entity
        if (q.columns.attribute == q.columns.entity % 3) facts.push_back(q);
    built.questions = facts;
    built.write(folder / "set");
    const QuestionTask task(folder / "set", 64, MAX_T);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    Ledger ledger("wd", {{"people", 12}}, {"object"});
    for (uint32_t e = 0; e < 12; ++e)
        for (uint32_t k = 0; k < e; ++k) ledger.book({0, e, 0, false}, k);
    const std::vector<uint32_t> exposures = question_exposures(set, all, {ledger});
    REQUIRE(exposures.size() == all.size());
    for (const uint32_t i : all) CHECK(exposures[i] == set.question(i).entity);
    // two slots, neither named: which of them is asked for is not known
    CHECK(question_exposures(set, all, {Ledger("wd", {{"people", 12}}, {"object", "place"})}).empty());
}

TEST_CASE("questions find how often their facts were seen, and cells by it", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(12, 3);
    built.names.relations = {"r0", "r1", "r2"};
    built.write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    const EvaluationPlan plan = plan_evaluation(options, 64, MAX_T);
    const QuestionTask& task = plan.questions[0];
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    const std::vector<uint32_t> exposures = question_exposures(set, all, ledgers_of(12));
    REQUIRE(exposures.size() == all.size());
    std::vector<QuestionResult> results;
    for (const uint32_t i : all) {
        const Question q = set.question(i);
        const uint32_t expected[] = {q.entity / 2, q.entity,
                                     UNKNOWN_EXPOSURES};  // by relation, by attribute, not at all
        REQUIRE(exposures[i] == expected[q.attribute]);
        const bool knows = exposures[i] != UNKNOWN_EXPOSURES && exposures[i] >= 3 && q.kind == 0;
        results.push_back({1.0, knows ? 1 : 9, 1, knows});
    }
    // ledgers that are of other people
    CHECK(question_exposures(set, all, {}).empty());
    CHECK(question_exposures(set, all, ledgers_of(13)).empty());
    CHECK(question_exposures(set, all, {Ledger("bio", {{"person", 12}}, {"a1"})}).empty());
    CHECK(question_exposures(set, all, {Ledger("bio", {{"people", 12}}, {"slot"})}).empty());

    const ReportOptions report_options{1, 1, 100, 1};
    const KnowledgeReport report = summarize(task, results, report_options, exposures);
    REQUIRE(report.exposure_kinds.size() == 5 * 3);  // 0, 1, 2-3, 4-7, 8-11
    // facts seen: a1 of 12 people, r0 of 12 people; each asked 3 times in kind seen
    const int64_t facts[] = {1 + 2, 1 + 2, 2 + 4, 4 + 4, 4};
    const double known[] = {0, 0, 3, 8, 4};
    for (size_t bin = 0; bin < 5; ++bin) {
        const Cell& seen = report.exposure_kinds[3 * bin];
        INFO("bin " << bin);
        CHECK((seen.kind == "seen" && seen.exposures_low == exposure_range(static_cast<uint32_t>(bin)).low));
        CHECK(seen.questions() == 3 * facts[bin]);
        CHECK(seen["accuracy"].value == known[bin] / static_cast<double>(facts[bin]));
        CHECK(report.exposure_kinds[3 * bin + 1]["accuracy"].value == 0);
    }
    CHECK(report.exposure_kinds[6]["accuracy"].interval.low < 0.5);

    const Evaluation evaluation = evaluation_of(results, exposures, report);
    const nlohmann::json cells = know_json(plan, evaluation)["by_exposures_and_kind"];
    REQUIRE(cells.size() == 15);
    CHECK(cells[6]["exposures"] == nlohmann::json{2, 3});
    CHECK((cells[6]["kind"] == "seen" && cells[6]["accuracy"] == 0.5 && !cells[6].contains("group")));
    const std::string table = table_text(plan, evaluation);
    CHECK(table.find("  by exposures\n  0  ") != std::string::npos);
    CHECK(table.find("\n  8-15  ") != std::string::npos);
    CHECK(table.find("16-31") == std::string::npos);

    const KnowledgeReport unknown = summarize(task, results, report_options);
    CHECK(unknown.exposure_kinds.empty());
    REQUIRE(unknown.metrics.size() == report.metrics.size());
    for (size_t i = 0; i < report.metrics.size(); ++i)
        CHECK(
            (unknown.metrics[i].name == report.metrics[i].name && unknown.metrics[i].value == report.metrics[i].value));
    CHECK(!know_json(plan, evaluation_of(results, {}, unknown)).contains("by_exposures_and_kind"));
}

TEST_CASE("questions about other people get no exposures", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(12, 2);
    built.write(folder / "old");  // of a version that wrote no checksums
    built.names.facts = {"sha256:n", "sha256:v"};
    built.write(folder / "set");
    const auto known = [&](const char* name, const FactsId& trained) {
        const QuestionTask task(folder / name, 64, MAX_T);
        return !question_exposures(*task.set, task.chosen, {Ledger("bio", {{"people", 12, trained}}, {"a0", "a1"})})
                    .empty();
    };
    CHECK(known("set", {"sha256:n", "sha256:v"}));
    CHECK(known("set", {}));  // a ledger of an older run: by name and number
    CHECK(!known("set", {"sha256:other", "sha256:v"}));
    CHECK(!known("set", {"sha256:n", "sha256:other"}));  // the same people with other facts
    CHECK(known("old", {"sha256:n", "sha256:v"}));
    // next to the set lies the source that it is about
    plain_write(folder / "people.json",
                R"({"format_version": 1, "kind": "knowledge", "tokenizer": {"name": "t", "sha256":
        "a"}, "vocab_size": 9, "eot_id": 0, "documents": 1, "tokens": 1, "bytes": 1, "checksums": {"people.names.txt":
        "sha256:n", "people.values.npy": "sha256:v"}})");
    CHECK(known("old", {"sha256:n", "sha256:v"}));
    CHECK(!known("old", {"sha256:other", "sha256:v"}));

    // a ledger keeps them
    make_directories(folder / "exposures");
    Ledger("bio", {{"people", 12, {"sha256:n", "sha256:v"}}, {"more", 1}}, {"a0"}).write(folder / "exposures");
    const std::vector<LedgerShard> shards = Ledger::read_all(folder / "exposures")[0].shards();
    CHECK(
        (shards[0].facts.names == "sha256:n" && shards[0].facts.values == "sha256:v" && shards[1].facts.names.empty()));
}

TEST_CASE("questions find the dose of their entity, and cells by it", "[eval][doses]") {
    const TemporaryFolder folder;
    synthetic_questions(12, 2).write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    const EvaluationPlan plan = plan_evaluation(options, 64, MAX_T);
    const QuestionTask& task = plan.questions[0];
    const QuestionSet& set = *task.set;
    // entity e of "people" has dose 2, 8 or 32, entity 11 none; the ledger is of the middle of a run: one exposure each
    std::vector<uint32_t> doses(5, 7);
    for (uint32_t e = 0; e < 12; ++e) doses.push_back(e == 11 ? 0 : 2u << 2 * (e % 3));
    Ledger dosed("bio", {{"first", 5}, {"people", 12}}, {"a0"}, doses);
    for (uint32_t e = 0; e < 12; ++e) dosed.book({0, 5 + e, 0, false}, 1);
    const Ledger plain("other", {{"people", 12}}, {"a0", "a1"});
    const std::vector<uint32_t> found = question_doses(set, task.chosen, {dosed, plain});
    REQUIRE(found.size() == task.chosen.size());
    std::vector<QuestionResult> results;
    for (const uint32_t i : task.chosen) {
        const Question q = set.question(i);
        REQUIRE(found[i] == (q.attribute == 0 ? doses[5 + q.entity] : UNKNOWN_EXPOSURES));
        const bool knows = q.attribute == 0 && doses[5 + q.entity] >= 8 && q.kind == 0;
        results.push_back({1.0, knows ? 1 : 9, 1, knows});
    }
    CHECK(question_doses(set, task.chosen, {plain}).empty());
    CHECK(question_doses(set, task.chosen, {}).empty());

    const std::vector<uint32_t> exposures = question_exposures(set, task.chosen, {dosed, plain});
    const KnowledgeReport report = summarize(task, results, {1, 1, 100, 1}, exposures, found);
    REQUIRE(report.dose_kinds.size() == 4 * 3);
    const int64_t expected[] = {0, 2, 8, 32}, entities[] = {1, 4, 4, 3};
    for (size_t d = 0; d < 4; ++d) {
        const Cell& seen = report.dose_kinds[3 * d];
        CHECK((seen.dose == expected[d] && seen.kind == "seen" && seen.entities == entities[d]));
        CHECK(seen["accuracy"].value == (d >= 2));
        CHECK(seen["accuracy"].interval.low < seen["accuracy"].interval.high);
    }
    Evaluation evaluation = evaluation_of(results, exposures, report);
    const nlohmann::json cells = know_json(plan, evaluation)["by_dose_and_kind"];
    REQUIRE(cells.size() == 12);
    CHECK((cells[6]["dose"] == 8 && cells[6]["kind"] == "seen" && cells[6]["accuracy"] == 1.0));
    CHECK(table_text(plan, evaluation).find("  by dose\n  0  ") != std::string::npos);
    CHECK(table_text(plan, evaluation).find("\n  32  ") != std::string::npos);

    evaluation.knowledge[0].doses = found;
    write_question_lines(folder / "lines", plan, evaluation, 3);
    const std::string lines = read_file(folder / "lines");
    CHECK(lines.find("\"exposures\":1,\"dose\":32}") != std::string::npos);
    CHECK(lines.find("\"exposures\":0}") != std::string::npos);  // of the source without doses
    CHECK(!know_json(plan, evaluation_of(results, {}, summarize(task, results, {1, 1, 0, 1})))
               .contains("by_dose_and_kind"));
}

TEST_CASE("two sources with the same facts add up, in any order of their ledgers", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(12, 2).write(folder / "set");
    const QuestionTask task(folder / "set", 64, MAX_T);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    Ledger z("z", {{"people", 12}}, {"a0"}), a("a", {{"people", 12}}, {"a0", "a1"});
    z.book({0, 3, 0, false}, 1);
    for (uint32_t k = 0; k < 3; ++k) a.book({0, 3, 0, false}, k), a.book({0, 3, 1, false}, k);
    const std::vector<uint32_t> one = question_exposures(set, all, {z, a}),
                                other = question_exposures(set, all, {a, z});
    CHECK(one == other);
    for (const uint32_t i : all) {
        const Question q = set.question(i);
        CHECK(one[i] == (q.entity != 3 ? 0u : q.attribute == 0 ? 4u : 3u));
    }
}

TEST_CASE("groups of one frequency are one group for the threshold", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(20, 2, 4);  // five people in each group
    built.names.group_weights = {3, 1, 3, 1};
    built.write(folder / "set");
    const QuestionTask task(folder / "set", 64, MAX_T);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    std::vector<QuestionResult> results;
    for (const uint32_t i : all) results.push_back({1.0, 1, 1, set.question(i).group == 0});
    ReportOptions options{1, 1, 0, 1};
    options.target_accuracy = 0.8;
    const FrequencyThreshold threshold = summarize(task, results, options).threshold;
    CHECK((threshold.reached && threshold.group == "g0" && threshold.accuracy == 0.5 && threshold.groups_above == 0));
    CHECK(threshold.frequency == Approx(3.0 / 8 / 5));

    built.names.group_weights = {1, 1, 1, 1};
    built.write(folder / "even");
    CHECK(summarize(QuestionTask(folder / "even", 64, MAX_T), results, options).threshold.target ==
          0);  // nothing to find
}

TEST_CASE("the threshold frequency is that of the first group under the target", "[eval]") {
    // groups of 2, 4, 6 and 8 people: by the entity g2 is the most frequent, then g0, g3, g1
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(20, 2, 4);
    for (BuiltQuestion& q : built.questions)
        q.columns.group = q.columns.entity < 2 ? 0 : q.columns.entity < 6 ? 1 : q.columns.entity < 12 ? 2 : 3;
    built.names.group_weights = {2, 1, 12, 5};
    built.write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    const EvaluationPlan plan = plan_evaluation(options, 64, MAX_T);
    const QuestionTask& task = plan.questions[0];
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    // of kind seen g2 is known in full, g0 in half (one of two people), g3 and g1 not at all; nothing is of other kinds
    std::vector<QuestionResult> results;
    for (const uint32_t i : all) {
        const Question q = set.question(i);
        const bool knows = q.kind == 0 && (q.group == 2 || q.entity == 0);
        results.push_back({1.0, knows ? 1 : 9, 1, knows});
    }
    Ledger ledger("bio", {{"people", 20}}, {"a0", "a1"});
    for (uint32_t k = 0; k < 7; ++k) ledger.book({0, 0, 0, false}, k), ledger.book({0, 1, 1, false}, k);
    ledger.book({0, 0, 1, false}, 9);
    ReportOptions report_options{1, 1, 0, 1};
    std::vector<uint32_t> exposures = question_exposures(set, all, {ledger});
    const auto threshold = [&](double target) {
        report_options.target_accuracy = target;
        return summarize(task, results, report_options, exposures).threshold;
    };
    const FrequencyThreshold half = threshold(0.8);
    CHECK((half.reached && half.group == "g0" && half.accuracy == 0.5 && half.groups_above == 1 && half.target == 0.8));
    CHECK(half.frequency == Approx(2.0 / 20 / 2));
    CHECK(half.exposures == Approx((7 + 0 + 1 + 7) / 4.0));  // two people, two facts each
    const FrequencyThreshold lower = threshold(0.5);         // reaching the target is enough
    CHECK((lower.reached && lower.group == "g3" && lower.accuracy == 0 && lower.groups_above == 2));
    CHECK(lower.frequency == Approx(5.0 / 20 / 8));
    CHECK(lower.exposures == 0);
    CHECK(threshold(0).target == 0);

    report_options.target_accuracy = 0.8;
    const Evaluation evaluation = evaluation_of(results, {}, summarize(task, results, report_options, exposures));
    const nlohmann::json json = know_json(plan, evaluation)["frequency_threshold"];
    CHECK((json["group"] == "g0" && json["reached"] == true && json["accuracy"] == 0.5 && json["groups_above"] == 1));
    CHECK(json["exposures"] == half.exposures);
    CHECK(table_text(plan, evaluation)
              .find("entity of g0, the first group under 80 % (50.0 %, 3.8 exposures); 1 groups") != std::string::npos);

    // nobody's exposures known, no group under the target, a sample without one group
    exposures.clear();
    CHECK(std::isnan(threshold(0.8).exposures));
    std::vector<QuestionResult> perfect(all.size(), {0.0, 1, 1, true});
    CHECK(!summarize(task, perfect, report_options).threshold.reached);
    CHECK(summarize(task, perfect, report_options).threshold.groups_above == 4);
    std::vector<uint32_t> some;
    for (const uint32_t i : all)
        if (set.question(i).group != 0) some.push_back(i);
    const std::vector<QuestionResult> nothing(some.size(), {1.0, 9, 1, false});
    QuestionTask asked(folder / "set", 64, MAX_T);
    asked.ask(some);
    CHECK(summarize(asked, nothing, report_options).threshold.group == "g2");
    asked.ask({some.begin() + 24, some.end()});
    const FrequencyThreshold sampled = frequency_threshold(asked, nothing, {}, {0.8});
    CHECK(sampled.group == "g2");  // its entities are counted over the whole set
    CHECK(sampled.frequency == Approx(12.0 / 20 / 6));

    // without the kind seen every question counts; without weights, or with one group, there is no threshold
    for (BuiltQuestion& q : built.questions) q.columns.kind = 1 + q.columns.kind % 2;
    built.write(folder / "unseen");
    const QuestionTask unseen(folder / "unseen", 64, MAX_T);
    CHECK(frequency_threshold(unseen, results, {}, {0.5}).accuracy == 0.25);  // g0: one of two people, 3 of 6
    CHECK(frequency_threshold(unseen, results, {}, {0.5}).group == "g0");
    built.names.group_weights.clear();
    built.write(folder / "unweighted");
    CHECK(frequency_threshold(QuestionTask(folder / "unweighted", 64, MAX_T), results, {}, {0.8}).target == 0);
    CHECK(!know_json(plan, evaluation_of(results, {}, KnowledgeReport())).contains("frequency_threshold"));
    options.report.target_accuracy = 1.5;
    REQUIRE_DIES(Exit::Usage, "--target-accuracy 1.5", plan_evaluation(options, 64, MAX_T));
}

TEST_CASE("names: bits of telling N of them apart in a pool, after empty prompts", "[eval]") {
    constexpr int N = 60;
    const TemporaryFolder folder;
    QuestionBuilder built;
    built.names.name = built.names.source = "people";
    built.names.entities = N;
    built.names.attributes = built.names.relations = {"name"};
    built.names.templates = {""};
    built.names.kinds = {"seen"};
    built.names.groups = {"g"};
    built.names.pools = {1 << 20};
    built.names.bits = {20 - std::log2(N)};
    for (uint32_t p = 0; p < N; ++p)
        built.questions.push_back(
            {{0, 0, 0, 0, p, 0, 0, 0}, {}, {1 + static_cast<int>(p) % 7, 10 + static_cast<int>(p)}, {}});
    built.vocab = 128;
    built.write(folder / "set");
    const QuestionTask task(folder / "set", 128, MAX_T);
    CHECK(task.set->longest() == 2);

    // a model that knows the N names, each as likely as the others, has learned all there is
    const std::vector<QuestionResult> planted(N, {std::log(N), 5, 2, false});
    const KnowledgeReport report = summarize(task, planted, {1, 1, 50, 1});
    CHECK(report.bits == Approx(N * std::log2((1 << 20) / static_cast<double>(N))).epsilon(1e-13));
    CHECK(report.most_bits == Approx(report.bits).epsilon(1e-13));
    CHECK(report.bits_interval.low == Approx(report.bits).epsilon(1e-6));  // the bootstrap's entries are floats
    // one that knows too well is clipped, one that knows less is not
    CHECK(summarize(task, std::vector<QuestionResult>(N, {0.1, 1, 2, true}), {1, 1, 0, 1}).bits == report.most_bits);
    const std::vector<QuestionResult> less(N, {std::log(4 * N), 5, 2, false});
    CHECK(summarize(task, less, {1, 1, 0, 1}).bits == Approx(report.most_bits - 2 * N));

    // the real scorer, uniform over 128 ids: 14 of 20 bits are missing for two tokens
    GptConfig config = config_from_name("gpt2:L1:C16:H2");
    config.V = 128;
    config.max_T = MAX_T;
    EvaluationOptions options;
    options.questions = {folder / "set"};
    const EvaluationPlan plan = plan_evaluation(options, config.V, config.max_T);
    const Evaluation evaluation = Evaluator<float>(config, plan).run(Gpt<float>(config), {});
    CHECK(evaluation.knowledge[0].report.bits == Approx(6.0 * N).epsilon(1e-6));
}

TEST_CASE("the same weights write the same lines, from whatever program", "[eval]") {
    const Gpt<float> gpt = random_model(MODELS[1]);
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(12, 3);
    for (size_t i = 0; i < built.questions.size(); i += 2) add_others(&built, i, 2, 1);
    built.questions[2].others.back() = decode(gpt, with_eot(built, built.questions[2]), 1);
    built.questions[2].answer = {1};
    built.names.templates[0] = "a \"quoted\" name";
    built.write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    options.questions_per_set.n = 150;
    const std::vector<Ledger> ledgers = ledgers_of(12);  // the trainer's, and what eval_knowledge reads of them
    make_directories(folder / "exposures");
    for (const Ledger& ledger : ledgers) ledger.write(folder / "exposures");
    const auto lines = [&](const std::vector<Ledger>& known, int resamples, int64_t step) {
        options.report.resamples.n = resamples;
        options.report.target_accuracy = resamples ? 0.8 : NAN;
        const EvaluationPlan plan = plan_evaluation(options, gpt.config.V, gpt.config.max_T);
        const Evaluation evaluation = Evaluator<float>(gpt.config, plan).run(gpt, {}, known);
        write_question_lines(folder / "lines.jsonl", plan, evaluation, step);
        return read_file(folder / "lines.jsonl");
    };
    const std::string trainer = lines(ledgers, 0, 40);
    CHECK(trainer == lines(Ledger::read_all(folder / "exposures"), 20, 40));
    CHECK(std::count(trainer.begin(), trainer.end(), '\n') == 150);

    int with_choices = 0, with_exposures = 0;
    for (size_t at = 0; at < trainer.size(); at = trainer.find('\n', at) + 1) {
        const nlohmann::json line = nlohmann::json::parse(trainer.substr(at, trainer.find('\n', at) - at));
        CHECK((line["step"] == 40 && line["set"] == "people" && line["source"] == "people"));
        const uint32_t number = line["question"];
        CHECK(line["template"] == built.names.templates[built.questions[number].columns.template_index]);
        CHECK(line.contains("choices") == (number % 2 == 0));
        CHECK(line.contains("exposures") == (line["attribute"] == "a1"));
        if (line.contains("exposures")) CHECK(line["exposures"] == line["entity"]);
        with_choices += line.contains("choice_norm") && line["choices"] == 3;
        with_exposures += line.contains("exposures");
        if (number == 2) CHECK((line["alias"] == 0 && line["correct"] == true && line["rank"] == 1));
    }
    CHECK((with_choices > 50 && with_exposures > 30));
    const std::string bare = lines({}, 0, -1);
    CHECK((bare.find("exposures") == std::string::npos && bare.find("step") == std::string::npos));
    CHECK(bare.rfind("{\"set\":\"people\",\"source\":\"people\",\"question\":", 0) == 0);
}
