#include "util/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

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

// <0xNN> as its byte; -1: something else.
int fallback_byte(const std::string& piece) {
    if (piece.size() != 6 || piece.compare(0, 3, "<0x") != 0 || piece[5] != '>') return -1;
    int byte = 0;
    for (const char c : {piece[3], piece[4]}) {
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                                 : -1;
        if (digit < 0) return -1;
        byte = byte * 16 + digit;
    }
    return byte;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

// What the decoders of a tokenizer without ByteLevel do, each to every token and some to the text's ends.
struct Decoders {
    std::vector<std::pair<std::string, std::string>> replacements;
    bool bytes = false, fused = false, metaspace_first = false;
    size_t strip = 0, strip_end = 0;

    // The reason why one is not read; "": all are.
    std::string add(const json& decoder) {
        if (!decoder.is_object()) return "no decoder";
        const json type = decoder.value("type", json());
        const auto text = [&](const char* key) {
            const json value = decoder.value(key, json());
            return value.is_string() ? value.get<std::string>() : std::string();
        };
        if (type == "Sequence") {
            const json list = decoder.value("decoders", json());
            if (!list.is_array()) return "a Sequence without decoders";
            for (const json& inner : list)
                if (const std::string reason = add(inner); !reason.empty()) return reason;
        } else if (type == "Replace") {
            const json pattern = decoder.value("pattern", json()),
                       from = pattern.is_object() ? pattern.value("String", json()) : json();
            if (!from.is_string() || from.get<std::string>().empty())
                return "a Replace decoder of a regular expression";
            replacements.emplace_back(from.get<std::string>(), text("content"));
        } else if (type == "Metaspace") {
            const std::string mark = text("replacement");
            if (mark.empty()) return "a Metaspace decoder without a replacement";
            replacements.emplace_back(mark, " ");
            metaspace_first = decoder.contains("prepend_scheme")
                                  ? text("prepend_scheme") != "never"
                                  : decoder.value("add_prefix_space", json()) != json(false);
        } else if (type == "ByteFallback") {
            bytes = true;
        } else if (type == "Fuse") {
            fused = true;
        } else if (type == "Strip") {
            const json start = decoder.value("start", json()), stop = decoder.value("stop", json());
            if (!fused || text("content") != " " || !start.is_number_unsigned() || !stop.is_number_unsigned())
                return "a Strip decoder of single tokens";
            strip += start.get<size_t>();
            strip_end += stop.get<size_t>();
        } else {
            return "a decoder " + type.dump(-1, ' ', true);
        }
        return "";
    }

    std::string bytes_of(const std::string& piece) const {
        std::string text = piece;
        for (const auto& [from, to] : replacements) text = replaced(text, from, to);
        const int byte = bytes ? fallback_byte(text) : -1;
        return byte >= 0 ? std::string(1, static_cast<char>(byte)) : text;
    }
};

}  // namespace

std::string Tokenizer::parse(const std::string& name, const std::string& text) {
    const json root = parse_json(name, text);
    const json* const model =
        root.is_object() && root.contains("model") && root["model"].is_object() ? &root["model"] : nullptr;
    const json type = model ? model->value("type", json("BPE")) : json();
    if (model && type != "BPE" && type != "Unigram")
        return format_text("a %s model; BPE and Unigram are read", type.dump(-1, ' ', true));
    const json vocab = model ? model->value("vocab", json()) : json();
    if (type == "Unigram" ? !vocab.is_array() : !vocab.is_object())
        die(Exit::Data, "%s: no model.vocab%s; expected a tokenizer.json with a BPE model", name,
            type == "Unigram" ? " of a Unigram model" : "");
    const bool byte_level =
        has_byte_level(root.value("decoder", json())) || has_byte_level(root.value("pre_tokenizer", json()));
    Decoders decoders;
    if (!byte_level)
        if (const std::string reason = decoders.add(root.value("decoder", json())); !reason.empty())
            return reason + "; expected ByteLevel, or Metaspace, Replace, ByteFallback, Fuse and Strip";

    file_ = name;
    strip_ = decoders.strip;
    strip_end_ = decoders.strip_end;
    first_without_spaces_ = decoders.metaspace_first;
    const auto means = [&](const std::string& piece) {
        return byte_level ? bytes_of(piece) : decoders.bytes_of(piece);
    };
    auto put = [&](const json& id, const std::string& piece, const std::string& bytes, bool special) {
        if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= max_id)
            die(Exit::Data, "%s: token %s has id %s, expected a whole number below %d", name,
                json(piece).dump(-1, ' ', true), id.dump(), max_id);
        const size_t at = id.get<size_t>();
        if (at >= pieces_.size()) pieces_.resize(at + 1), special_.resize(at + 1);
        pieces_[at] = bytes;
        special_[at] = special;
        if (piece == "<|endoftext|>") eot_id_ = static_cast<int64_t>(at);
    };
    if (type == "Unigram") {
        for (size_t id = 0; id < vocab.size(); ++id) {
            const json piece = vocab[id].is_array() && !vocab[id].empty() ? vocab[id][0] : json();
            if (!piece.is_string()) die(Exit::Data, "%s: token %d of the Unigram vocabulary has no text", name, id);
            put(id, piece, means(piece), false);
        }
    } else {
        for (const auto& [piece, id] : vocab.items()) put(id, piece, means(piece), false);
    }
    // added tokens mean themselves, not for bytes; they come second because they win over an entry of the same id
    const json added = root.value("added_tokens", json::array());
    if (!added.is_array() && !added.is_null()) die(Exit::Data, "%s: added_tokens is not a list", name);
    for (const json& token : added) {
        if (!token.is_object() || !token.value("content", json()).is_string())
            die(Exit::Data, "%s: an added token without text: %s", name, token.dump(-1, ' ', true));
        const std::string content = token["content"];
        put(token.value("id", json()), content, byte_level ? content : decoders.bytes_of(content),
            token.value("special", json()) == json(true));
    }
    if (pieces_.empty()) die(Exit::Data, "%s: an empty vocabulary", name);
    return "";
}

Tokenizer Tokenizer::from_json(const std::string& name, const std::string& text) {
    Tokenizer tokenizer;
    if (const std::string reason = tokenizer.parse(name, text); !reason.empty())
        die(Exit::Data, "%s: a tokenizer of a kind that is not read: %s", name, reason);
    return tokenizer;
}

Tokenizer Tokenizer::if_readable(const std::string& file) {
    Tokenizer tokenizer;
    tokenizer.parse(file, read_file(file));
    return tokenizer;
}

Tokenizer::Tokenizer(const std::string& path) {
    const std::string file = directory_exists(path) ? path_join(path, "tokenizer.json") : path;
    if (!file_exists(file))
        die(Exit::Data, "%s: no such file; expected a tokenizer.json or a folder that holds one", file);
    *this = from_json(file, read_file(file));
}

// Null: nothing has this id.
const std::string* Tokenizer::piece(int32_t id) const {
    const bool known_id = id >= 0 && static_cast<size_t>(id) < pieces_.size();
    return known_id && !pieces_[static_cast<size_t>(id)].empty() ? &pieces_[static_cast<size_t>(id)] : nullptr;
}

std::string Tokenizer::decode(const int32_t* ids, size_t n) const {
    std::string text;
    for (size_t i = 0; i < n; ++i) {
        const std::string* const bytes = piece(ids[i]);
        if (!bytes)
            text += format_text("<id %d>", ids[i]);
        else if (i == 0 && first_without_spaces_)
            text += replaced(*bytes, " ", "");
        else
            text += *bytes;
    }
    size_t begin = 0, end = text.size();
    while (begin < std::min(strip_, end) && text[begin] == ' ') ++begin;
    while (text.size() - end < strip_end_ && end > begin && text[end - 1] == ' ') --end;
    return text.substr(begin, end - begin);
}

int64_t Tokenizer::text_bytes(const int32_t* ids, size_t n, bool begins) const {
    int64_t bytes = 0;
    size_t strip = begins ? strip_ : 0;
    bool first = begins && first_without_spaces_;
    for (size_t i = 0; i < n; ++i) {
        const std::string* const text = piece(ids[i]);
        if (!text) return -1;
        if (special_[static_cast<size_t>(ids[i])]) continue;
        bytes += static_cast<int64_t>(text->size());
        if (first) bytes -= std::count(text->begin(), text->end(), ' ');
        first = false;
        size_t at = 0;
        for (; strip > 0 && at < text->size() && (*text)[at] == ' '; ++at, --strip) --bytes;
        if (at < text->size()) strip = 0;
    }
    return bytes;
}
