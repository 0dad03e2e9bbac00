#include "util/tokenizer_id.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/files.h"
#include "util/json.h"
#include "util/sha256.h"

using nlohmann::json;

namespace {

// A member that says what is so without it.
bool says_nothing(const json& value) {
    return value.is_null() || value == json(false) ||
           (value.is_string() && value.get_ref<const std::string&>().empty());
}

// Every value after a letter for its type, texts and numbers with an end of their own: one form for one value. The
// Python writer (knapsack/common/tokenizer.py) has the same.
void write_canonical(const json& value, std::string* out) {
    if (value.is_object()) {
        *out += '{';
        for (const auto& [key, member] : value.items()) {
            if (says_nothing(member)) continue;
            write_canonical(json(key), out);
            write_canonical(member, out);
        }
        *out += '}';
    } else if (value.is_array()) {
        *out += '[';
        for (const json& item : value) write_canonical(item, out);
        *out += ']';
    } else if (value.is_string()) {
        const std::string& text = value.get_ref<const std::string&>();
        *out += 's' + std::to_string(text.size()) + ':' + text;
    } else if (value.is_number_float()) {
        const double number = value.get<double>();
        uint64_t bits;
        std::memcpy(&bits, &number, sizeof bits);
        *out += format_text("d%016x", bits);
    } else if (value.is_number()) {
        *out += 'i' + value.dump() + ';';
    } else {
        *out += value.is_null() ? 'n' : value.get<bool>() ? 't' : 'f';
    }
}

// Older libraries leave away what newer ones write at its default, and two keys have other names.
void set_defaults(json* part) {
    if (part->is_array())
        for (json& item : *part) set_defaults(&item);
    if (!part->is_object()) return;
    for (auto& item : part->items()) set_defaults(&item.value());
    const json type = part->value("type", json());
    const auto drop_true = [&](const char* key) {
        if (part->value(key, json()) == json(true)) part->erase(key);
    };
    if (type == "ByteLevel") {
        part->erase("trim_offsets");
        drop_true("use_regex");
    }
    if (type == "Metaspace") {
        if (!part->contains("prepend_scheme"))
            (*part)["prepend_scheme"] = part->value("add_prefix_space", json()) == json(false) ? "never" : "always";
        part->erase("add_prefix_space");
        part->erase("str_rep");
        drop_true("split");
    }
}

}  // namespace

std::string tokenizer_content(const std::string& name, const std::string& text) {
    const json root = parse_json(name, text);
    if (!root.is_object()) die(Exit::Data, "%s: not a tokenizer.json", name);
    json kept = json::object();
    for (const char* key : {"model", "normalizer", "pre_tokenizer", "added_tokens"})
        if (root.contains(key)) kept[key] = root[key];
    if (kept.contains("model") && kept["model"].is_object()) {
        json& model = kept["model"];
        if (!model.contains("type")) model["type"] = "BPE";
        if (model.contains("merges") && model["merges"].is_array())
            for (json& merge : model["merges"]) {
                if (!merge.is_string()) continue;
                const std::string both = merge.get<std::string>();
                const size_t space = both.find(' ');
                if (space != std::string::npos) merge = json::array({both.substr(0, space), both.substr(space + 1)});
            }
    }
    for (const char* key : {"normalizer", "pre_tokenizer"})
        if (kept.contains(key)) set_defaults(&kept[key]);
    if (kept.contains("added_tokens") && kept["added_tokens"].is_array()) {
        const auto id = [](const json& token) {
            const json number = token.is_object() ? token.value("id", json()) : json();
            return number.is_number_integer() ? number.get<int64_t>() : -1;
        };
        std::vector<json> tokens(kept["added_tokens"].begin(), kept["added_tokens"].end());
        std::stable_sort(tokens.begin(), tokens.end(), [&](const json& a, const json& b) { return id(a) < id(b); });
        kept["added_tokens"] = tokens;
    }
    std::string canonical;
    write_canonical(kept, &canonical);
    Sha256 hash;
    hash.update(canonical.data(), canonical.size());
    return hash.hex();
}

TokenizerId tokenizer_id(const std::string& file) { return {sha256_file(file), "", file}; }

bool same_tokenizer(const TokenizerId& a, const TokenizerId& b) {
    if (a.sha256 == b.sha256) return true;
    const auto content = [](const TokenizerId& id) -> std::string {
        if (!id.content.empty() || id.file.empty() || !file_exists(id.file)) return id.content;
        return sha256_file(id.file) == id.sha256 ? tokenizer_content(id.file, read_file(id.file)) : "";
    };
    const std::string content_a = content(a);
    return !content_a.empty() && content_a == content(b);
}
