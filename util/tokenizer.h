// tokenizer.h - token ids as text: for the screen, for judging continuations, for counting bytes. Decoding only:
// encoding is the data commands' (Hugging Face tokenizers).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

class Tokenizer {
  public:
    Tokenizer() = default;
    // A tokenizer.json, or a folder that holds one: byte-level BPE (GPT-2, GPT-NeoX, our own), and BPE or Unigram whose
    // decoder writes spaces as U+2581 and falls back to bytes <0xNN> (Llama). Dies with Exit::Data on another kind.
    explicit Tokenizer(const std::string& path);
    // The parser alone, on any text (the fuzz target's entry point); `name` is for messages.
    static Tokenizer from_json(const std::string& name, const std::string& text);
    // Not known() where the file is a tokenizer of a kind that is not read. Dies only on a broken one.
    static Tokenizer if_readable(const std::string& file);

    bool known() const { return !pieces_.empty(); }
    int64_t vocab_size() const { return static_cast<int64_t>(pieces_.size()); }  // largest id + 1
    int64_t eot_id() const { return eot_id_; }                                   // of <|endoftext|>; -1: none
    const std::string& file() const { return file_; }
    // The bytes of the ids, as the library decodes a text of its own; an unknown id shows as <id 123>. Bytes that are
    // not UTF-8 stay as they are.
    std::string decode(const int32_t* ids, size_t n) const;
    // Bytes of the text that the ids stand for: special tokens are none. `begins`: the text's first id is among them,
    // so that the space which such tokenizers put before a text does not count. -1: an id is unknown.
    int64_t text_bytes(const int32_t* ids, size_t n, bool begins) const;

  private:
    // The reason why this kind is not read; "": it is.
    std::string parse(const std::string& name, const std::string& text);
    const std::string* piece(int32_t id) const;

    std::string file_;
    int64_t eot_id_ = -1;
    std::vector<std::string> pieces_;  // by id; an id that nothing has is empty
    std::vector<bool> special_;
    size_t strip_ = 0, strip_end_ = 0;   // so many spaces go from the text's ends
    bool first_without_spaces_ = false;  // Metaspace: those of the first token go
};
