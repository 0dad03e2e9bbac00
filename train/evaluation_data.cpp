#include "train/evaluation_data.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "dataloader/token_file.h"
#include "util/check.h"
#include "util/crc32c.h"
#include "util/files.h"

using nlohmann::json;

namespace {

// Every set has this key, also where nothing is evaluated: old checkpoints are told apart by it.
constexpr const char* marker = "evaluated";

std::string hex(uint32_t crc) { return format_text("%08x", crc); }

}  // namespace

std::vector<std::pair<std::string, std::string>> evaluation_identities(const EvaluationPlan& plan) {
    std::vector<std::pair<std::string, std::string>> result = {{marker, "by content"}};
    for (const ValidationRows& rows : plan.validation)
        result.emplace_back("val/" + rows.name, hex(crc32c(rows.targets.data(), rows.targets.size() * sizeof(int), 0)));
    for (const QuestionTask& task : plan.questions) {
        const std::string& prefix = task.set->prefix();
        const uint32_t parts[] = {TokenFile(prefix + ".bin").content(), crc32c_file(prefix + ".q.npy"),
                                  crc32c_file(prefix + ".questions.json")};
        result.emplace_back("questions/" + task.set->names().name, hex(crc32c(parts, sizeof parts, 0)));
    }
    return result;
}

bool check_evaluation_data(const std::string& facts_json,
                           const std::vector<std::pair<std::string, std::string>>& identities) {
    const json facts = json::parse(facts_json);
    if (!facts.contains(marker)) return false;
    for (const auto& [name, value] : facts.items()) {
        const bool validation = name.rfind("val/", 0) == 0;
        if (!validation && name.rfind("questions/", 0) != 0) continue;
        const std::string flag = validation ? "--val" : "--questions", key = name;
        const std::string which = key.substr(key.find('/') + 1);
        const auto here =
            std::find_if(identities.begin(), identities.end(), [&](const auto& i) { return i.first == key; });
        if (here == identities.end())
            die(Exit::Usage, "--resume: the run was evaluated on %s %s and is not any more; give it as well", flag,
                which);
        if (value != json(here->second))
            die(Exit::Data,
                "%s %s: not what the run was evaluated on so far: checksum %s there, %s here; restore the files, or "
                "start a new run",
                flag, which, value.dump(), here->second);
    }
    return true;
}
