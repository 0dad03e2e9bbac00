#include "eval/stop_rule.h"

#include <algorithm>

#include "util/check.h"
#include "util/numbers.h"

std::vector<StopRule> parse_stop_rules(const std::vector<std::string>& texts) {
    std::vector<StopRule> rules;
    for (const std::string& text : texts) {
        const size_t at = text.find_first_of("<>");
        if (at == std::string::npos || at == 0 || text.compare(at + 1, 1, "=") != 0)
            die(Exit::Usage,
                "--stop-at: expected METRIC>=X or METRIC<=X, such as 'know/synbio/accuracy>=0.6', found '%s'", text);
        rules.push_back(
            {text, text.substr(0, at), text[at] == '>', parse_number("--stop-at " + text, text.substr(at + 2))});
    }
    return rules;
}

void check_stop_rules(const std::vector<StopRule>& rules, const EvaluationPlan& plan) {
    std::vector<std::string> known;
    for (const ValidationRows& v : plan.validation)
        for (const ValidationMetric& metric : VALIDATION_METRICS) known.push_back("val/" + v.name + "/" + metric.name);
    for (const QuestionTask& task : plan.questions)
        for (const MetricName& metric : metric_names())
            if (can_give(statistics()[metric.statistic].over, plan.options.generate, task.set->has_candidates()))
                known.push_back("know/" + task.set->names().name + "/" + metric.name);
    for (const StopRule& rule : rules) {
        if (std::find(known.begin(), known.end(), rule.metric) != known.end()) continue;
        std::string names;
        for (const std::string& name : known) names += " " + name;
        die(Exit::Usage, "--stop-at %s: no such metric; this run can give%s", rule.text, names);
    }
}

std::string rule_that_holds(const std::vector<StopRule>& rules, const std::vector<Metric>& metrics) {
    for (const StopRule& rule : rules) {
        const auto metric =
            std::find_if(metrics.begin(), metrics.end(), [&](const Metric& m) { return m.name == rule.metric; });
        if (metric != metrics.end() && (rule.at_least ? metric->value >= rule.limit : metric->value <= rule.limit))
            return rule.text;
    }
    return "";
}
