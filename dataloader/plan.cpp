#include "dataloader/plan.h"

#include "util/check.h"
#include "util/json_text.h"

// Exposures and how many entities have so many.
static void print_doses(FILE* out, const SourcePlan& source) {
    int64_t sum = 0;
    std::string list;
    for (const Dose& dose : source.doses) {
        sum += dose.exposures * dose.entities;
        list += format_text("%s%d (%d)", list.empty() ? "" : ", ", dose.exposures, dose.entities);
    }
    print(out, "  doses of %s (entities): %s; %d exposures in all\n", source.name, list, sum);
}

void print_plan(FILE* out, const Plan& plan) {
    print(out, "%-14s %10s %14s %9s %12s %9s %10s\n", "source", "documents", "tokens", "share", "pieces", "epochs",
          "exposures");
    for (const SourcePlan& s : plan.sources) {
        print(out, "%-14s %10d %14.0f %8.4f%% %12.0f %9.3f ", s.name, s.knowledge ? s.entities : s.documents, s.tokens,
              100 * s.share, s.pieces, s.epochs);
        if (s.knowledge && s.min_exposures < s.max_exposures)
            print(out, "%10.2f (%.2f to %.2f by %s)\n", s.exposures, s.min_exposures, s.max_exposures,
                  s.doses.empty() ? "group" : "dose");
        else if (s.knowledge)
            print(out, "%10.2f\n", s.exposures);
        else
            print(out, "%10s\n", "-");
        if (!s.doses.empty()) print_doses(out, s);
        if (s.listed_of > 0)
            print(out, "  of %s the %d of %d in its list (%016x)\n", s.name, s.knowledge ? s.entities : s.documents,
                  s.listed_of, s.list_hash);
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
        std::string doses;
        for (const Dose& dose : s.doses)
            doses += format_text("%s{\"exposures\": %d, \"entities\": %d}", doses.empty() ? "" : ", ", dose.exposures,
                                 dose.entities);
        std::string object = line.json();
        if (!doses.empty()) object.insert(object.size() - 1, ", \"doses\": [" + doses + "]");
        if (s.listed_of > 0)
            object.insert(object.size() - 1,
                          format_text(", \"list\": {\"of\": %d, \"hash\": \"%016x\"}", s.listed_of, s.list_hash));
        text += (text.empty() ? "" : ", ") + json_quote(s.name) + ": " + object;
    }
    return "{" + text + "}";
}
