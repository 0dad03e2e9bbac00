#include "eval/evaluation.h"

#include <cmath>

#include "util/check.h"
#include "util/files.h"

namespace {

// `path` is the shard's or set's prefix.
void check_tokenizer(const std::string& path, const Sidecar& sidecar, const EvaluationOptions& options) {
    if (!sidecar.present || options.tokenizer.sha256.empty() || same_tokenizer(sidecar.tokenizer, options.tokenizer))
        return;
    die(Exit::Data,
        "%s.json: made with tokenizer %s (sha256 %s), the model with %s (sha256 %s); prepare it again with the model's "
        "tokenizer",
        path, sidecar.tokenizer_name, sidecar.tokenizer.sha256,
        options.tokenizer.file.empty() ? "another" : options.tokenizer.file, options.tokenizer.sha256);
}

// Above 0, up to 1; NaN where it was not given.
void check_share(const char* flag, double share) {
    if (!std::isnan(share) && !(share > 0 && share <= 1))
        die(Exit::Usage, "--%s %g: expected a number above 0, up to 1", flag, share);
}

void check_count(const char* flag, int64_t count) {
    if (count < 1) die(Exit::Usage, "--%s %d: expected at least 1", flag, count);
}

void check_options(const EvaluationOptions& o, int max_T) {
    check_share("target-accuracy", o.report.target_accuracy);
    check_share("popularity-target", o.report.popularity.target);
    check_count("popularity-failures", o.report.popularity.failures.n);
    check_count("popularity-items", o.report.popularity.items.n);
    check_count("generate-tokens", o.generate_tokens.n);
    if (o.report.resamples.n > 1000000) die(Exit::Usage, "--bootstrap %d: expected at most 1M", o.report.resamples.n);
    if (o.questions_per_set.n == 0) die(Exit::Usage, "--questions-per-set 0: expected at least 1, or all");
    if (o.validation.empty()) return;
    if (o.seq_len.n < 2 || o.seq_len.n > max_T)
        die(Exit::Usage, "--seq-len %d: this model takes rows of 2 to %d tokens", o.seq_len.n, max_T);
    check_count("val-tokens", o.val_tokens.n);
}

}  // namespace

EvaluationPlan plan_evaluation(const EvaluationOptions& options, int vocab, int max_T) {
    check_options(options, max_T);
    EvaluationPlan plan;
    plan.options = options;
    if (options.generate) plan.tokenizer = Tokenizer(options.tokenizer.file);

    for (size_t i = 0; i < options.validation.size(); ++i) {
        const auto& [name, glob] = options.validation[i];
        for (size_t j = 0; j < i; ++j)
            if (options.validation[j].first == name) die(Exit::Usage, "--val: %s is given twice", name);
        for (const std::string& path : glob_files(glob))
            if (is_shard(path)) check_tokenizer(shard_prefix(path), read_sidecar(shard_prefix(path)), options);
        plan.validation.push_back(
            read_validation({name, glob, options.val_tokens.n, static_cast<int>(options.seq_len.n), options.doc_mask.on,
                             options.eot_id, vocab, options.tokenizer}));
    }

    for (const std::string& path : options.questions) {
        const int64_t n = options.questions_per_set.n;
        QuestionTask task(path, vocab, max_T, n < 0 ? 0 : static_cast<uint64_t>(n),
                          static_cast<uint64_t>(options.seed));
        const QuestionSet& set = *task.set;
        for (const QuestionTask& other : plan.questions)
            if (other.set->names().name == set.names().name)
                die(Exit::Data, "%s and %s are both named \"%s\"; their metrics would have one name",
                    other.set->prefix(), set.prefix(), set.names().name);
        check_tokenizer(set.prefix(), set.sidecar(), options);
        if (const size_t fit = set.fitting().size(); fit < set.size())
            plan.warnings.push_back(
                format_text("question set %s: %d of %d questions are left out: with an answer, candidate or alias they "
                            "have up to %d tokens, the model's rows %d",
                            set.prefix(), set.size() - fit, set.size(), set.longest_of_all(), max_T));
        task.kept = kept_entities(set, options.subsampled, options.data_seed);
        plan.questions.push_back(std::move(task));
    }
    return plan;
}

const QuestionTask* control_of(const EvaluationPlan& plan, const QuestionTask& task) {
    const QuestionNames& names = task.set->names();
    if (names.shuffled) return nullptr;
    for (const QuestionTask& other : plan.questions) {
        const QuestionNames& its = other.set->names();
        const bool same_people = !its.facts.names.empty() && its.facts.names == names.facts.names;
        if (its.shuffled && !same_people && its.attributes == names.attributes && its.pools == names.pools)
            return &other;
    }
    return nullptr;
}

void summarize_all(const EvaluationPlan& plan, ReportOptions options, Evaluation* evaluation) {
    for (const bool controls : {true, false})
        for (size_t i = 0; i < plan.questions.size(); ++i) {
            const QuestionTask& task = plan.questions[i];
            if (task.set->names().shuffled != controls) continue;
            const QuestionTask* control = control_of(plan, task);
            options.control =
                control ? &evaluation->knowledge[static_cast<size_t>(control - plan.questions.data())].report : nullptr;
            KnowledgeResult& result = evaluation->knowledge[i];
            result.report = summarize(task, result.results, options, result.exposures, result.doses);
        }
    for (size_t i = 0; i < plan.questions.size(); ++i)
        for (const Metric& metric : evaluation->knowledge[i].report.metrics)
            evaluation->metrics.push_back(
                {"know/" + plan.questions[i].set->names().name + "/" + metric.name, metric.value, metric.headline});
}
