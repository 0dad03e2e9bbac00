#include "util/tokenizer.h"

#include <nlohmann/json.hpp>

#include "util/check.h"
#include "util/files.h"
#include "util/json.h"

using nlohmann::json;

namespace {

constexpr int64_t max_id =
    1 << 20;  // four times the largest vocabulary in use; a wild id must not become a wild allocation

// Byte-level BPE writes each byte as a printable character: itself where that is printable Latin-1, else the next
// unused character from U+0100 on (GPT-2's bytes_to_unicode). This is the inverse, by code point; -1: no byte.
struct ByteOfCharacter {
    int16_t byte[0x144];
    ByteOfCharacter() {
        for (int16_t& b : byte) b = -1;
        int next = 0x100;
        for (int b = 0; b < 256; ++b) {
            const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
            byte[printable ? b : next++] = static_cast<int16_t>(b);
        }
    }
};

// A vocabulary entry as the bytes it means. A character outside of the alphabet stays as it is: Hugging Face's
// decoder does the same.
std::string bytes_of(const std::string& piece) {
    static const ByteOfCharacter alphabet;
    std::string bytes;
    for (size_t i = 0; i < piece.size();) {
        const unsigned char lead = static_cast<unsigned char>(piece[i]);
        // JSON text is valid UTF-8 (the parser checked), and the alphabet ends below U+0800: one or two bytes
        const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
        int point = lead;
        if (length == 2 && i + 1 < piece.size())
            point = (lead & 0x1F) << 6 | (static_cast<unsigned char>(piece[i + 1]) & 0x3F);
        if (length <= 2 && point < 0x144 && alphabet.byte[point] >= 0)
            bytes += static_cast<char>(alphabet.byte[point]);
        else
            bytes.append(piece, i, length);
        i += length;
    }
    return bytes;
}

// Is there a ByteLevel in this part of the file ("decoder", "pre_tokenizer"), alone or inside a Sequence?
bool has_byte_level(const json& part) {
    if (!part.is_object()) return false;
    if (part.value("type", json()) == "ByteLevel") return true;
    for (const char* list : {"decoders", "pretokenizers"})
        if (part.contains(list) && part[list].is_array())
            for (const json& inner : part[list])
                if (has_byte_level(inner)) return true;
    return false;
}

}  // namespace

Tokenizer Tokenizer::from_json(const std::string& name, const std::string& text) {
    const json root = parse_json(name, text);
    if (!root.is_object() || !root.contains("model") || !root["model"].is_object() ||
        !root["model"].value("vocab", json()).is_object())
        die(Exit::Data, "%s: no model.vocab; expected a tokenizer.json with a BPE model", name);
    if (root["model"].value("type", json("BPE")) != "BPE")
        die(Exit::Data, "%s: a %s model; only byte-level BPE tokenizers are read", name, root["model"]["type"].dump());
    if (!has_byte_level(root.value("decoder", json())) && !has_byte_level(root.value("pre_tokenizer", json())))
        die(Exit::Data, "%s: no ByteLevel decoder or pre-tokenizer; only byte-level BPE tokenizers are read", name);

    Tokenizer tokenizer;
    tokenizer.file_ = name;
    auto put = [&](const json& id, const std::string& piece, const std::string& bytes) {
        if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= max_id)
            die(Exit::Data, "%s: token %s has id %s, expected a whole number below %d", name,
                json(piece).dump(-1, ' ', true), id.dump(), max_id);
        const size_t at = id.get<size_t>();
        if (at >= tokenizer.pieces_.size()) tokenizer.pieces_.resize(at + 1);
        tokenizer.pieces_[at] = bytes;
        if (piece == "<|endoftext|>") tokenizer.eot_id_ = static_cast<int64_t>(at);
    };
    for (const auto& [piece, id] : root["model"]["vocab"].items()) put(id, piece, bytes_of(piece));
    // added tokens mean themselves, not for bytes; they come second because they win over an entry of the same id
    const json added = root.value("added_tokens", json::array());
    if (!added.is_array() && !added.is_null()) die(Exit::Data, "%s: added_tokens is not a list", name);
    for (const json& token : added) {
        if (!token.is_object() || !token.value("content", json()).is_string())
            die(Exit::Data, "%s: an added token without text: %s", name, token.dump(-1, ' ', true));
        const std::string content = token["content"];
        put(token.value("id", json()), content, content);
    }
    if (tokenizer.pieces_.empty()) die(Exit::Data, "%s: an empty vocabulary", name);
    return tokenizer;
}

Tokenizer::Tokenizer(const std::string& path) {
    const std::string file = directory_exists(path) ? path_join(path, "tokenizer.json") : path;
    if (!file_exists(file))
        die(Exit::Data, "%s: no such file; expected a tokenizer.json or a folder that holds one", file);
    *this = from_json(file, read_file(file));
}

std::string Tokenizer::decode(const int32_t* ids, size_t n) const {
    std::string text;
    for (size_t i = 0; i < n; ++i) {
        const bool known_id = ids[i] >= 0 && static_cast<size_t>(ids[i]) < pieces_.size();
        if (known_id && !pieces_[static_cast<size_t>(ids[i])].empty())
            text += pieces_[static_cast<size_t>(ids[i])];
        else
            text += format_text("<id %d>", ids[i]);
    }
    return text;
}
