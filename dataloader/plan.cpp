#include "dataloader/plan.h"

#include "util/check.h"
#include "util/json_text.h"

void print_plan(FILE* out, const Plan& plan) {
    print(out, "%-14s %10s %14s %9s %12s %9s %10s\n", "source", "documents", "tokens", "share", "pieces", "epochs",
          "exposures");
    for (const SourcePlan& s : plan.sources) {
        print(out, "%-14s %10d %14.0f %8.4f%% %12.0f %9.3f ", s.name, s.knowledge ? s.entities : s.documents, s.tokens,
              100 * s.share, s.pieces, s.epochs);
        if (s.knowledge && s.min_exposures < s.max_exposures)
            print(out, "%10.2f (%.2f to %.2f by group)\n", s.exposures, s.min_exposures, s.max_exposures);
        else if (s.knowledge)
            print(out, "%10.2f\n", s.exposures);
        else
            print(out, "%10s\n", "-");
    }
}

std::string plan_json(const Plan& plan) {
    std::string text;
    for (const SourcePlan& s : plan.sources) {
        JsonLine line;
        line.add("documents", s.knowledge ? s.entities : s.documents);
        line.add("source_tokens", s.source_tokens);
        line.add("tokens", s.tokens);
        line.add("share", s.share);
        line.add("epochs", s.epochs);
        if (s.knowledge) line.add("exposures", s.exposures);
        text += (text.empty() ? "" : ", ") + json_quote(s.name) + ": " + line.json();
    }
    return "{" + text + "}";
}
