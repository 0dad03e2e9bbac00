// Dose and response: planted curves, their bias and coverage, the ends of what can be asked, and another program's fit.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "eval/dose_response.h"
#include "eval/thresholds.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "util/files.h"
#include "util/rng.h"

namespace {

constexpr double UNKNOWN = DoseCurve::NONE;

double uniform(uint64_t world, uint64_t stream, uint64_t i) {
    return (static_cast<double>(random_u64(world, stream, i) >> 11) + 0.5) * 0x1p-53;
}

struct Planted {
    double F50 = 100, k = 3, lapse = 0, guess = 0.05, people_sd = 0;
    int groups = 16, people = 10, facts = 5;  // people of a group, facts of a person
    double low = 8, high = 1000;              // doses, a log grid over the groups
    bool known_guess = true;
};

std::vector<DoseAnswers> plant(const Planted& w, uint64_t world) {
    std::vector<DoseAnswers> answers;
    for (int g = 0; g < w.groups; ++g) {
        const double dose = w.low * std::pow(w.high / w.low, g / std::max(1.0, w.groups - 1.0));
        for (int p = 0; p < w.people; ++p) {
            const uint64_t person = static_cast<uint64_t>(g * w.people + p);
            const double effect = w.people_sd * random_normal(world, 1, person);
            const double knows = 1 / (1 + std::exp(-w.k * std::log(dose / w.F50) - effect));
            double right = 0;
            for (int f = 0; f < w.facts; ++f)
                right +=
                    uniform(world, 2 + person, static_cast<uint64_t>(f)) < w.guess + (1 - w.guess - w.lapse) * knows;
            answers.push_back({dose, w.known_guess ? w.guess : UNKNOWN, person, right, w.facts * 1.0});
        }
    }
    return answers;
}

DoseCurve fit(const Planted& w, uint64_t world = 1, int resamples = 0) {
    return fit_dose_curve(plant(w, world), 0.5, resamples, 7);
}

}  // namespace

TEST_CASE("dose and response: the Python package's fit of the same answers", "[eval]") {
    std::istringstream lines(read_file("test/golden/dose_response/answers.jsonl"));
    std::map<std::string, std::vector<DoseAnswers>> answers;
    for (std::string line; std::getline(lines, line);) {
        const nlohmann::json a = nlohmann::json::parse(line);
        answers[a["set"]].push_back({a["exposures"], a["guess"].is_null() ? UNKNOWN : a["guess"].get<double>(),
                                     a["entity"], a["correct"] ? 1.0 : 0.0, 1});
    }
    const nlohmann::json curves = nlohmann::json::parse(read_file("test/golden/dose_response/curves.json"));
    REQUIRE((curves.size() == 4 && answers.size() == 4));
    for (const auto& [name, said] : curves.items()) {
        INFO(name);
        const DoseCurve curve = fit_dose_curve(answers[name], 0.5, 400, 1);
        CHECK(said["state"] == dose_state_name(curve.state));
        CHECK((said["people"] == curve.people && said["answers"] == curve.answers));
        CHECK(curve.loglik == Approx(said["loglik"].get<double>()).margin(1e-3));
        CHECK(curve.smallest_dose == Approx(said["doses"][0].get<double>()));
        CHECK(curve.largest_dose == Approx(said["doses"][1].get<double>()));
        CHECK(std::isnan(curve.F50) == said["F50"].is_null());
        if (said["F50"].is_null()) continue;
        CHECK(curve.ln_F50 == Approx(said["ln_F50"].get<double>()).margin(1e-3));
        CHECK(std::log(curve.k) == Approx(std::log(said["k"].get<double>())).margin(1e-3));
        CHECK(curve.lapse == Approx(said["lapse"].get<double>()).margin(1e-3));
        CHECK(curve.guess == Approx(said["guess"].get<double>()).margin(1e-3));
        CHECK(curve.overdispersion == Approx(said["overdispersion"].get<double>()).margin(2e-3));
        // other samples of people: the ends agree within their own noise
        const double width = std::log(said["interval"][1].get<double>() / said["interval"][0].get<double>());
        CHECK(std::log(curve.F50_interval.low / said["interval"][0].get<double>()) == Approx(0).margin(0.15 * width));
        CHECK(std::log(curve.F50_interval.high / said["interval"][1].get<double>()) == Approx(0).margin(0.15 * width));
    }
}

TEST_CASE("dose and response: no bias and nominal coverage, people and lapses planted", "[eval][frequencies]") {
    constexpr uint64_t WORLDS = 200;
    for (const bool differ : {false, true}) {
        Planted w;
        w.lapse = 0.04;
        w.people_sd = differ ? 1.0 : 0.0;
        w.known_guess = !differ;
        int covered = 0, target_covered = 0;
        double sum = 0, squares = 0;
        // people who differ flatten the curve of all: the truth is the fit of very many
        Planted many = w;
        many.people = 2000;
        const DoseCurve truth = fit(many, 99);
        if (!differ) CHECK(truth.F50 == Approx(100).epsilon(0.02));
        for (uint64_t world = 0; world < WORLDS; ++world) {
            const DoseCurve curve = fit(w, 1000 + world, 200);
            REQUIRE(curve.state == DoseState::REACHED);
            const double error = curve.ln_F50 - truth.ln_F50;
            sum += error, squares += error * error;
            covered += curve.F50_interval.low <= truth.F50 && truth.F50 <= curve.F50_interval.high;
            target_covered +=
                curve.at_target_interval.low <= truth.at_target && truth.at_target <= curve.at_target_interval.high;
        }
        INFO("people differ: " << differ);
        CHECK(std::abs(sum / WORLDS) < 0.02);
        CHECK(std::sqrt(squares / WORLDS) < 0.12);
        CHECK(covered >= 0.9 * WORLDS);  // 0.95 expected, standard deviation 0.015
        CHECK(target_covered >= 0.9 * WORLDS);
        CHECK((covered <= 0.99 * WORLDS || target_covered <= 0.99 * WORLDS));
    }
}

TEST_CASE("dose and response: states, bounds and the ends of the range", "[eval]") {
    Planted w;
    CHECK(fit(w).state == DoseState::REACHED);
    CHECK(fit(w).F50 == Approx(100).epsilon(0.15));
    CHECK(std::isnan(fit(w).F50_interval.low));  // no samples, no interval

    const auto no_number = [](const DoseCurve& curve) { return std::isnan(curve.F50); };
    w.F50 = 1e6;  // none right but by guessing
    const DoseCurve none = fit(w, 1, 50);
    CHECK((none.state == DoseState::NOT_REACHED && no_number(none) && none.largest_dose == Approx(1000)));
    CHECK((std::isnan(none.F50_interval.high) && std::isnan(none.at_target)));
    w.F50 = 2000;  // seen to rise, half only beyond the doses
    w.people = 40;
    CHECK((fit(w).state == DoseState::NOT_REACHED && no_number(fit(w))));
    w.F50 = 0.01;
    CHECK((fit(w).state == DoseState::BELOW && no_number(fit(w)) && fit(w).smallest_dose == Approx(8)));

    // all right, all wrong, chance 1, one person, one dose, nobody, never shown
    const auto of = [](std::vector<DoseAnswers> answers) { return fit_dose_curve(answers, 0.8, 50, 1); };
    CHECK(of({{10, 0, 1, 5, 5}, {100, 0, 2, 5, 5}}).state == DoseState::BELOW);
    CHECK(of({{10, 0, 1, 0, 5}, {100, 0, 2, 0, 5}}).state == DoseState::NOT_REACHED);
    const DoseCurve certain = of({{10, 1, 1, 5, 5}, {100, 1, 2, 5, 5}});
    CHECK(!std::isfinite(certain.F50));
    CHECK(no_number(of({{10, 0.1, 1, 3, 5}})));
    CHECK(of({{10, 0.1, 1, 3, 5}}).people == 1);
    CHECK(of({}).answers == 0);
    CHECK(of({{0, 0.1, 1, 3, 5}}).people == 1);
    CHECK(of({{10, 0, 1, 0, 0}}).people == 0);
    const DoseCurve flat = of({{10, UNKNOWN, 1, 50, 100}, {100, UNKNOWN, 2, 50, 100}});
    CHECK((no_number(flat) && std::isnan(flat.at_target)));

    // people who were never shown say what guessing gives, and nothing of where the rise is
    Planted shown;
    shown.known_guess = false;
    shown.guess = 0.2;
    std::vector<DoseAnswers> answers = plant(shown, 3);
    for (uint64_t p = 0; p < 300; ++p) answers.push_back({0, UNKNOWN, 1000 + p, std::floor(uniform(5, 5, p) + 0.2), 1});
    const DoseCurve curve = fit_dose_curve(answers, 0.8, 0, 1);
    CHECK(curve.guess == Approx(0.2).margin(0.04));
    CHECK(curve.F50 == Approx(100).epsilon(0.25));
    CHECK(curve.at_target > curve.F50);
}

TEST_CASE("dose and response: the order of answers does not matter, thousands of doses are binned", "[eval]") {
    std::vector<DoseAnswers> answers;
    for (uint64_t i = 0; i < 3000; ++i) {
        const double dose = std::exp(uniform(1, 1, i) * 8);
        answers.push_back(
            {dose, 0, i, std::floor(uniform(1, 2, i) + 1 / (1 + std::exp(-1.5 * (std::log(dose) - 4)))), 1});
    }
    const DoseCurve curve = fit_dose_curve(answers, 0.6, 20, 1);
    CHECK(curve.ln_F50 == Approx(4).margin(0.15));
    CHECK(curve.at_target == Approx(std::exp(curve.ln_F50 + std::log((0.6) / (0.4 - curve.lapse)) / curve.k)));
    std::vector<DoseAnswers> reversed(answers.rbegin(), answers.rend());
    CHECK(fit_dose_curve(reversed, 0.6, 0, 1).ln_F50 == Approx(curve.ln_F50).margin(1e-4));
    const DoseCurve again = fit_dose_curve(answers, 0.6, 20, 1);
    CHECK((again.F50_interval.low == curve.F50_interval.low && again.at_target == curve.at_target));
}

TEST_CASE("the curve's threshold frequency is not to one side, as the first group under the target is",
          "[eval][frequencies]") {
    constexpr int GROUPS = 16, PEOPLE = 160;
    constexpr uint64_t WORLDS = 30;
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(PEOPLE, 3, GROUPS);
    for (int g = 0; g < GROUPS; ++g) built.names.group_weights.push_back(std::pow(g + 1, -1.5));
    built.write(folder / "set");
    const QuestionTask task(folder / "set", 64, 45);
    double sum = 0;
    for (const double w : built.names.group_weights) sum += w;
    const auto frequency = [&](uint32_t group) { return built.names.group_weights[group] / sum / (PEOPLE / GROUPS); };
    const double F50 = std::sqrt(frequency(5) * frequency(6));
    double curve_bias = 0, rule_bias = 0;
    int covered = 0;
    for (uint64_t world = 0; world < WORLDS; ++world) {
        std::vector<QuestionResult> results;
        for (const uint32_t i : task.chosen) {  // a fact is known in all its templates or in none
            const Question q = task.set->question(i);
            const double knows = 1 / (1 + std::pow(frequency(q.group) / F50, -4));
            const double guess = 1 / static_cast<double>(built.names.pools[q.attribute]);
            results.push_back({1, 1, 1, uniform(world, 9, q.entity * 8 + q.attribute) < guess + (1 - guess) * knows});
        }
        const FrequencyThreshold found = frequency_threshold(task, results, {}, {0.5, 100, world});
        REQUIRE((found.reached && found.curve.state == DoseState::REACHED));
        curve_bias += std::log(found.curve.F50 / F50) / WORLDS;
        rule_bias += std::log(found.frequency / F50) / WORLDS;
        covered += found.curve.F50_interval.low <= F50 && F50 <= found.curve.F50_interval.high;
    }
    CHECK(std::abs(curve_bias) < 0.05);
    CHECK(rule_bias < -0.05);
    CHECK(covered >= 0.83 * WORLDS);  // 0.95 expected, standard deviation 0.04

    // people who were left out of the data were never shown; none is right, and the threshold stays
    QuestionTask half(folder / "set", 64, 45);
    half.kept.resize(PEOPLE);
    for (size_t p = 0; p < PEOPLE; ++p) half.kept[p] = p / GROUPS % 2 == 0;
    std::vector<QuestionResult> results;
    for (const uint32_t i : half.chosen) {
        const Question q = half.set->question(i);
        results.push_back({1, 1, 1, half.kept[q.entity] && q.group < 6});
    }
    const DoseCurve curve = frequency_threshold(half, results, {}, {0.5}).curve;
    CHECK((curve.F50 < frequency(5) && curve.F50 > frequency(6)));
}
