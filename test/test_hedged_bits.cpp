// Learned bits as a bound from below: against the information that planted memories have, by group, kept people and
// control.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "eval/evaluation.h"
#include "eval/hedged_bits.h"
#include "eval/results.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/table_text.h"

namespace {

constexpr double LN2 = 0.693147180559945309417;

double uniform(uint64_t world, uint64_t stream, uint64_t i) {
    return (static_cast<double>(random_u64(world, stream, i) >> 11) + 0.5) * 0x1p-53;
}

// A model that is sure of a value for every fact, the right one for a share of the facts: `sure` is its probability,
// the rest is spread over the pool's others.
struct Memory {
    double known, sure;
    // Bits that it has of a value: log2 |pool| less the entropy of the value where the model's is given.
    double information(double pool) const {
        const double right = known + (1 - known) / pool, wrong = (1 - right) / (pool - 1);
        return std::log2(pool) + right * std::log2(right) + (pool - 1) * wrong * std::log2(wrong);
    }
    QuestionResult answer(double pool, uint64_t world, uint64_t fact) const {
        const bool right = uniform(world, 1, fact) < known + (1 - known) / pool;
        const double p = right ? sure : (1 - sure) / (pool - 1);
        return {-std::log(p), right ? 1 : 5, 1, right};
    }
};

// Every template of a fact has one result.
template <class MemoryOf>
std::vector<QuestionResult> planted(const QuestionTask& task, uint64_t world, MemoryOf memory_of) {
    std::vector<QuestionResult> results;
    for (const uint32_t i : task.chosen) {
        const Question q = task.set->question(i);
        const double pool = static_cast<double>(task.set->names().pools[q.attribute]);
        const Memory memory = memory_of(q);
        results.push_back(memory.answer(pool, world, static_cast<uint64_t>(q.entity) << 8 | q.attribute));
    }
    return results;
}

const HedgedFigure& named(const std::vector<HedgedFigure>& figures, const std::string& name) {
    for (const HedgedFigure& figure : figures)
        if (figure.name == name) return figure;
    FAIL("no figure " << name);
    return figures[0];
}

double metric(const KnowledgeReport& report, const std::string& name) {
    for (const Metric& m : report.metrics)
        if (m.name == name) return m.value;
    return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

TEST_CASE("hedged bits are at most the information planted, and most of it", "[eval][frequencies]") {
    constexpr int PEOPLE = 120;
    constexpr uint64_t WORLDS = 40;
    const TemporaryFolder folder;
    synthetic_questions(PEOPLE, 2, 3).write(folder / "set");
    const QuestionTask task(folder / "set", 64, 45);
    // group 0 is known, a fifth of group 1, next to nothing of group 2; the model is as sure of what it makes up
    const Memory memories[] = {{0.95, 0.99}, {0.2, 0.99}, {0.0, 0.99}};
    double truth = 0, of_group[3] = {};
    for (int g = 0; g < 3; ++g) {
        for (const double pool : {10.0, 20.0}) of_group[g] += PEOPLE / 3 * memories[g].information(pool);
        truth += of_group[g];
    }
    double sum = 0, squares = 0, group_sum[3] = {}, plain = 0;
    int covered = 0;
    std::vector<Interval> intervals;
    for (uint64_t world = 0; world < WORLDS; ++world) {
        const std::vector<QuestionResult> results =
            planted(task, world, [&](const Question& q) { return memories[q.group]; });
        const KnowledgeReport report = summarize(task, results, {1, 1, 100, world});
        const HedgedBits& bits = report.hedged;
        sum += bits.all.bits, squares += bits.all.bits * bits.all.bits;
        plain += report.bits;
        intervals.push_back(bits.all.interval);
        for (size_t g = 0; g < 3; ++g) group_sum[g] += named(bits.groups, "g" + std::to_string(g)).bits;
        REQUIRE(bits.cells.size() == 6);
    }
    const double mean = sum / WORLDS, error = std::sqrt((squares / WORLDS - mean * mean) / WORLDS);
    INFO("mean " << mean << " +- " << error << ", truth " << truth << ", plain " << plain / WORLDS);
    CHECK(mean < truth + 2 * error);
    CHECK(mean > 0.8 * truth);
    CHECK(plain / WORLDS < 0.05 * truth);  // confident errors cancel what is stored
    CHECK(group_sum[0] / WORLDS > 0.85 * of_group[0]);
    CHECK(group_sum[0] / WORLDS < of_group[0] + 3);
    CHECK(group_sum[2] / WORLDS < 1.5);  // nothing is there, and nothing is found
    for (const Interval& interval : intervals) covered += interval.low <= mean && mean <= interval.high;
    CHECK(covered >= 0.85 * WORLDS);  // 0.95 expected, standard deviation 0.034
}

TEST_CASE("hedged bits: all known, none known, no numbers, samples and names of cells", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(40, 2, 2).write(folder / "set");
    const QuestionTask task(folder / "set", 64, 45);
    const double most = 40 * (std::log2(10) + std::log2(20));
    const auto of = [&](const QuestionTask& asked, const QuestionResult& result) {
        return hedged_bits(asked, std::vector<QuestionResult>(asked.chosen.size(), result), 50, 1);
    };
    // four cells, 5 bits each for the description of l = 1
    const HedgedBits known = of(task, {0, 1, 1, true});
    CHECK(known.all.bits == Approx(most - 4 * 5));
    CHECK((known.all.facts == 80 && known.all.most == Approx(most)));
    CHECK(known.cells[0].mixture == 1);
    CHECK((known.cells[0].attribute == "a0" && known.cells[0].group == "g0" && known.cells[0].kept == -1));
    CHECK((known.cells[0].facts == 20 && known.cells[0].facts_asked == 20));
    CHECK(known.all.interval.low == Approx(known.all.bits).epsilon(1e-5));
    CHECK((!known.kept && known.attributes.size() == 2 && known.groups.size() == 2));
    const HedgedBits wrong = of(task, {50, 9, 1, false});
    CHECK((wrong.all.bits == 0 && wrong.cells[0].mixture == 0 && wrong.cells[0].bits == -1));
    CHECK(wrong.all.interval.high == 0);
    CHECK(of(task, {std::numeric_limits<double>::quiet_NaN(), 9, 1, false}).all.bits == 0);
    CHECK(of(task, {std::numeric_limits<double>::infinity(), 9, 1, false}).all.bits == 0);

    // a sample: scaled, the description too; the bound does not grow by asking fewer
    const QuestionTask some(folder / "set", 64, 45, 240, 3);
    const HedgedBits sampled = of(some, {0, 1, 1, true});
    CHECK(sampled.cells[0].facts_asked < sampled.cells[0].facts);
    CHECK(sampled.all.bits < known.all.bits);
    CHECK(sampled.all.bits > 0.7 * known.all.bits);
    // one person
    const QuestionTask one(folder / "set", 64, 45, 1, 3);
    CHECK(of(one, {0, 1, 1, true}).all.bits == 0);
    // without known pools there is nothing
    QuestionBuilder open = synthetic_questions(10, 1);
    open.names.pools = {0};
    open.write(folder / "open");
    const HedgedBits none = of(QuestionTask(folder / "open", 64, 45), {0, 1, 1, true});
    CHECK((none.cells.empty() && none.all.facts == 0));
    CHECK(std::isnan(metric(summarize(task, std::vector<QuestionResult>(task.chosen.size(), {0, 1, 1, true}), {1, 1}),
                            "bits_hedged_kept")));
}

TEST_CASE("hedged bits of kept people, of which the plain sum shows nothing", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(80, 2).write(folder / "set");
    QuestionTask task(folder / "set", 64, 45);
    task.kept.resize(80);
    for (size_t e = 0; e < 80; e += 4) task.kept[e] = true;
    // who was left out is made up with confidence: 6 bits worse than chance; kept people are known
    std::vector<QuestionResult> results;
    for (const uint32_t i : task.chosen) {
        const Question q = task.set->question(i);
        const double pool = static_cast<double>(task.set->names().pools[q.attribute]);
        const bool known = q.entity % 4 == 0;
        results.push_back({known ? 0 : std::log(pool) + 6 * LN2, known ? 1 : 9, 1, known});
    }
    const KnowledgeReport report = summarize(task, results, {1, 1, 100, 1});
    const double kept = 20 * (std::log2(10) + std::log2(20));
    CHECK(metric(report, "bits") == 0);
    CHECK(metric(report, "bits_hedged_kept") == Approx(kept - 2 * 5));
    CHECK(metric(report, "bits_hedged") == Approx(kept - 2 * 5 - 2));
    CHECK(report.hedged.kept->facts == 40);
    CHECK(report.hedged.all.interval.low <= report.hedged.all.bits);
    CHECK(report.hedged.all.interval.high >= report.hedged.all.bits);
    REQUIRE(report.hedged.cells.size() == 4);
    CHECK((report.hedged.cells[0].kept == 0 && report.hedged.cells[0].mixture == 0));
    CHECK((report.hedged.cells[1].kept == 1 && report.hedged.cells[1].mixture == 1));
}

TEST_CASE("hedged bits above the shuffled control of the same evaluation", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(60, 2).write(folder / "set");
    QuestionBuilder control = synthetic_questions(120, 2);
    control.names.name = control.names.source = "shuffled";
    control.names.shuffled = true;
    control.write(folder / "shuffled");
    EvaluationOptions options;
    options.questions = {folder / "set", folder / "shuffled"};
    options.report.resamples.n = 100;
    const EvaluationPlan plan = plan_evaluation(options, 64, 45);
    CHECK(control_of(plan, plan.questions[0]) == &plan.questions[1]);
    CHECK(control_of(plan, plan.questions[1]) == nullptr);
    // the set is known; of the control only which half of the values occurs: a bit a fact
    Evaluation evaluation;
    for (const double bits_less : {0.0, 1.0}) {
        const QuestionTask& task = plan.questions[evaluation.knowledge.size()];
        KnowledgeResult result;
        for (const uint32_t i : task.chosen) {
            const double pool = static_cast<double>(task.set->names().pools[task.set->question(i).attribute]);
            result.results.push_back({bits_less == 0 ? 0.0 : std::log(pool) - LN2, 1, 1, true});
        }
        evaluation.knowledge.push_back(std::move(result));
    }
    summarize_all(plan, {1, 1, 100, 1}, &evaluation);
    const KnowledgeReport& report = evaluation.knowledge[0].report;
    const double own = 60 * (std::log2(10) + std::log2(20)) - 2 * 5, its = 2 * (120 - 5);
    CHECK(report.hedged.all.bits == Approx(own));
    CHECK(evaluation.knowledge[1].report.hedged.all.bits == Approx(its));
    REQUIRE(report.above_control);
    CHECK(report.above_control->bits == Approx(own - its / 2));  // per fact: the control has twice as many
    CHECK(!evaluation.knowledge[1].report.above_control);
    CHECK(metric(report, "bits_above_control") == report.above_control->bits);
    CHECK(evaluation.metrics[0].name == "know/people/accuracy");
    CHECK(evaluation.metrics.back().name.rfind("know/shuffled/", 0) == 0);

    const nlohmann::json root =
        nlohmann::json::parse(results_json(plan, evaluation, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5}));
    const nlohmann::json& json = root["know"]["people"]["bits_hedged"];
    CHECK(json["bits"] == report.hedged.all.bits);
    CHECK(json["above_control"]["bits"] == report.above_control->bits);
    CHECK((json["by_attribute"].size() == 2 && json["cells"].size() == 2 && !json.contains("by_group")));
    CHECK(json["cells"][0]["mixture"] == 1);
    CHECK(root["config"]["intervals"] == "95 % over entities, of this one run");
    const std::string table = table_text(plan, evaluation);
    CHECK(table.find("at least, errors hedged: ") != std::string::npos);
    CHECK(table.find(" above the shuffled control") != std::string::npos);
    CHECK(table.find("95 % over the entities of this one run, not over runs") != std::string::npos);

    // the same people, whose facts the other source states, or other pools: no control
    QuestionBuilder people = synthetic_questions(60, 2);
    people.names.facts.names = control.names.facts.names = "sha256:1";
    people.write(folder / "set");
    control.write(folder / "shuffled");
    const EvaluationPlan same = plan_evaluation(options, 64, 45);
    CHECK(control_of(same, same.questions[0]) == nullptr);
    people.names.facts.names = "sha256:2";
    people.write(folder / "set");
    const EvaluationPlan others = plan_evaluation(options, 64, 45);
    CHECK(control_of(others, others.questions[0]) == &others.questions[1]);
    control.names.pools = {10, 30};
    control.write(folder / "shuffled");
    const EvaluationPlan other = plan_evaluation(options, 64, 45);
    CHECK(control_of(other, other.questions[0]) == nullptr);
}
