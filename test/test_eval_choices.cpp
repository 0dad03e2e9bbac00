// Candidates and aliases: scored as a plain loop scores them, judged and summed as the truth that was planted says.
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "eval/evaluator.cuh"
#include "eval/results.h"
#include "eval/stop_rule.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/test_eval_models.h"

namespace {

std::vector<uint32_t> everything(const QuestionSet& set) { return set.choose(0, 1); }

// Questions with up to 4 candidates and 2 aliases, some prompts empty; the model's own continuation is some answers and
// some aliases.
QuestionBuilder choices_about(const Gpt<float>& gpt) {
    QuestionBuilder set = synthetic_questions(6, 2, 1, gpt.config.V);
    for (size_t i = 0; i < set.questions.size(); ++i) {
        BuiltQuestion& q = set.questions[i];
        if (i % 5 == 0) q.prompt.clear();
        const std::vector<int> greedy = decode(gpt, with_eot(set, q), q.answer.size());
        const bool usable = std::find(greedy.begin(), greedy.end(), set.eot_id) == greedy.end();
        if (i % 4 == 0 && usable) q.answer = greedy;
        add_others(&set, i, static_cast<uint32_t>(i % 5), static_cast<uint32_t>(i % 3), i % 2 == 0);
        if (i % 4 == 1 && i % 3 > 0 && usable && greedy != q.answer &&
            std::find(q.others.begin(), q.others.end(), greedy) == q.others.end())
            q.others.back() = greedy;  // the last alias
    }
    return set;
}

}  // namespace

TEST_CASE("a question is judged by its right answers and its choices", "[eval]") {
    const TextScore answer{4.0, 7, 2, false}, better{3.0, 2, 3, false}, same{4.0, 9, 2, false}, worse{6.0, 1, 4, true};
    const auto judged = [](std::vector<TextScore> texts, uint32_t candidates) {
        return judge(texts.data(), candidates, static_cast<uint32_t>(texts.size()) - 1 - candidates);
    };
    const QuestionResult alone = judged({answer}, 0);
    CHECK((alone.nll == 4 && alone.rank == 7 && alone.tokens == 2 && !alone.correct));
    CHECK((alone.alias == -1 && alone.choices == 0));

    const QuestionResult tie = judged({answer, same, worse, same}, 3);  // by the token 2, 2, 1.5, 2
    CHECK((tie.choices == 4 && tie.choice == 1.0 / 3 && tie.choice_norm == 0 && tie.choice_rank == 2));
    CHECK((tie.rank == 7 && !tie.correct));  // a candidate that matches does not make an answer right
    const QuestionResult second = judged({answer, better, worse}, 2);
    CHECK((second.choice == 0 && second.choice_norm == 0 && second.choice_rank == 2));
    CHECK(judged({answer, {4.5, 9, 2, false}}, 1).choice == 1);
    CHECK(judged({{4.5, 9, 3, false}, answer}, 1).choice_norm == 1);

    const QuestionResult aliased = judged({answer, same, better, worse}, 1);
    CHECK((aliased.correct && aliased.alias == 1 && aliased.rank == 1));
    CHECK((aliased.nll == 4 && aliased.tokens == 2 && aliased.choices == 2 && aliased.choice == 0.5));
    CHECK(judged({worse, worse}, 0).alias == -1);

    const double none = std::numeric_limits<double>::quiet_NaN();
    CHECK(judged({{none, 64, 1, false}, better}, 1).choice == 0);
    CHECK(judged({better, {none, 64, 1, false}}, 1).choice == 0);
    CHECK(judged({{INFINITY, 64, 1, false}, {INFINITY, 64, 1, false}}, 1).choice == 0.5);
}

TEST_CASE("candidates and aliases are scored as one whole forward pass each", "[eval]") {
    for (const char* name : MODELS) {
        const Gpt<float> gpt = random_model(name);
        const TemporaryFolder folder;
        const QuestionBuilder built = choices_about(gpt);
        built.write(folder / "set");
        const QuestionSet set(folder / "set", gpt.config.V, MAX_T);
        const std::vector<QuestionResult> results =
            score_questions(gpt, set, everything(set), pack_shape(set.longest(), MAX_T), {});
        int aliased = 0, chosen = 0, not_chosen = 0;
        for (uint32_t i = 0; i < set.size(); ++i) {
            const BuiltQuestion& q = built.questions[i];
            std::vector<TextScore> texts = {plain_score(gpt, with_eot(built, q), q.answer)};
            for (const std::vector<int>& other : q.others) texts.push_back(plain_score(gpt, with_eot(built, q), other));
            const QuestionResult expected = judge(texts.data(), set.texts(i).candidates, set.texts(i).aliases);
            const QuestionResult& found = results[i];
            INFO(name << " question " << i);
            REQUIRE(found.nll == Approx(expected.nll).epsilon(1e-4).margin(1e-5));
            REQUIRE((found.rank == expected.rank && found.correct == expected.correct));
            REQUIRE((found.alias == expected.alias && found.tokens == expected.tokens));
            REQUIRE(found.choices == (i % 5 ? static_cast<int>(i % 5) + 1 : 0));
            REQUIRE((found.choice == expected.choice && found.choice_norm == expected.choice_norm));
            REQUIRE(found.choice_rank == expected.choice_rank);
            aliased += found.alias >= 0;
            if (found.choices > 0) ++(found.choice == 1 ? chosen : not_chosen);
        }
        CHECK((aliased > 3 && chosen > 5 && not_chosen > 5));
    }
}

TEST_CASE("a model that has learned nothing chooses by chance, exactly", "[eval]") {
    GptConfig config = config_from_name("gpt2:L1:C16:H2");
    config.V = 64;
    config.max_T = MAX_T;
    const Gpt<float> gpt(config);  // all zero
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(10, 2);
    double chance = 0, rank = 0;
    for (size_t i = 0; i < built.questions.size(); ++i) {
        add_others(&built, i, 1 + static_cast<uint32_t>(i % 4), 0);
        chance += 1.0 / (2 + static_cast<double>(i % 4)) / 120;
        rank += (1 + (1 + static_cast<double>(i % 4)) / 2) / 120;
    }
    built.write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    options.report.resamples.n = 30;
    const EvaluationPlan plan = plan_evaluation(options, config.V, config.max_T);
    const KnowledgeReport report = Evaluator<float>(config, plan).run(gpt, {}).knowledge[0].report;
    CHECK(report.all.questions(Over::Choices) == 120);
    CHECK(report.all["choice"].value == report.all["choice_chance"].value);
    CHECK(report.all["choice_norm"].value == report.all["choice_chance"].value);
    CHECK(report.all["choice_chance"].value == Approx(chance));
    CHECK(report.all["choice_rank"].value == Approx(rank));
    CHECK(report.all["choice"].interval.low <= report.all["choice_chance"].value);
    CHECK(report.bits == 0);
    for (const Cell& cell : report.attribute_kinds) CHECK(cell["choice"].value == cell["choice_chance"].value);

    // unequal lengths: the sum prefers the short, the figure per token nobody
    for (BuiltQuestion& q : built.questions) {
        q.answer = {9, 8};
        q.others = {{7}, {6, 5}, {4, 3, 2}};
        q.columns.first_candidate = 2;
    }
    built.write(folder / "set");
    const EvaluationPlan unequal = plan_evaluation(options, config.V, config.max_T);
    const Cell all = Evaluator<float>(config, unequal).run(gpt, {}).knowledge[0].report.all;
    CHECK((all["choice"].value == 0 && all["choice_norm"].value == 0.25 && all["choice_rank"].value == 2.5));
}

TEST_CASE("a lookup table for a model has exactly the accuracy that was written into it", "[eval]") {
    // Blocks of zeros, one-hot embeddings and a head whose rows name the token to follow: ids 1 to 60 stand for a fact
    // each, 61 to 80 for the first token of a value, 81 to 100 for its second, 101 to 127 for the words of a prompt.
    GptConfig config = config_from_name("pythia:L1:C128:H2");
    config.V = 128;
    config.max_T = MAX_T;
    Gpt<float> gpt(config);
    for (int i = 0; i < 128; ++i) gpt.params.lnfw[i] = gpt.params.wte[i * 128 + i] = 1;
    const auto follows = [&](int token, int next) { gpt.params.lmheadw[next * 128 + token] = 4; };
    const auto text = [](int value) { return std::vector<int>{61 + value % 20, 81 + value % 20}; };
    for (int value = 0; value < 20; ++value) follows(61 + value, 81 + value);

    QuestionBuilder built;
    built.vocab = 128;
    built.names.name = built.names.source = "table";
    built.names.entities = 30;
    built.names.attributes = built.names.relations = {"all", "some"};
    built.names.pools = {20, 20};
    built.names.templates = {"short", "long"};
    built.names.kinds = {"seen"};
    built.names.groups = {"g"};
    int known = 0, aliased = 0;
    for (uint32_t p = 0; p < 30; ++p)
        for (uint32_t a = 0; a < 2; ++a) {
            const int fact = 1 + static_cast<int>(2 * p + a), value = static_cast<int>(p * 7 + a * 3) % 20;
            const bool knows = a == 0 || p % 3 == 0, by_alias = !knows && p % 5 == 1;
            follows(fact, text(knows ? value : value + 1)[0]);
            known += knows, aliased += by_alias;
            for (uint32_t w = 0; w < 2; ++w) {
                BuiltQuestion q{
                    {a, a, w, 0, p, 0, 0, 0}, std::vector<int>(3 + 9 * w, 101 + static_cast<int>(w)), text(value), {}};
                q.prompt.push_back(fact);
                if (by_alias) q.others = {text(value + 5), text(value + 1)}, q.columns.first_alias = 2;
                if (!by_alias) q.others = {text(value + 2), text(value + 1)}, q.columns.first_candidate = 2;
                built.questions.push_back(q);
            }
        }
    const TemporaryFolder folder;
    built.write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    const EvaluationPlan plan = plan_evaluation(options, config.V, config.max_T);
    const Evaluation evaluation = Evaluator<float>(config, plan).run(gpt, {});
    const KnowledgeReport& report = evaluation.knowledge[0].report;
    REQUIRE((known == 40 && aliased == 4));
    CHECK(report.all["accuracy"].value == 44.0 / 60);
    CHECK(report.attributes[0]["accuracy"].value == 1);
    CHECK(report.attributes[1]["accuracy"].value == 14.0 / 30);
    CHECK(report.all.questions(Over::Choices) == 2 * 56);
    CHECK(report.all["choice"].value == 40.0 / 56);
    CHECK(report.attribute_bits[0].bits == Approx(30 * std::log2(20)).epsilon(1e-6));
    for (const QuestionResult& r : evaluation.knowledge[0].results) {
        CHECK((r.alias == -1 || r.alias == 1));
        CHECK((!r.correct || r.alias == 1 || r.nll < 1e-6));
    }
}

TEST_CASE("the majority of choices, by hand", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(8, 2);
    std::vector<BuiltQuestion> asked;  // each entity once: of attribute 0, the last one of attribute 1
    for (const BuiltQuestion& q : built.questions)
        if (q.columns.template_index % 6 == 0 && q.columns.attribute == (q.columns.entity == 7)) asked.push_back(q);
    REQUIRE(asked.size() == 8);
    const int A = 11, B = 12, C = 13, D = 14, E = 15;
    // of attribute 0: A and B are the answer of three entities, C of one, D and E of none; the entity asked is left out
    const struct {
        int answer;
        std::vector<std::vector<int>> candidates;
        double right;
    } planted[] = {
        {A, {{C}, {D}}, 1},            // 2 others have A, 1 has C
        {A, {{B}, {C}}, 0},            // 3 have B
        {A, {{D}, {E}}, 1},            //
        {B, {{D}}, 1},                 //
        {B, {{A, A}, {C}}, 1},         // other ids than A's
        {B, {}, 0},                    // no choice
        {C, {{D}, {E}}, 1.0 / 3},      // nobody else has any of the three
        {A, {{B}, {C}, {D}}, 1.0 / 4}  // of attribute 1, where this is the only answer
    };
    for (size_t i = 0; i < 8; ++i) {
        asked[i].answer = {planted[i].answer};
        asked[i].others = planted[i].candidates;
        asked[i].columns.first_candidate = planted[i].candidates.empty() ? 0 : 2;
    }
    built.questions = asked;
    built.write(folder / "set");
    QuestionTask task(folder / "set", 64, MAX_T);
    REQUIRE(task.majority.choice.size() == 8);
    for (size_t i = 0; i < 8; ++i) {
        INFO("question " << i);
        CHECK(task.majority.choice[i] == planted[i].right);
    }
    std::vector<QuestionResult> results(8, {1.0, 5, 1, false});
    for (size_t i = 0; i < 8; ++i) results[i].choices = static_cast<int>(planted[i].candidates.size()) + 1;
    results[5].choices = 0;
    const KnowledgeReport report = summarize(task, results, {1, 1, 0, 1});
    CHECK((report.all.questions(Over::Choices) == 7 &&
           report.all["choice_majority"].value == Approx((4 + 1.0 / 3 + 1.0 / 4) / 7)));
    CHECK(report.attributes[1]["choice_majority"].value == 0.25);
    task.ask({6, 7});  // of a sample: counted over the whole set all the same
    CHECK(task.majority.choice == std::vector<double>{1.0 / 3, 1.0 / 4});
}

TEST_CASE("planted choices give exactly their figures, cell by cell", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(40, 2);
    for (size_t i = 0; i < built.questions.size(); ++i)
        if (built.questions[i].columns.attribute == 0) add_others(&built, i, 3, 0);
    built.write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    options.report.resamples.n = 200;
    const EvaluationPlan plan = plan_evaluation(options, 64, MAX_T);
    const QuestionTask& task = plan.questions[0];
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    std::vector<QuestionResult> results;
    for (const uint32_t i : all) {  // attribute 0: chosen of the first 10 people, by the token of the first 20
        const Question q = set.question(i);
        QuestionResult r{1.0, 5, 1, false};
        if (q.attribute == 0) {
            r.choices = 4;
            r.choice = q.entity < 10, r.choice_norm = q.entity < 20 ? 0.5 : 0;
            r.choice_rank = q.entity < 10 ? 1 : 3;
        }
        results.push_back(r);
    }
    Evaluation evaluation;
    evaluation.knowledge.push_back({results, {}, summarize(task, results, {1, 1, 200, 1}), {}});
    const KnowledgeReport& report = evaluation.knowledge[0].report;
    REQUIRE(report.metrics.size() > 2);
    const Metric &by_sum = *(report.metrics.end() - 2), &by_token = report.metrics.back();
    CHECK((by_sum.name == "choice" && by_sum.value == 0.25));
    CHECK((by_token.name == "choice_norm" && by_token.value == 0.25));
    CHECK((report.all.questions() == 480 && report.all.questions(Over::Choices) == 240));
    CHECK((report.all["choice_chance"].value == 0.25 && report.all["choice_rank"].value == 2.5));
    const Estimate& choice = report.all["choice"];
    CHECK(choice.standard_error == Approx(std::sqrt(0.25 * 0.75 / 40)).epsilon(0.2));  // 40 people, not 240 questions
    CHECK((choice.interval.low > 0 && choice.interval.low < 0.25 && choice.interval.high > 0.25));
    CHECK(report.all["choice_norm"].interval.high < choice.interval.high);
    CHECK((report.attributes[0].questions(Over::Choices) == 240 && report.attributes[1].questions(Over::Choices) == 0));

    const nlohmann::json root =
        nlohmann::json::parse(results_json(plan, evaluation, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5}));
    CHECK(root["results"]["people"]["acc,none"] == 0);
    CHECK(root["results"]["people"]["choice,none"] == 0.25);
    CHECK(root["results"]["people_a0"]["choice_norm_stderr,none"].is_number());
    CHECK(!root["results"]["people_a1"].contains("choice,none"));
    CHECK(root["know"]["people"]["all"]["choice_interval"][0] == choice.interval.low);
    CHECK(root["know"]["people"]["all"]["choice_chance"] == 0.25);
    CHECK(!root["know"]["people"]["by_attribute"][1].contains("choice"));
}

TEST_CASE("a stop rule may name what a set can give, and a wrong one lists all of it", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(3, 1);
    built.names.name = "plain";
    built.write(folder / "plain");
    add_others(&built, 0, 3, 0);
    built.names.name = "choices";
    built.write(folder / "choices");
    EvaluationOptions options;
    options.questions = {folder / "plain", folder / "choices"};
    const EvaluationPlan plan = plan_evaluation(options, 64, MAX_T);
    const auto check = [&](const std::string& rule) { check_stop_rules(parse_stop_rules({rule}), plan); };
    std::string list = "this run can give";
    for (const char* set : {"plain", "choices"})
        for (const MetricName& metric : metric_names()) {
            const std::string name = std::string("know/") + set + "/" + metric.name;
            const bool of_choices = metric.name.rfind("choice", 0) == 0;
            if (metric.name == "accuracy_normalized" || (of_choices && set == std::string("plain"))) {
                REQUIRE_DIES(Exit::Usage, "no such metric", check(name + ">=0.5"));
                continue;
            }
            CHECK_NOTHROW(check(name + ">=0.5"));
            list += " " + name;
        }
    REQUIRE_DIES(Exit::Usage, list.c_str(), check("know/plain/nothing<=1"));
    // spelled out once: what users' scripts and CONTRACTS.md name
    for (const char* name : {"accuracy", "accuracy_seen", "accuracy_heldout", "accuracy_question", "accuracy_kept",
                             "accuracy_seen_kept", "bits", "bits_per_param", "loss", "rank", "reciprocal_rank"})
        CHECK_NOTHROW(check(std::string("know/plain/") + name + "<=1"));
    REQUIRE_DIES(Exit::Usage, "no such metric", check("know/other/accuracy>=0.5"));
    REQUIRE_DIES(Exit::Usage, "no such metric", check("know/plain/chance>=0.5"));  // not of the model
}
