// tokenizer_id.h - which tokenizer a file is. The libraries that write a tokenizer.json again change its layout, its
// order and keys that say nothing new; what gives text its ids stays.
#pragma once
#include <string>

struct TokenizerId {
    std::string sha256;   // of the file
    std::string content;  // tokenizer_content of it; "": not known here
    std::string file;     // where it should be; need not be there
};

// 64 hex digits: SHA-256 of what turns text into ids (vocabulary, merges, added tokens, normalizer, pre-tokenizer) in
// the canonical form that dev/formats.md, 1.4 describes. Dies with Exit::Data where `text` is not a JSON object.
std::string tokenizer_content(const std::string& name, const std::string& text);

// Of a tokenizer.json that is there.
TokenizerId tokenizer_id(const std::string& file);

// The same file, or the same content where both are known: from the sidecar's key or, while the file there still is the
// one that was named, from it.
bool same_tokenizer(const TokenizerId& a, const TokenizerId& b);
