// stop_rule.h - --stop-at: a run that ends when it knows enough.
#pragma once
#include <string>
#include <vector>

#include "eval/evaluation.h"  // defines: EvaluationPlan, Metric

// 'know/synbio/accuracy>=0.6'
struct StopRule {
    std::string text, metric;
    bool at_least;
    double limit;
};

// Dies with Exit::Usage on a text that is no rule.
std::vector<StopRule> parse_stop_rules(const std::vector<std::string>& texts);

// Dies with Exit::Usage on a metric that no evaluation of this plan gives: before the run, not after hours of it.
void check_stop_rules(const std::vector<StopRule>& rules, const EvaluationPlan& plan);

// The text of the first rule that holds, "" for none.
std::string rule_that_holds(const std::vector<StopRule>& rules, const std::vector<Metric>& metrics);
