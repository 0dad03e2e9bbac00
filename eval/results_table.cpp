#include <cmath>
#include <functional>

#include "eval/results.h"
#include "util/check.h"

namespace {

std::string percent(double value, const Interval& interval) {
    std::string text = format_text("%.1f %%", 100 * value);
    if (!std::isnan(interval.low)) text += format_text(" [%.1f, %.1f]", 100 * interval.low, 100 * interval.high);
    return text;
}

std::string exact_match(const Cell& cell) { return percent(cell.accuracy, cell.interval); }
std::string choice(const Cell& cell) {
    const Estimate& e = cell.choice.accuracy;
    return cell.choice.questions ? percent(e.value, e.interval) : "-";
}

// Of `cells`, by something and kind: what row `row` has of a kind.
const Cell* find_cell(const std::vector<Cell>& cells, const Cell& row, const std::string& kind) {
    for (const Cell& cell : cells)
        if (cell.attribute == row.attribute && cell.group == row.group && cell.exposures_low == row.exposures_low &&
            cell.kind == kind)
            return &cell;
    return nullptr;
}

void print_heading(FILE* out, const char* name, const KnowledgeReport& report) {
    fprintf(out, "  %-22s", name);
    for (const Cell& kind : report.kinds) fprintf(out, " %22s", kind.kind.c_str());
}

// A row's name and a figure for each kind, without the line's end.
void print_kinds(FILE* out, const std::string& name, const KnowledgeReport& report, const std::vector<Cell>& cells,
                 const Cell& row, std::string (*figure)(const Cell&) = exact_match) {
    fprintf(out, "  %-22.22s", name.c_str());
    for (const Cell& kind : report.kinds) {
        const Cell* cell = find_cell(cells, row, kind.kind);
        fprintf(out, " %22s", cell ? figure(*cell).c_str() : "-");
    }
}

// What a row has over all kinds; the last figure only where continuations were judged.
void print_whole(FILE* out, const Cell& whole) {
    fprintf(out, " %8.4f %9.1f", whole.loss, whole.rank);
    if (std::isnan(whole.chance))
        fprintf(out, " %10s", "-");
    else
        fprintf(out, " %8.3f %%", 100 * whole.chance);
    fprintf(out, " %8.3f %%", 100 * whole.majority);
    if (whole.judged > 0) fprintf(out, " %8.1f %%", 100 * whole.normalized.value);
    fprintf(out, "\n");
}

void print_exact_match(FILE* out, const KnowledgeReport& report) {
    print_heading(out, "exact match", report);
    fprintf(out, " %8s %9s %10s %10s%s\n", "loss", "rank", "chance", "majority",
            report.all.judged > 0 ? " normalized" : "");
    for (const Cell& attribute : report.attributes) {
        print_kinds(out, attribute.attribute, report, report.attribute_kinds, attribute);
        print_whole(out, attribute);
    }
    print_kinds(out, "all", report, report.kinds, report.all);
    print_whole(out, report.all);
}

void print_choices(FILE* out, const KnowledgeReport& report) {
    if (report.all.choice.questions == 0) return;
    auto print_row = [&](const std::string& name, const std::vector<Cell>& cells, const Cell& row) {
        if (row.choice.questions == 0) return;
        print_kinds(out, name, report, cells, row, choice);
        fprintf(out, " %8.1f %% %9.1f %8.3f %% %8.3f %%\n", 100 * row.choice.norm.value, row.choice.rank,
                100 * row.choice.chance, 100 * row.choice.majority);
    };
    print_heading(out, "choice", report);
    fprintf(out, " %10s %9s %10s %10s\n", "per token", "rank", "chance", "majority");
    for (const Cell& attribute : report.attributes) print_row(attribute.attribute, report.attribute_kinds, attribute);
    print_row("all", report.kinds, report.all);
    fprintf(out, "  over all questions: choice among the candidates %s, by log-probability per token %s\n",
            percent(report.all.choice.accuracy.value, report.all.choice.accuracy.interval).c_str(),
            percent(report.all.choice.norm.value, report.all.choice.norm.interval).c_str());
}

// Exact match in cells by something and kind, a row for each run of cells with one name.
void print_cells(FILE* out, const char* heading, const KnowledgeReport& report, const std::vector<Cell>& cells,
                 const std::function<std::string(const Cell&)>& name) {
    if (cells.empty()) return;
    fprintf(out, "  %s\n", heading);
    std::string before;
    for (size_t i = 0; i < cells.size(); ++i) {
        if (i > 0 && name(cells[i]) == before) continue;
        print_kinds(out, before = name(cells[i]), report, cells, cells[i]);
        fprintf(out, "\n");
    }
}

std::string exposures_name(const Cell& cell) {
    const long long low = cell.exposures_low, high = cell.exposures_high;
    return low == high ? format_text("%lld", low) : format_text("%lld-%lld", low, high);
}

void print_threshold(FILE* out, const FrequencyThreshold& t) {
    if (t.target == 0) return;
    fprintf(out, "  frequency threshold: ");
    if (!t.reached) {
        fprintf(out, "none of %lld groups is under %.3g %%\n", static_cast<long long>(t.groups_above), 100 * t.target);
        return;
    }
    fprintf(out, "%.4g of the documents for each entity of %s, the first group under %.3g %% (%.1f %%", t.frequency,
            t.group.c_str(), 100 * t.target, 100 * t.accuracy);
    if (!std::isnan(t.exposures)) fprintf(out, ", %.1f exposures", t.exposures);
    fprintf(out, "); %lld groups above\n", static_cast<long long>(t.groups_above));
}

void print_popularity(FILE* out, const KnowledgeReport& report, const PopularityRule& rule) {
    for (const PopularityThreshold& t : report.popularity) {
        fprintf(out, "  popularity threshold, %s%s: ", t.kind.c_str(), t.normalized ? ", normalized" : "");
        if (t.reached)
            fprintf(out, "%u", t.popularity);
        else
            fprintf(out, "none, down to %u", t.popularity);
        fprintf(out,
                " (target %.3g %%, %lld failures; %.1f %% of the %lld items of at least this popularity, of %lld)\n",
                100 * rule.target, static_cast<long long>(rule.failures), 100 * t.accuracy,
                static_cast<long long>(t.items_at_least), static_cast<long long>(t.items));
    }
}

void print_kept(FILE* out, const KnowledgeReport& report) {
    if (!report.subsampled) return;
    fprintf(out, "  kept entities: %lld of %lld\n", static_cast<long long>(report.entities_kept),
            static_cast<long long>(report.entities));
    if (report.kept.questions == 0) return;
    print_kinds(out, "kept", report, report.kept_kinds, report.kept);
    print_whole(out, report.kept);
}

void print_bits(FILE* out, const KnowledgeReport& report) {
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

void print_set(FILE* out, const QuestionTask& task, const KnowledgeReport& report, const PopularityRule& popularity) {
    fprintf(out, "\n%s: %lld of %lld questions about %lld entities\n", task.set->names().name.c_str(),
            static_cast<long long>(report.all.questions), static_cast<long long>(report.questions),
            static_cast<long long>(report.all.entities));
    print_exact_match(out, report);
    print_cells(out, "by group", report, report.group_kinds, [](const Cell& cell) { return cell.group; });
    print_cells(out, "by exposures", report, report.exposure_kinds, exposures_name);
    print_kept(out, report);
    fprintf(
        out,
        "  over all questions: exact match %s; loss in nats per answer token, mean rank of the answer's worst token\n",
        percent(report.all.accuracy, report.all.interval).c_str());
    if (report.all.judged > 0)
        fprintf(out, "  the model's own words, normalised: right %s\n",
                percent(report.all.normalized.value, report.all.normalized.interval).c_str());
    print_choices(out, report);
    print_threshold(out, report.threshold);
    print_popularity(out, report, popularity);
    print_bits(out, report);
}

}  // namespace

void print_results(FILE* out, const EvaluationPlan& plan, const Evaluation& evaluation) {
    for (const ValidationResult& v : evaluation.validation) {
        fprintf(out, "val %s: loss %.6f nats per token", v.name.c_str(), v.loss);
        if (!std::isnan(v.bits_per_byte)) fprintf(out, ", %.4f bits per byte", v.bits_per_byte);
        fprintf(out, " (%lld tokens)\n", static_cast<long long>(v.tokens));
    }
    for (size_t i = 0; i < plan.questions.size(); ++i)
        print_set(out, plan.questions[i], evaluation.knowledge[i].report, plan.popularity);
}
