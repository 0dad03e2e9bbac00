#include "eval/trainer_choices.h"

#include <nlohmann/json.hpp>

#include "dataloader/ledger.h"
#include "dataloader/subsample.h"
#include "dataloader/token_file.h"
#include "model/checkpoint.h"
#include "util/check.h"
#include "util/files.h"
#include "util/json.h"
#include "util/numbers.h"
#include "util/options.h"

namespace {

// The trainer's NAME=VALUE options of one flag.
NamedList named_list(const std::string& path, const nlohmann::json& options, const char* flag) {
    NamedList list;
    const auto found = options.find(flag);
    if (found == options.end()) return list;
    for (const nlohmann::json& entry : *found) {
        const std::string text = entry.is_string() ? entry.get<std::string>() : "";
        const size_t equals = text.find('=');
        if (equals == std::string::npos) die(Exit::Data, "%s: the option %s is not a list of NAME=VALUE", path, flag);
        list.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
    return list;
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
        die(Exit::Data, "%s: the option doc-mask is not true or false", path);
    choices.document_mask = mask->get<bool>();
    const NamedList sources = named_list(path, options, "source");
    const std::string exposures = path_join(directory, "exposures");
    for (const auto& [name, value] : named_list(path, options, "subsample"))
        for (const auto& [source, glob] : sources)  // knowledge sources are those with a ledger
            if (source == name && file_exists(path_join(exposures, name + ".npy"))) {
                SubsampledSource one{name, glob, 1};
                if (!asks_for_list(value))
                    one.rho = parse_number(path + ": subsample " + name, value);
                else if ((one.listed = Ledger::read_listed(exposures, name)).empty())
                    die(Exit::Data, "%s: the list of entities that --subsample %s kept is not in %s", path, name,
                        exposures);
                choices.subsampled.push_back(one);
            }
    return choices;
}

std::vector<bool> kept_entities(const QuestionSet& set, const std::vector<SubsampledSource>& subsampled,
                                uint64_t data_seed) {
    const QuestionNames& names = set.names();
    const uint64_t entities = static_cast<uint64_t>(names.entities);
    std::vector<bool> kept;
    for (const SubsampledSource& source : subsampled) {
        std::vector<std::string> shards;
        for (const std::string& path : glob_files(source.glob))
            if (is_shard(path)) shards.push_back(path);
        // evaluated without the training data: a plain path still says which shard it was
        const bool here = !shards.empty();
        if (!here && source.glob.find_first_of("*?[") != std::string::npos)
            print(stderr,
                  "warning: source %s: no shard matches %s here; which entities --subsample kept is not known\n",
                  source.name, source.glob);
        if (!here && is_shard(source.glob)) shards.push_back(source.glob);

        uint64_t all = 0, first = 0;  // entities of the source are counted over all its shards
        bool found = false;
        for (const std::string& path : shards) {
            const uint64_t documents = here ? TokenFile(path).num_documents() : entities;
            const std::string prefix = shard_prefix(path);
            if (!found && prefix.substr(prefix.rfind('/') + 1) == names.source) {
                const bool same = !here || may_be_same(read_sidecar(prefix).facts, set.facts());
                if (!same)
                    print(stderr,
                          "warning: question set %s asks about other facts than %s states; which of its entities "
                          "--subsample kept is not known\n",
                          set.prefix(), path);
                found = documents == entities && same;
                first = all;
                if (documents != entities)
                    print(stderr,
                          "warning: %s has %u entities, %s.questions.json says %u; which of them --subsample "
                          "kept is not known\n",
                          path, documents, set.prefix(), entities);
            }
            all += documents;
        }
        if (!found) continue;
        kept.resize(entities);
        const std::vector<uint32_t> chosen =
            source.listed.empty() ? subsample_entities(all, source.rho, data_seed, source.name) : source.listed;
        for (const uint32_t entity : chosen)
            if (entity >= first && entity - first < entities) kept[entity - first] = true;
    }
    return kept;
}
