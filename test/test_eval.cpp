// Scores from the packed pass: equal to token-by-token decoding, the same bits in any packing; and the Evaluator around
// them.
#include <omp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/evaluator.cuh"
#include "eval/program_files.h"
#include "eval/results.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/test_eval_models.h"
#include "util/progress.h"

namespace {

// Questions of which some have the model's own greedy continuation as the answer, some all of it but the last token.
QuestionBuilder questions_about(const Gpt<float>& gpt) {
    QuestionBuilder set = synthetic_questions(6, 3, 1, gpt.config.V);
    set.eot_id = 0;
    for (size_t i = 0; i < set.questions.size(); ++i) {
        BuiltQuestion& q = set.questions[i];
        if (i % 3 == 0) continue;
        std::vector<int> answer = decode(gpt, with_eot(set, q), q.answer.size());
        if (i % 3 == 2) answer.back() = 1 + answer.back() % (gpt.config.V - 1);
        if (std::find(answer.begin(), answer.end(), set.eot_id) == answer.end()) q.answer = answer;
    }
    return set;
}

bool same_bits(const QuestionResult& a, const QuestionResult& b) {
    return a.nll == b.nll && a.rank == b.rank && a.tokens == b.tokens && a.correct == b.correct && a.alias == b.alias &&
           a.choices == b.choices && a.choice == b.choice && a.choice_norm == b.choice_norm &&
           a.choice_rank == b.choice_rank;
}

}  // namespace

TEST_CASE("exact match equals token-by-token greedy decoding", "[eval]") {
    for (const char* name : MODELS) {
        const Gpt<float> gpt = random_model(name);
        const TemporaryFolder folder;
        const QuestionBuilder built = questions_about(gpt);
        built.write(folder / "set");
        const QuestionTask task(folder / "set", gpt.config.V, MAX_T);
        const QuestionSet& set = *task.set;
        const std::vector<uint32_t>& all = task.chosen;
        const std::vector<QuestionResult> results =
            score_questions(gpt, set, all, pack_shape(set.longest(), MAX_T), {});
        int right = 0, wrong = 0;
        for (const uint32_t i : all) {
            const BuiltQuestion& q = built.questions[i];
            const bool expected = decode(gpt, with_eot(built, q), q.answer.size()) == q.answer;
            REQUIRE(results[i].correct == expected);
            REQUIRE((results[i].rank == 1) == expected);
            REQUIRE(results[i].tokens == static_cast<int>(q.answer.size()));
            ++(expected ? right : wrong);
        }
        CHECK(right > 20);
        CHECK(wrong > 20);
    }
}

TEST_CASE("scores are the same bits in any order, batch and packing, for any number of threads", "[eval]") {
    const int threads = omp_get_max_threads();
    for (const char* name : MODELS) {
        const Gpt<float> gpt = random_model(name, 101);
        const TemporaryFolder folder;
        QuestionBuilder built = synthetic_questions(20, 3, 2, 101);
        for (size_t i = 0; i < built.questions.size(); i += 2)
            add_others(&built, i, static_cast<uint32_t>(i % 4), static_cast<uint32_t>(i % 3), true);
        built.write(folder / "set");
        const QuestionTask task(folder / "set", 101, MAX_T);
        const QuestionSet& set = *task.set;
        const std::vector<uint32_t>& all = task.chosen;
        const std::vector<QuestionResult> expected =
            score_questions(gpt, set, all, pack_shape(set.longest(), MAX_T), {});
        for (const PackShape shape : {PackShape{1, 64}, {3, 48}, {7, 49}, {2, 200}, {1, 301}}) {
            for (const uint64_t n : {1u, 5u, 77u, 360u}) {
                omp_set_num_threads(1 + static_cast<int>(n % 3));
                const Permutation order(all.size(), n, static_cast<uint64_t>(shape.T));
                std::vector<uint32_t> asked;
                for (uint64_t i = 0; i < n; ++i) asked.push_back(all[order(i)]);
                size_t passes = 0, texts = 0;
                const ScoreProgress count = [&](size_t done, size_t) { ++passes, texts = done; };
                const std::vector<QuestionResult> results = score_questions(gpt, set, asked, shape, {}, count, 40 * n);
                CHECK((passes > 0 && texts >= n));
                bool same = true;
                for (size_t i = 0; i < asked.size(); ++i) same = same && same_bits(results[i], expected[asked[i]]);
                INFO(name << " B=" << shape.B << " T=" << shape.T << " n=" << n);
                REQUIRE(same);
            }
        }
    }
    omp_set_num_threads(threads);
}

TEST_CASE("a model that has learned nothing is uniform: ln V a token, chance, no bits", "[eval]") {
    GptConfig config = config_from_name("gpt2:L1:C16:H2");
    config.V = 64;
    config.max_T = MAX_T;
    const Gpt<float> gpt(config);  // all zero
    const TemporaryFolder folder;
    synthetic_questions(10, 2).write(folder / "set");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    const EvaluationPlan plan = plan_evaluation(options, config.V, config.max_T);
    const Evaluation evaluation = Evaluator<float>(config, plan).run(gpt, {});
    const KnowledgeReport& report = evaluation.knowledge[0].report;
    CHECK(report.all["loss"].value == Approx(std::log(64)));
    CHECK(report.all["accuracy"].value == 0);  // the arg-max of equal logits is id 0, in no answer
    CHECK(report.bits == 0);
    CHECK(report.all["rank"].value > 20);
}

TEST_CASE("validation loss is the mean over all targets, however many rows", "[eval]") {
    for (const bool mask : {false, true}) {
        const Gpt<float> gpt = random_model("pythia:L2:C24:H3");
        ValidationRows rows;
        rows.name = "web";
        rows.T = 40;
        rows.rows = 64;  // more than one pass, the last one not full
        rows.bytes = static_cast<int64_t>(3.5 * rows.rows * rows.T);
        for (int i = 0; i < rows.rows * rows.T; ++i) {
            const int t = i % rows.T, start = mask && t >= 13 ? 13 : 0;
            rows.inputs.push_back(static_cast<int>(random_below(64, 1, 1, static_cast<uint64_t>(i))));
            rows.targets.push_back(static_cast<int>(random_below(64, 1, 2, static_cast<uint64_t>(i))));
            rows.positions.push_back(t - start);
            if (mask) rows.segment_start.push_back(start);
        }
        const ValidationResult result = validation_loss(gpt, rows, {});
        REQUIRE(validation_rows_per_pass(rows) < rows.rows);
        REQUIRE(rows.rows % validation_rows_per_pass(rows) != 0);
        double sum = 0;
        for (int row = 0; row < rows.rows; row += 8) {
            const auto part = [&](const std::vector<int>& all) {
                return all.empty() ? all
                                   : std::vector<int>(all.begin() + row * rows.T, all.begin() + (row + 8) * rows.T);
            };
            const ValidationRows one{"some",
                                     8,
                                     rows.T,
                                     part(rows.inputs),
                                     part(rows.targets),
                                     part(rows.positions),
                                     part(rows.segment_start),
                                     0};
            sum += validation_loss(gpt, one, {}).loss;
        }
        CHECK(result.loss == Approx(sum / (rows.rows / 8)).epsilon(1e-12));
        CHECK(result.tokens == 64 * 40);
        CHECK(result.bits_per_byte == Approx(result.loss / std::log(2) / 3.5));
    }
}

TEST_CASE("the Evaluator names its metrics, and gives the same ones every time", "[eval]") {
    const Gpt<float> gpt = random_model("gpt2:L2:C32:H2");
    const TemporaryFolder folder;
    nlohmann::json vocab;
    for (int id = 0; id < 64; ++id) vocab[std::string(1, static_cast<char>('0' + id))] = id;
    const nlohmann::json tokenizer = {{"decoder", {{"type", "ByteLevel"}}}, {"model", {{"vocab", vocab}}}};
    plain_write(folder / "tokenizer.json", tokenizer.dump());
    QuestionBuilder questions = questions_about(gpt), text = synthetic_questions(30, 2);
    questions.tokenizer_sha256 = text.tokenizer_sha256 = sha256_file(folder / "tokenizer.json");
    questions.write(folder / "set");
    text.kind = "text";
    text.write(folder / "web");
    EvaluationOptions options;
    options.questions = {folder / "set"};
    options.questions_per_set.n = 60;
    options.validation = {{"web", folder / "web.bin"}};
    options.val_tokens = {1000};
    options.seq_len.n = 32;
    options.tokenizer = tokenizer_id(folder / "tokenizer.json");
    options.report.resamples.n = 50;
    const EvaluationPlan plan = plan_evaluation(options, gpt.config.V, gpt.config.max_T);
    const Evaluator<float> evaluator(gpt.config, plan);
    CHECK(evaluator.active());
    const Evaluation evaluation = evaluator.run(gpt, {});
    std::vector<std::string> names;
    for (const Metric& m : evaluation.metrics) names.push_back(m.name);
    const std::vector<std::string> expected = {"val/web/loss",
                                               "val/web/bpb",
                                               "know/people/accuracy",
                                               "know/people/accuracy_seen",
                                               "know/people/accuracy_heldout",
                                               "know/people/accuracy_question",
                                               "know/people/bits",
                                               "know/people/bits_per_param",
                                               "know/people/bits_hedged",
                                               "know/people/loss",
                                               "know/people/rank",
                                               "know/people/reciprocal_rank"};
    CHECK(names == expected);

    const std::vector<Metric> again = Evaluator<float>(gpt.config, plan).run(gpt, {}).metrics;
    REQUIRE(again.size() == names.size());
    for (size_t i = 0; i < again.size(); ++i) CHECK(again[i].value == evaluation.metrics[i].value);

    // results.json, the table and the lines
    const std::string json = results_json(plan, evaluation, {"dir", "fp32", "", "{}", 10, 5, 1.5, 2.5});
    const nlohmann::json root = nlohmann::json::parse(json);
    CHECK(root["results"]["people"]["acc,none"] == evaluation.metrics[2].value);
    CHECK(root["results"]["people_a1"]["alias"] == " - a1");
    CHECK(root["results"]["people"]["acc_stderr,none"].is_number());
    for (const char* key : {"configs", "versions", "n-shot", "n-samples", "higher_is_better"})
        CHECK(root[key].contains("people"));
    CHECK(root["n-samples"]["people"]["effective"] == 60);
    CHECK(root["metrics"]["know/people/bits"] == evaluation.metrics[6].value);
    CHECK(root["know"]["people"]["by_attribute_and_kind"].size() == 9);
    CHECK(root["val"]["web"]["loss"] == evaluation.metrics[0].value);
    write_question_lines(folder / "lines.jsonl", plan, evaluation);
    const std::string lines = read_file(folder / "lines.jsonl");
    CHECK(std::count(lines.begin(), lines.end(), '\n') == 60);
    const nlohmann::json first = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
    const uint32_t number = plan.questions[0].chosen[0];
    CHECK(first["question"] == number);
    CHECK(first["correct"] == evaluation.knowledge[0].results[0].correct);
    CHECK(first["kind"].is_string());
    char* text_out = nullptr;
    size_t size = 0;
    FILE* out = open_memstream(&text_out, &size);
    print_results(out, plan, evaluation);
    fclose(out);
    CHECK(std::string(text_out, size).find("people: 60 of 108 questions about") != std::string::npos);
    CHECK(std::string(text_out, size).find("val web: loss") != std::string::npos);
    free(text_out);
}

TEST_CASE("scores that are not numbers do not look best", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(6, 1);
    add_others(&built, 0, 3, 1);
    built.write(folder / "set");
    Gpt<float> gpt = random_model("pythia:L1:C24:H2");
    std::fill_n(gpt.memory.get(), gpt.memory.size(), NAN);
    EvaluationOptions options;
    options.questions = {folder / "set"};
    const EvaluationPlan plan = plan_evaluation(options, gpt.config.V, gpt.config.max_T);
    const Evaluation evaluation = Evaluator<float>(gpt.config, plan).run(gpt, {});
    for (const QuestionResult& result : evaluation.knowledge[0].results) {
        CHECK(result.rank == gpt.config.V);
        CHECK(!result.correct);
        CHECK((result.choices == 0 || (result.choice == 0 && result.choice_rank == 4)));
    }
    const std::vector<std::string> warnings = score_warnings(plan, evaluation);
    REQUIRE(warnings.size() == 1);
    CHECK(warnings[0].find("the scores of 36 of 36 questions of people") == 0);
}

TEST_CASE("questions that do not fit into the model's rows are left out and counted", "[eval]") {
    const TemporaryFolder folder;
    QuestionBuilder built = synthetic_questions(6, 1);
    add_others(&built, 0, 3, 1);
    const size_t all = built.questions.size();
    const auto plan = [&](int max_T) {
        built.write(folder / "set");
        EvaluationOptions options;
        options.questions = {folder / "set"};
        return plan_evaluation(options, built.vocab, max_T);
    };
    built.questions[2].prompt.resize(50, 5);         // too long a prompt
    built.questions[0].others.back().resize(60, 5);  // one text too long
    const EvaluationPlan some = plan(45);
    REQUIRE(some.warnings.size() == 1);
    CHECK(some.warnings[0].find(format_text("2 of %d questions are left out", all)) != std::string::npos);
    const std::vector<uint32_t>& chosen = some.questions[0].chosen;
    CHECK(chosen.size() == all - 2);
    CHECK((!std::count(chosen.begin(), chosen.end(), 2u) && !std::count(chosen.begin(), chosen.end(), 0u)));
    CHECK((some.questions[0].set->longest() <= 45 && some.questions[0].set->longest_of_all() > 45));
    CHECK(some.questions[0].set->choose(all - 3, 1).size() == all - 3);
    CHECK(plan(200).warnings.empty());
    REQUIRE_DIES(Exit::Data, "in every question", plan(1));
}

TEST_CASE("results take the place of nothing else", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(3, 1).write(folder / "set");
    const std::vector<std::string> inputs = files_of_prefix(folder / "set");
    REQUIRE(inputs.size() == 5);
    check_inputs(inputs);
    const auto check = [&](std::string out, std::string lines = "") {
        check_outputs({{"--out", &out}, {"--per-question", &lines}}, inputs);
        return out;
    };
    // an input by another name: a path with dots, a symbolic link, a second name of the same file
    make_directories(folder / "other");
    REQUIRE(symlink((folder / "set.bin").c_str(), (folder / "link").c_str()) == 0);
    REQUIRE(link((folder / "set.q.npy").c_str(), (folder / "name").c_str()) == 0);
    for (const char* name : {"set.json", "other/../set.idx", "link", "name"})
        REQUIRE_DIES(Exit::Usage, "this is an input", check(folder / name));
    REQUIRE_DIES(Exit::Usage, "one file", check(folder / "new", folder / "other/../new"));
    // the name that a result has until it is whole
    REQUIRE_DIES(Exit::Usage, "one file", check(folder / "new", folder / "new.tmp"));
    REQUIRE_DIES(Exit::Usage, "one file", check(folder / "new.tmp", folder / "new"));
    REQUIRE(link((folder / "set.json").c_str(), (folder / "kept.tmp").c_str()) == 0);
    REQUIRE_DIES(Exit::Usage, "kept.tmp", check(folder / "kept"));
    REQUIRE_DIES(Exit::Usage, "device", check("/dev/null"));
    REQUIRE_DIES(Exit::Usage, "a directory", check(folder / "other"));
    REQUIRE(mkfifo((folder / "fifo").c_str(), 0600) == 0);
    REQUIRE_DIES(Exit::Usage, "FIFO", check(folder / "fifo"));
    REQUIRE_DIES(Exit::Data, "FIFO", check_inputs({folder / "fifo"}));
    CHECK(!file_exists(folder / "new"));
    // a link is followed, also to what is not there yet
    REQUIRE(symlink("other/result", (folder / "to").c_str()) == 0);
    const std::string out = check(folder / "to");
    CHECK(out.find("/other/result") != std::string::npos);
    CHECK(list_directory(folder / "other").empty());
    REQUIRE_DIES(Exit::Runtime, "", check("/proc/new/result"));  // found before the work
}

TEST_CASE("a file gets no percentages", "[eval]") {
    char* text = nullptr;
    size_t size = 0;
    FILE* out = open_memstream(&text, &size);
    PercentLine line("questions", out);
    line.update(1, 2);
    line.clear();
    fclose(out);
    CHECK(size == 0);
    free(text);
}

TEST_CASE("impossible evaluations are refused", "[eval]") {
    const TemporaryFolder folder;
    synthetic_questions(3, 1).write(folder / "a");
    synthetic_questions(3, 1).write(folder / "b");
    EvaluationOptions options;
    CHECK(plan_evaluation(options, 64, MAX_T).questions.empty());
    options.questions = {folder / "a", folder / "b"};
    REQUIRE_DIES(Exit::Data, "both named \"people\"", plan_evaluation(options, 64, MAX_T));
    options.questions = {folder / "a"};
    REQUIRE_DIES(Exit::Data, "outside of the vocabulary", plan_evaluation(options, 20, MAX_T));
    REQUIRE_DIES(Exit::Data, "prompt and answer", plan_evaluation(options, 64, 1));
    options.tokenizer.sha256 = std::string(64, 'b');
    options.tokenizer.file = "model/tokenizer.json";
    REQUIRE_DIES(Exit::Data, "model/tokenizer.json", plan_evaluation(options, 64, MAX_T));
    REQUIRE_DIES(Exit::Data, "/a.json: made with tokenizer test", plan_evaluation(options, 64, MAX_T));
    options.questions.clear();
    options.validation = {{"web", folder / "a.bin"}};
    options.seq_len.n = 16;
    REQUIRE_DIES(Exit::Data, "/a.json: made with tokenizer test", plan_evaluation(options, 64, MAX_T));
    options.seq_len.n = MAX_T + 1;
    REQUIRE_DIES(Exit::Usage, "--seq-len 49", plan_evaluation(options, 64, MAX_T));
    options.questions_per_set.n = 0;
    REQUIRE_DIES(Exit::Usage, "--questions-per-set", plan_evaluation(options, 64, MAX_T));
}
