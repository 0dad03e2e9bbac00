// statistics.h - what is measured over questions, as one table: a metric is a row of statistics.cpp. Sums, bootstrap,
// cells, results.json, the printed table, the names of metrics and those that --stop-at takes all walk it.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "eval/choices.h"  // defines: QuestionResult

struct KnowledgeReport;

// The questions that a statistic is over. A set that has none of them does not have the statistic.
enum class Over {
    All,
    Judged,   // with a judged continuation (normalize.h)
    Choices,  // with candidates (choices.h)
    Report,   // none: a figure of the whole report, of sets with known pools
};
constexpr size_t QUESTION_GROUPS = 3;  // those of questions

bool is_over(const QuestionResult& result, Over over);
// Whether a set that has judged continuations, candidates, has any such questions.
inline bool can_give(Over over, bool judged, bool candidates) {
    return over == Over::Judged ? judged : over == Over::Choices ? candidates : true;
}

// A question that was asked, and what those who do not know the answer would score at it.
struct Scored {
    const QuestionResult& result;
    double chance;           // 1 / |pool|; NaN where its size is not known
    double majority;         // accuracy of the most frequent answer of attribute and kind (majority.h)
    double choice_majority;  // of the choice that is most often an answer
};

enum StatisticFlags : unsigned {
    INTERVAL = 1,          // every cell has a standard error and a 95 % interval, by resampling entities
    OVERALL_INTERVAL = 2,  // an interval over all questions alone
    SHARE = 4,             // within [0, 1]
    METRIC = 8,            // know/<set>/NAME: in the log, for --stop-at
    SCOPES = 16,           // also NAME_<kind>, NAME_kept and NAME_seen_kept
    HEADLINE = 32,         // one of the few metrics for the screen
    HIGHER = 64,           // is better
    LOWER = 128,
    COUNT = 256,  // a SHARE of right answers: the interval holds share_interval.h's
};

// How the printed table shows it, if at all. Columns of one form lie together, in this order.
enum class Column { None, Decimal, Percent, Rank, Baseline };

struct Statistic {
    const char* name;  // key of a cell in results.json
    Over over;
    // What a question adds; the statistic is the ratio of both sums, in any cell.
    double (*numerator)(const Scored&);
    double (*denominator)(const Scored&);
    unsigned flags;
    const char* task_key = nullptr;  // "acc": the key "acc,none" of lm-evaluation-harness's tasks, and of our subtasks
    Column column = Column::None;
    const char* heading = "";
    // Over::Report: in place of the sums; none where the set cannot give it
    std::optional<double> (*figure)(const KnowledgeReport&) = nullptr;

    bool has(unsigned flag) const { return (flags & flag) != 0; }
};

const std::vector<Statistic>& statistics();
size_t statistic_number(const std::string& name);

// What comes after know/<set>/: a statistic over all questions, or over those of a kind, of kept entities, of both.
struct MetricName {
    std::string name;
    size_t statistic;  // number
    std::string kind;  // "": any
    bool kept;         // of the entities that --subsample kept
};

// All there are, in the order of the log.
const std::vector<MetricName>& metric_names();
