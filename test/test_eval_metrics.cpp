// Accuracy, bits, baselines and intervals, from results whose truth is known.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "dataloader/subsample.h"
#include "eval/evaluation.h"
#include "eval/packing.h"
#include "eval/report.h"
#include "eval/share_interval.h"
#include "model/checkpoint.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"

namespace {

constexpr double LN2 = 0.693147180559945309417;

// Results of a model that knows a fact (entity, attribute) or does not: then it answers with a uniform draw from the
// pool.
template <class Knows>
std::vector<QuestionResult> planted(const QuestionSet& set, const std::vector<uint32_t>& chosen, Knows knows) {
    std::vector<QuestionResult> results;
    for (const uint32_t i : chosen) {
        const Question q = set.question(i);
        const double pool = static_cast<double>(set.names().pools[q.attribute]);
        const bool known = knows(q);
        results.push_back({known ? 0.0 : std::log(pool), known ? 1 : 5, set.length(i).answer, known});
    }
    return results;
}

double metric(const KnowledgeReport& report, const std::string& name) {
    for (const Metric& m : report.metrics)
        if (m.name == name) return m.value;
    return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

TEST_CASE("planted facts give exactly their accuracy and bits", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(40, 3, 2).write(folder / "set");
    const QuestionTask task(folder / "set", 64, 45);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    // attribute 0: known of everyone in every template; 1: of the first 10 people, in training templates; 2: of nobody
    auto knows = [](const Question& q) {
        return q.attribute == 0 || (q.attribute == 1 && q.entity < 10 && q.kind == 0);
    };
    const KnowledgeReport report = summarize(task, planted(set, all, knows), {1000, 400, 200, 7});

    CHECK(metric(report, "accuracy") == Approx((1 + 0.25 / 2) / 3));
    CHECK(metric(report, "accuracy_seen") == Approx(1.25 / 3));
    CHECK(metric(report, "accuracy_heldout") == Approx(1.0 / 3));
    CHECK(metric(report, "accuracy_question") == Approx(1.0 / 3));
    const double bits = 40 * std::log2(10) + 10 * std::log2(20);
    CHECK(metric(report, "bits") == Approx(bits));
    CHECK(metric(report, "bits_per_param") == Approx(bits / 1000));
    CHECK(report.bits_per_nonembedding_param == Approx(bits / 400));
    CHECK(report.most_bits == Approx(40 * (std::log2(10) + std::log2(20) + std::log2(30))));
    CHECK(metric(report, "rank") == Approx(1 + 4 * (1 - (1 + 0.25 / 2) / 3)));
    double nats = 0, tokens = 0;
    for (const uint32_t i : all) {
        const Question q = set.question(i);
        nats += knows(q) ? 0 : std::log(static_cast<double>(set.names().pools[q.attribute]));
        tokens += set.length(i).answer;
    }
    CHECK(metric(report, "loss") == Approx(nats / tokens));

    REQUIRE(report.attribute_bits.size() == 3);
    CHECK(report.attribute_bits[0].bits == report.attribute_bits[0].most);
    CHECK(report.attribute_bits[0].interval.low == Approx(report.attribute_bits[0].most));
    CHECK(report.attribute_bits[1].interval.low < 10 * std::log2(20));
    CHECK(report.attribute_bits[1].interval.high > 10 * std::log2(20));
    CHECK(report.attribute_bits[2].bits == Approx(0).margin(1e-9));
    CHECK(report.bits_interval.low < bits);
    CHECK(report.bits_interval.high > bits);

    // cells: attribute 1 in its training templates, and each group's
    REQUIRE(report.attribute_kinds.size() == 9);
    const Cell& cell = report.attribute_kinds[3];
    CHECK((cell.attribute == "a1" && cell.kind == "seen"));
    CHECK((cell.questions() == 120 && cell.entities == 40));
    CHECK(cell["accuracy"].value == 0.25);
    CHECK(cell["chance"].value == Approx(1.0 / 20));
    CHECK((cell["accuracy"].interval.low < 0.25 && cell["accuracy"].interval.high > 0.25 &&
           cell["accuracy"].interval.low > 0));
    CHECK(cell["accuracy"].standard_error ==
          Approx(std::sqrt(0.25 * 0.75 / 40)).epsilon(0.2));  // 40 people, not 120 questions
    CHECK(report.group_kinds.size() == 6);
    CHECK(report.templates.size() == 18);
    CHECK(report.relation_kinds.empty());
    CHECK(report.all["chance"].value == Approx((1.0 / 10 + 1.0 / 20 + 1.0 / 30) / 3));
}

TEST_CASE("bits are clipped after the sum, and a sample is scaled to all people", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(50, 2).write(folder / "set");
    const QuestionTask task(folder / "set", 64, 45);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    std::vector<QuestionResult> results;
    for (const uint32_t i : all) {
        const Question q = set.question(i);
        // attribute 0: half of the people far below chance; 1: everyone far below
        const double bits = q.attribute == 0 ? (q.entity % 2 ? 2.0 : -1.0) : -3.0;
        results.push_back({(std::log2(static_cast<double>(set.names().pools[q.attribute])) - bits) * LN2, 2, 1, false});
    }
    const KnowledgeReport report = summarize(task, results, {1, 1, 0, 1});
    CHECK(report.attribute_bits[0].bits == Approx(25 * 2.0 - 25 * 1.0));
    CHECK(report.attribute_bits[1].bits == 0);
    CHECK(std::isnan(report.all["accuracy"].interval.low));

    const auto sample = [&](uint64_t questions) {
        const QuestionTask some(folder / "set", 64, 45, questions, 3);
        return summarize(some, planted(set, some.chosen, [](const Question&) { return true; }), {1, 1, 0, 1});
    };
    const KnowledgeReport sampled = sample(240);
    CHECK(sampled.attribute_bits[0].entities == 50);
    CHECK(sampled.attribute_bits[0].entities_asked < 50);
    CHECK(metric(sampled, "bits") == Approx(50 * (std::log2(10) + std::log2(20))));

    // with too few questions to ask about every attribute there is no figure rather than a wrong one
    const KnowledgeReport little = sample(1);
    CHECK(std::isnan(metric(little, "bits")));
    CHECK(metric(little, "accuracy") == 1);
}

TEST_CASE("accuracy over the entities that --subsample kept", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(40, 2).write(folder / "set");
    QuestionTask task(folder / "set", 64, 45);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    // kept: every fourth person, of whom attribute 0 is known in training templates; of others only person 1, in full
    const ReportOptions options{1000, 400, 200, 7};
    task.kept.resize(40);
    for (size_t e = 0; e < 40; e += 4) task.kept[e] = true;
    auto knows = [](const Question& q) {
        return q.entity == 1 || (q.entity % 4 == 0 && q.attribute == 0 && q.kind == 0);
    };
    const KnowledgeReport report = summarize(task, planted(set, all, knows), options);
    CHECK(metric(report, "accuracy_kept") == 3.0 / 12);
    CHECK(metric(report, "accuracy_seen_kept") == 0.5);
    CHECK(metric(report, "accuracy_seen") == Approx((10 * 3 + 6) / 240.0));
    CHECK((report.subsampled && report.entities_kept == 10 && report.entities == 40));
    CHECK((report.kept.entities == 10 && report.kept.questions() == 120));
    REQUIRE(report.kept_kinds.size() == 3);
    CHECK((report.kept_kinds[1].kind == "heldout" && report.kept_kinds[1]["accuracy"].value == 0));
    // every kept person has the same score, which ten people do not prove of all
    CHECK(report.kept["accuracy"].interval.low == Approx(share_interval({{3, 12, 10}}).low));

    // nothing else changes by it, and without it there is neither metric nor cell
    const KnowledgeReport without = summarize(QuestionTask(folder / "set", 64, 45), planted(set, all, knows), options);
    CHECK((!without.subsampled && without.kept.questions() == 0 && without.kept_kinds.empty()));
    size_t others = 0;
    for (const Metric& m : report.metrics) {
        if (m.name.find("_kept") != std::string::npos) continue;
        if (m.name == "bits_hedged") {  // a mixture of its own for those kept, which is paid for
            ++others;
            continue;
        }
        REQUIRE(others < without.metrics.size());
        CHECK((m.name == without.metrics[others].name && m.value == without.metrics[others].value));
        ++others;
    }
    CHECK((others == without.metrics.size() && others + 3 == report.metrics.size()));
    CHECK(without.all["accuracy"].interval.low == report.all["accuracy"].interval.low);
    CHECK(without.group_kinds.size() == report.group_kinds.size());

    // a sample that asks nobody who was kept has no figure
    std::vector<uint32_t> strangers;
    for (const uint32_t i : all)
        if (set.question(i).entity % 4 != 0) strangers.push_back(i);
    task.ask(strangers);
    const KnowledgeReport none = summarize(task, planted(set, strangers, knows), options);
    CHECK((none.subsampled && none.entities_kept == 10 && none.kept_kinds.empty()));
    CHECK(std::isnan(metric(none, "accuracy_kept")));
}

TEST_CASE("a set is linked to its subsampled source by the shard's name", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(40, 1).write(folder / "people_questions");
    auto kept = [&](const std::vector<SubsampledSource>& sources, uint64_t data_seed = 5) {
        EvaluationOptions options;
        options.questions = {folder / "people_questions"};
        options.subsampled = sources;
        options.data_seed = data_seed;
        return plan_evaluation(options, 64, 45).questions[0].kept;
    };
    auto chosen = [](uint64_t entities, double rho, uint64_t first) {
        std::vector<bool> is_kept(40);
        for (const uint32_t e : subsample_entities(entities, rho, 5, "bio"))
            if (e >= first && e < first + 40) is_kept[e - first] = true;
        return is_kept;
    };
    // the training data need not be here
    CHECK(kept({{"bio", "elsewhere/people.bin", 0.25}}) == chosen(40, 0.25, 0));
    CHECK(kept({{"bio", "people.bin", 0.25}}, 6) != chosen(40, 0.25, 0));
    const std::vector<bool> quarter = chosen(40, 0.25, 0);
    CHECK(std::count(quarter.begin(), quarter.end(), true) == 10);
    CHECK(kept({{"bio", "people.bin", 1}}) == std::vector<bool>(40, true));
    CHECK(kept({}).empty());
    CHECK(kept({{"people", "other.bin", 0.25}}).empty());
    CHECK(kept({{"bio", "elsewhere/p*.bin", 0.25}}).empty());

    // one of several shards: entities are counted over all of them
    const std::string data = folder / "data";
    make_directories(data);
    const std::vector<std::pair<std::string, int>> shards = {{"a", 25}, {"people", 40}, {"z", 10}};
    for (const auto& [name, people] : shards) {
        QuestionBuilder shard;  // its .bin and .idx are a shard like any other
        shard.kind = "knowledge";
        for (int p = 0; p < people; ++p) shard.questions.push_back({{}, {1, 2}, {3}, {}});
        shard.write(path_join(data, name));
    }
    CHECK(kept({{"bio", path_join(data, "*.bin"), 0.5}}) == chosen(75, 0.5, 25));
    CHECK(kept({{"bio", path_join(data, "z.bin"), 0.5}}).empty());
    // a set that was made with other people than the shard says nothing
    synthetic_questions(30, 1).write(folder / "people_questions");
    CHECK(kept({{"bio", path_join(data, "people.bin"), 0.5}}).empty());
}

TEST_CASE("--subsample as a checkpoint remembers it", "[eval]") {
    const TemporaryFolder folder;
    int64_t step = 0;
    auto choices = [&](const std::string& options) {
        const std::string checkpoint = checkpoint_begin(folder / "run", ++step);
        write_trainer_state(checkpoint,
                            {step, 64, R"({"seq-len":64,"data-seed":9,"doc-mask":true)" + options + "}", "{}"});
        make_directories(path_join(checkpoint, "exposures"));
        write_file(path_join(checkpoint, "exposures/bio.npy"), "a ledger");
        return read_trainer_choices(checkpoint_finish(checkpoint));
    };
    const TrainerChoices two = choices(R"(,"source":["web=w.bin","bio=d/b.bin"],"subsample":["web=0.5","bio=0.3"])");
    REQUIRE(two.subsampled.size() == 1);  // web, text, has no entities
    CHECK((two.subsampled[0].name == "bio" && two.subsampled[0].glob == "d/b.bin" && two.subsampled[0].rho == 0.3));
    CHECK(two.data_seed == 9);
    CHECK(choices("").subsampled.empty());
    CHECK(choices(R"(,"source":["bio=d/b.bin"],"subsample":[])").subsampled.empty());
    REQUIRE_DIES(Exit::Data, "subsample", choices(R"(,"source":["bio=d/b.bin"],"subsample":["bio"])"));
    REQUIRE_DIES(Exit::Data, "subsample", choices(R"(,"source":["bio=d/b.bin"],"subsample":[7])"));
}

TEST_CASE("the choice of --subsample", "[eval]") {
    for (const double rho : {0.001, 0.25, 0.335, 0.999, 1.0}) {
        const std::vector<uint32_t> kept = subsample_entities(1000, rho, 3, "bio");
        const std::set<uint32_t> distinct(kept.begin(), kept.end());
        CHECK(kept.size() == static_cast<size_t>(std::llround(1000 * rho)));
        CHECK((distinct.size() == kept.size() && *distinct.rbegin() < 1000));
    }
    CHECK(subsample_entities(1000, 0.5, 3, "bio") != subsample_entities(1000, 0.5, 4, "bio"));
    CHECK(subsample_entities(1000, 0.5, 3, "bio") != subsample_entities(1000, 0.5, 3, "oib"));
}

TEST_CASE("guessing from the pool scores chance and no bits", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(400, 3).write(folder / "set");
    const QuestionTask task(folder / "set", 64, 45);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    std::vector<QuestionResult> results = planted(set, all, [](const Question&) { return false; });
    for (size_t i = 0; i < all.size(); ++i)
        results[i].correct =
            random_below(static_cast<uint64_t>(set.names().pools[set.question(all[i]).attribute]), 9, 9, i) == 0;
    const KnowledgeReport report = summarize(task, results, {1, 1, 400, 1});
    CHECK(metric(report, "bits") == Approx(0).margin(1e-9));
    CHECK(report.all["accuracy"].value == Approx(report.all["chance"].value).epsilon(0.15));
    CHECK((report.all["accuracy"].interval.low < report.all["chance"].value &&
           report.all["chance"].value < report.all["accuracy"].interval.high));
    CHECK(report.all["majority"].value > report.all["chance"].value);
}

TEST_CASE("all right and none right have intervals of more than a point", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(30, 1).write(folder / "set");
    const QuestionTask task(folder / "set", 64, 64);
    const QuestionSet& set = *task.set;
    const std::vector<uint32_t>& all = task.chosen;
    for (const bool right : {false, true}) {
        const std::vector<QuestionResult> results = planted(set, all, [&](const Question&) { return right; });
        ReportOptions options{1000, 500, 200, 1};
        const Cell cell = summarize(task, results, options).all;
        const double bound = share_interval({{0, 6, 30}}).high;  // 6 questions of each of 30 people
        REQUIRE((bound > 0.03 && bound < 0.12));
        CHECK(cell["accuracy"].interval.low == Approx(right ? 1 - bound : 0));
        CHECK(cell["accuracy"].interval.high == Approx(right ? 1 : bound));
        std::vector<QuestionResult> but_one = results;  // one answer less: nearly the same interval
        but_one[0].correct = !right;
        const Interval near = summarize(task, but_one, options).all["accuracy"].interval;
        CHECK((right ? 1 - near.low : near.high) == Approx(bound).epsilon(0.6));
        CHECK((right ? 1 - near.low : near.high) > bound);
        options.resamples.n = 0;
        CHECK(std::isnan(summarize(task, results, options).all["accuracy"].interval.low));
    }
}

TEST_CASE("bootstrap intervals cover the truth as often as they say", "[eval][frequencies]") {
    // 120 entities of 6 questions: an entity knows all of them (0.3), none (0.3), or each with 0.5; the truth is 0.5
    constexpr uint64_t ENTITIES = 120, QUESTIONS = 6, WORLDS = 400;
    int covered = 0, below = 0;
    for (uint64_t world = 0; world < WORLDS; ++world) {
        RatioTable table;
        for (uint64_t e = 0; e < ENTITIES; ++e) {
            const uint64_t fate = random_below(10, world, 1, e);
            float right = fate < 3 ? QUESTIONS : 0.0f;
            for (uint64_t q = 0; q < QUESTIONS && fate >= 6; ++q)
                right += random_below(2, world, 2, e * QUESTIONS + q) == 0;
            table.entries.push_back({0, right, QUESTIONS});
            table.first.push_back(table.entries.size());
        }
        const Interval interval = percentile_interval(bootstrap_ratios(table, 1, 400, world));
        covered += interval.low <= 0.5 && 0.5 <= interval.high;
        below += interval.high < 0.5;
    }
    CHECK(covered >= 0.92 * WORLDS);  // 0.95 expected, standard deviation 0.011
    CHECK(covered <= 0.98 * WORLDS);
    CHECK(below >= 1);
}

TEST_CASE("quantiles and deviations of known numbers", "[eval]") {
    std::vector<double> values;
    for (int i = 0; i <= 1000; ++i) values.push_back(1000 - i);
    const Interval interval = percentile_interval(values);
    CHECK(interval.low == Approx(25));
    CHECK(interval.high == Approx(975));
    CHECK(standard_deviation({2, 4, 4, 4, 5, 5, 7, 9}) == Approx(std::sqrt(32.0 / 7)));
    CHECK(std::isnan(percentile_interval({1.0}).low));
    const double none = std::numeric_limits<double>::quiet_NaN();
    CHECK(percentile_interval({none, 3, none, 3}).high == 3);
}

TEST_CASE("segments are packed whole, once, and tightly", "[eval]") {
    for (const int T : {64, 257}) {
        std::vector<int> lengths;
        double total = 0;
        for (uint64_t i = 0; i < 3000; ++i) lengths.push_back(1 + static_cast<int>(random_below(60, 1, 1, i)));
        for (const int length : lengths) total += length;
        const Packing packing = pack_segments(lengths, T);
        std::vector<int> seen(lengths.size());
        for (size_t row = 0; row < packing.rows(); ++row) {
            int used = 0;
            for (uint64_t s = packing.first[row]; s < packing.first[row + 1]; ++s) {
                used += lengths[packing.segments[s]];
                ++seen[packing.segments[s]];
            }
            REQUIRE((used > 0 && used <= T));
        }
        CHECK(std::count(seen.begin(), seen.end(), 1) == 3000);
        CHECK(total / (static_cast<double>(packing.rows()) * T) > 0.98);
    }
    CHECK(pack_segments({}, 64).rows() == 0);
    REQUIRE_DIES(Exit::Runtime, "does not fit", pack_segments({65}, 64));
    REQUIRE_DIES(Exit::Runtime, "does not fit", pack_segments({0}, 64));
}
