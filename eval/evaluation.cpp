#include "eval/evaluation.h"

#include <nlohmann/json.hpp>

#include "dataloader/subsample.h"
#include "model/checkpoint.h"
#include "util/check.h"
#include "util/files.h"
#include "util/json.h"
#include "util/options.h"

namespace {

// `path` is the shard's or set's prefix.
void check_tokenizer(const std::string& path, const Sidecar& sidecar, const EvaluationOptions& options) {
    if (!sidecar.present || options.tokenizer_sha256.empty() || sidecar.tokenizer_sha256 == options.tokenizer_sha256)
        return;
    die(Exit::Data,
        "%s.json: made with tokenizer %s (sha256 %s), the model with %s (sha256 %s); prepare it again with the model's "
        "tokenizer",
        path.c_str(), sidecar.tokenizer_name.c_str(), sidecar.tokenizer_sha256.c_str(),
        options.tokenizer_file.empty() ? "another" : options.tokenizer_file.c_str(), options.tokenizer_sha256.c_str());
}

// The trainer's NAME=VALUE options of one flag.
NamedList named_list(const std::string& path, const nlohmann::json& options, const char* flag) {
    NamedList list;
    const auto found = options.find(flag);
    if (found == options.end()) return list;
    for (const nlohmann::json& entry : *found) {
        const std::string text = entry.is_string() ? entry.get<std::string>() : "";
        const size_t equals = text.find('=');
        if (equals == std::string::npos)
            die(Exit::Data, "%s: the option %s is not a list of NAME=VALUE", path.c_str(), flag);
        list.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
    return list;
}

// By entity of the set: whether --subsample kept it. Empty where no subsampled source has the shard that the set asks
// about, known by its name.
std::vector<bool> kept_entities(const QuestionSet& set, const EvaluationOptions& options) {
    const QuestionNames& names = set.names();
    const uint64_t entities = static_cast<uint64_t>(names.entities);
    std::vector<bool> kept;
    for (const SubsampledSource& source : options.subsampled) {
        std::vector<std::string> shards;
        for (const std::string& path : glob_files(source.glob))
            if (is_shard(path)) shards.push_back(path);
        // evaluated without the training data: a plain path still says which shard it was
        const bool here = !shards.empty();
        if (!here && source.glob.find_first_of("*?[") != std::string::npos)
            fprintf(stderr,
                    "warning: source %s: no shard matches %s here; which entities --subsample kept is not known\n",
                    source.name.c_str(), source.glob.c_str());
        if (!here && is_shard(source.glob)) shards.push_back(source.glob);

        uint64_t all = 0, first = 0;  // entities of the source are counted over all its shards
        bool found = false;
        for (const std::string& path : shards) {
            const uint64_t documents = here ? TokenFile(path).num_documents() : entities;
            const std::string prefix = shard_prefix(path);
            if (!found && prefix.substr(prefix.rfind('/') + 1) == names.source) {
                found = documents == entities;
                first = all;
                if (!found)
                    fprintf(stderr,
                            "warning: %s has %llu entities, %s.questions.json says %llu; which of them --subsample "
                            "kept is not known\n",
                            path.c_str(), static_cast<unsigned long long>(documents), set.prefix().c_str(),
                            static_cast<unsigned long long>(entities));
            }
            all += documents;
        }
        if (!found) continue;
        kept.resize(entities);
        for (const uint32_t entity : subsample_entities(all, source.rho, options.data_seed, source.name))
            if (entity >= first && entity - first < entities) kept[entity - first] = true;
    }
    return kept;
}

}  // namespace

TrainerChoices read_trainer_choices(const std::string& directory) {
    TrainerChoices choices;
    const std::string path = path_join(directory, "trainer_state.json");
    if (!file_exists(path)) return choices;
    const nlohmann::json options = parse_json(path, read_trainer_state(directory).options_json);
    choices.seq_len = json_integer(path, options, "seq-len", 1, INT32_MAX);
    choices.data_seed = json_integer(path, options, "data-seed", INT64_MIN, INT64_MAX);
    const auto mask = options.find("doc-mask");
    if (mask == options.end() || !mask->is_boolean())
        die(Exit::Data, "%s: the option doc-mask is not true or false", path.c_str());
    choices.document_mask = mask->get<bool>();
    const NamedList sources = named_list(path, options, "source");
    for (const auto& [name, rho] : named_list(path, options, "subsample"))
        for (const auto& [source, glob] : sources)  // knowledge sources are those with a ledger
            if (source == name && file_exists(path_join(directory, "exposures/" + name + ".npy")))
                choices.subsampled.push_back({name, glob, parse_number(path + ": subsample " + name, rho)});
    return choices;
}

EvaluationPlan plan_evaluation(const EvaluationOptions& options, int vocab, int max_T) {
    EvaluationPlan plan;
    plan.resamples = options.resamples;
    plan.seed = options.seed;
    plan.target_accuracy = options.target_accuracy;
    if (!(options.target_accuracy >= 0 && options.target_accuracy <= 1))
        die(Exit::Usage, "--target-accuracy %g: expected a number above 0, up to 1", options.target_accuracy);
    plan.popularity = options.popularity;
    if (!(options.popularity.target >= 0 && options.popularity.target <= 1))
        die(Exit::Usage, "--popularity-target %g: expected a number above 0, up to 1", options.popularity.target);
    if (options.popularity.failures < 1)
        die(Exit::Usage, "--popularity-failures %lld: expected at least 1",
            static_cast<long long>(options.popularity.failures));
    plan.generate_tokens = options.generate_tokens;
    if (options.generate_tokens > 0) plan.tokenizer = Tokenizer(options.tokenizer_file);
    if (options.questions_per_set == 0) die(Exit::Usage, "--questions-per-set 0: expected at least 1, or all");
    if (!options.validation.empty() && (options.T < 2 || options.T > max_T))
        die(Exit::Usage, "--seq-len %d: this model takes rows of 2 to %d tokens", options.T, max_T);
    if (!options.validation.empty() && options.val_tokens < 1) die(Exit::Usage, "--val-tokens: expected at least 1");

    for (size_t i = 0; i < options.validation.size(); ++i) {
        const auto& [name, glob] = options.validation[i];
        for (size_t j = 0; j < i; ++j)
            if (options.validation[j].first == name) die(Exit::Usage, "--val: %s is given twice", name.c_str());
        for (const std::string& path : glob_files(glob))
            if (is_shard(path)) check_tokenizer(shard_prefix(path), read_sidecar(shard_prefix(path)), options);
        plan.validation.push_back(
            read_validation(name, glob, options.val_tokens, options.T, options.document_mask, options.eot_id, vocab));
    }

    for (const std::string& path : options.questions) {
        QuestionTask task{std::make_unique<QuestionSet>(path, vocab, max_T), {}, {}};
        const QuestionSet& set = *task.set;
        for (const QuestionTask& other : plan.questions)
            if (other.set->names().name == set.names().name)
                die(Exit::Data, "%s and %s are both named \"%s\"; their metrics would have one name",
                    other.set->prefix().c_str(), set.prefix().c_str(), set.names().name.c_str());
        check_tokenizer(set.prefix(), set.sidecar(), options);
        const bool all = options.questions_per_set < 0;
        task.chosen = set.choose(all ? set.size() : static_cast<uint64_t>(options.questions_per_set), options.seed);
        task.kept = kept_entities(set, options);
        plan.questions.push_back(std::move(task));
    }
    return plan;
}
