// Validation rows: a source from its first token on, in file order, in rows as in training.
#include <algorithm>

#include "dataloader/batches.h"
#include "dataloader/loader.h"
#include "dataloader/source.h"
#include "util/check.h"

ValidationRows read_validation(const std::string& name, const std::string& glob, int64_t tokens, int T,
                               bool document_mask, int64_t eot_id, int64_t vocab) {
    ENSURE(vocab > 0 && tokens > 0 && T >= 2, "validation %s: %lld tokens in rows of %d, vocabulary %lld", name.c_str(),
           static_cast<long long>(tokens), T, static_cast<long long>(vocab));
    SourceOptions options;
    options.name = name;
    options.glob = glob;
    Source source(options, 0, T, eot_id);
    source.set_vocab(vocab);
    for (const Sidecar* sidecar : source.sidecars())
        if (sidecar->present && sidecar->vocab_size > vocab)
            die(Exit::Data, "--val %s: its tokenizer has %lld ids, the model %lld", name.c_str(),
                static_cast<long long>(sidecar->vocab_size), static_cast<long long>(vocab));

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
        die(Exit::Usage, "--val %s: %zu tokens (--val-tokens %lld), less than one row of %d", name.c_str(),
            stream.size(), static_cast<long long>(tokens), T);

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
