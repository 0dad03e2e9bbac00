// The loader from outside: batches against an independent count, resume, prefetch, document mask, validation rows.
#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "dataloader/batches.h"
#include "dataloader/data_set.h"
#include "dataloader/loader.h"
#include "dataloader/validation.h"
#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"
#include "test/world.h"
#include "util/crc32c.h"

using nlohmann::json;

namespace {

constexpr int T = 32;
constexpr int64_t batch_tokens = 8 * T;

World make_world(int64_t steps, int entities = 20) {
    KnowledgeBuilder people;
    people.entities = entities;
    people.filler = 0;  // no document is longer than T-1
    return World(people, T, steps * batch_tokens, 90);
}

std::vector<Batch> all_batches(const MixtureOptions& mixture, const LoaderOptions& options,
                               const std::string& state = "") {
    Loader loader(mixture, options);
    loader.start(state);
    std::vector<Batch> batches;
    for (int64_t done = state.empty() ? 0 : -1; done < loader.plan().steps; ++done) {
        batches.push_back(loader.next());
        if (batches.back().step + 1 == loader.plan().steps) break;
    }
    return batches;
}

void require_equal(const Batch& a, const Batch& b) {
    REQUIRE(a.step == b.step);
    REQUIRE(a.inputs == b.inputs);
    REQUIRE(a.targets == b.targets);
    REQUIRE(a.positions == b.positions);
    REQUIRE(a.segment_start == b.segment_start);
    REQUIRE(a.source == b.source);
    REQUIRE(a.source_targets == b.source_targets);
    REQUIRE(a.exposures.size() == b.exposures.size());
    for (size_t i = 0; i < a.exposures.size(); ++i) {
        const Exposure &x = a.exposures[i], &y = b.exposures[i];
        REQUIRE((x.source == y.source && x.entity == y.entity && x.slot == y.slot && x.cut == y.cut));
    }
    REQUIRE(a.state == b.state);
}

// The stream's tokens, put together again from rows that share one token.
std::vector<int> stream_of(const std::vector<Batch>& batches) {
    std::vector<int> stream = {batches[0].inputs[0]};
    for (const Batch& batch : batches)
        for (size_t i = 0; i < batch.targets.size(); ++i) {
            if (i % T == 0) REQUIRE(batch.inputs[i] == stream.back());
            stream.push_back(batch.targets[i]);
        }
    return stream;
}

// What a reader of the tokens alone would write into the ledger: a value is a run of its own id.
void count_offline(const std::vector<int>& stream, const KnowledgeBuilder& people, Ledger* ledger) {
    for (size_t i = 1; i < stream.size(); ++i) {
        const int value = stream[i] - 100;
        if (value < 0) continue;
        const int entity = value / people.slots, slot = value % people.slots,
                  length = KnowledgeBuilder::value_length(entity, slot);
        int run = 0;
        while (run < length && i + static_cast<size_t>(run) < stream.size() &&
               stream[i + static_cast<size_t>(run)] == stream[i])
            ++run;
        if (run < length) break;  // cut off by the end of the run
        const size_t last = i + static_cast<size_t>(length) - 1;
        const bool cut = (i - 1) / T != (last - 1) / T;
        ledger->book({1, static_cast<uint32_t>(entity), static_cast<uint32_t>(slot), cut},
                     static_cast<int64_t>((last - 1) / batch_tokens));
        i = last;
    }
}

}  // namespace

TEST_CASE("the ledger equals an offline count of the tokens", "[loader]") {
    World world = make_world(400);
    const int prefetch = GENERATE(0, 2);
    Loader loader(world.options, {false, prefetch});
    std::vector<Ledger> ledgers = loader.make_ledgers();
    REQUIRE(ledgers.size() == 2);
    CHECK(ledgers[0].empty());
    loader.start();
    std::vector<Batch> batches;
    for (int64_t step = 0; step < loader.plan().steps; ++step) {
        batches.push_back(loader.next());
        for (const Exposure& exposure : batches.back().exposures) ledgers[exposure.source].book(exposure, step);
    }
    const std::vector<std::string> slots = ledgers[1].slot_names();
    CHECK(slots.size() == 3);
    Ledger expected("people", {{"people", 20}}, slots);
    count_offline(stream_of(batches), world.people, &expected);
    uint64_t seen = 0, cut = 0;
    bool equal = true;
    for (uint32_t entity = 0; entity < 20; ++entity)
        for (uint32_t slot = 0; slot < 3; ++slot) {
            const Ledger::Entry &a = ledgers[1].at(entity, slot), &b = expected.at(entity, slot);
            equal &= std::memcmp(&a, &b, sizeof a) == 0;
            seen += a.count;
            cut += a.cut;
        }
    CHECK(equal);
    CHECK(seen > 1000);
    CHECK(cut > 10);

    // and it survives its file
    const std::string folder = world.folder / "exposures";
    make_directories(folder);
    ledgers[1].write(folder);
    const std::vector<Ledger> read = Ledger::read_all(folder);
    REQUIRE(read.size() == 1);
    CHECK(read[0].name() == "people");
    CHECK(read[0].slot_names() == slots);
    REQUIRE(read[0].shards().size() == 1);
    CHECK((read[0].shards()[0].name == "people" && read[0].shards()[0].entities == 20));
    CHECK(std::memcmp(&read[0].at(0, 0), &ledgers[1].at(0, 0), 60 * sizeof(Ledger::Entry)) == 0);
    Ledger other("people", {{"people", 20}}, {"a", "b", "c", "d"});
    REQUIRE_DIES(Exit::Data, "people.npy", other.read(folder));
    write_file(path_join(folder, "people.json"), R"({"format_version":1,"slots":[],"shards":[]})");
    REQUIRE_DIES(Exit::Data, "people.json", Ledger::read_all(folder));
}

namespace {

// A composed document as a reader of the tokens finds it.
struct Composed {
    int entity;
    std::vector<std::array<int, 3>> sentences;  // slot, template, form
    std::vector<int> slots() const {
        std::vector<int> list;
        for (const auto& s : sentences) list.push_back(s[0]);
        return list;
    }
    // By slot: template and form, but the form of the first sentence, which is always 0.
    std::map<int, std::pair<int, int>> wording() const {
        std::map<int, std::pair<int, int>> words;
        for (const auto& s : sentences) words[s[0]] = {s[1], &s == sentences.data() ? -1 : s[2]};
        return words;
    }
};

std::vector<Composed> composed_documents(const std::vector<int>& stream, const KnowledgeBuilder& people) {
    std::vector<Composed> documents;
    for (size_t i = 0; i + 200 < stream.size(); ++i) {
        if (stream[i] != 0 || stream[i + 1] < 10 || stream[i + 1] >= 13 || stream[i + 3] != 50)
            continue;  // EOT, slot, template, form 0
        Composed document{-1, {}};
        size_t at = i + 1;
        for (int s = 0; s < 3; ++s) {
            const int slot = stream[at] - 10, t = stream[at + 1] - 30, form = stream[at + 2] - 50;
            REQUIRE((form == 0) == (s == 0));
            REQUIRE(form < people.forms);
            for (at += 3; stream[at] < 100; ++at) REQUIRE(stream[at] == 9);
            const int value = stream[at] - 100;
            if (document.entity < 0) document.entity = value / 3;
            REQUIRE(value == document.entity * 3 + slot);
            at += static_cast<size_t>(KnowledgeBuilder::value_length(document.entity, slot) + (t % 2));
            document.sentences.push_back({slot, t, form});
        }
        REQUIRE(stream[at] == 0);
        std::vector<int> slots = document.slots();
        std::sort(slots.begin(), slots.end());
        REQUIRE(slots == std::vector<int>{0, 1, 2});
        documents.push_back(document);
    }
    return documents;
}

}  // namespace

TEST_CASE("composed documents are the sentences of their entity", "[loader]") {
    World world = make_world(200);
    size_t shuffled = 0, renderings[2][2] = {};
    const std::vector<Composed> documents = composed_documents(stream_of(all_batches(world.options, {})), world.people);
    for (const Composed& document : documents) {
        shuffled += document.slots() != std::vector<int>{0, 1, 2};
        for (const auto& s : document.sentences) ++renderings[s[2]][s[1]];
    }
    CHECK(documents.size() > 300);
    CHECK(shuffled > documents.size() / 2);
    for (const auto& form : renderings)
        for (const size_t n : form) CHECK(n > documents.size() / 4);
}

TEST_CASE("fixed orders and wordings come in turn, for every entity its own", "[loader]") {
    struct Fixed {
        const char* rendering;
        size_t orders, wordings;  // 0: redrawn
    };
    const Fixed fixed =
        GENERATE(Fixed{R"({"orders": 2})", 2, 0}, Fixed{R"({"wordings": 3, "orders": "redrawn"})", 0, 3},
                 Fixed{R"({"wordings": 1, "orders": "listed"})", 1, 1}, Fixed{R"({"wordings": 5, "orders": 2})", 2, 5});
    World world = make_world(200, 6);
    world.people.templates = 20;  // few draws are equal by chance
    world.people.forms = 3;
    world.people.rendering = fixed.rendering;
    world.people.write(world.folder / "people");
    world.options.T = 128;
    world.options.batch_tokens = 256;
    std::map<int, std::vector<Composed>> by_entity;
    for (Composed& document : composed_documents(stream_of(all_batches(world.options, {})), world.people))
        by_entity[document.entity].push_back(std::move(document));
    REQUIRE(by_entity.size() == 6);
    std::set<std::vector<int>> orders;
    for (const auto& [entity, documents] : by_entity) {
        REQUIRE(documents.size() > 20);
        std::set<std::vector<int>> own_orders;
        std::set<std::vector<int>> own_templates;
        for (size_t k = 0; k < documents.size(); ++k) {
            own_orders.insert(documents[k].slots());
            std::vector<int> templates(3);
            for (const auto& s : documents[k].sentences) templates[static_cast<size_t>(s[0])] = s[1];
            own_templates.insert(templates);
            if (fixed.orders && k >= fixed.orders) REQUIRE(documents[k].slots() == documents[k - fixed.orders].slots());
            if (!fixed.wordings || k < fixed.wordings) continue;
            auto now = documents[k].wording(), before = documents[k - fixed.wordings].wording();
            for (auto& [slot, word] : now) {
                REQUIRE(word.first == before[slot].first);
                if (word.second >= 0 && before[slot].second >= 0) REQUIRE(word.second == before[slot].second);
            }
        }
        if (fixed.orders) CHECK(own_orders.size() <= fixed.orders);
        if (!fixed.orders) CHECK(own_orders.size() == 6);
        if (fixed.wordings) CHECK(own_templates.size() == fixed.wordings);
        if (!fixed.wordings) CHECK(own_templates.size() > documents.size() / 2);
        orders.insert(own_orders.begin(), own_orders.end());
    }
    if (std::string(fixed.rendering).find("listed") != std::string::npos)
        CHECK(orders == std::set<std::vector<int>>{{0, 1, 2}});
    else
        CHECK(orders.size() > 2);  // not the same for all

    world.people.rendering = R"({"wordings": "never"})";
    world.people.write(world.folder / "people");
    REQUIRE_DIES(Exit::Data, "rendering.wordings", Loader(world.options, {}));
    world.people.rendering = R"({"orders": 0})";
    world.people.write(world.folder / "people");
    REQUIRE_DIES(Exit::Data, "rendering.orders", Loader(world.options, {}));
}

TEST_CASE("batches do not depend on prefetch, nor rows on the batch size", "[loader]") {
    World world = make_world(60);
    const std::vector<Batch> expected = all_batches(world.options, {true, 0});
    for (const int prefetch : {1, 2, 7}) {
        const std::vector<Batch> batches = all_batches(world.options, {true, prefetch});
        REQUIRE(batches.size() == 60);
        for (size_t i = 0; i < 60; ++i) require_equal(batches[i], expected[i]);
    }
    MixtureOptions larger = world.options;
    larger.batch_tokens *= 5;
    CHECK(stream_of(all_batches(larger, {})) == stream_of(expected));
    larger.data_seed = 43;
    CHECK(stream_of(all_batches(larger, {})) != stream_of(expected));
}

TEST_CASE("a loader resumed after any step goes on with the same batches", "[loader]") {
    World world = make_world(60, GENERATE(2, 12));  // 12 entities: an epoch border every other step; 2: every piece
    const bool exposures = GENERATE(false, true);
    if (exposures) {
        world.options.sources[1].ratio = -1;
        world.options.sources[1].exposures = 10;
        world.options.sources[1].windows = {{0.1, 0.4}, {0.5, 0.95}};
    }
    const std::vector<Batch> expected = all_batches(world.options, {true, 0});
    for (const size_t step : {0, 1, 7, 23, 24, 25, 40, 58}) {
        const std::vector<Batch> rest = all_batches(world.options, {true, 2}, expected[step].state);
        REQUIRE(rest.size() == 59 - step);
        for (size_t i = 0; i < rest.size(); ++i) require_equal(rest[i], expected[step + 1 + i]);
    }
    Loader over(world.options, {});
    over.start(expected[59].state);
    REQUIRE_DIES(Exit::Runtime, "over", over.next());
}

namespace {

// What each part has of every step, put together; parts must agree on all that is of the whole step.
std::vector<Batch> batches_of_parts(const MixtureOptions& mixture, const LoaderOptions& options, int parts,
                                    const std::string& state) {
    std::vector<Batch> whole;
    for (int part = 0; part < parts; ++part) {
        const std::vector<Batch> own =
            all_batches(mixture, {options.document_mask, options.prefetch, part, parts}, state);
        if (part == 0) whole = own;
        REQUIRE(own.size() == whole.size());
        for (size_t i = 0; part > 0 && i < own.size(); ++i) {
            REQUIRE(own[i].inputs.size() == own[0].inputs.size());
            const auto append = [](auto* all, const auto& more) { all->insert(all->end(), more.begin(), more.end()); };
            append(&whole[i].inputs, own[i].inputs);
            append(&whole[i].targets, own[i].targets);
            append(&whole[i].positions, own[i].positions);
            append(&whole[i].segment_start, own[i].segment_start);
            append(&whole[i].source, own[i].source);
            Batch agreed = whole[i];  // but for the whole step's
            agreed.source_targets = own[i].source_targets;
            agreed.exposures = own[i].exposures;
            agreed.state = own[i].state;
            require_equal(agreed, whole[i]);
        }
    }
    return whole;
}

}  // namespace

TEST_CASE("what several processes have of a batch is together the batch of one", "[loader]") {
    const bool mask = GENERATE(false, true), long_documents = GENERATE(false, true);
    World world = make_world(30, 12);
    if (long_documents) {  // composed documents of several slices, some longer than a part of the step
        world.people.filler = 30;
        world.people.write(world.folder / "people");
    }
    const std::vector<Batch> expected = all_batches(world.options, {mask, 0});
    for (const Batch& batch : expected) {
        std::vector<int64_t> targets(2);
        for (const uint16_t source : batch.source) ++targets[source];
        REQUIRE(batch.source_targets == targets);
    }
    for (const int parts : {1, 2, 4, 8}) {
        CAPTURE(parts);
        const std::vector<Batch> all = batches_of_parts(world.options, {mask, 2}, parts, "");
        REQUIRE(all.size() == expected.size());
        for (size_t i = 0; i < all.size(); ++i) require_equal(all[i], expected[i]);
        for (const size_t step : {0, 6, 20}) {
            const std::vector<Batch> rest = batches_of_parts(world.options, {mask, 0}, parts, expected[step].state);
            REQUIRE(rest.size() == expected.size() - step - 1);
            for (size_t i = 0; i < rest.size(); ++i) require_equal(rest[i], expected[step + 1 + i]);
        }
    }
}

TEST_CASE("a process reads the documents of its own rows only", "[loader]") {
    World world = make_world(10);
    std::vector<Document> documents = random_documents(300, 1, T - 1, 5);  // each of them one piece
    SidecarText sidecar;
    sidecar.vocab_size = world.people.vocab_size();
    write_text(world.folder / "web", documents, sidecar);
    // documents without a token in the second half of any step
    std::vector<size_t> foreign(documents.size(), 0);
    {
        const DataSet data = open_data_set(world.options);
        for (int64_t step = 0; step < 10; ++step)
            for (const Piece& piece : Batches(data, false, "", false).pieces_of(step)) {
                if (piece.source != 0) continue;
                const bool first_half = piece.end() <= step * batch_tokens + batch_tokens / 2;
                size_t& n = foreign[data.sources[0].entity(piece.index)];
                n = first_half && piece.begin > step * batch_tokens ? n + 1 : n + 1000;
            }
    }
    int damaged = 0;
    for (size_t d = 0; d < documents.size(); ++d)
        if (foreign[d] > 0 && foreign[d] < 1000 && documents[d].size() > 2) {
            documents[d][1] = 999;
            ++damaged;
        }
    REQUIRE(damaged > 5);
    write_text(world.folder / "web", documents, sidecar);
    CHECK(all_batches(world.options, {false, 2, 1, 2}).size() == 10);
    REQUIRE_DIES(Exit::Data, "id 999", all_batches(world.options, {false, 2, 0, 2}));
}

TEST_CASE("a state of another run is refused", "[loader]") {
    World world = make_world(20);
    const std::string state = all_batches(world.options, {})[3].state;
    const auto start = [&](const MixtureOptions& options, bool new_horizon = false) {
        Loader loader(options, {});
        loader.start(state, new_horizon);
        return loader.next().step;
    };
    CHECK(start(world.options) == 4);
    MixtureOptions other = world.options;
    other.data_seed = 1;
    REQUIRE_DIES(Exit::Usage, "--data-seed", start(other));
    other = world.options;
    other.T = 16;
    REQUIRE_DIES(Exit::Usage, "--seq-len", start(other));
    other = world.options;
    other.sources[1].ratio = 0.31;
    REQUIRE_DIES(Exit::Usage, "people", start(other));
    other = world.options;
    std::swap(other.sources[0], other.sources[1]);
    REQUIRE_DIES(Exit::Usage, "name", start(other));
    other = world.options;
    other.tokens *= 2;
    REQUIRE_DIES(Exit::Usage, "tokens", start(other));
    CHECK(start(other, true) == 4);  // a branch
    other.sources[1].windows = {{0, 0.5}};
    REQUIRE_DIES(Exit::Usage, "options", start(other, true));
    other = world.options;
    other.batch_tokens *= 5;
    REQUIRE_DIES(Exit::Usage, "--batch-tokens", start(other));
    write_text(world.folder / "web", random_documents(299, 1, 90, 5), {"text", "aa11", world.people.vocab_size()});
    REQUIRE_DIES(Exit::Data, "web.bin: not the file", start(world.options));

    Loader loader(world.options, {});
    REQUIRE_DIES(Exit::Data, "JSON", loader.start("{"));
    REQUIRE_DIES(Exit::Data, "format_version", loader.start("{\"format_version\": 2}"));
    REQUIRE_DIES(Exit::Data, "manifest", loader.start("{\"format_version\": 1}"));
}

TEST_CASE("a state of an older version knows its data by a hash of names, sizes and sidecars", "[loader]") {
    World world = make_world(20);
    json state = json::parse(all_batches(world.options, {})[3].state);
    {
        const DataSet data = open_data_set(world.options);
        for (size_t s = 0; s < data.sources.size(); ++s) {
            json& source = state["manifest"]["sources"][s];
            CHECK(source.erase("files") == 1);
            source["data"] = format_text("%016x", data.sources[s].hash());
        }
    }
    Loader loader(world.options, {});
    loader.start(state.dump());
    CHECK(loader.step() == 4);
    state["manifest"]["sources"][1]["data"] = "0123456789abcdef";
    REQUIRE_DIES(Exit::Data, "other data of source people", loader.start(state.dump()));
}

TEST_CASE("large data are known by blocks of them", "[loader]") {
    std::string data(1 << 20, 'a');
    const uint32_t whole = crc32c_sample(data.data(), data.size());
    CHECK(whole == crc32c_sample(data.data(), data.size()));
    CHECK(whole != crc32c_sample(data.data(), data.size() - 1));
    for (const size_t at : {size_t{0}, data.size() - 1}) {
        data[at] = 'b';
        CHECK(whole != crc32c_sample(data.data(), data.size()));
        data[at] = 'a';
    }
    for (size_t at = 1 << 18; at < (1 << 18) + 40000; ++at) data[at] = 'b';  // longer than the gap between two blocks
    CHECK(whole != crc32c_sample(data.data(), data.size()));
    std::string small(1 << 18, 'a');
    const uint32_t all = crc32c_sample(small.data(), small.size());
    small[77777] = 'b';
    CHECK(all != crc32c_sample(small.data(), small.size()));
}

TEST_CASE("a branch carries the ratios on over a new horizon", "[loader]") {
    World world = make_world(40);
    const std::string state = all_batches(world.options, {})[19].state;
    MixtureOptions longer = world.options;
    longer.tokens *= 3;
    Loader loader(longer, {});
    loader.start(state, true);
    int64_t people = 0;
    for (int step = 20; step < 120; ++step) {
        const Batch& batch = loader.next();
        REQUIRE(batch.step == step);
        people += std::count(batch.source.begin(), batch.source.end(), 1);
    }
    CHECK(std::abs(static_cast<double>(people) - 0.3 * 100 * batch_tokens) <= 2 * T);
    longer.sources[1].windows = {{0, 0.9}};
    Loader windowed(longer, {});
    REQUIRE_DIES(Exit::Usage, "people", windowed.start(state, true));
}

TEST_CASE("with the document mask positions restart at EOT and at the row", "[loader]") {
    World world = make_world(10);
    for (const Batch& batch : all_batches(world.options, {true, 0})) {
        bool fine = true;
        int start = 0;
        for (size_t i = 0; i < batch.inputs.size(); ++i) {
            const int t = static_cast<int>(i) % T;
            if (t == 0 || batch.inputs[i] == 0) start = t;
            fine &= batch.segment_start[i] == start && batch.positions[i] == t - start;
        }
        CHECK(fine);
    }
    for (const Batch& batch : all_batches(world.options, {false, 0})) {
        bool fine = batch.segment_start.empty();
        for (size_t i = 0; i < batch.inputs.size(); ++i) fine &= batch.positions[i] == static_cast<int>(i) % T;
        CHECK(fine);
    }
}

TEST_CASE("an id beyond the vocabulary is caught when it is read, also on the thread", "[loader]") {
    World world = make_world(400);
    std::vector<Document> documents = random_documents(300, 1, 90, 5);
    documents[17].assign(20, 50);
    documents[17][11] = 999;
    SidecarText sidecar;
    sidecar.vocab_size = world.people.vocab_size();
    write_text(world.folder / "web", documents, sidecar);
    const int prefetch = GENERATE(0, 2);
    Loader loader(world.options, {false, prefetch});
    loader.start();
    const auto drain = [&] {
        for (int64_t step = 0; step < loader.plan().steps; ++step) loader.next();
    };
    REQUIRE_DIES(Exit::Data, "web.bin: id 999 in document 17 at its token 11", drain());
    if (prefetch > 0) REQUIRE_DIES(Exit::Data, "999", loader.next());  // and again
}

TEST_CASE("a loader that is dropped in the middle stops its thread", "[loader]") {
    World world = make_world(1000);
    for (int i = 0; i < 20; ++i) {
        Loader loader(world.options, {false, 3});
        loader.start();
        for (int j = 0; j < i % 4; ++j) loader.next();
        if (i % 5 == 0) loader.start();
    }
}

TEST_CASE("validation rows are the first tokens in file order", "[loader]") {
    TemporaryFolder folder;
    write_text(folder / "a", {{11, 12, 13}, {14}, std::vector<int>(10, 15)});
    write_text(folder / "b", {{16, 17}, {18, 19, 20}});
    // EOT + document, sliced at T-1 = 3 tokens
    const std::vector<int> stream = {0, 11, 12, 13, 0, 14, 0, 15, 15, 15, 0,  15, 15, 15,
                                     0, 15, 15, 15, 0, 15, 0, 16, 17, 0,  18, 19, 20};
    const ValidationRows rows = read_validation({"web", folder / "*.bin", 1000, 4, true, -1, 1000});
    REQUIRE(rows.rows == 6);
    CHECK(rows.inputs == std::vector<int>(stream.begin(), stream.begin() + 24));
    CHECK(rows.targets == std::vector<int>(stream.begin() + 1, stream.begin() + 25));
    CHECK(rows.positions == std::vector<int>{0, 1, 2, 3, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 0});
    CHECK(rows.bytes == 0);  // no tokenizer next to the shards
    CHECK(read_validation({"web", folder / "*.bin", 9, 4, false, -1, 1000}).rows == 2);

    // with their tokenizer the bytes of the very targets: 15 has one, 16 two, others four; EOT has none
    std::string vocab;
    for (int id = 1; id < 1000; ++id) vocab += format_text("%s\"%04d\": %d", id > 1 ? ", " : "", id, id);
    put_file(folder / "none.json",
             R"({"decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 0, "content": "<|endoftext|>",
        "special": true}, {"id": 15, "content": "f"}, {"id": 16, "content": "gg"}], "model": {"vocab": {)" +
                 vocab + "}}}");
    const std::string sha256 = sha256_file(folder / "none.json");
    for (const char* shard : {"a.json", "b.json"}) {
        std::string sidecar = read_file(folder / shard);
        sidecar.replace(sidecar.find("aa11"), 4, sha256);
        put_file(folder / shard, sidecar);
    }
    const auto bytes = [&](int64_t tokens) {
        return read_validation({"web", folder / "*.bin", tokens, 4, true, -1, 1000}).bytes;
    };
    CHECK(bytes(4) == 3 * 4);
    CHECK(bytes(8) == 4 * 4 + 2);
    CHECK(bytes(24) == 4 * 4 + 10 + (2 + 4) + 4);  // of the last document one token
    put_file(folder / "none.json", R"({"model": {"type": "WordPiece"}})");
    CHECK(bytes(24) == 0);  // not the tokenizer any more
    REQUIRE_DIES(Exit::Usage, "less than one row",
                 read_validation({"web", folder / "*.bin", 1000, 1024, false, -1, 1000}));
    REQUIRE_DIES(Exit::Data, "1000 ids, the model 999",
                 read_validation({"web", folder / "*.bin", 9, 4, false, -1, 999}));
    REQUIRE_DIES(Exit::Data, "nothing*", read_validation({"web", folder / "nothing*", 9, 4, false, -1, 1000}));
}

TEST_CASE("--print-order names the pieces of a step, from the start and from a state", "[loader]") {
    World world = make_world(30);
    const std::vector<Batch> batches = all_batches(world.options, {});
    const auto printed = [&](const std::string& state) {
        Loader loader(world.options, {});
        char* text = nullptr;
        size_t size = 0;
        FILE* memory = open_memstream(&text, &size);
        loader.print_order(20, state, memory);
        fclose(memory);
        const std::string result(text, size);
        free(text);
        return result;
    };
    const std::string text = printed("");
    CHECK(printed(batches[12].state) == text);
    CHECK(printed(batches[19].state) == text);
    CHECK(text.find("step 20: tokens 5120 to 5376 of the stream") == 0);
    size_t lines = 0, people = 0;
    for (size_t at = 0; (at = text.find('\n', at)) != std::string::npos; ++at) ++lines;
    for (size_t at = 0; (at = text.find("'Person ", at)) != std::string::npos; ++at) ++people;
    CHECK(people >= batches[20].exposures.size() / 3);
    CHECK(lines > people + 3);
    CHECK(text.find("web.bin document ") != std::string::npos);
    Loader loader(world.options, {});
    REQUIRE_DIES(Exit::Usage, "steps 0 to 29", loader.print_order(30, "", stdout));
}
