#include "eval/results.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "util/build_info.h"
#include "util/check.h"
#include "util/files.h"

namespace {

using nlohmann::ordered_json;

std::string percent(double value, const Interval& interval) {
    std::string text = format_text("%.1f %%", 100 * value);
    if (!std::isnan(interval.low)) text += format_text(" [%.1f, %.1f]", 100 * interval.low, 100 * interval.high);
    return text;
}

const Cell* find_cell(const std::vector<Cell>& cells, const std::string& attribute, const std::string& group,
                      const std::string& kind) {
    for (const Cell& cell : cells)
        if (cell.attribute == attribute && cell.group == group && cell.kind == kind) return &cell;
    return nullptr;
}

// Rows by name, columns by kind, accuracy with its interval.
void print_row(FILE* out, const std::string& name, const KnowledgeReport& report, const std::vector<Cell>& cells,
               const std::string& attribute, const std::string& group, const Cell* whole) {
    fprintf(out, "  %-22.22s", name.c_str());
    for (const Cell& kind : report.kinds) {
        const Cell* cell = find_cell(cells, attribute, group, kind.kind);
        fprintf(out, " %22s", cell ? percent(cell->accuracy, cell->interval).c_str() : "-");
    }
    if (whole) fprintf(out, " %8.4f %9.1f", whole->loss, whole->rank);
    if (whole && !std::isnan(whole->chance))
        fprintf(out, " %8.3f %%", 100 * whole->chance);
    else
        fprintf(out, " %10s", "-");
    if (whole) fprintf(out, " %8.3f %%", 100 * whole->majority);
    fprintf(out, "\n");
}

void print_set(FILE* out, const QuestionTask& task, const KnowledgeReport& report) {
    fprintf(out, "\n%s: %lld of %lld questions about %lld entities\n", task.set->names().name.c_str(),
            static_cast<long long>(report.all.questions), static_cast<long long>(report.questions),
            static_cast<long long>(report.all.entities));
    fprintf(out, "  %-22s", "exact match");
    for (const Cell& kind : report.kinds) fprintf(out, " %22s", kind.kind.c_str());
    fprintf(out, " %8s %9s %10s %10s\n", "loss", "rank", "chance", "majority");
    for (const Cell& attribute : report.attributes)
        print_row(out, attribute.attribute, report, report.attribute_kinds, attribute.attribute, "", &attribute);
    print_row(out, "all", report, report.kinds, "", "", &report.all);
    if (!report.group_kinds.empty()) {
        fprintf(out, "  by group\n");
        std::string before;
        for (const Cell& cell : report.group_kinds)
            if (cell.group != before)
                print_row(out, before = cell.group, report, report.group_kinds, "", cell.group, nullptr);
    }
    if (report.subsampled) {
        fprintf(out, "  kept entities: %lld of %lld\n", static_cast<long long>(report.entities_kept),
                static_cast<long long>(report.entities));
        if (report.kept.questions > 0) print_row(out, "kept", report, report.kept_kinds, "", "", &report.kept);
    }
    fprintf(
        out,
        "  over all questions: exact match %s; loss in nats per answer token, mean rank of the answer's worst token\n",
        percent(report.all.accuracy, report.all.interval).c_str());
    if (!report.has_bits) return;
    int64_t people = 0, asked = 0;
    for (const AttributeBits& b : report.attribute_bits) people += b.people, asked += b.people_asked;
    fprintf(out, "  learned bits: %.0f", report.bits);
    if (!std::isnan(report.bits_interval.low))
        fprintf(out, " [%.0f, %.0f]", report.bits_interval.low, report.bits_interval.high);
    fprintf(out, " of %.0f; %.4g per parameter, %.4g per non-embedding parameter", report.most_bits,
            report.bits_per_param, report.bits_per_nonembedding_param);
    if (asked < people)
        fprintf(out, " (scaled from %lld of %lld facts asked)", static_cast<long long>(asked),
                static_cast<long long>(people));
    fprintf(out, "\n");
}

ordered_json interval_json(const Interval& interval) {
    return std::isnan(interval.low) ? ordered_json() : ordered_json{interval.low, interval.high};
}

ordered_json number_json(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

ordered_json cell_json(const Cell& cell) {
    ordered_json object = ordered_json::object();
    const std::pair<const char*, const std::string&> names[] = {{"relation", cell.relation},
                                                                {"attribute", cell.attribute},
                                                                {"template", cell.wording},
                                                                {"kind", cell.kind},
                                                                {"group", cell.group}};
    for (const auto& [key, name] : names)
        if (!name.empty()) object[key] = name;
    object["questions"] = cell.questions;
    object["entities"] = cell.entities;
    object["accuracy"] = cell.accuracy;
    object["accuracy_stderr"] = number_json(cell.standard_error);
    object["accuracy_interval"] = interval_json(cell.interval);
    object["loss"] = number_json(cell.loss);
    object["rank"] = number_json(cell.rank);
    object["reciprocal_rank"] = number_json(cell.reciprocal_rank);
    object["chance"] = number_json(cell.chance);
    object["majority"] = cell.majority;
    return object;
}

ordered_json cells_json(const std::vector<Cell>& cells) {
    ordered_json list = ordered_json::array();
    for (const Cell& cell : cells) list.push_back(cell_json(cell));
    return list;
}

ordered_json report_json(const KnowledgeReport& report) {
    ordered_json object = {{"questions", report.questions},
                           {"all", cell_json(report.all)},
                           {"loss_interval", interval_json(report.loss_interval)},
                           {"by_kind", cells_json(report.kinds)},
                           {"by_attribute", cells_json(report.attributes)},
                           {"by_attribute_and_kind", cells_json(report.attribute_kinds)},
                           {"by_template", cells_json(report.templates)}};
    if (!report.relation_kinds.empty()) object["by_relation_and_kind"] = cells_json(report.relation_kinds);
    if (!report.group_kinds.empty()) object["by_group_and_kind"] = cells_json(report.group_kinds);
    if (report.subsampled) {
        object["kept"] = {{"entities", report.entities_kept}, {"of", report.entities}};
        if (report.kept.questions > 0) object["kept"]["all"] = cell_json(report.kept);
        object["kept"]["by_kind"] = cells_json(report.kept_kinds);
    }
    ordered_json attributes = ordered_json::array();
    for (const AttributeBits& b : report.attribute_bits)
        attributes.push_back({{"attribute", b.attribute},
                              {"people", b.people},
                              {"people_asked", b.people_asked},
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
    return object;
}

// A task's entry in `results`, with lm-evaluation-harness's keys: "metric,filter".
ordered_json task_json(const std::string& alias, const Cell& cell) {
    return {
        {"alias", alias},
        {"acc,none", cell.accuracy},
        {"acc_stderr,none", std::isnan(cell.standard_error) ? ordered_json("N/A") : ordered_json(cell.standard_error)},
        {"loss,none", number_json(cell.loss)},
        {"rank,none", number_json(cell.rank)}};
}

}  // namespace

void print_results(FILE* out, const EvaluationPlan& plan, const Evaluation& evaluation) {
    for (const ValidationResult& v : evaluation.validation) {
        fprintf(out, "val %s: loss %.6f nats per token", v.name.c_str(), v.loss);
        if (!std::isnan(v.bits_per_byte)) fprintf(out, ", %.4f bits per byte", v.bits_per_byte);
        fprintf(out, " (%lld tokens)\n", static_cast<long long>(v.tokens));
    }
    for (size_t i = 0; i < plan.questions.size(); ++i)
        print_set(out, plan.questions[i], evaluation.knowledge[i].report);
}

std::string results_json(const EvaluationPlan& plan, const Evaluation& evaluation, const ResultsHeader& header) {
    ordered_json root;
    for (const char* key :
         {"results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples"})
        root[key] = ordered_json::object();
    for (size_t i = 0; i < plan.questions.size(); ++i) {
        const QuestionSet& set = *plan.questions[i].set;
        const QuestionNames& names = set.names();
        const KnowledgeReport& report = evaluation.knowledge[i].report;
        ordered_json task = task_json(names.name, report.all);
        for (const auto& [name, value] : report.metrics)
            if (name != "accuracy" && name != "loss" && name != "rank") task[name + ",none"] = number_json(value);
        root["results"][names.name] = task;
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
                                       {"tokenizer_sha256", set.sidecar().tokenizer_sha256},
                                       {"output_type", "loglikelihood"},
                                       {"num_fewshot", 0},
                                       {"metadata", {{"version", 1}}}};
        root["versions"][names.name] = 1;
        root["n-shot"][names.name] = 0;
        root["higher_is_better"][names.name] = {{"acc", true}, {"bits", true}, {"loss", false}, {"rank", false}};
        root["n-samples"][names.name] = {{"original", report.questions}, {"effective", report.all.questions}};
        root["know"][names.name] = report_json(report);
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
                      {"bootstrap_iters", plan.resamples},
                      {"random_seed", plan.seed},
                      {"options", ordered_json::parse(header.options_json)}};
    root["git_hash"] = build_commit();
    root["date"] = header.unix_time;
    root["total_evaluation_time_seconds"] = format_text("%.3f", header.seconds);
    root["format_version"] = 1;
    return root.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

void write_question_lines(const std::string& path, const EvaluationPlan& plan, const Evaluation& evaluation) {
    FileWriter writer(path);
    auto quote = [](const std::string& text) {
        return ordered_json(text).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
    };
    auto quote_all = [&](std::vector<std::string> names) {
        for (std::string& name : names) name = quote(name);
        return names;
    };
    for (size_t i = 0; i < plan.questions.size(); ++i) {
        const QuestionSet& set = *plan.questions[i].set;
        const QuestionNames& names = set.names();
        const std::string name = quote(names.name);
        const std::vector<std::string> relations = quote_all(names.relations), attributes = quote_all(names.attributes),
                                       templates = quote_all(names.templates), kinds = quote_all(names.kinds),
                                       groups = quote_all(names.groups);
        std::string lines;
        for (size_t k = 0; k < plan.questions[i].chosen.size(); ++k) {
            const uint32_t number = plan.questions[i].chosen[k];
            const Question q = set.question(number);
            const QuestionResult& r = evaluation.knowledge[i].results[k];
            lines += format_text(
                "{\"set\":%s,\"question\":%u,\"entity\":%u,\"relation\":%s,\"attribute\":%s,\"template\":%s,\"kind\":%"
                "s,\"group\":%s,"
                "\"correct\":%s,\"nll\":%s,\"rank\":%d,\"tokens\":%d}\n",
                name.c_str(), number, q.entity, relations[q.relation].c_str(), attributes[q.attribute].c_str(),
                templates[q.wording].c_str(), kinds[q.kind].c_str(), groups[q.group].c_str(),
                r.correct ? "true" : "false", std::isfinite(r.nll) ? format_text("%.9g", r.nll).c_str() : "null",
                r.rank, r.tokens);
            if (lines.size() > 1 << 20) {
                writer.write(lines.data(), lines.size());
                lines.clear();
            }
        }
        writer.write(lines.data(), lines.size());
    }
    writer.commit();
}
