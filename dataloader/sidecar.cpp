#include "dataloader/sidecar.h"

#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/files.h"
#include "util/json.h"
#include "util/rng.h"

using nlohmann::json;

namespace {

std::string text_of(const std::string& path, const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) die(Exit::Data, "%s: key '%s' is not a string", path, key);
    return found->get<std::string>();
}

}  // namespace

Sidecar read_sidecar(const std::string& prefix) {
    const std::string path = prefix + ".json";
    Sidecar sidecar;
    if (!file_exists(path)) return sidecar;
    const std::string text = read_file(path);
    const json object = parse_json(path, text);
    check_format_version(path, object);
    constexpr int64_t most = INT64_MAX / 16;
    sidecar.present = true;
    sidecar.hash = hash_name(text);
    sidecar.kind = text_of(path, object, "kind");
    if (sidecar.kind != "text" && sidecar.kind != "knowledge" && sidecar.kind != "questions")
        die(Exit::Data, "%s: kind is '%s', expected text, knowledge or questions", path, sidecar.kind);
    const auto tokenizer = object.find("tokenizer");
    if (tokenizer == object.end() || !tokenizer->is_object())
        die(Exit::Data, "%s: key 'tokenizer' is not an object with name and sha256", path);
    sidecar.tokenizer_name = text_of(path, *tokenizer, "name");
    sidecar.tokenizer.sha256 = text_of(path, *tokenizer, "sha256");
    if (tokenizer->contains("content")) sidecar.tokenizer.content = text_of(path, *tokenizer, "content");
    if (tokenizer->contains("file")) {
        const std::string file = text_of(path, *tokenizer, "file");
        sidecar.tokenizer.file = file.empty() || file[0] == '/' ? file : path_join(folder_of(path), file);
    }
    sidecar.vocab_size = json_integer(path, object, "vocab_size", 1, INT32_MAX);
    sidecar.eot_id = json_integer(path, object, "eot_id", 0, sidecar.vocab_size - 1);
    sidecar.documents = json_integer(path, object, "documents", 0, most);
    sidecar.tokens = json_integer(path, object, "tokens", 0, most);
    sidecar.bytes = json_integer(path, object, "bytes", 0, most);
    const auto checksums = object.find("checksums");
    if (checksums != object.end() && checksums->is_object())
        for (const auto& [name, checksum] : checksums->items())
            if (checksum.is_string()) sidecar.checksums.emplace_back(name, checksum.get<std::string>());
    const std::string name = prefix.substr(prefix.rfind('/') + 1);
    for (const auto& [file, checksum] : sidecar.checksums) {
        if (file == name + ".names.txt") sidecar.facts.names = checksum;
        if (file == name + ".values.npy") sidecar.facts.values = checksum;
    }
    return sidecar;
}
