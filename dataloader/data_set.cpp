#include "dataloader/data_set.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "dataloader/subsample.h"
#include "util/check.h"
#include "util/files.h"
#include "util/tokenizer.h"

using nlohmann::json;

namespace {

// Of shards whose sha256 is compared with their sidecars' at every start; `knapsack verify` compares all.
constexpr uint64_t CHECKED_BYTES = 32 << 20;

// One tokenizer for all: from the sidecars, and from --tokenizer for shards that have none. Fills the plan's
// vocabulary, EOT and tokenizer.
void agree_on_tokenizer(const MixtureOptions& options, const Tokenizer& tokenizer, const std::vector<Source>& sources,
                        Plan* plan) {
    std::string first_path;
    const Sidecar* first = nullptr;
    plan->eot_id = sources[0].eot_id();
    plan->vocab = tokenizer.vocab_size();
    for (const Source& source : sources) {
        if (source.eot_id() != plan->eot_id)
            die(Exit::Data, "tokenizers differ: EOT is %d in source %s, %d in source %s", plan->eot_id,
                sources[0].name(), source.eot_id(), source.name());
        const std::vector<const Sidecar*> sidecars = source.sidecars();
        size_t without = 0;
        for (size_t file = 0; file < sidecars.size(); ++file) {
            const Sidecar& sidecar = *sidecars[file];
            const std::string& path = source.path(file);
            if (!sidecar.present) {
                ++without;
                continue;
            }
            if (first_path.empty()) {
                first_path = path;
                first = &sidecar;
                plan->tokenizer = sidecar.tokenizer;
                plan->tokenizer.file.clear();
            }
            if (!same_tokenizer(sidecar.tokenizer, first->tokenizer))
                die(Exit::Data,
                    "tokenizers differ: sha256 %.12s for %s, %.12s (%s) for %s; prepare both with the same tokenizer",
                    first->tokenizer.sha256, first_path, sidecar.tokenizer.sha256, sidecar.tokenizer_name, path);
            if (options.vocab > 0 && options.vocab < sidecar.vocab_size)
                die(Exit::Data, "%s: its tokenizer has %d ids, the model %d; choose a model with a larger vocabulary",
                    path, sidecar.vocab_size, options.vocab);
            plan->vocab = std::max(plan->vocab, sidecar.vocab_size);
            if (plan->tokenizer.file.empty() && !sidecar.tokenizer.file.empty() && file_exists(sidecar.tokenizer.file))
                plan->tokenizer = sidecar.tokenizer;
        }
        if (without > 0)
            plan->warnings.push_back(
                format_text("source %s: %d of %d shards have no sidecar: EOT is taken as %d, nothing checks the "
                            "tokenizer, and there "
                            "are no bits per byte",
                            source.name(), without, sidecars.size(), plan->eot_id));
    }
    if (tokenizer.known()) {
        const TokenizerId given = tokenizer_id(tokenizer.file());
        if (first && !same_tokenizer(given, plan->tokenizer))
            die(Exit::Data,
                "tokenizers differ: --tokenizer %s is not the one of %s; leave the flag away, or tokenize again",
                tokenizer.file(), first_path);
        plan->tokenizer = given;
    }
    if (options.vocab > 0) plan->vocab = options.vocab;
    if (plan->vocab == 0) die(Exit::Usage, "the vocabulary is not known: no shard has a sidecar; give --tokenizer");
    if (plan->eot_id >= plan->vocab)
        die(Exit::Data, "EOT is %d, outside of the vocabulary of %d", plan->eot_id, plan->vocab);
}

std::string describe(const SourceOptions& o) {
    std::string text =
        format_text("ratio %.17g exposures %d subsample %.17g windows", o.ratio, o.exposures, o.subsample);
    for (const auto& [a, b] : o.windows) text += format_text(" %.17g:%.17g", a, b);
    if (!o.kept.empty()) text += format_text(" list of %d, %016x,", o.kept.size(), hash_of_list(o.kept));
    if (!o.doses.empty()) text += " doses";
    for (const int64_t dose : o.doses) text += format_text(" %d", dose);
    return text;
}

}  // namespace

DataSet open_data_set(const MixtureOptions& options) {
    check_mixture_options(options);
    DataSet data;
    Tokenizer tokenizer;
    if (!options.tokenizer.empty()) tokenizer = Tokenizer(options.tokenizer);
    const int64_t eot_id = options.eot_id >= 0 ? options.eot_id : tokenizer.eot_id();
    for (const SourceOptions& source : options.sources)
        data.sources.emplace_back(source, options.data_seed, options.T, eot_id);
    agree_on_tokenizer(options, tokenizer, data.sources, &data.plan);
    for (Source& source : data.sources) source.set_vocab(data.plan.vocab);
    data.mixture = plan_mixture(options, data.sources, &data.plan);

    uint64_t budget = CHECKED_BYTES;
    for (const Source& source : data.sources) source.check_checksums(&budget);

    json sources = json::array();
    for (const Source& source : data.sources) {
        json files = json::array();
        for (const Source::FileIdentity& file : source.identities())
            files.push_back({{"name", file.path.substr(file.path.rfind('/') + 1)},
                             {"tokens", file.tokens},
                             {"documents", file.documents},
                             {"content", format_text("%08x", file.content)},
                             {"checksums", file.checksums}});
        sources.push_back({{"name", source.name()}, {"options", describe(source.options())}, {"files", files}});
    }
    data.fingerprint = json{
        {"data_seed", options.data_seed},
        {"T", options.T},
        {"tokens", data.plan.tokens},
        {"eot_id", data.plan.eot_id},
        {"sources",
         sources}}.dump();
    return data;
}
