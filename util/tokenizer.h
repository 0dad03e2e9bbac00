// tokenizer.h - token ids as text, for the screen. Decoding only: encoding is the data scripts' (Hugging Face
// tokenizers).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

class Tokenizer {
  public:
    Tokenizer() = default;
    // A tokenizer.json (byte-level BPE as GPT-2, GPT-NeoX and our own), or a folder that holds one. Dies with
    // Exit::Data on another kind of file.
    explicit Tokenizer(const std::string& path);
    // The parser alone, on any text (the fuzz target's entry point); `name` is for messages.
    static Tokenizer from_json(const std::string& name, const std::string& text);

    bool known() const { return !pieces_.empty(); }
    int64_t vocab_size() const { return static_cast<int64_t>(pieces_.size()); }  // largest id + 1
    int64_t eot_id() const { return eot_id_; }                                   // of <|endoftext|>; -1: none
    const std::string& file() const { return file_; }
    // The bytes of the ids; an unknown id shows as <id 123>.
    std::string decode(const int32_t* ids, size_t n) const;

  private:
    std::string file_;
    int64_t eot_id_ = -1;
    std::vector<std::string> pieces_;  // by id; an id that nothing has is empty
};
