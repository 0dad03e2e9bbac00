#include "eval/normalize.h"

#include <locale.h>
#include <wctype.h>

#include <cstdint>
#include <vector>

namespace {

// Never freed: it lives as long as the program.
locale_t unicode_locale() {
    static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", static_cast<locale_t>(nullptr));
    return locale;
}

// Characters are code points; a byte that is no UTF-8 is NO_CHARACTER + the byte.
using Characters = std::vector<uint32_t>;
constexpr uint32_t NO_CHARACTER = 0x110000;

Characters decode(const std::string& text) {
    Characters characters;
    for (size_t i = 0; i < text.size();) {
        const auto byte = [&](size_t at) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at])); };
        const uint32_t lead = byte(i);
        const size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
        uint32_t point = length == 1 ? lead : lead & (0x7Fu >> length);
        bool valid = length > 0 && i + length <= text.size();
        for (size_t k = 1; valid && k < length; ++k) {
            valid = byte(i + k) >> 6 == 2;
            point = point << 6 | (byte(i + k) & 0x3F);
        }
        const uint32_t least[] = {0, 0, 0x80, 0x800,
                                  0x10000};  // of this length: nothing is written longer than it needs
        valid = valid && point >= least[length] && point < NO_CHARACTER && (point < 0xD800 || point > 0xDFFF);
        characters.push_back(valid ? point : NO_CHARACTER + lead);
        i += valid ? length : 1;
    }
    return characters;
}

void append(std::string* text, uint32_t c) {
    auto put = [&](uint32_t byte) { *text += static_cast<char>(byte); };
    if (c >= NO_CHARACTER) return put(c - NO_CHARACTER);
    if (c < 0x80) return put(c);
    if (c >= 0x10000) put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F));
    if (c >= 0x800 && c < 0x10000) put(0xE0 | c >> 12);
    put(c < 0x800 ? 0xC0 | c >> 6 : 0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
}

// Unicode's white space and the four separators of ASCII: what Python's split(), which SQuAD uses, takes for it.
bool is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_ascii_letter_or_digit(uint32_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_ascii_punctuation(uint32_t c) { return c > 0x20 && c < 0x7F && !is_ascii_letter_or_digit(c); }

bool is_word_character(uint32_t c) {
    if (c < 0x80) return is_ascii_letter_or_digit(c);
    if (c >= NO_CHARACTER) return true;
    return !is_space(c) && (!unicode_locale() || iswalnum_l(c, unicode_locale()));
}

uint32_t lower_case(uint32_t c) {
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
    return c < NO_CHARACTER && unicode_locale() ? static_cast<uint32_t>(towlower_l(c, unicode_locale())) : c;
}

// Puts a space for the words a, an and the.
void drop_articles(Characters* text) {
    for (size_t begin = 0; begin < text->size();) {
        size_t end = begin;
        std::string word;  // no longer than it takes to know
        for (; end < text->size() && is_word_character((*text)[end]); ++end)
            if (word.size() < 4) append(&word, (*text)[end]);
        if (word == "a" || word == "an" || word == "the")
            for (size_t i = begin; i < end; ++i) (*text)[i] = ' ';
        begin = end + 1;
    }
}

std::string collapse_spaces(const Characters& characters) {
    std::string text;
    bool space = false;
    for (const uint32_t c : characters) {
        if (is_space(c)) {
            space = true;
            continue;
        }
        if (space && !text.empty()) text += ' ';
        space = false;
        append(&text, c);
    }
    return text;
}

// Of words with single spaces between them.
bool begins_with_words(const std::string& text, const std::string& words) {
    if (words.empty() || text.compare(0, words.size(), words) != 0) return false;
    return text.size() == words.size() || text[words.size()] == ' ';
}

}  // namespace

std::string normalize_answer(const std::string& text) {
    Characters kept;
    for (const uint32_t c : decode(text))
        if (!is_ascii_punctuation(c)) kept.push_back(lower_case(c));
    drop_articles(&kept);
    return collapse_spaces(kept);
}

bool begins_with_answer(const std::string& continuation, const std::string& answer) {
    const std::string normalized = normalize_answer(answer);
    if (!normalized.empty()) return begins_with_words(normalize_answer(continuation), normalized);
    return begins_with_words(collapse_spaces(decode(continuation)), collapse_spaces(decode(answer)));
}

bool lower_cases_unicode() { return unicode_locale() != nullptr; }
