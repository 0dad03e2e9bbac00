#include "dataloader/print_order.h"

#include <algorithm>

#include "dataloader/batches.h"
#include "util/check.h"
#include "util/tokenizer.h"

namespace {

constexpr size_t shown_bytes = 160;

// Text on one line: control bytes escaped; a long one shows its beginning and end.
std::string one_line(const std::string& text) {
    const auto escaped = [](const std::string& part) {
        std::string line;
        for (const char c : part) {
            if (c == '\n')
                line += "\\n";
            else if (c == '\\')
                line += "\\\\";
            else if (static_cast<unsigned char>(c) < 32 || c == 127)
                line += format_text("\\x%02x", static_cast<unsigned char>(c));
            else
                line += c;
        }
        return line;
    };
    if (text.size() <= shown_bytes) return escaped(text);
    // cut between characters: bytes 10xxxxxx continue one
    const auto continues = [&](size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80; };
    size_t head = shown_bytes / 2, tail = text.size() - shown_bytes / 2;
    while (head > 0 && continues(head)) --head;
    while (tail < text.size() && continues(tail)) ++tail;
    return escaped(text.substr(0, head)) + " ... " + escaped(text.substr(tail));
}

}  // namespace

void print_order_of_step(const DataSet& data, int64_t step, const std::string& state, FILE* out) {
    if (step < 0 || step >= data.plan.steps)
        die(Exit::Usage, "--print-order %d: the run has steps 0 to %d", step, data.plan.steps - 1);
    Batches batches(data, false, state, false);
    Tokenizer tokenizer;
    if (!data.plan.tokenizer.file.empty()) tokenizer = Tokenizer(data.plan.tokenizer.file);
    const int64_t batch_tokens = data.plan.batch_tokens, base = step * batch_tokens, T = data.mixture.T;
    print(out, "step %d: tokens %d to %d of the stream, %d rows of %d\n", step, base, base + batch_tokens,
          batch_tokens / T, T);
    std::vector<int32_t> tokens;
    for (const Piece& piece : batches.pieces_of(step)) {
        const Source& source = data.sources[piece.source];
        print(out, "%d..%d  %d tokens  row %d  %s  epoch %d  %s\n", piece.begin, piece.end(), piece.length,
              std::max<int64_t>(0, (piece.begin - base) / T), source.name(), piece.epoch,
              source.describe(piece.index, piece.epoch));
        if (!tokenizer.known()) continue;
        tokens.resize(static_cast<size_t>(piece.length));
        source.read(piece.index, piece.epoch, tokens.data(), nullptr);
        print(out, "    %s\n", one_line(tokenizer.decode(tokens.data() + 1, tokens.size() - 1)));
    }
}
