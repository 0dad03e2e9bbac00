#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/exposures.h"
#include "eval/results.h"
#include "util/check.h"
#include "util/files.h"

namespace {

using nlohmann::ordered_json;

std::string quote(const std::string& text) {
    return ordered_json(text).dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// The names of a set, quoted once rather than for every question.
struct QuotedNames {
    explicit QuotedNames(const QuestionNames& n)
        : set(quote(n.name)),
          source(quote(n.source)),
          relations(quote_all(n.relations)),
          attributes(quote_all(n.attributes)),
          templates(quote_all(n.templates)),
          kinds(quote_all(n.kinds)),
          groups(quote_all(n.groups)) {}
    std::string set, source;
    std::vector<std::string> relations, attributes, templates, kinds, groups;

  private:
    static std::vector<std::string> quote_all(std::vector<std::string> names) {
        for (std::string& name : names) name = quote(name);
        return names;
    }
};

std::string question_text(const QuotedNames& names, uint32_t number, const Question& q) {
    return format_text(
        "\"set\":%s,\"source\":%s,\"question\":%u,\"entity\":%u,\"relation\":%s,\"attribute\":%s,\"template\":%s,"
        "\"kind\":%s,\"group\":%s",
        names.set.c_str(), names.source.c_str(), number, q.entity, names.relations[q.relation].c_str(),
        names.attributes[q.attribute].c_str(), names.templates[q.template_index].c_str(), names.kinds[q.kind].c_str(),
        names.groups[q.group].c_str());
}

std::string result_text(const QuestionResult& r) {
    std::string text =
        format_text(",\"correct\":%s,\"nll\":%s,\"rank\":%d,\"tokens\":%d", r.correct ? "true" : "false",
                    std::isfinite(r.nll) ? format_text("%.9g", r.nll).c_str() : "null", r.rank, r.tokens);
    if (r.alias >= 0) text += format_text(",\"alias\":%d", r.alias);
    if (r.choices > 0)
        text += format_text(",\"choices\":%d,\"choice\":%.9g,\"choice_norm\":%.9g,\"choice_rank\":%.9g", r.choices,
                            r.choice, r.choice_norm, r.choice_rank);
    return text;
}

// A line for every question asked: what names it, then what `rest(task, k)` says of question k of its `chosen`.
template <class Rest>
void write_lines(const std::string& path, const EvaluationPlan& plan, int64_t step, Rest rest) {
    FileWriter writer(path);
    const std::string begin = step < 0 ? "{" : format_text("{\"step\":%lld,", static_cast<long long>(step));
    for (size_t i = 0; i < plan.questions.size(); ++i) {
        const QuestionSet& set = *plan.questions[i].set;
        const QuotedNames names(set.names());
        std::string lines;
        for (size_t k = 0; k < plan.questions[i].chosen.size(); ++k) {
            const uint32_t number = plan.questions[i].chosen[k];
            lines += begin + question_text(names, number, set.question(number)) + rest(i, k) + "}\n";
            if (lines.size() > 1 << 20) {
                writer.write(lines.data(), lines.size());
                lines.clear();
            }
        }
        writer.write(lines.data(), lines.size());
    }
    writer.commit();
}

}  // namespace

void write_question_lines(const std::string& path, const EvaluationPlan& plan, const Evaluation& evaluation,
                          int64_t step) {
    write_lines(path, plan, step, [&](size_t task, size_t k) {
        const KnowledgeResult& knowledge = evaluation.knowledge[task];
        std::string text = result_text(knowledge.results[k]);
        if (!knowledge.exposures.empty() && knowledge.exposures[k] != UNKNOWN_EXPOSURES)
            text += format_text(",\"exposures\":%u", knowledge.exposures[k]);
        return text;
    });
}

void write_continuations(const std::string& path, const EvaluationPlan& plan, const Evaluation& evaluation,
                         int64_t step) {
    write_lines(path, plan, step, [&](size_t task, size_t k) {
        const KnowledgeResult& knowledge = evaluation.knowledge[task];
        const std::vector<int>& words = knowledge.continuations[k];
        const std::string prompt =
            prompt_text(*plan.questions[task].set, plan.questions[task].chosen[k], plan.tokenizer);
        return ",\"prompt\":" + quote(prompt) +
               ",\"text\":" + quote(plan.tokenizer.decode(words.data(), words.size())) +
               format_text(",\"tokens\":%zu,\"ended\":%s,\"normalized\":%s", words.size(),
                           words.size() < static_cast<size_t>(plan.options.generate_tokens.n) ? "true" : "false",
                           knowledge.results[k].normalized > 0 ? "true" : "false");
    });
}
