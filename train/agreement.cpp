#include "train/agreement.h"

#include <nlohmann/json.hpp>

#include "util/build_info.h"  // defines: build_commit, build_compiler, build_flags
#include "util/check.h"
#include "util/crc32c.h"   // defines: crc32c_file
#include "util/files.h"    // defines: file_exists, list_directory, path_join, read_file
#include "util/options.h"  // defines: options_difference

using nlohmann::json;

namespace {

// Process 0's words and this process's.
struct Words {
    std::string first, own;
    bool same() const { return first == own; }
};
Words compare(const Peers& peers, const std::string& own) { return {peers.from_first(own), own}; }

// The first value, in depth, that is another; `where`: the way to it.
std::string first_difference(const json& own, const json& first, const std::string& where = "") {
    if (own.type() == first.type() && own.size() == first.size() && own.is_structured())
        for (auto a = own.begin(), b = first.begin(); a != own.end(); ++a, ++b) {
            const bool named = own.is_object();
            if (named && a.key() != b.key()) break;
            if (*a == *b) continue;
            std::string step = named ? a.key() : a->is_object() && a->contains("name") ? (*a)["name"].dump() : "";
            return first_difference(*a, *b, where + step + " ");
        }
    return where + own.dump() + " here, " + first.dump() + " there";
}

}  // namespace

void agree_on_start(const Peers& peers, const std::string& options_json, const std::string& build) {
    if (peers.size() == 1) return;
    const Words builds = compare(peers, build + ", " + build_commit() + ", " + build_compiler() + ", " + build_flags());
    if (!builds.same())
        die(Exit::Usage, "this is another build than process 0's: %s here, %s there; start the same program everywhere",
            builds.own, builds.first);
    const Words options = compare(peers, options_json);
    if (options.same()) return;
    std::string text;
    for (const std::string& line : options_difference(options.own, options.first, {})) text += "\n  " + line;
    die(Exit::Usage, "options differ from process 0's; give all processes the same:%s", text);
}

void agree_on_data(const Peers& peers, const std::string& fingerprint,
                   const std::vector<std::pair<std::string, std::string>>& evaluation_data, const std::string& start,
                   const std::string& arithmetic) {
    if (peers.size() == 1) return;
    const Words arithmetics = compare(peers, arithmetic);
    if (!arithmetics.same())
        die(Exit::Usage, "matrix products: %s here, %s in process 0; bits would depend on who computes what",
            arithmetics.own, arithmetics.first);
    const Words begin = compare(peers, start);
    if (!begin.same())
        die(Exit::Data,
            "the weights that the run goes on from are not process 0's (a checkpoint of another step, or other files); "
            "all processes read the same --out, --init or --branch");
    const Words data = compare(peers, fingerprint);
    if (!data.same())
        die(Exit::Data, "the data are not process 0's: %s; all processes read the same files",
            first_difference(json::parse(data.own), json::parse(data.first)));
    json identities;
    for (const auto& [name, checksum] : evaluation_data) identities[name] = checksum;
    const Words evaluated = compare(peers, identities.dump());
    if (!evaluated.same())
        die(Exit::Data, "what is evaluated on is not process 0's: %s; all processes read the same files",
            first_difference(json::parse(evaluated.own), json::parse(evaluated.first)));
}

std::string start_identity(const Peers& peers, const std::string& directory) {
    if (peers.size() == 1 || directory.empty()) return "";
    const std::string marker = path_join(directory, "COMPLETE");
    if (file_exists(marker)) return read_file(marker);
    std::string identity;
    for (const std::string& name : list_directory(directory))
        if (name == "config.json" || name.find(".safetensors") != std::string::npos)
            identity += format_text("%s %08x\n", name, crc32c_file(path_join(directory, name)));
    return identity;
}

int smallest(const Peers& peers, int number) { return -peers.largest(-number); }
