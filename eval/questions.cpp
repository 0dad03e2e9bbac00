#include "eval/questions.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "util/check.h"
#include "util/files.h"
#include "util/rng.h"

namespace {

// How many different entities each of `size` columns has; a key is an entity and, below, its column.
std::vector<int64_t> count_distinct(std::vector<uint64_t>* keys, size_t size) {
    std::sort(keys->begin(), keys->end());
    keys->erase(std::unique(keys->begin(), keys->end()), keys->end());
    std::vector<int64_t> counts(size);
    for (const uint64_t key : *keys) ++counts[key & 0xFFFFFFFF];
    return counts;
}

}  // namespace

std::string question_set_prefix(const std::string& path) {
    for (const std::string ending : {".questions.json", ".bin"})
        if (path.size() > ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0)
            return path.substr(0, path.size() - ending.size());
    return path;
}

QuestionSet::QuestionSet(const std::string& path, int vocab, int max_T)
    : prefix_(question_set_prefix(path)),
      names_(parse_question_names(prefix_ + ".questions.json", read_file(prefix_ + ".questions.json"))),
      file_(prefix_ + ".bin"),
      columns_(prefix_ + ".q.npy", "<u4", sizeof(uint32_t), sizeof(Question) / sizeof(uint32_t)),
      vocab_(vocab),
      max_T_(max_T) {
    const std::string bin = prefix_ + ".bin";
    if (file_.format() != TokenFormat::Megatron) die(Exit::Data, "%s: a question set needs its %s.idx", bin, prefix_);
    if (!sidecar().present || sidecar().kind != "questions")
        die(Exit::Data, "%s.json: expected the sidecar of a question set (kind \"questions\"), found %s", prefix_,
            sidecar().present ? ("kind \"" + sidecar().kind + "\"") : "none");
    if (sidecar().eot_id < 0 || sidecar().eot_id >= vocab)
        die(Exit::Data, "%s.json: eot_id %d is not below the model's vocabulary of %d", prefix_, sidecar().eot_id,
            vocab);
    const uint64_t questions = static_cast<uint64_t>(names_.questions);
    if (file_.num_documents() != questions)
        die(Exit::Data, "%s: %u documents, but %s.questions.json says %u questions", bin, file_.num_documents(),
            prefix_, questions);
    if (columns_.rows() != questions)
        die(Exit::Data, "%s.q.npy: %u rows, but %s.questions.json says %u questions", prefix_, columns_.rows(), prefix_,
            questions);

    for (uint32_t i = 0; i < size(); ++i) {
        check_columns(i);
        check_texts(i);
        const Texts n = texts(i);
        has_candidates_ = has_candidates_ || n.candidates > 0;
        for (uint32_t text = 0; text < n.all(); ++text) longest_ = std::max(longest_, length(i, text).both());
    }
    open_popularity();
    count_entities();
    facts_ = names_.facts;
    const bool names_source = !names_.source.empty() && names_.source.find('/') == std::string::npos;
    if (facts_.names.empty() && facts_.values.empty() && names_source)
        facts_ = read_sidecar(path_join(folder_of(prefix_), names_.source)).facts;
}

Question QuestionSet::question(uint32_t i) const {
    Question q;
    std::memcpy(&q, static_cast<const char*>(columns_.data()) + static_cast<size_t>(i) * sizeof q, sizeof q);
    return q;
}

QuestionSet::Texts QuestionSet::texts(uint32_t i) const {
    const Question q = question(i);
    const uint32_t sequences = static_cast<uint32_t>(file_.document_sequences(i).size());
    const uint32_t aliases = q.first_alias ? sequences - q.first_alias : 0;
    return {sequences - 2 - aliases, aliases};
}

QuestionSet::Length QuestionSet::length(uint32_t i, uint32_t text) const {
    const uint64_t first = file_.document_sequences(i).begin;
    return {static_cast<int>(file_.sequence_size(first)), static_cast<int>(file_.sequence_size(first + 1 + text))};
}

void QuestionSet::read(uint32_t i, int* tokens, uint32_t text) const {
    const uint64_t first = file_.document_sequences(i).begin;
    const TokenFile::Range prompt = file_.sequence(first), answer = file_.sequence(first + 1 + text);
    file_.read(prompt.begin, prompt.size(), vocab_, tokens);
    file_.read(answer.begin, answer.size(), vocab_, tokens + prompt.size());
}

void QuestionSet::check_columns(uint32_t i) const {
    const Question q = question(i);
    const struct {
        const char* name;
        uint32_t value;
        uint64_t size;
    } columns[] = {{"relation", q.relation, names_.relations.size()},
                   {"attribute", q.attribute, names_.attributes.size()},
                   {"template", q.template_index, names_.templates.size()},
                   {"kind", q.kind, names_.kinds.size()},
                   {"entity", q.entity, static_cast<uint64_t>(names_.entities)},
                   {"group", q.group, names_.groups.size()}};
    for (const auto& c : columns)
        if (c.value >= c.size)
            die(Exit::Data, "%s.q.npy: question %u: %s %u, but the set has %u", prefix_, i, c.name, c.value, c.size);

    const uint64_t sequences = file_.document_sequences(i).size();
    const bool candidates = q.first_candidate != 0, aliases = q.first_alias != 0;
    const uint64_t listed = aliases      ? q.first_alias
                            : candidates ? sequences
                                         : 2;  // end of prompt, answer and candidates
    if (sequences < 2 || (candidates && (q.first_candidate != 2 || listed <= 2)) || (!candidates && listed != 2) ||
        (aliases ? listed >= sequences : listed != sequences))
        die(Exit::Data,
            "%s.q.npy: question %u: %u sequences do not make a prompt, an answer, candidates from %u and aliases "
            "from %u (0: none)",
            prefix_, i, sequences, q.first_candidate, q.first_alias);
}

void QuestionSet::check_texts(uint32_t i) const {
    const Texts n = texts(i);
    auto name = [&](uint32_t text) {
        if (text == 0) return std::string("answer");
        return text <= n.candidates ? format_text("candidate %u", text - 1)
                                    : format_text("alias %u", text - 1 - n.candidates);
    };
    std::vector<std::pair<std::vector<int>, uint32_t>> known;
    std::vector<int> tokens;
    for (uint32_t text = 0; text < n.all(); ++text) {
        const Length l = length(i, text);
        if (l.answer == 0) die(Exit::Data, "%s.bin: question %u: the %s is empty", prefix_, i, name(text));
        const int64_t both = static_cast<int64_t>(l.prompt) + l.answer;
        if (both > max_T_)
            die(Exit::Data, "%s.bin: question %u: prompt and %s have %d tokens, the model's rows %d", prefix_, i,
                name(text), both, max_T_);
        tokens.resize(static_cast<size_t>(l.both()));
        read(i, tokens.data(), text);
        const auto begin = tokens.begin() + l.prompt;
        if (std::find(begin, tokens.end(), eot_id()) != tokens.end())
            die(Exit::Data, "%s.bin: question %u: the end-of-text id %d stands inside the %s", prefix_, i, eot_id(),
                name(text));
        if (n.all() > 1) known.emplace_back(std::vector<int>(begin, tokens.end()), text);
    }
    std::sort(known.begin(), known.end());
    for (size_t k = 1; k < known.size(); ++k)
        if (known[k].first == known[k - 1].first)
            die(Exit::Data, "%s.bin: question %u: %s repeats the tokens of %s", prefix_, i, name(known[k].second),
                name(known[k - 1].second));
}

void QuestionSet::open_popularity() {
    const std::string path = prefix_ + ".popularity.npy";
    if (!file_exists(path)) return;
    popularity_ = NpyArray(path, "<u4", sizeof(uint32_t), 0);
    if (popularity_.rows() != static_cast<uint64_t>(names_.questions))
        die(Exit::Data, "%s: %u rows, but %s.questions.json says %u questions", path, popularity_.rows(), prefix_,
            names_.questions);
}

void QuestionSet::count_entities() {
    const size_t seen =
        static_cast<size_t>(std::find(names_.kinds.begin(), names_.kinds.end(), "seen") - names_.kinds.begin());
    std::vector<uint64_t> asked, grouped;  // entity, attribute; entity, group
    for (uint32_t i = 0; i < size(); ++i) {
        const Question q = question(i);
        const uint64_t key = static_cast<uint64_t>(q.entity) << 32 | q.attribute;
        if (q.kind == seen && (asked.empty() || asked.back() != key)) asked.push_back(key);
        const uint64_t member = static_cast<uint64_t>(q.entity) << 32 | q.group;
        if (grouped.empty() || grouped.back() != member) grouped.push_back(member);
    }
    seen_entities_ = count_distinct(&asked, names_.attributes.size());
    group_entities_ = count_distinct(&grouped, names_.groups.size());
}

std::vector<uint32_t> QuestionSet::choose(uint64_t n, uint64_t seed) const {
    const uint64_t total = size();
    std::vector<uint32_t> chosen;
    if (n == 0 || n >= total) {
        chosen.resize(total);
        for (uint32_t i = 0; i < total; ++i) chosen[i] = i;
        return chosen;
    }

    struct Stratum {
        uint64_t key, take, remainder, tie;
        std::vector<uint32_t> questions;
    };
    std::vector<Stratum> strata;
    std::unordered_map<uint64_t, size_t> index;
    for (uint32_t i = 0; i < total; ++i) {
        const Question q = question(i);
        const uint64_t key = (q.attribute * names_.kinds.size() + q.kind) * names_.groups.size() + q.group;
        const auto found = index.emplace(key, strata.size());
        if (found.second) strata.push_back({key, 0, 0, 0, {}});
        strata[found.first->second].questions.push_back(i);
    }

    // shares, rounded by largest remainder
    const uint64_t stream = hash_name("questions of " + names_.name);
    uint64_t left = n;
    for (Stratum& s : strata) {
        const uint64_t share = n * s.questions.size();  // both below 2^32
        s.take = share / total;
        s.remainder = share % total;
        s.tie = random_u64(seed, stream, s.key);
        left -= s.take;
    }
    std::sort(strata.begin(), strata.end(), [](const Stratum& a, const Stratum& b) {
        if (a.remainder != b.remainder) return a.remainder > b.remainder;
        return a.tie != b.tie ? a.tie < b.tie : a.key < b.key;
    });
    for (size_t i = 0; i < left; ++i) ++strata[i].take;

    for (const Stratum& s : strata) {
        const Permutation order(s.questions.size(), seed, stream + s.key);
        for (uint64_t i = 0; i < s.take; ++i) chosen.push_back(s.questions[order(i)]);
    }
    std::sort(chosen.begin(), chosen.end());
    return chosen;
}
