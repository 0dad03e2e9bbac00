#include "dataloader/batches.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "util/check.h"
#include "util/json.h"

using nlohmann::json;

namespace {

constexpr const char* state_file = "loader_state.json";

std::string show(const json& object, const char* key) {
    return object.contains(key) ? object[key].dump() : std::string("nothing");
}

// The files of a source, by what they hold: name and folder may be others.
void compare_files(const Source& source, const json& theirs) {
    const std::vector<Source::FileIdentity> ours = source.identities();
    const auto content = [](const Source::FileIdentity& file) { return format_text("%08x", file.content); };
    const auto name_of = [](const json& file) { return file.is_object() ? file.value("name", "") : std::string(); };
    if (theirs.size() != ours.size()) {
        std::string extra;  // the first that the other side does not have
        if (ours.size() > theirs.size())
            for (const Source::FileIdentity& file : ours) {
                const bool known = std::any_of(theirs.begin(), theirs.end(), [&](const json& their) {
                    return name_of(their) == file.path.substr(file.path.rfind('/') + 1);
                });
                if (!known && extra.empty()) extra = file.path + " is new";
            }
        else
            for (const json& their : theirs) {
                const bool known = std::any_of(ours.begin(), ours.end(), [&](const Source::FileIdentity& file) {
                    return name_of(their) == file.path.substr(file.path.rfind('/') + 1);
                });
                if (!known && extra.empty()) extra = name_of(their) + " is missing";
            }
        die(Exit::Usage, "source %s had %d files when the checkpoint was saved, there are %d%s%s", source.name(),
            theirs.size(), ours.size(), extra.empty() ? "" : ": ", extra);
    }
    for (size_t i = 0; i < ours.size(); ++i) {
        const json& their = theirs[i];
        const std::string checksums = their.is_object() ? their.value("checksums", "") : "";
        if (show(their, "content") == json(content(ours[i])).dump() &&
            show(their, "tokens") == std::to_string(ours[i].tokens) &&
            (checksums.empty() || ours[i].checksums.empty() || checksums == ours[i].checksums))
            continue;
        die(Exit::Data,
            "%s: not the file that the checkpoint was trained on (%s): %s tokens in %s documents there, %d in %d here, "
            "checksum %s there, %s here; restore the file, or start a new run on the new one",
            ours[i].path, name_of(their), show(their, "tokens"), show(their, "documents"), ours[i].tokens,
            ours[i].documents, their.is_object() ? their.value("content", "") : "", content(ours[i]));
    }
}

// Names what differs between the fingerprint of a state's data set and ours.
void compare_fingerprints(const json& theirs, const DataSet& data, bool new_horizon) {
    const json ours = json::parse(data.fingerprint);
    const std::pair<const char*, const char*> flags[] = {
        {"data_seed", "--data-seed"}, {"T", "--seq-len"}, {"eot_id", "the EOT id"}, {"tokens", "the run's tokens"}};
    for (const auto& [key, flag] : flags)
        if (show(theirs, key) != show(ours, key) && !(new_horizon && std::string(key) == "tokens"))
            die(Exit::Usage, "the data stream was saved with another %s: %s there, %s here", flag, show(theirs, key),
                show(ours, key));
    const json& here = ours["sources"];
    const json there = theirs.contains("sources") && theirs["sources"].is_array() ? theirs["sources"] : json::array();
    if (there.size() != here.size())
        die(Exit::Usage, "the data stream was saved with %d sources, there are %d", there.size(), here.size());
    for (size_t s = 0; s < here.size(); ++s) {
        const Source& source = data.sources[s];
        for (const char* key : {"name", "options"})
            if (show(there[s], key) != show(here[s], key))
                die(Exit::Usage, "the data stream was saved with another %s of source %s: %s there, %s here", key,
                    source.name(), show(there[s], key), show(here[s], key));
        if (there[s].contains("files")) {
            compare_files(source, there[s]["files"]);
            continue;
        }
        // of an older version: names, sizes and sidecars are all that it knows
        const std::string data_here = json(format_text("%016x", source.hash())).dump();
        if (show(there[s], "data") != data_here)
            die(Exit::Data, "the data stream was saved with other data of source %s: %s there, %s here", source.name(),
                show(there[s], "data"), data_here);
    }
}

// Of a step's rows, the first of a part.
int64_t first_row(const DataSet& data, int part, int parts) {
    return data.plan.batch_tokens / data.mixture.T * part / parts;
}

}  // namespace

void place_segments(const std::vector<int>& inputs, int T, bool document_mask, int64_t eot_id,
                    std::vector<int>* positions, std::vector<int>* segment_start) {
    const size_t n = inputs.size(), row = static_cast<size_t>(T);
    if (!document_mask) {  // the same for every batch
        segment_start->clear();
        if (positions->size() == n) return;
        positions->resize(n);
        for (size_t i = 0; i < n; ++i) (*positions)[i] = static_cast<int>(i % row);
        return;
    }
    positions->resize(n);
    segment_start->resize(n);
    for (size_t i = 0; i < n; i += row) {
        int start = 0;
        for (int t = 0; t < T; ++t) {
            const size_t at = i + static_cast<size_t>(t);
            if (inputs[at] == eot_id) start = t;
            (*segment_start)[at] = start;
            (*positions)[at] = t - start;
        }
    }
}

Batches::Batches(const DataSet& data, bool document_mask, const std::string& state, bool new_horizon, int part,
                 int parts)
    : data_(data),
      batch_tokens_(data.plan.batch_tokens),
      own_begin_(first_row(data, part, parts) * data.mixture.T),
      own_end_(first_row(data, part + 1, parts) * data.mixture.T),
      T_(data.mixture.T),
      document_mask_(document_mask),
      stream_(data.sources, data.mixture) {
    ENSURE(part >= 0 && part < parts, "part %d of %d", part, parts);
    if (state.empty())
        open_piece(stream_.next());
    else
        restore(state, new_horizon);
}

bool Batches::has_own_token(const Piece& piece) const {
    for (int64_t base = step_ * batch_tokens_; base + own_begin_ < piece.end(); base += batch_tokens_)
        if (base + own_end_ >= piece.begin) return true;  // the last target is one after the inputs
    return false;
}

void Batches::open_piece(const Piece& piece) {
    piece_ = piece;
    const bool own = has_own_token(piece);
    const Source& source = data_.sources[piece.source];
    piece_tokens_.resize(own ? static_cast<size_t>(piece.length) : 0);
    values_.clear();
    if (!own && !source.knowledge()) return;
    source.read(piece.index, piece.epoch, own ? piece_tokens_.data() : nullptr, &spans_);
    if (!source.knowledge()) return;
    const uint32_t entity = static_cast<uint32_t>(source.entity(piece.index));
    for (const ValueSpan& span : spans_) {
        const int64_t first = piece.begin + span.begin, last = piece.begin + span.end - 1;
        const bool cut = (first - 1) / T_ != (last - 1) / T_;  // token q is a target of row (q-1) / T
        values_.push_back({last, {static_cast<uint32_t>(piece.source), entity, span.slot, cut}});
    }
}

void Batches::make(Batch* batch) {
    ENSURE(step_ < data_.plan.steps, "step %d of a run of %d", step_, data_.plan.steps);
    const size_t n = static_cast<size_t>(own_end_ - own_begin_);
    batch->step = step_;
    batch->inputs.resize(n);
    batch->targets.resize(n);
    batch->source.resize(n);
    batch->source_targets.assign(data_.sources.size(), 0);
    batch->exposures.clear();

    // inputs are tokens [base, last) of the stream, of them [own, own_last) in the own rows; targets one further
    const int64_t base = step_ * batch_tokens_, last = base + batch_tokens_, own = base + own_begin_,
                  own_last = base + own_end_;
    for (;;) {
        const int64_t input_begin = std::max(own, piece_.begin), input_end = std::min(own_last, piece_.end());
        const int64_t target_begin = std::max(own + 1, piece_.begin), target_end = std::min(own_last + 1, piece_.end());
        const int32_t* tokens = piece_tokens_.data();
        if (input_begin < input_end)
            std::copy(tokens + (input_begin - piece_.begin), tokens + (input_end - piece_.begin),
                      batch->inputs.data() + (input_begin - own));
        if (target_begin < target_end) {
            std::copy(tokens + (target_begin - piece_.begin), tokens + (target_end - piece_.begin),
                      batch->targets.data() + (target_begin - own - 1));
            std::fill_n(batch->source.data() + (target_begin - own - 1), target_end - target_begin,
                        static_cast<uint16_t>(piece_.source));
        }
        batch->source_targets[piece_.source] +=
            std::max<int64_t>(0, std::min(last + 1, piece_.end()) - std::max(base + 1, piece_.begin));
        for (const Value& value : values_)
            if (value.last > base && value.last <= last) batch->exposures.push_back(value.exposure);
        if (piece_.end() > last) break;
        open_piece(stream_.next());
    }
    place_segments(batch->inputs, T_, document_mask_, data_.plan.eot_id, &batch->positions, &batch->segment_start);
    ++step_;
    batch->state = state();
}

std::vector<Piece> Batches::pieces_of(int64_t step) {
    ENSURE(step >= step_ && step < data_.plan.steps, "step %d is not between %d and %d", step, step_, data_.plan.steps);
    const int64_t base = step * batch_tokens_, last = base + batch_tokens_;
    std::vector<Piece> pieces;
    for (Piece piece = piece_;; piece = stream_.next()) {
        if (piece.end() > base + 1) pieces.push_back(piece);
        if (piece.end() > last) return pieces;
    }
}

std::string Batches::state() const {
    const json piece = {{"source", piece_.source},
                        {"index", piece_.index},
                        {"epoch", piece_.epoch},
                        {"begin", piece_.begin},
                        {"length", piece_.length}};
    const json state = {{"format_version", 1},
                        {"step", step_},
                        {"batch_tokens", batch_tokens_},
                        {"piece", piece},
                        {"stream", stream_.state()}};
    std::string text = state.dump();
    text.back() = ',';
    return text + "\"manifest\":" + data_.fingerprint + "}";
}

void Batches::restore(const std::string& text, bool new_horizon) {
    const json state = parse_json(state_file, text);
    check_format_version(state_file, state);
    if (!state.contains("manifest") || !state["manifest"].is_object())
        die(Exit::Data, "%s: key 'manifest' is missing", state_file);
    compare_fingerprints(state["manifest"], data_, new_horizon);
    const bool longer = state["manifest"].value("tokens", json()) != json(data_.plan.tokens);
    for (const Source& source : data_.sources)
        if (longer && (source.options().is_exposed() || !source.options().windows.empty()))
            die(Exit::Usage,
                "a branch with another length: --exposures and --window of source %s are places in a run of one "
                "length; start anew, or branch with the same --tokens",
                source.name());
    const int64_t tokens = json_integer(state_file, state, "batch_tokens", 1, INT64_MAX);
    step_ = json_integer(state_file, state, "step", 0, INT64_MAX / tokens);
    if (step_ * tokens % batch_tokens_ != 0)
        die(Exit::Usage, "the data stream was saved after %d tokens, no whole number of steps of --batch-tokens %d",
            step_ * tokens, batch_tokens_);
    step_ = step_ * tokens / batch_tokens_;
    if (step_ > data_.plan.steps)
        die(Exit::Usage, "the data stream was saved after step %d, this run has %d; give more --tokens", step_,
            data_.plan.steps);
    if (!state.contains("piece") || !state["piece"].is_object() || !state.contains("stream"))
        die(Exit::Data, "%s: key 'piece' or 'stream' is missing", state_file);
    stream_.restore(state["stream"]);
    const json& at = state["piece"];
    Piece piece;
    piece.source =
        static_cast<size_t>(json_integer(state_file, at, "source", 0, static_cast<int64_t>(data_.sources.size()) - 1));
    piece.index = static_cast<uint64_t>(
        json_integer(state_file, at, "index", 0, static_cast<int64_t>(data_.sources[piece.source].draws()) - 1));
    piece.epoch = static_cast<uint64_t>(json_integer(state_file, at, "epoch", 0, INT64_MAX));
    piece.begin = json_integer(state_file, at, "begin", 0, INT64_MAX / 2);
    piece.length = static_cast<int64_t>(data_.sources[piece.source].length(piece.index, piece.epoch));
    const int64_t position = step_ * batch_tokens_;
    if (piece.begin > position || piece.end() <= position || piece.end() != stream_.position())
        die(Exit::Data, "%s: piece and position do not fit together; resume from an older checkpoint", state_file);
    open_piece(piece);
}
