#include <cmath>

#include "eval/exposures.h"
#include "eval/results.h"
#include "util/check.h"
#include "util/files.h"
#include "util/json_text.h"

namespace {

// The names of a set as JSON strings: quoted once rather than for every question.
QuestionNames quoted(QuestionNames names) {
    for (std::string* name : {&names.name, &names.source}) *name = json_quote(*name);
    for (std::vector<std::string>* list :
         {&names.relations, &names.attributes, &names.templates, &names.kinds, &names.groups})
        for (std::string& name : *list) name = json_quote(name);
    return names;
}

std::string question_text(const QuestionNames& names, uint32_t number, const Question& q) {
    return format_text(
        "\"set\":%s,\"source\":%s,\"question\":%u,\"entity\":%u,\"relation\":%s,\"attribute\":%s,\"template\":%s,"
        "\"kind\":%s,\"group\":%s",
        names.name, names.source, number, q.entity, names.relations[q.relation], names.attributes[q.attribute],
        names.templates[q.template_index], names.kinds[q.kind], names.groups[q.group]);
}

std::string result_text(const QuestionResult& r) {
    std::string text = format_text(",\"correct\":%s,\"nll\":%s,\"rank\":%d,\"tokens\":%d", r.correct ? "true" : "false",
                                   std::isfinite(r.nll) ? format_text("%.9g", r.nll) : "null", r.rank, r.tokens);
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
    const std::string begin = step < 0 ? "{" : format_text("{\"step\":%d,", step);
    for (size_t i = 0; i < plan.questions.size(); ++i) {
        const QuestionSet& set = *plan.questions[i].set;
        const QuestionNames names = quoted(set.names());
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
        if (!knowledge.doses.empty() && knowledge.doses[k] != UNKNOWN_EXPOSURES)
            text += format_text(",\"dose\":%u", knowledge.doses[k]);
        return text;
    });
}

void write_continuations(const std::string& path, const EvaluationPlan& plan, const Evaluation& evaluation,
                         int64_t step) {
    write_lines(path, plan, step, [&](size_t task, size_t k) {
        const KnowledgeResult& knowledge = evaluation.knowledge[task];
        const std::vector<int>& words = knowledge.continuations[k];
        const QuestionSet& set = *plan.questions[task].set;
        const uint32_t number = plan.questions[task].chosen[k];
        return ",\"prompt\":" + json_quote(prompt_text(set, number, plan.tokenizer)) +
               ",\"text\":" + json_quote(continuation_text(set, number, words, plan.tokenizer)) +
               format_text(",\"tokens\":%u,\"ended\":%s,\"normalized\":%s", words.size(),
                           words.size() < static_cast<size_t>(plan.options.generate_tokens.n) ? "true" : "false",
                           knowledge.results[k].normalized > 0 ? "true" : "false");
    });
}
