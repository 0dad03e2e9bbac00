// The report's intervals, in simulated worlds whose truth is known.
#include <cmath>

#include "eval/report.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"

TEST_CASE("a report's intervals cover the truth as often as they say", "[eval]") {
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
