// The report's intervals, in simulated worlds whose truth is known.
#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "eval/results.h"
#include "eval/share_interval.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/table_text.h"

TEST_CASE("a report's intervals cover the truth as often as they say", "[eval][frequencies]") {
    // 150 entities of 3 facts. An entity is known with 0.9, 0.5 or 0.1, so that its facts go together; what is known
    // costs 0.2 nats, what is not 2.6, and both a bit more or less for the whole entity.
    constexpr uint64_t WORLDS = 300;
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(150, 3);
    std::vector<BuiltQuestion> seen;
    for (BuiltQuestion& q : built.questions)
        if (q.columns.template_index % 6 == 0) {
            q.prompt.resize(2);
            q.answer.resize(1);
            seen.push_back(q);
        }
    built.questions = seen;
    built.names.pools = {200, 300, 400};
    built.write(folder / "set");
    const QuestionTask task(folder / "set", 64, 45);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    REQUIRE(all.size() == 450);

    const double loss = 0.5 * (0.2 + 2.6);
    double bits = 0;
    for (const double pool : {200.0, 300.0, 400.0}) bits += 150 * (std::log2(pool) - loss / std::log(2));
    int accuracy_covered = 0, loss_covered = 0, bits_covered = 0, without_correlation = 0;
    for (uint64_t world = 0; world < WORLDS; ++world) {
        std::vector<QuestionResult> results;
        for (const uint32_t i : all) {
            const uint64_t entity = set.question(i).entity, fate = random_below(3, world, 1, entity);
            const bool knows = random_below(10, world, 2, i) < (fate == 0 ? 9u : fate == 1 ? 5u : 1u);
            const double shift = static_cast<double>(random_below(1001, world, 3, entity)) / 5000.0 - 0.1;
            results.push_back({(knows ? 0.2 : 2.6) + shift, knows ? 1 : 9, 1, knows});
        }
        const KnowledgeReport report = summarize(task, results, {1, 1, 300, world});
        const auto covers = [](const Interval& interval, double truth) {
            return interval.low <= truth && truth <= interval.high;
        };
        accuracy_covered += covers(report.all["accuracy"].interval, 0.5);
        loss_covered += covers(report.all["loss"].interval, loss);
        bits_covered += covers(report.bits_interval, bits);
        const double naive = 1.96 * std::sqrt(report.all["accuracy"].value * (1 - report.all["accuracy"].value) / 450);
        without_correlation += std::abs(report.all["accuracy"].value - 0.5) <= naive;
    }
    for (const int covered : {accuracy_covered, loss_covered, bits_covered}) {
        CHECK(covered >= 0.92 * WORLDS);  // 0.95 expected, standard deviation 0.0126
        CHECK(covered <= 0.98 * WORLDS);
    }
    CHECK(without_correlation < 0.92 * WORLDS);  // questions taken for independent: the test can tell
}

TEST_CASE("the mean reciprocal rank and its interval are those of a plain computation", "[eval]") {
    constexpr size_t ENTITIES = 80, RESAMPLES = 4000;
    const TemporaryFolder folder;
    synthetic_questions(ENTITIES, 2).write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    options.report.resamples.n = RESAMPLES;
    const EvaluationPlan plan = plan_evaluation(options, 64, 45);
    const QuestionTask& task = plan.questions[0];
    // ranks of an entity go together; by entity: sum of 1 / rank and questions, over all and of attribute a1
    std::vector<QuestionResult> results;
    std::array<std::vector<double>, 2> sums{std::vector<double>(ENTITIES), std::vector<double>(ENTITIES)},
        counts = sums;
    for (const uint32_t i : task.chosen) {
        const Question q = task.set->question(i);
        const int rank = 1 + static_cast<int>(random_below(q.entity % 4 == 0 ? 3 : 40, 1, 2, i));
        results.push_back({1.0, rank, 1, rank == 1});
        for (size_t of_a1 = 0; of_a1 <= q.attribute; ++of_a1) {
            sums[of_a1][q.entity] += 1.0 / rank;
            counts[of_a1][q.entity] += 1;
        }
    }
    Evaluation evaluation;
    ReportOptions report_options = options.report;
    report_options.parameters = report_options.nonembedding_parameters = 1000;
    evaluation.knowledge.push_back({results, {}, summarize(task, results, report_options), {}});
    const KnowledgeReport& report = evaluation.knowledge[0].report;
    for (size_t of_a1 = 0; of_a1 < 2; ++of_a1) {
        const auto mean = [&](const std::vector<size_t>& entities) {
            double sum = 0, count = 0;
            for (const size_t e : entities) sum += sums[of_a1][e], count += counts[of_a1][e];
            return sum / count;
        };
        std::vector<size_t> everyone;
        for (size_t e = 0; e < ENTITIES; ++e) everyone.push_back(e);
        const Estimate& found = (of_a1 ? report.attributes[1] : report.all)["reciprocal_rank"];
        CHECK(found.value == Approx(mean(everyone)).epsilon(1e-12));

        std::mt19937 draw(7);  // other resamples: quantiles agree within their own noise
        std::uniform_int_distribution<size_t> entity(0, ENTITIES - 1);
        std::vector<double> means;
        for (size_t r = 0; r < RESAMPLES; ++r) {
            std::vector<size_t> sample;
            for (size_t e = 0; e < ENTITIES; ++e) sample.push_back(entity(draw));
            means.push_back(mean(sample));
        }
        std::sort(means.begin(), means.end());
        const double low = means[RESAMPLES / 40], high = means[RESAMPLES - 1 - RESAMPLES / 40];
        REQUIRE((low < found.value && found.value < high));
        CHECK(found.interval.low == Approx(low).margin(0.05 * (high - low)));
        CHECK(found.interval.high == Approx(high).margin(0.05 * (high - low)));
        double squares = 0, questions = 0;  // of the ratio estimator, linearised
        for (const size_t e : everyone) {
            squares += std::pow(sums[of_a1][e] - found.value * counts[of_a1][e], 2);
            questions += counts[of_a1][e];
        }
        CHECK(found.standard_error == Approx(std::sqrt(squares) / questions).epsilon(0.05));
    }

    // all at rank 1: the interval of as many right answers
    const std::vector<QuestionResult> first(results.size(), {0.1, 1, 1, true});
    const Estimate certain = summarize(task, first, report_options).all["reciprocal_rank"];
    CHECK((certain.value == 1 && certain.interval.low == Approx(share_interval({{12, 12, ENTITIES}}).low) &&
           certain.interval.high == 1));

    const Estimate& all = report.all["reciprocal_rank"];
    const auto named = std::find_if(report.metrics.begin(), report.metrics.end(),
                                    [](const Metric& m) { return m.name == "reciprocal_rank"; });
    REQUIRE(named != report.metrics.end());
    CHECK((named->value == all.value && !named->headline));
    const nlohmann::json root =
        nlohmann::json::parse(results_json(plan, evaluation, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5}));
    const nlohmann::json& cell = root["know"]["people"]["all"];
    CHECK((cell["reciprocal_rank"] == all.value && cell["reciprocal_rank_stderr"] == all.standard_error));
    CHECK(cell["reciprocal_rank_interval"] == nlohmann::json{all.interval.low, all.interval.high});
    CHECK(root["know"]["people"]["by_attribute_and_kind"][0].contains("reciprocal_rank_interval"));
    CHECK(root["results"]["people"]["reciprocal_rank,none"] == all.value);
    CHECK(root["higher_is_better"]["people"]["reciprocal_rank"] == true);
    const std::string table = table_text(plan, evaluation);
    CHECK(table.find("   1/rank ") != std::string::npos);
    CHECK(table.find(format_text(" %8.4f ", all.value)) != std::string::npos);
}
