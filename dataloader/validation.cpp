#include "dataloader/validation.h"

#include <algorithm>

#include "dataloader/batches.h"  // defines: place_segments
#include "dataloader/source.h"
#include "util/check.h"
#include "util/files.h"

ValidationRows read_validation(const ValidationOptions& options) {
    const auto& [name, glob, tokens, T, document_mask, eot_id, vocab] = options;
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
    for (uint64_t i = 0; i < source.draws() && stream.size() < wanted; ++i) {
        const size_t at = stream.size();
        stream.resize(at + source.length(i, 0));
        source.read(i, 0, stream.data() + at, nullptr);
    }
    const size_t row = static_cast<size_t>(T);
    const size_t n = (std::min(stream.size(), wanted) - 1) / row * row;
    if (n == 0)
        die(Exit::Usage, "--val %s: %d tokens (--val-tokens %d), less than one row of %d", name, stream.size(), tokens,
            T);

    ValidationRows rows;
    rows.name = name;
    rows.rows = static_cast<int>(n / row);
    rows.T = T;
    const auto begin = stream.begin(), end = begin + static_cast<std::ptrdiff_t>(n);
    rows.inputs.assign(begin, end);
    rows.targets.assign(begin + 1, end + 1);
    place_segments(rows.inputs, T, document_mask, source.eot_id(), &rows.positions, &rows.segment_start);

    int64_t bytes = 0, counted = 0;
    bool known = true;
    for (const Sidecar* sidecar : source.sidecars()) {
        known &= sidecar->present && sidecar->bytes > 0;
        bytes += sidecar->bytes;
        counted += sidecar->tokens;
    }
    if (known && !source.knowledge()) rows.bytes_per_token = static_cast<double>(bytes) / static_cast<double>(counted);
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
