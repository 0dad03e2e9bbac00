#include "dataloader/validation.h"

#include <algorithm>

#include "dataloader/batches.h"  // defines: place_segments
#include "dataloader/source.h"
#include "util/check.h"
#include "util/files.h"
#include "util/tokenizer.h"

namespace {

// The tokenizer of all shards: next to one of them, else the model's. Not known where a shard has no sidecar or none of
// these files is that tokenizer.
Tokenizer shards_tokenizer(const Source& source, const TokenizerId& model) {
    const std::vector<const Sidecar*> sidecars = source.sidecars();
    for (const Sidecar* sidecar : sidecars)
        if (!sidecar->present || !same_tokenizer(sidecar->tokenizer, sidecars[0]->tokenizer)) return {};
    std::vector<std::string> files = {model.file};
    for (const Sidecar* sidecar : sidecars)
        if (sidecar->tokenizer.file != files.back()) files.push_back(sidecar->tokenizer.file);
    for (const std::string& file : files)
        if (!file.empty() && file_exists(file) && same_tokenizer(tokenizer_id(file), sidecars[0]->tokenizer))
            return Tokenizer::if_readable(file);
    return {};
}

// UTF-8 bytes of the text that the first n targets stand for: stream[1] .. stream[n]. EOT is none of it. 0: not known.
// `begins`: where in the stream a document begins, with its EOT; a later slice of it begins with EOT alone.
int64_t target_bytes(const Tokenizer& tokenizer, int64_t eot_id, const std::vector<int>& stream,
                     const std::vector<size_t>& begins, size_t n) {
    int64_t bytes = 0;
    for (size_t at = 0; at <= n;) {
        size_t end = at + 1;
        while (end <= n && stream[end] != eot_id) ++end;
        const bool opens = std::binary_search(begins.begin(), begins.end(), at);
        const int64_t of_part = tokenizer.text_bytes(stream.data() + at + 1, end - at - 1, opens);
        if (of_part < 0) return 0;
        bytes += of_part;
        at = end;
    }
    return bytes;
}

}  // namespace

ValidationRows read_validation(const ValidationOptions& options) {
    const auto& [name, glob, tokens, T, document_mask, eot_id, vocab, model_tokenizer] = options;
    ENSURE(vocab > 0 && tokens > 0 && T >= 2, "validation %s: %d tokens in rows of %d, vocabulary %d", name, tokens, T,
           vocab);
    SourceOptions shards;
    shards.name = name;
    shards.glob = glob;
    Source source(shards, 0, T, eot_id);
    source.set_vocab(vocab);
    for (const Sidecar* sidecar : source.sidecars())
        if (sidecar->present && sidecar->vocab_size > vocab)
            die(Exit::Data, "--val %s: its tokenizer has %d ids, the model %d", name, sidecar->vocab_size, vocab);

    // one token more than the rows: the last target
    const size_t wanted = static_cast<size_t>(tokens) + 1;
    std::vector<int> stream;
    std::vector<size_t> begins;  // where a document begins, with its EOT
    for (uint64_t i = 0; i < source.draws() && stream.size() < wanted; ++i) {
        const size_t at = stream.size();
        if (source.opens_document(i)) begins.push_back(at);
        stream.resize(at + source.length(i, 0));
        source.read(i, 0, stream.data() + at, nullptr);
    }
    const size_t row = static_cast<size_t>(T);
    const size_t n = (std::min(stream.size(), wanted) - 1) / row * row;
    if (n == 0 && tokens < T) die(Exit::Usage, "--val-tokens %d: less than one row of --seq-len %d", tokens, T);
    if (n == 0) die(Exit::Usage, "--val %s: it has %d tokens, less than one row of %d", name, stream.size(), T);

    ValidationRows rows;
    rows.name = name;
    rows.rows = static_cast<int>(n / row);
    rows.T = T;
    const auto begin = stream.begin(), end = begin + static_cast<std::ptrdiff_t>(n);
    rows.inputs.assign(begin, end);
    rows.targets.assign(begin + 1, end + 1);
    place_segments(rows.inputs, T, document_mask, source.eot_id(), &rows.positions, &rows.segment_start);

    const Tokenizer tokenizer = source.knowledge() ? Tokenizer() : shards_tokenizer(source, model_tokenizer);
    if (tokenizer.known()) rows.bytes = target_bytes(tokenizer, source.eot_id(), stream, begins, n);
    return rows;
}

std::vector<std::string> overlap_warnings(const std::vector<std::pair<std::string, std::string>>& validation,
                                          const std::vector<std::pair<std::string, std::string>>& sources) {
    std::vector<std::string> warnings;
    for (const auto& [val, val_glob] : validation)
        for (const auto& [source, source_glob] : sources) {
            const std::vector<std::string> trained = glob_files(source_glob);
            for (const std::string& path : glob_files(val_glob))
                if (std::binary_search(trained.begin(), trained.end(), path))
                    warnings.push_back(
                        format_text("--val %s and --source %s share %s: that loss is not one of "
                                    "held-out text",
                                    val, source, path));
        }
    return warnings;
}
