#include <algorithm>
#include <cmath>
#include <functional>

#include "eval/results.h"
#include "util/check.h"

namespace {

std::string percent(const Estimate& e) {
    std::string text = format_text("%.1f %%", 100 * e.value);
    if (!std::isnan(e.interval.low)) text += format_text(" [%.1f, %.1f]", 100 * e.interval.low, 100 * e.interval.high);
    return text;
}

// A statistic of a cell with its interval, "-" where there is none.
std::string percent(const Cell* cell, const char* name) {
    const bool given = cell && cell->questions(statistics()[statistic_number(name)].over) > 0;
    return given ? percent((*cell)[name]) : "-";
}

int width(Column column) { return column == Column::Decimal ? 8 : column == Column::Rank ? 9 : 10; }

std::string figure_text(Column column, double value) {
    if (column == Column::Decimal) return format_text("%.4f", value);
    if (column == Column::Rank) return format_text("%.1f", value);
    return std::isnan(value) ? "-" : format_text(column == Column::Percent ? "%.1f %%" : "%.3f %%", 100 * value);
}

// Calls visit(number of a statistic) for the columns from left to right: of each group of questions in turn.
template <class Visit>
void visit_columns(const std::vector<Over>& groups, Visit visit) {
    for (const Over over : groups)
        for (const Column column : {Column::Decimal, Column::Percent, Column::Rank, Column::Baseline})
            for (size_t s = 0; s < statistics().size(); ++s)
                if (statistics()[s].over == over && statistics()[s].column == column) visit(s);
}

// Of `cells`, by something and kind: what row `row` has of a kind.
const Cell* find_cell(const std::vector<Cell>& cells, const Cell& row, const std::string& kind) {
    for (const Cell& cell : cells)
        if (cell.attribute == row.attribute && cell.group == row.group && cell.exposures_low == row.exposures_low &&
            cell.dose == row.dose && cell.kind == kind)
            return &cell;
    return nullptr;
}

// A row's name and a statistic for each kind, without the line's end.
void print_kinds(FILE* out, const std::string& name, const KnowledgeReport& report, const std::vector<Cell>& cells,
                 const Cell& row, const char* statistic = "accuracy") {
    print(out, "  %-22.22s", name);
    for (const Cell& kind : report.kinds) print(out, " %22s", percent(find_cell(cells, row, kind.kind), statistic));
}

// What a row has over all kinds, and the line's end.
void print_figures(FILE* out, const Cell& row, const std::vector<Over>& groups) {
    visit_columns(groups, [&](size_t s) {
        const Column column = statistics()[s].column;
        const bool given = row.questions(statistics()[s].over) > 0;
        const std::string text = given ? figure_text(column, row.estimates[s].value) : "-";
        print(out, " %*s", width(column), text);
    });
    print(out, "\n");
}

// A statistic by attribute and kind, and what the groups of questions have besides; rows without such questions left
// out.
void print_section(FILE* out, const char* title, const char* statistic, const std::vector<Over>& groups,
                   const KnowledgeReport& report) {
    print(out, "  %-22s", title);
    for (const Cell& kind : report.kinds) print(out, " %22s", kind.kind);
    visit_columns(groups,
                  [&](size_t s) { print(out, " %*s", width(statistics()[s].column), statistics()[s].heading); });
    print(out, "\n");
    auto print_row = [&](const std::string& name, const std::vector<Cell>& cells, const Cell& row) {
        if (row.questions(groups[0]) == 0) return;
        print_kinds(out, name, report, cells, row, statistic);
        print_figures(out, row, groups);
    };
    for (const Cell& attribute : report.attributes) print_row(attribute.attribute, report.attribute_kinds, attribute);
    print_row("all", report.kinds, report.all);
}

// Exact match in cells by something and kind, a row for each run of cells with one name.
void print_cells(FILE* out, const char* heading, const KnowledgeReport& report, const std::vector<Cell>& cells,
                 const std::function<std::string(const Cell&)>& name) {
    if (cells.empty()) return;
    print(out, "  %s\n", heading);
    std::string before;
    for (size_t i = 0; i < cells.size(); ++i) {
        if (i > 0 && name(cells[i]) == before) continue;
        print_kinds(out, before = name(cells[i]), report, cells, cells[i]);
        print(out, "\n");
    }
}

std::string exposures_name(const Cell& cell) {
    const long long low = cell.exposures_low, high = cell.exposures_high;
    return low == high ? format_text("%d", low) : format_text("%d-%d", low, high);
}

// " [LOW, HIGH]", "..." for an end beyond the doses; "" where both are.
std::string dose_interval(const Interval& i) {
    const auto end = [](double x) { return std::isnan(x) ? std::string("...") : format_text("%.4g", x); };
    return std::isnan(i.low) && std::isnan(i.high) ? "" : " [" + end(i.low) + ", " + end(i.high) + "]";
}

// The curve of accuracy against `dose`.
void print_curve(FILE* out, const DoseCurve& c, const char* dose, double target) {
    if (c.answers == 0) return;
    print(out, "    curve: half of what can be known at a %s of ", dose);
    if (c.state == DoseState::REACHED)
        print(out, "%.4g%s", c.F50, dose_interval(c.F50_interval));
    else if (c.state == DoseState::NOT_REACHED)
        print(out, "more than %.4g (not reached)", c.largest_dose);
    else if (c.state == DoseState::BELOW)
        print(out, "less than %.4g (below the smallest)", c.smallest_dose);
    else
        print(out, "... (no rise)");
    if (std::isfinite(c.at_target))
        print(out, ", %.3g %% at %.4g%s", 100 * target, c.at_target, dose_interval(c.at_target_interval));
    else
        print(out, ", %.3g %% not within %.4g to %.4g", 100 * target, c.smallest_dose, c.largest_dose);
    print(out, "; slope %.2f, lapse %.1f %%, guess %.2f %%\n", c.k, 100 * c.lapse, 100 * c.guess);
}

void print_threshold(FILE* out, const FrequencyThreshold& t) {
    if (t.target == 0) return;
    print(out, "  frequency threshold: ");
    if (!t.reached) {
        print(out, "none of %d groups is under %.3g %%\n", t.groups_above, 100 * t.target);
        print_curve(out, t.curve, "frequency", t.target);
        return;
    }
    print(out, "%.4g of the documents for each entity of %s, the first group under %.3g %% (%.1f %%", t.frequency,
          t.group, 100 * t.target, 100 * t.accuracy);
    if (!std::isnan(t.exposures)) print(out, ", %.1f exposures", t.exposures);
    print(out, "); %d groups above\n", t.groups_above);
    print_curve(out, t.curve, "frequency", t.target);
}

void print_popularity(FILE* out, const KnowledgeReport& report, const PopularityRule& rule) {
    for (const PopularityThreshold& t : report.popularity) {
        print(out, "  popularity threshold, %s%s: ", t.kind, t.normalized ? ", normalized" : "");
        if (t.reached)
            print(out, "%u", t.popularity);
        else
            print(out, "none, down to %u", t.popularity);
        print(out, " (target %.3g %%, %d failures; %.1f %% of the %d items of at least this popularity, of %d)\n",
              100 * rule.target, rule.failures.n, 100 * t.accuracy, t.items_at_least, t.items);
        print_curve(out, t.curve, "popularity", rule.target);
    }
}

void print_kept(FILE* out, const KnowledgeReport& report, const std::vector<Over>& groups) {
    if (!report.subsampled) return;
    print(out, "  kept entities: %d of %d\n", report.entities_kept, report.entities);
    if (report.kept.questions() == 0) return;
    print_kinds(out, "kept", report, report.kept_kinds, report.kept);
    print_figures(out, report.kept, groups);
}

void print_bits(FILE* out, const KnowledgeReport& report) {
    if (!report.has_bits) return;
    int64_t facts = 0, asked = 0;
    for (const AttributeBits& b : report.attribute_bits) facts += b.entities, asked += b.entities_asked;
    print(out, "  learned bits: %.0f", report.bits);
    if (!std::isnan(report.bits_interval.low))
        print(out, " [%.0f, %.0f]", report.bits_interval.low, report.bits_interval.high);
    print(out, " of %.0f; %.4g per parameter, %.4g per non-embedding parameter", report.most_bits,
          report.bits_per_param, report.bits_per_nonembedding_param);
    if (asked < facts) print(out, " (scaled from %d of %d facts asked)", asked, facts);
    const auto figure = [](const HedgedFigure& f) {
        const std::string bits = format_text("%.0f", f.bits);
        return std::isnan(f.interval.low) ? bits : bits + format_text(" [%.0f, %.0f]", f.interval.low, f.interval.high);
    };
    print(out, "\n  at least, errors hedged: %s bits", figure(report.hedged.all));
    if (report.hedged.kept)
        print(out, "; %s of %.0f of the kept", figure(*report.hedged.kept), report.hedged.kept->most);
    if (report.above_control) print(out, "; %s above the shuffled control", figure(*report.above_control));
    print(out, "\n");
    for (const HedgedFigure& group : report.hedged.groups)
        print(out, "    %-20.20s %s of %.0f\n", group.name, figure(group), group.most);
}

void print_set(FILE* out, const QuestionTask& task, const KnowledgeReport& report, const PopularityRule& popularity) {
    const Cell& all = report.all;
    const bool judged = all.questions(Over::Judged) > 0;
    print(out, "\n%s: %d of %d questions about %d entities\n", task.set->names().name, all.questions(),
          report.questions, all.entities);
    const std::vector<Over> groups = judged ? std::vector{Over::All, Over::Judged} : std::vector{Over::All};
    print_section(out, "exact match", "accuracy", groups, report);
    print_cells(out, "by group", report, report.group_kinds, [](const Cell& cell) { return cell.group; });
    print_cells(out, "by exposures", report, report.exposure_kinds, exposures_name);
    print_cells(out, "by dose", report, report.dose_kinds, [](const Cell& cell) { return std::to_string(cell.dose); });
    print_kept(out, report, groups);
    print(
        out,
        "  over all questions: exact match %s; loss in nats per answer token, mean rank of the answer's worst token\n",
        percent(all["accuracy"]));
    if (judged) print(out, "  the model's own words, normalised: right %s\n", percent(all["accuracy_normalized"]));
    if (all.questions(Over::Choices) > 0) {
        print_section(out, "choice", "choice", {Over::Choices}, report);
        print(out, "  over all questions: choice among the candidates %s, by log-probability per token %s\n",
              percent(all["choice"]), percent(all["choice_norm"]));
    }
    print_threshold(out, report.threshold);
    print_popularity(out, report, popularity);
    print_bits(out, report);
    if (!std::isnan(all["accuracy"].interval.low))
        print(out, "  [low, high]: 95 %% over the entities of this one run, not over runs\n");
}

}  // namespace

std::vector<std::string> score_warnings(const EvaluationPlan& plan, const Evaluation& evaluation) {
    std::vector<std::string> warnings;
    for (size_t i = 0; i < plan.questions.size(); ++i) {
        const std::vector<QuestionResult>& results = evaluation.knowledge[i].results;
        const auto no_number = [](const QuestionResult& result) { return std::isnan(result.nll); };
        if (const auto n = std::count_if(results.begin(), results.end(), no_number); n > 0)
            warnings.push_back(
                format_text("the scores of %d of %d questions of %s are not numbers: taken as wrong, at the last rank",
                            n, results.size(), plan.questions[i].set->names().name));
    }
    return warnings;
}

void print_results(FILE* out, const EvaluationPlan& plan, const Evaluation& evaluation) {
    for (const ValidationResult& v : evaluation.validation) {
        print(out, "val %s: loss %.6f nats per token", v.name, v.loss);
        if (!std::isnan(v.bits_per_byte)) print(out, ", %.4f bits per byte", v.bits_per_byte);
        print(out, " (%d tokens)\n", v.tokens);
    }
    for (size_t i = 0; i < plan.questions.size(); ++i)
        print_set(out, plan.questions[i], evaluation.knowledge[i].report, plan.options.report.popularity);
}
