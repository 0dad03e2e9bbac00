#include "eval/questions.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "util/check.h"
#include "util/files.h"
#include "util/json.h"
#include "util/rng.h"

namespace {

using nlohmann::json;
using ull = unsigned long long;

constexpr int64_t MAX_COUNT = 0xFFFFFFFF;  // questions and entities are u32 in the columns
constexpr uint64_t MAX_POOL = 1ull << 53;  // exact as a double

std::string prefix_of(const std::string& path) {
    for (const std::string ending : {".questions.json", ".bin"})
        if (path.size() > ending.size() && path.compare(path.size() - ending.size(), ending.size(), ending) == 0)
            return path.substr(0, path.size() - ending.size());
    return path;
}

const json& member(const std::string& file, const json& object, const char* key) {
    const auto found = object.find(key);
    if (found == object.end()) die(Exit::Data, "%s: the key \"%s\" is missing", file.c_str(), key);
    return *found;
}

std::string text_of(const std::string& file, const json& value, const char* key) {
    if (!value.is_string()) die(Exit::Data, "%s: \"%s\" must hold text", file.c_str(), key);
    return value.get<std::string>();
}

std::vector<std::string> names_of(const std::string& file, const json& object, const char* key) {
    const json& list = member(file, object, key);
    if (!list.is_array() || list.empty())
        die(Exit::Data, "%s: \"%s\" must be a list of at least one name", file.c_str(), key);
    std::vector<std::string> names;
    for (const json& name : list) names.push_back(text_of(file, name, key));
    return names;
}

}  // namespace

QuestionNames parse_question_names(const std::string& file, const std::string& text) {
    const json object = parse_json(file, text);
    check_format_version(file, object);
    QuestionNames names;
    names.name = text_of(file, member(file, object, "name"), "name");
    if (names.name.empty() || names.name.find_first_of("/ \t\n\"\\") != std::string::npos)
        die(Exit::Data, "%s: \"name\" becomes part of metric names and must be one word without a slash, found \"%s\"",
            file.c_str(), names.name.c_str());
    if (object.contains("source")) names.source = text_of(file, object["source"], "source");
    names.questions = json_integer(file, object, "questions", 1, MAX_COUNT);
    names.entities = json_integer(file, object, "entities", 1, MAX_COUNT);
    names.relations = names_of(file, object, "relations");
    names.attributes = names_of(file, object, "attributes");
    names.templates = names_of(file, object, "templates");
    names.kinds = names_of(file, object, "kinds");
    names.groups = names_of(file, object, "groups");
    for (size_t i = 0; i < names.kinds.size(); ++i) {
        const std::string& kind = names.kinds[i];
        if (kind != "seen" && kind != "heldout" && kind != "question")
            die(Exit::Data, "%s: \"kinds\" knows seen, heldout and question, found \"%s\"", file.c_str(), kind.c_str());
        if (std::find(names.kinds.begin(), names.kinds.begin() + static_cast<std::ptrdiff_t>(i), kind) !=
            names.kinds.begin() + static_cast<std::ptrdiff_t>(i))
            die(Exit::Data, "%s: \"kinds\" names \"%s\" twice", file.c_str(), kind.c_str());
    }
    const json& pools = member(file, object, "attribute_pools");
    if (!pools.is_array() || pools.size() != names.attributes.size())
        die(Exit::Data, "%s: \"attribute_pools\" must list one size for each of the %zu attributes", file.c_str(),
            names.attributes.size());
    for (const json& pool : pools) {
        if (!pool.is_number_unsigned() || pool.get<uint64_t>() > MAX_POOL)
            die(Exit::Data, "%s: \"attribute_pools\" must hold whole numbers up to 2^53, found %.40s", file.c_str(),
                pool.dump(-1, ' ', true, json::error_handler_t::replace).c_str());
        names.pools.push_back(pool.get<int64_t>());
    }
    return names;
}

QuestionSet::QuestionSet(const std::string& path, int vocab, int max_T)
    : prefix_(prefix_of(path)),
      names_(parse_question_names(prefix_ + ".questions.json", read_file(prefix_ + ".questions.json"))),
      file_(prefix_ + ".bin"),
      columns_(prefix_ + ".q.npy", "<u4", sizeof(uint32_t), sizeof(Question) / sizeof(uint32_t)),
      vocab_(vocab),
      max_T_(max_T) {
    const std::string bin = prefix_ + ".bin";
    if (file_.format() != TokenFormat::Megatron)
        die(Exit::Data, "%s: a question set needs its %s.idx", bin.c_str(), prefix_.c_str());
    if (!sidecar().present || sidecar().kind != "questions")
        die(Exit::Data, "%s.json: expected the sidecar of a question set (kind \"questions\"), found %s",
            prefix_.c_str(), sidecar().present ? ("kind \"" + sidecar().kind + "\"").c_str() : "none");
    if (sidecar().eot_id < 0 || sidecar().eot_id >= vocab)
        die(Exit::Data, "%s.json: eot_id %lld is not below the model's vocabulary of %d", prefix_.c_str(),
            static_cast<long long>(sidecar().eot_id), vocab);
    const ull questions = static_cast<ull>(names_.questions);
    if (file_.num_documents() != questions)
        die(Exit::Data, "%s: %llu documents, but %s.questions.json says %llu questions", bin.c_str(),
            static_cast<ull>(file_.num_documents()), prefix_.c_str(), questions);
    if (columns_.rows() != questions)
        die(Exit::Data, "%s.q.npy: %llu rows, but %s.questions.json says %llu questions", prefix_.c_str(),
            static_cast<ull>(columns_.rows()), prefix_.c_str(), questions);

    std::vector<int> tokens;
    for (uint32_t i = 0; i < size(); ++i) {
        check_question(i, &tokens);
        longest_ = std::max(longest_, length(i).both());
    }
    count_answers();
}

Question QuestionSet::question(uint32_t i) const {
    Question q;
    std::memcpy(&q, static_cast<const char*>(columns_.data()) + static_cast<size_t>(i) * sizeof q, sizeof q);
    return q;
}

QuestionSet::Length QuestionSet::length(uint32_t i) const {
    const uint64_t first = file_.document_sequences(i).begin;
    return {static_cast<int>(file_.sequence(first).size()), static_cast<int>(file_.sequence(first + 1).size())};
}

void QuestionSet::read(uint32_t i, int* tokens) const {
    const uint64_t first = file_.document_sequences(i).begin;
    file_.read(file_.sequence(first).begin, static_cast<uint64_t>(length(i).both()), vocab_, tokens);
}

void QuestionSet::check_question(uint32_t i, std::vector<int>* tokens) const {
    const Question q = question(i);
    const struct {
        const char* name;
        uint32_t value;
        uint64_t size;
    } columns[] = {
        {"relation", q.relation, names_.relations.size()},       {"attribute", q.attribute, names_.attributes.size()},
        {"template", q.wording, names_.templates.size()},        {"kind", q.kind, names_.kinds.size()},
        {"entity", q.entity, static_cast<ull>(names_.entities)}, {"group", q.group, names_.groups.size()}};
    for (const auto& c : columns)
        if (c.value >= c.size)
            die(Exit::Data, "%s.q.npy: question %u: %s %u, but the set has %llu", prefix_.c_str(), i, c.name, c.value,
                static_cast<ull>(c.size));

    const uint64_t sequences = file_.document_sequences(i).size();
    const bool candidates = q.first_candidate != 0, aliases = q.first_alias != 0;
    const uint64_t listed = aliases      ? q.first_alias
                            : candidates ? sequences
                                         : 2;  // end of prompt, answer and candidates
    if (sequences < 2 || (candidates && (q.first_candidate != 2 || listed <= 2)) || (!candidates && listed != 2) ||
        (aliases ? listed >= sequences : listed != sequences))
        die(Exit::Data,
            "%s.q.npy: question %u: %llu sequences do not make a prompt, an answer, candidates from %u and aliases "
            "from %u (0: none)",
            prefix_.c_str(), i, static_cast<ull>(sequences), q.first_candidate, q.first_alias);

    const uint64_t first = file_.document_sequences(i).begin;
    const uint64_t prompt = file_.sequence(first).size(), answer = file_.sequence(first + 1).size();
    if (answer == 0) die(Exit::Data, "%s.bin: question %u: the answer is empty", prefix_.c_str(), i);
    if (prompt + answer > static_cast<uint64_t>(max_T_))
        die(Exit::Data, "%s.bin: question %u: prompt and answer have %llu tokens, the model's rows %d", prefix_.c_str(),
            i, static_cast<ull>(prompt + answer), max_T_);
    tokens->resize(prompt + answer);
    read(i, tokens->data());
    if (std::find(tokens->begin() + static_cast<std::ptrdiff_t>(prompt), tokens->end(), eot_id()) != tokens->end())
        die(Exit::Data, "%s.bin: question %u: the end-of-text id %d stands inside the answer", prefix_.c_str(), i,
            eot_id());
}

void QuestionSet::count_answers() {
    const size_t attributes = names_.attributes.size(), kinds = names_.kinds.size();
    const size_t seen =
        static_cast<size_t>(std::find(names_.kinds.begin(), names_.kinds.end(), "seen") - names_.kinds.begin());
    std::vector<std::unordered_map<uint64_t, uint32_t>> counts(attributes * kinds);  // by hash of the answer's ids
    std::vector<int64_t> questions(attributes * kinds);
    std::vector<uint32_t> most(attributes * kinds);
    std::vector<uint64_t> asked;  // entity, attribute
    std::vector<int> tokens;
    for (uint32_t i = 0; i < size(); ++i) {
        const Question q = question(i);
        const Length n = length(i);
        tokens.resize(static_cast<size_t>(n.both()));
        read(i, tokens.data());
        const size_t cell = q.attribute * kinds + q.kind;
        const uint64_t hash = hash_name(
            {reinterpret_cast<const char*>(tokens.data() + n.prompt), static_cast<size_t>(n.answer) * sizeof(int)});
        ++questions[cell];
        most[cell] = std::max(most[cell], ++counts[cell][hash]);
        const uint64_t key = static_cast<uint64_t>(q.entity) << 32 | q.attribute;
        if (q.kind == seen && (asked.empty() || asked.back() != key)) asked.push_back(key);
    }
    std::sort(asked.begin(), asked.end());
    asked.erase(std::unique(asked.begin(), asked.end()), asked.end());
    people_.assign(attributes, 0);
    for (const uint64_t key : asked) ++people_[key & 0xFFFFFFFF];
    majority_.assign(attributes * kinds, 0.0);
    for (size_t cell = 0; cell < majority_.size(); ++cell)
        if (questions[cell]) majority_[cell] = static_cast<double>(most[cell]) / static_cast<double>(questions[cell]);
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
