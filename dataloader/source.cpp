#include "dataloader/source.h"

#include <algorithm>
#include <cmath>

#include "dataloader/doses.h"
#include "dataloader/subsample.h"
#include "util/check.h"
#include "util/files.h"

namespace {

constexpr uint64_t block = 64;           // documents per entry of first_piece_
constexpr double rounding = 1e-9;        // weights that are this close are equal
constexpr uint64_t looked_at = 1 << 16;  // documents whose ends are read at start-up to learn where EOT is

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Whether the weights of these files' groups, which are the same, come to the same for every entity.
bool is_even(const KnowledgeFile* begin, const KnowledgeFile* end) {
    const std::vector<double>& weights = begin->group_weights();
    if (weights.empty()) return true;
    std::vector<double> sizes(weights.size(), 0);
    double entities = 0, sum = 0;
    for (const KnowledgeFile* file = begin; file != end; ++file) {
        entities += static_cast<double>(file->entities());
        for (uint64_t i = 0; i < file->entities(); ++i) ++sizes[file->group(i)];
    }
    for (size_t g = 0; g < sizes.size(); ++g)
        if (sizes[g] > 0) sum += weights[g];
    for (size_t g = 0; g < sizes.size(); ++g)
        if (sizes[g] > 0 && !(std::abs(weights[g] / sum * entities - sizes[g]) <= rounding * sizes[g])) return false;
    return true;
}

}  // namespace

Source::Source(const SourceOptions& options, uint64_t data_seed, int T, int64_t eot_id)
    : options_(options),
      seed_(data_seed),
      compose_stream_(hash_name("compose/" + options.name)),
      slice_(static_cast<uint64_t>(T) - 1),
      first_document_{0} {
    const std::string& name = options.name;
    std::vector<std::string> paths;
    for (const std::string& path : glob_files(options.glob))
        if (is_shard(path)) paths.push_back(path);
    if (paths.empty())
        die(Exit::Data,
            "source %s=%s: matches no .bin or .ds file; expected PREFIX.bin as `knapsack text` writes it "
            "(quote a pattern)",
            name, options.glob);

    const bool facts = KnowledgeFile::is_one(shard_prefix(paths[0]));
    for (const std::string& path : paths) {
        TokenFile file(path, eot_id);
        if (file.sidecar().kind == "questions")
            die(Exit::Data, "--source %s: %s is a question set; give it to --questions", name, path);
        if (KnowledgeFile::is_one(shard_prefix(path)) != facts ||
            (file.sidecar().present && (file.sidecar().kind == "knowledge") != facts))
            die(Exit::Data,
                "--source %s: %s: knowledge and text shards do not go together in one source, and facts.json is "
                "next to knowledge only",
                name, path);
        if (file.eot_id() < 0)
            die(Exit::Usage,
                "--source %s: %s has no sidecar (.json), so its EOT id is not known; give --tokenizer or --eot-id",
                name, path);
        if (eot_id_ >= 0 && file.eot_id() != eot_id_)
            die(Exit::Data, "--source %s: EOT is %d in %s, %d in %s", name, eot_id_, paths[0], file.eot_id(), path);
        eot_id_ = file.eot_id();
        first_document_.push_back(first_document_.back() + file.num_documents());
        if (facts)
            knowledge_.emplace_back(std::move(file));
        else
            text_.push_back(std::move(file));
    }

    const uint64_t all = first_document_.back();
    const std::vector<uint32_t>& list = options.kept;
    if (!list.empty() && list.back() >= all)
        die(Exit::Data, "--subsample %s: its list has entity %d; the source has %d, counted from 0", name, list.back(),
            all);
    documents_ = list.empty() ? subsample_size(all, options.subsample) : list.size();
    if (documents_ == 0)
        die(Exit::Usage, "--source %s: %d documents, of which --subsample %g keeps none", name, all, options.subsample);
    kept_all_ = documents_ == all;
    if (!kept_all_) keep_ = subsample_order(all, seed_, options.name);
    facts ? open_knowledge() : open_text();
    if (draws_ == 0) die(Exit::Data, "--source %s: every document is empty", name);
    if (groups_.empty())
        groups_.push_back({hash_name("order/" + options.name),
                           draws_,
                           1ll << share_bits,
                           {},
                           std::max<int64_t>(options.exposures, 0)});
}

void Source::open_knowledge() {
    for (const KnowledgeFile& file : knowledge_)
        if (file.slot_names() != knowledge_[0].slot_names())
            die(Exit::Data, "--source %s: slots differ between %s and %s", name(), knowledge_[0].tokens().path(),
                file.tokens().path());
    draws_ = documents_;
    const bool weighted = weights_count();
    const size_t doses = options_.doses.size();
    const Permutation dose_place = dose_order(draws_, seed_, name());
    std::vector<Group> groups(doses > 0 ? doses : weighted ? knowledge_[0].group_names().size() : 0);
    std::vector<double> tokens(groups.size(), 0);
    double expected = 0;
    for (uint64_t i = 0; i < draws_; ++i) {
        const Place at = place(kept(i));
        const KnowledgeFile::Lengths lengths = knowledge_[at.file].lengths(at.document);
        double length = lengths.expected + std::ceil(lengths.expected / static_cast<double>(slice_));
        if (const uint64_t wordings = knowledge_[at.file].rendering().wordings) {  // no expectation, but these
            const uint64_t counted = std::min<uint64_t>(wordings, 16);
            uint64_t sum = 0;
            for (uint64_t epoch = 0; epoch < counted; ++epoch) sum += this->length(i, epoch);
            length = static_cast<double>(sum) / static_cast<double>(counted);
        }
        expected += length;
        longest_ = std::max(longest_, with_ends(lengths.longest));
        if (groups.empty()) continue;
        const size_t group =
            doses > 0 ? dose_number(dose_place(i), draws_, doses) : knowledge_[at.file].group(at.document);
        groups[group].members.push_back(i);
        tokens[group] += length;
    }
    mean_length_ = expected / static_cast<double>(draws_);
    epoch_tokens_ = mean_length_ * static_cast<double>(draws_);
    if (doses > 0)
        open_doses(std::move(groups), tokens);
    else if (weighted)
        open_groups(std::move(groups), tokens);
}

// Files that name the same groups are one population. Where they do not, no weight says how often a file's groups come
// next to another's.
bool Source::weights_count() {
    const KnowledgeFile* const first = knowledge_.data();
    bool same = true, even = true;
    for (const KnowledgeFile& file : knowledge_) {
        same &= file.group_names() == first->group_names() && file.group_weights() == first->group_weights();
        even &= is_even(&file, &file + 1);
    }
    if (same) even = is_even(first, first + knowledge_.size());
    if (even) return false;
    if (options_.is_exposed()) {
        warnings_.push_back(format_text("source %s: --exposures shows every entity %s; its group weights are not used",
                                        name(), options_.doses.empty() ? "equally often" : "as often as its dose is"));
        return false;
    }
    if (!same)
        die(Exit::Data,
            "--source %s: group_weights of %s do not fit its other files, whose groups or weights are different; "
            "prepare them together, or give each its own --source",
            name(), first->tokens().path());
    return true;
}

// By number in facts.json, with their members and the expected tokens of these.
void Source::open_groups(std::vector<Group> groups, const std::vector<double>& tokens) {
    const std::vector<double>& weights = knowledge_[0].group_weights();
    double sum = 0;
    size_t largest = 0, empty = 0, never = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
        if (!groups[g].members.empty()) sum += weights[g];
        if (weights[g] == 0) never += groups[g].members.size();
        if (weights[g] > 0 && groups[g].members.empty()) ++empty;
        if (!groups[g].members.empty() && (groups[largest].members.empty() || weights[g] > weights[largest]))
            largest = g;
    }
    if (!(sum > 0))
        die(kept_all_ ? Exit::Data : Exit::Usage, "--source %s: %s: no entity%s is of a group that has a weight",
            name(), knowledge_[0].tokens().path(), kept_all_ ? "" : " that --subsample keeps");
    if (empty > 0)
        warnings_.push_back(
            format_text("source %s: %d of %d groups have a weight but no entity%s; it goes to the others", name(),
                        empty, groups.size(), kept_all_ ? "" : " that --subsample keeps"));
    if (never > 0)
        warnings_.push_back(
            format_text("source %s: %d entities never appear, their groups have weight 0", name(), never));

    int64_t left = 1ll << share_bits;
    for (size_t g = 0; g < groups.size(); ++g) {
        groups[g].share = 0;
        if (weights[g] == 0 || groups[g].members.empty()) continue;
        const double share = std::ldexp(weights[g] / sum, share_bits);
        left -= groups[g].share = std::max<int64_t>(1, std::llround(share));
    }
    groups[largest].share += left;  // rounding goes to one group
    mean_length_ = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
        Group& group = groups[g];
        if (group.share == 0) continue;
        group.stream = hash_name(format_text("order/%s/%d", name(), g));
        group.size = group.members.size();
        mean_length_ +=
            std::ldexp(static_cast<double>(group.share), -share_bits) * tokens[g] / static_cast<double>(group.size);
        groups_.push_back(std::move(group));
    }
}

// By number of the dose, with their members and the expected tokens of these. After promised() draws every group has
// had exactly its share of them, and each member its dose.
void Source::open_doses(std::vector<Group> groups, const std::vector<double>& tokens) {
    double expected = 0;
    for (size_t g = 0; g < groups.size(); ++g) {
        Group& group = groups[g];
        if (group.members.empty()) continue;
        group.exposures = options_.doses[g];
        group.stream = hash_name(format_text("order/%s/dose %d", name(), group.exposures));
        group.size = group.members.size();
        group.share = group.exposures * static_cast<int64_t>(group.size);
        expected += static_cast<double>(group.exposures) * tokens[g];
        groups_.push_back(std::move(group));
    }
    mean_length_ = expected / static_cast<double>(promised());
    if (groups_.size() < groups.size())
        warnings_.push_back(format_text("source %s: %d entities%s, so %d of the %d doses have none", name(), draws_,
                                        kept_all_ ? "" : " kept", groups.size() - groups_.size(), groups.size()));
}

int64_t Source::promised() const {
    int64_t sum = 0;
    for (const Group& group : groups_) sum += group.exposures * static_cast<int64_t>(group.size);
    return sum;
}

std::vector<uint32_t> Source::doses() const {
    std::vector<uint32_t> result(options_.doses.empty() ? 0 : entities(), 0);
    if (!result.empty())
        for (const Group& group : groups_)
            for (const uint64_t index : group.members) result[entity(index)] = narrow<uint32_t>(group.exposures);
    return result;
}

// Pieces are counted exactly, from the index; a document's ends are read only where a stripped EOT changes the number
// of slices. Tokens are counted from the ends of up to `looked_at` documents: exact for smaller sources, and for
// larger ones whose documents all end alike.
void Source::open_text() {
    const uint64_t stride = (documents_ + looked_at - 1) / looked_at;
    uint64_t raw = 0, looked = 0, removed = 0;
    for (uint64_t i = 0; i < documents_; ++i) {
        if (i % block == 0) first_piece_.push_back(draws_);
        const Place at = place(kept(i));
        const uint64_t size = text_[at.file].document(at.document).size();
        draws_ += slices(at);
        raw += size;
        if (i % stride == 0) {
            ++looked;
            removed += size - stripped(at).size();
        }
    }
    longest_ = slice_ + 1;
    const double ends = static_cast<double>(removed) / static_cast<double>(looked) * static_cast<double>(documents_);
    if (draws_ > 0) mean_length_ = 1 + (static_cast<double>(raw) - ends) / static_cast<double>(draws_);
    epoch_tokens_ = mean_length_ * static_cast<double>(draws_);
}

Source::Place Source::place(uint64_t document) const {
    const auto next = std::upper_bound(first_document_.begin(), first_document_.end(), document);
    const size_t file = static_cast<size_t>(next - first_document_.begin()) - 1;
    return {file, document - first_document_[file]};
}

TokenFile::Range Source::stripped(const Place& at) const {
    const TokenFile& file = text_[at.file];
    TokenFile::Range range = file.document(at.document);
    if (range.size() > 0 && file.token(range.begin) == eot_id_) ++range.begin;
    if (range.size() > 0 && file.token(range.end - 1) == eot_id_) --range.end;
    return range;
}

uint64_t Source::slices(const Place& at) const {
    const auto of = [&](uint64_t size) { return (size + slice_ - 1) / slice_; };
    const uint64_t size = text_[at.file].document(at.document).size();
    const uint64_t most = of(size);
    if (most == of(size - std::min<uint64_t>(size, 2))) return most;
    return of(stripped(at).size());
}

Source::Slice Source::locate(uint64_t piece) const {
    const auto next = std::upper_bound(first_piece_.begin(), first_piece_.end(), piece);
    const uint64_t b = static_cast<uint64_t>(next - first_piece_.begin()) - 1;
    uint64_t before = first_piece_[b];
    for (uint64_t i = b * block;; ++i) {
        const Place at = place(kept(i));
        const uint64_t n = slices(at);
        if (piece < before + n) {
            const TokenFile::Range range = stripped(at);
            const uint64_t number = piece - before, begin = range.begin + number * slice_;
            return {at, number, begin, std::min(range.end, begin + slice_)};
        }
        before += n;
    }
}

void Source::arrange(uint64_t index, uint64_t epoch, Composition* composition) const {
    const uint64_t entity = kept(index);
    const Place at = place(entity);
    composition->file = &knowledge_[at.file];
    composition->entity = at.document;
    const auto draw = [&](uint64_t number) {
        const Philox4 p = philox(seed_, compose_stream_, number * first_document_.back() + entity);
        return RandomWords{static_cast<uint64_t>(p.x[1]) << 32 | p.x[0], static_cast<uint64_t>(p.x[3]) << 32 | p.x[2]};
    };
    const Rendering& rendering = composition->file->rendering();
    const RandomWords order = draw(rendering.order_of(epoch));
    const bool both = rendering.order_of(epoch) == rendering.wording_of(epoch);
    composition->file->arrange(order, both ? order : draw(rendering.wording_of(epoch)), composition->sentences);
}

uint64_t Source::length(uint64_t index, uint64_t epoch) const {
    if (!knowledge()) {
        const Slice slice = locate(index);
        return 1 + slice.end - slice.begin;
    }
    Composition c;
    arrange(index, epoch, &c);
    return with_ends(c.file->length(c.entity, c.sentences));
}

void Source::read(uint64_t index, uint64_t epoch, int32_t* dst, std::vector<ValueSpan>* values) const {
    const int32_t eot = static_cast<int32_t>(eot_id_);
    if (dst) dst[0] = eot;
    if (!knowledge()) {
        if (!dst) return;
        const Slice slice = locate(index);
        text_[slice.place.file].read(slice.begin, slice.end - slice.begin, vocab_, dst + 1);
        return;
    }
    Composition c;
    arrange(index, epoch, &c);
    if (values) values->resize(slots());
    const uint64_t n =
        c.file->compose(c.entity, c.sentences, vocab_, dst ? dst + 1 : nullptr, values ? values->data() : nullptr);
    // from the back: further slices move up by one EOT each
    for (uint64_t slice = dst ? (n - 1) / slice_ : 0; slice > 0; --slice) {
        const uint64_t begin = slice * slice_, end = std::min(n, begin + slice_);
        std::copy_backward(dst + 1 + begin, dst + 1 + end, dst + 1 + end + slice);
        dst[begin + slice] = eot;
    }
    if (values)
        for (ValueSpan& v : *values) {
            const uint64_t first = v.begin, last = v.end - 1;
            v.begin = static_cast<uint32_t>(1 + first + first / slice_);
            v.end = static_cast<uint32_t>(2 + last + last / slice_);
        }
}

uint64_t Source::entities() const { return knowledge() ? first_document_.back() : 0; }

std::vector<LedgerShard> Source::shards() const {
    std::vector<LedgerShard> result;
    for (const KnowledgeFile& file : knowledge_) {
        const std::string prefix = shard_prefix(file.tokens().path());
        result.push_back({prefix.substr(prefix.rfind('/') + 1), file.entities(), file.tokens().sidecar().facts});
    }
    return result;
}

std::vector<const Sidecar*> Source::sidecars() const {
    std::vector<const Sidecar*> result;
    for (size_t i = 0; i < num_files(); ++i) result.push_back(&file_of(i).sidecar());
    return result;
}

std::vector<Source::FileIdentity> Source::identities() const {
    std::vector<FileIdentity> result;
    for (size_t i = 0; i < num_files(); ++i) {
        const TokenFile& file = file_of(i);
        std::string checksums;
        for (const auto& [file_name, checksum] : file.sidecar().checksums) checksums += checksum + " ";
        if (!checksums.empty()) checksums = format_text("%016x", hash_name(checksums));
        result.push_back({file.path(), file.num_tokens(), file.num_documents(),
                          knowledge() ? knowledge_[i].content() : file.content(), checksums});
    }
    return result;
}

void Source::check_checksums(uint64_t* budget) const {
    for (size_t i = 0; i < num_files(); ++i) {
        const TokenFile& file = file_of(i);
        for (const auto& [file_name, checksum] : file.sidecar().checksums) {
            if (file_name != base_name(file.path()) || checksum.rfind("sha256:", 0) != 0) continue;
            if (file.bytes() > *budget) return;
            *budget -= file.bytes();
            if ("sha256:" + sha256_file(file.path()) != checksum)
                die(Exit::Data,
                    "%s: not what the sha256 in its sidecar (.json) says: it was changed or damaged after it was "
                    "prepared; prepare the data again",
                    file.path());
        }
    }
}

uint64_t Source::hash() const {
    std::string text;
    for (size_t i = 0; i < num_files(); ++i) {
        const TokenFile& file = file_of(i);
        text += format_text("%s %d %d %x\n", base_name(file.path()), file.num_tokens(), file.num_documents(),
                            file.sidecar().hash);
        if (knowledge()) text += format_text("%x\n", knowledge_[i].hash());
        if (weighted()) text += format_text("%x\n", knowledge_[i].hash_of_groups());
    }
    return hash_name(text);
}

std::string Source::describe(uint64_t index, uint64_t epoch) const {
    if (!knowledge()) {
        const Slice slice = locate(index);
        return format_text("%s document %d slice %d", base_name(file_of(slice.place.file).path()), slice.place.document,
                           slice.number);
    }
    Composition c;
    arrange(index, epoch, &c);
    std::string text = format_text("entity %d '%s'", kept(index), c.file->entity_name(c.entity));
    for (uint32_t i = 0; i < slots(); ++i) {
        const Sentence& s = c.sentences[i];
        text += format_text(" %s:t%d:f%d", c.file->slot_names()[s.slot], s.template_index, s.form);
    }
    return text;
}
