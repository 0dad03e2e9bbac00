#include <cmath>
#include <nlohmann/json.hpp>
#include <tuple>

#include "eval/results.h"
#include "util/build_info.h"
#include "util/check.h"

namespace {

using nlohmann::ordered_json;

ordered_json interval_json(const Interval& interval) {
    return std::isnan(interval.low) ? ordered_json() : ordered_json{interval.low, interval.high};
}

ordered_json number_json(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

ordered_json cell_json(const Cell& cell) {
    ordered_json object = ordered_json::object();
    const std::pair<const char*, const std::string&> names[] = {{"relation", cell.relation},
                                                                {"attribute", cell.attribute},
                                                                {"template", cell.template_text},
                                                                {"kind", cell.kind},
                                                                {"group", cell.group}};
    for (const auto& [key, name] : names)
        if (!name.empty()) object[key] = name;
    if (cell.dose >= 0) object["dose"] = cell.dose;
    if (cell.exposures_low >= 0) object["exposures"] = {cell.exposures_low, cell.exposures_high};
    for (const auto& [over, key] :
         {std::pair(Over::All, "questions"), {Over::Judged, "judged"}, {Over::Choices, "choice_questions"}}) {
        if (over != Over::All && cell.questions(over) == 0) continue;
        object[key] = cell.questions(over);
        if (over == Over::All) object["entities"] = cell.entities;
        for (size_t s = 0; s < statistics().size(); ++s) {
            const Statistic& statistic = statistics()[s];
            if (statistic.over != over) continue;
            const std::string name = statistic.name;
            object[name] = number_json(cell.estimates[s].value);
            if (!statistic.has(INTERVAL)) continue;
            object[name + "_stderr"] = number_json(cell.estimates[s].standard_error);
            object[name + "_interval"] = interval_json(cell.estimates[s].interval);
        }
    }
    return object;
}

ordered_json cells_json(const std::vector<Cell>& cells) {
    ordered_json list = ordered_json::array();
    for (const Cell& cell : cells) list.push_back(cell_json(cell));
    return list;
}

ordered_json ends_json(const Interval& interval) {
    return ordered_json{number_json(interval.low), number_json(interval.high)};
}

ordered_json curve_json(const DoseCurve& c) {
    ordered_json object = {{"state", dose_state_name(c.state)},
                           {"F50", number_json(c.F50)},
                           {"interval", ends_json(c.F50_interval)},
                           {"at_target", number_json(c.at_target)},
                           {"at_target_interval", ends_json(c.at_target_interval)},
                           {"ln_F50", number_json(c.ln_F50)},
                           {"k", number_json(c.k)},
                           {"lapse", number_json(c.lapse)},
                           {"guess", number_json(c.guess)},
                           {"loglik", number_json(c.loglik)},
                           {"overdispersion", number_json(c.overdispersion)},
                           {"people", c.people},
                           {"answers", c.answers},
                           {"doses", {c.smallest_dose, c.largest_dose}}};
    if (c.state == DoseState::NOT_REACHED) object["more_than"] = c.largest_dose;
    if (c.state == DoseState::BELOW) object["less_than"] = c.smallest_dose;
    return object;
}

ordered_json threshold_json(const FrequencyThreshold& t) {
    ordered_json object = {{"target", t.target}, {"reached", t.reached}, {"groups_above", t.groups_above}};
    if (t.curve.answers > 0) object["curve"] = curve_json(t.curve);
    if (!t.reached) return object;
    object["group"] = t.group;
    object["frequency"] = t.frequency;
    object["accuracy"] = t.accuracy;
    object["exposures"] = number_json(t.exposures);
    return object;
}

ordered_json popularity_json(const std::vector<PopularityThreshold>& thresholds, const PopularityRule& rule) {
    ordered_json list = ordered_json::array();
    for (const PopularityThreshold& t : thresholds)
        list.push_back({{"kind", t.kind},
                        {"match", t.normalized ? "normalized" : "exact"},
                        {"target", rule.target},
                        {"failures", rule.failures.n},
                        {"least_items", rule.items.n},
                        {"reached", t.reached},
                        {"popularity", t.popularity},
                        {"accuracy", t.accuracy},
                        {"items_at_least", t.items_at_least},
                        {"items", t.items},
                        {"curve", curve_json(t.curve)}});
    return list;
}

ordered_json figure_json(const HedgedFigure& figure) {
    return {{"bits", number_json(figure.bits)},
            {"most", figure.most},
            {"facts", figure.facts},
            {"interval", interval_json(figure.interval)}};
}

ordered_json hedged_json(const KnowledgeReport& report) {
    ordered_json object = figure_json(report.hedged.all);
    if (report.hedged.kept) object["kept"] = figure_json(*report.hedged.kept);
    if (report.above_control) object["above_control"] = figure_json(*report.above_control);
    for (const auto& [key, name, figures] : {std::tuple("by_attribute", "attribute", &report.hedged.attributes),
                                             {"by_group", "group", &report.hedged.groups}})
        for (const HedgedFigure& figure : *figures) {
            ordered_json row = {{name, figure.name}};
            row.update(figure_json(figure));
            object[key].push_back(row);
        }
    for (const HedgedCell& cell : report.hedged.cells) {
        ordered_json row = {{"attribute", cell.attribute}, {"group", cell.group}};
        if (cell.kept >= 0) row["kept"] = cell.kept == 1;
        row.update({{"facts", cell.facts},
                    {"facts_asked", cell.facts_asked},
                    {"mixture", cell.mixture},
                    {"bits", number_json(cell.bits)},
                    {"most", cell.most}});
        object["cells"].push_back(row);
    }
    return object;
}

ordered_json report_json(const KnowledgeReport& report, const PopularityRule& popularity) {
    ordered_json object = {{"questions", report.questions}, {"all", cell_json(report.all)}};
    for (size_t s = 0; s < statistics().size(); ++s)
        if (statistics()[s].has(OVERALL_INTERVAL))
            object[std::string(statistics()[s].name) + "_interval"] = interval_json(report.all.estimates[s].interval);
    object["by_kind"] = cells_json(report.kinds);
    object["by_attribute"] = cells_json(report.attributes);
    object["by_attribute_and_kind"] = cells_json(report.attribute_kinds);
    object["by_template"] = cells_json(report.templates);
    if (!report.relation_kinds.empty()) object["by_relation_and_kind"] = cells_json(report.relation_kinds);
    if (!report.group_kinds.empty()) object["by_group_and_kind"] = cells_json(report.group_kinds);
    if (!report.exposure_kinds.empty()) object["by_exposures_and_kind"] = cells_json(report.exposure_kinds);
    if (!report.dose_kinds.empty()) object["by_dose_and_kind"] = cells_json(report.dose_kinds);
    if (report.threshold.target > 0) object["frequency_threshold"] = threshold_json(report.threshold);
    if (!report.popularity.empty()) object["popularity_threshold"] = popularity_json(report.popularity, popularity);
    if (report.subsampled) {
        object["kept"] = {{"entities", report.entities_kept}, {"of", report.entities}};
        if (report.kept.questions() > 0) object["kept"]["all"] = cell_json(report.kept);
        object["kept"]["by_kind"] = cells_json(report.kept_kinds);
    }
    ordered_json attributes = ordered_json::array();
    for (const AttributeBits& b : report.attribute_bits)
        attributes.push_back({{"attribute", b.attribute},
                              {"people", b.entities},
                              {"people_asked", b.entities_asked},
                              {"bits", number_json(b.bits)},
                              {"most", b.most},
                              {"interval", interval_json(b.interval)}});
    object["bits_by_attribute"] = attributes;
    if (!report.has_bits) return object;
    object["bits"] = {{"bits", number_json(report.bits)},
                      {"most", report.most_bits},
                      {"interval", interval_json(report.bits_interval)},
                      {"per_param", number_json(report.bits_per_param)},
                      {"per_nonembedding_param", number_json(report.bits_per_nonembedding_param)}};
    object["bits_hedged"] = hedged_json(report);
    return object;
}

// A task's entry in `results`, with lm-evaluation-harness's keys: "metric,filter".
ordered_json task_json(const std::string& alias, const Cell& cell) {
    ordered_json task = {{"alias", alias}};
    for (size_t s = 0; s < statistics().size(); ++s) {
        const Statistic& statistic = statistics()[s];
        if (!statistic.task_key || statistic.over == Over::Report || cell.questions(statistic.over) == 0) continue;
        const std::string key = statistic.task_key;
        const double error = cell.estimates[s].standard_error;
        task[key + ",none"] = number_json(cell.estimates[s].value);
        if (statistic.has(INTERVAL))
            task[key + "_stderr,none"] = std::isnan(error) ? ordered_json("N/A") : ordered_json(error);
    }
    return task;
}

// The task of a whole set: also what its report has by our names.
ordered_json set_json(const std::string& alias, const KnowledgeReport& report) {
    ordered_json task = task_json(alias, report.all);
    for (const Metric& metric : report.metrics)
        if (!task.contains(metric.name + ",none") && metric.name != "accuracy")  // which is acc
            task[metric.name + ",none"] = number_json(metric.value);
    return task;
}

ordered_json higher_is_better(const QuestionSet& set, const KnowledgeReport& report) {
    ordered_json better = ordered_json::object();
    for (const bool of_tasks : {true, false})
        for (const Statistic& s : statistics()) {
            const bool given = can_give(s.over, report.all.questions(Over::Judged) > 0, set.has_candidates());
            if (!given || !s.has(METRIC) || !s.has(HIGHER | LOWER) || (s.task_key != nullptr) != of_tasks) continue;
            better[of_tasks ? s.task_key : s.name] = s.has(HIGHER);
        }
    return better;
}

}  // namespace

std::string results_json(const EvaluationPlan& plan, const Evaluation& evaluation, const ResultsHeader& header) {
    ordered_json root;
    for (const char* key :
         {"results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples"})
        root[key] = ordered_json::object();
    for (size_t i = 0; i < plan.questions.size(); ++i) {
        const QuestionSet& set = *plan.questions[i].set;
        const QuestionNames& names = set.names();
        const KnowledgeReport& report = evaluation.knowledge[i].report;
        root["results"][names.name] = set_json(names.name, report);
        ordered_json subtasks = ordered_json::array();
        for (const Cell& cell : report.attributes) {
            const std::string subtask = names.name + "_" + cell.attribute;
            root["results"][subtask] = task_json(" - " + cell.attribute, cell);
            subtasks.push_back(subtask);
        }
        root["group_subtasks"][names.name] = subtasks;
        root["configs"][names.name] = {{"task", names.name},
                                       {"dataset_path", set.prefix()},
                                       {"source", names.source},
                                       {"tokenizer", set.sidecar().tokenizer_name},
                                       {"tokenizer_sha256", set.sidecar().tokenizer.sha256},
                                       {"output_type", "loglikelihood"},
                                       {"num_fewshot", 0},
                                       {"metadata", {{"version", 1}}}};
        root["versions"][names.name] = 1;
        root["n-shot"][names.name] = 0;
        root["higher_is_better"][names.name] = higher_is_better(set, report);
        root["n-samples"][names.name] = {{"original", report.questions}, {"effective", report.all.questions()}};
        root["know"][names.name] = report_json(report, plan.options.report.popularity);
    }
    for (const ValidationResult& v : evaluation.validation)
        root["val"][v.name] = {
            {"loss", number_json(v.loss)}, {"bits_per_byte", number_json(v.bits_per_byte)}, {"tokens", v.tokens}};
    for (const Metric& m : evaluation.metrics) root["metrics"][m.name] = number_json(m.value);
    root["config"] = {{"model", "knapsack"},
                      {"model_args", "checkpoint=" + header.checkpoint},
                      {"model_num_parameters", header.parameters},
                      {"model_num_nonembedding_parameters", header.nonembedding_parameters},
                      {"tokenizer", header.tokenizer_file},
                      {"dtype", header.precision},
                      {"bootstrap_iters", plan.options.report.resamples.n},
                      {"intervals", "95 % over entities, of this one run"},
                      {"random_seed", static_cast<uint64_t>(plan.options.seed)},
                      {"options", ordered_json::parse(header.options_json)}};
    root["git_hash"] = build_commit();
    root["date"] = header.unix_time;
    root["total_evaluation_time_seconds"] = format_text("%.3f", header.seconds);
    root["format_version"] = 1;
    return root.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}
