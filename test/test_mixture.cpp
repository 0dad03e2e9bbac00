// The mixture: shares exact to one piece, exposures exact, windows, subsample, deferral, and every refusal. Lengths
// only: no token is read.
#include <algorithm>
#include <map>
#include <set>

#include "dataloader/data_set.h"
#include "dataloader/stream.h"
#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"

namespace {

struct Shards {
    TemporaryFolder folder;
    KnowledgeBuilder people;
    MixtureOptions options;

    // Sources "web0", "web1", ... of text, and "people".
    explicit Shards(int T, int entities = 300, int texts = 2) {
        people.entities = entities;
        people.write(folder / "people");
        SidecarText sidecar;
        sidecar.vocab_size = people.vocab_size();
        for (int i = 0; i < texts; ++i)
            write_text(folder / ("web" + std::to_string(i)),
                       random_documents(200, 1, static_cast<size_t>(2 * T), static_cast<uint64_t>(i)), sidecar);
        options.T = T;
        options.batch_tokens = 10 * T;
        options.data_seed = 7;
    }
    SourceOptions& add(const std::string& name, const std::string& files) {
        options.sources.emplace_back();
        options.sources.back().name = name;
        options.sources.back().glob = folder / (files + ".bin");
        return options.sources.back();
    }
};

// What the stream holds of each source, the last piece cut where the run ends.
struct Account {
    std::vector<int64_t> tokens, pieces, worst;  // worst: distance from the share at any time, where `shares` are given
};

Account replay(const DataSet& data, const std::vector<double>& shares = {}) {
    Stream stream(data.sources, data.mixture);
    const size_t n = data.sources.size();
    Account account{std::vector<int64_t>(n, 0), std::vector<int64_t>(n, 0), std::vector<int64_t>(n, 0)};
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        const int64_t end = std::min(piece.end(), data.mixture.length);
        account.tokens[piece.source] += end - piece.begin;
        ++account.pieces[piece.source];
        for (size_t s = 0; s < shares.size(); ++s)
            account.worst[s] =
                std::max(account.worst[s],
                         std::abs(account.tokens[s] - static_cast<int64_t>(shares[s] * static_cast<double>(end))));
    }
    return account;
}

void check_plan(const DataSet& data, const Account& account) {
    for (size_t s = 0; s < data.sources.size(); ++s) {
        if (data.mixture.places[s].count > 0) continue;  // exact in pieces; their lengths are drawn
        INFO(data.sources[s].name() << ": " << account.tokens[s] << " tokens, planned " << data.plan.sources[s].tokens);
        CHECK(std::abs(static_cast<double>(account.tokens[s]) - data.plan.sources[s].tokens) <=
              static_cast<double>(data.sources[s].longest()));
    }
}

}  // namespace

TEST_CASE("realised tokens are within one piece of the plan, 1e-5 to 0.45", "[mixture][frequencies]") {
    Shards shards(1024);
    shards.options.tokens = 100000000;
    const double ratio = GENERATE(1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.45);
    shards.add("web", "web0");
    const bool knowledge = GENERATE(false, true);
    shards.add("rare", knowledge ? "people" : "web1").ratio = ratio;
    const DataSet data = open_data_set(shards.options);
    const Account account = replay(data, {1 - ratio, ratio});
    check_plan(data, account);
    CHECK(std::abs(static_cast<double>(account.tokens[1]) - ratio * static_cast<double>(data.plan.tokens)) <=
          static_cast<double>(data.sources[1].longest()));
    CHECK(account.worst[1] <= 1024);
}

TEST_CASE("many sources at once stay within one piece, at any time and at the end", "[mixture]") {
    Shards shards(256, 300, 6);
    shards.options.tokens = 30000000;
    const std::vector<double> ratios = {1e-5, 1e-4, 1e-3, 0.01, 0.1, 0.45};
    double rest = 1;
    for (size_t i = 0; i < ratios.size(); ++i) {
        shards.add("s" + std::to_string(i), i == 4 ? "people" : "web" + std::to_string(i)).ratio = ratios[i];
        rest -= ratios[i];
    }
    shards.add("rest", "web4");
    const DataSet data = open_data_set(shards.options);
    std::vector<double> shares = ratios;
    shares.push_back(rest);
    const Account account = replay(data, shares);
    check_plan(data, account);
    for (const int64_t worst : account.worst) CHECK(worst <= 256);
}

TEST_CASE("windows: local shares, exact totals, and nothing outside", "[mixture]") {
    Shards shards(128);
    shards.options.tokens = 3000000;
    shards.add("web", "web0").ratio = 0.6;
    shards.add("code", "web1").ratio = 0.3;
    shards.add("people", "people").ratio = 0.1;
    shards.options.sources[2].windows = {{0.5, 0.6}, {0.1, 0.3}};
    const DataSet data = open_data_set(shards.options);
    check_plan(data, replay(data));

    Stream stream(data.sources, data.mixture);
    std::map<int, std::vector<double>> tenths;  // tokens of each source in each tenth of the run
    const double run = static_cast<double>(data.plan.tokens);
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        std::vector<double>& tokens = tenths[static_cast<int>(static_cast<double>(piece.begin) / run * 10)];
        tokens.resize(3);
        tokens[piece.source] += static_cast<double>(piece.length) / run * 10;
        const double at = static_cast<double>(piece.begin) / run;
        if (piece.source == 2) CHECK(((at >= 0.1 && at < 0.3) || (at >= 0.5 && at < 0.6)));
    }
    for (const int tenth : {1, 2, 5}) {
        CHECK(tenths[tenth][2] == Approx(1.0 / 3).margin(0.002));
        CHECK(tenths[tenth][0] == Approx(2.0 / 3 * 0.6 / 0.9).margin(0.002));
    }
    for (const int tenth : {0, 3, 4, 7, 9}) CHECK(tenths[tenth][1] == Approx(1.0 / 3).margin(0.002));
}

TEST_CASE("a curriculum: sources without ratio share what is there", "[mixture]") {
    Shards shards(128);
    shards.options.tokens = 1000000;
    shards.add("first", "web0").windows = {{0, 0.5}};
    shards.add("second", "web1").windows = {{0.5, 1}};
    shards.add("people", "people").ratio = 0.2;
    const DataSet data = open_data_set(shards.options);
    check_plan(data, replay(data));
    CHECK(data.plan.sources[0].share == Approx(0.4));
    CHECK(data.plan.sources[1].share == Approx(0.4));
}

TEST_CASE("--exposures gives every entity exactly F, evenly spread", "[mixture]") {
    Shards shards(128);
    const int F = GENERATE(1, 7, 40);
    shards.add("web", "web0");
    SourceOptions& people = shards.add("people", "people");
    people.exposures = F;
    const int kind = GENERATE(0, 1, 2, 3);
    shards.options.tokens = 1500000;
    if (kind == 1) people.windows = {{0.2, 0.4}, {0.7, 1}};
    if (kind == 2)
        shards.options.tokens =
            (F * 300 * 29 / 1280 + 1) * 1280;  // so many that the last ones press: nearly all of the run
    if (kind == 3) shards.options.append = true, shards.options.tokens = 200000;
    if (kind == 3) people.subsample = 0.25;
    const DataSet data = open_data_set(shards.options);
    const int64_t K = F * (kind == 3 ? 75 : 300);
    Stream stream(data.sources, data.mixture);
    std::map<uint64_t, int> counts;
    std::map<uint64_t, std::set<uint64_t>> epochs;
    int64_t k = 0, latest = 0, web = 0;
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        if (piece.source == 0) {
            web += std::min(piece.end(), data.mixture.length) - piece.begin;
            continue;
        }
        REQUIRE(piece.end() <= data.mixture.length);  // its last value is a target
        ++counts[data.sources[1].entity(piece.index)];
        epochs[piece.epoch].insert(piece.index);
        const int64_t due = data.mixture.places[1].due(k++);
        if (kind != 2) REQUIRE(piece.begin >= due - 2 * 128);  // earlier only where the last ones would not fit
        latest = std::max(latest, piece.begin - due);
    }
    REQUIRE(k == K);
    REQUIRE(counts.size() == static_cast<size_t>(K / F));
    for (const auto& [entity, n] : counts) REQUIRE(n == F);
    for (const auto& [epoch, entities] : epochs) REQUIRE(entities.size() == static_cast<size_t>(K / F));
    if (kind != 2) CHECK(latest <= 2 * 128);
    CHECK(data.plan.sources[1].exposures == Approx(F));
    if (kind == 3) {
        CHECK(web >= 200000 - 2000);
        CHECK(web <= 200000 + 2000 + shards.options.batch_tokens);
    }
}

TEST_CASE("ratios are of the whole run also next to --exposures", "[mixture]") {
    Shards shards(128);
    shards.options.tokens = 1500000;
    shards.add("web", "web0");
    shards.add("code", "web1").ratio = 0.25;
    shards.add("people", "people").exposures = 50;
    const DataSet data = open_data_set(shards.options);
    const Account account = replay(data, {1 - 0.25, 0.25});
    CHECK(std::abs(static_cast<double>(account.tokens[1]) - 0.25 * static_cast<double>(data.plan.tokens)) <= 128);
    CHECK(account.pieces[2] == 50 * 300);
    CHECK(data.plan.warnings.size() == 2);  // more than one epoch of the texts

    shards.options.sources[0].ratio = 0.75;
    const DataSet scaled = open_data_set(shards.options);
    check_plan(scaled, replay(scaled));
    CHECK(scaled.plan.warnings[0].find("scaled") != std::string::npos);
    CHECK(scaled.plan.sources[0].tokens == Approx(3 * scaled.plan.sources[1].tokens));
}

TEST_CASE("no row shows an entity twice, and epochs stay exact", "[mixture]") {
    const int T = 128, entities = GENERATE(1, 2, 5, 12, 40);
    Shards shards(T, entities);
    shards.options.tokens = 100000;
    shards.add("web", "web0");
    shards.add("people", "people").ratio = 0.5;
    const DataSet data = open_data_set(shards.options);
    Stream stream(data.sources, data.mixture);
    std::map<uint64_t, int64_t> last_end;
    std::map<uint64_t, std::set<uint64_t>> epochs;
    int64_t nearest = T;
    std::vector<uint64_t> order, permutation;
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        if (piece.source == 0) continue;
        if (last_end.count(piece.index)) nearest = std::min(nearest, piece.begin - last_end[piece.index]);
        last_end[piece.index] = piece.end();
        REQUIRE(epochs[piece.epoch].insert(piece.index).second);
        if (!epochs[piece.epoch + 1].empty()) FAIL("an epoch began before the one before it was over");
        order.push_back(piece.index);
    }
    const size_t n = static_cast<size_t>(entities);
    for (uint64_t epoch = 0; (epoch + 1) * n <= order.size(); ++epoch) REQUIRE(epochs[epoch].size() == n);
    if (entities >= 12) CHECK(nearest >= T);
    for (size_t i = 0; i < order.size(); ++i) permutation.push_back(data.sources[1].order(i / n)(i % n));
    size_t moved = 0;
    for (size_t i = 0; i < order.size(); ++i) moved += order[i] != permutation[i];
    if (entities == 40) CHECK(moved < order.size() / 3);  // deferral touches epoch borders only
    if (entities >= 5) CHECK(moved > 0);
}

TEST_CASE("--subsample keeps a seeded number and leaves the ratio", "[mixture]") {
    Shards shards(128);
    shards.options.tokens = 500000;
    shards.add("web", "web0").subsample = 0.335;
    shards.add("people", "people").ratio = 0.3;
    shards.options.sources[1].subsample = 0.1;
    const auto seen = [&](uint64_t seed) {
        shards.options.data_seed = seed;
        const DataSet data = open_data_set(shards.options);
        CHECK(data.plan.sources[0].documents == 67);
        CHECK(data.plan.sources[1].entities == 30);
        check_plan(data, replay(data));
        Stream stream(data.sources, data.mixture);
        std::set<uint64_t> entities;
        while (stream.position() < data.mixture.length) {
            const Piece piece = stream.next();
            if (piece.source == 1) entities.insert(data.sources[1].entity(piece.index));
        }
        CHECK(entities.size() == 30);
        return entities;
    };
    const std::set<uint64_t> first = seen(1), second = seen(2);
    CHECK(first == seen(1));
    CHECK(first != second);
}

TEST_CASE("pieces of a text: slices of T-1, own EOT removed, several files in name order", "[mixture]") {
    TemporaryFolder folder;
    // T-1 = 4; EOT 0 is before, after, both, neither, alone
    write_text(folder / "b",
               {{0, 11, 12, 13, 14}, {21, 22, 23, 24, 0}, {0, 31, 32, 33, 34, 0}, {41, 42, 43, 44, 45}, {0}, {}}, {},
               false);
    write_text(folder / "a", {std::vector<int>(8, 51), std::vector<int>(9, 61)}, {});
    SourceOptions options;
    options.name = "web";
    options.glob = folder / "*";
    Source source(options, 1, 5, -1);
    source.set_vocab(1000);
    const std::vector<std::vector<int>> expected = {
        {0, 51, 51, 51, 51}, {0, 51, 51, 51, 51}, {0, 61, 61, 61, 61}, {0, 61, 61, 61, 61}, {0, 61},
        {0, 11, 12, 13, 14}, {0, 21, 22, 23, 24}, {0, 31, 32, 33, 34}, {0, 41, 42, 43, 44}, {0, 45}};
    REQUIRE(source.draws() == expected.size());
    int64_t tokens = 0;
    for (uint64_t i = 0; i < source.draws(); ++i) {
        std::vector<int> piece(source.length(i, 0));
        source.read(i, 0, piece.data(), nullptr);
        CHECK(piece == expected[i]);
        tokens += static_cast<int64_t>(piece.size());
    }
    CHECK(source.epoch_tokens() == Approx(static_cast<double>(tokens)));
    CHECK(source.describe(8, 0) == "b.bin document 3 slice 0");

    options.subsample = 0.5;
    Source half(options, 1, 5, -1);
    CHECK(half.documents() == 4);
}

TEST_CASE("a composed document longer than T-1 goes on in further slices", "[mixture]") {
    TemporaryFolder folder;
    KnowledgeBuilder people;
    people.write(folder / "people");
    SourceOptions options;
    options.name = "people";
    options.glob = folder / "people.bin";
    Source narrow_rows(options, 1, 8, -1), wide_rows(options, 1, 512, -1);
    narrow_rows.set_vocab(1000);
    wide_rows.set_vocab(1000);
    double mean = 0;
    for (uint64_t i = 0; i < 10; ++i)
        for (uint64_t epoch = 0; epoch < 300; ++epoch) {
            std::vector<int> sliced(narrow_rows.length(i, epoch)), whole(wide_rows.length(i, epoch));
            std::vector<ValueSpan> sliced_values, values;
            narrow_rows.read(i, epoch, sliced.data(), &sliced_values);
            wide_rows.read(i, epoch, whole.data(), &values);
            std::vector<int> expected;
            for (size_t at = 1; at < whole.size(); ++at) {
                if ((at - 1) % 7 == 0) expected.push_back(0);
                expected.push_back(whole[at]);
            }
            REQUIRE(sliced == expected);
            for (size_t v = 0; v < 3; ++v) {
                const int id = people.value_id(static_cast<int>(i), static_cast<int>(values[v].slot));
                REQUIRE(whole[values[v].begin] == id);
                REQUIRE(whole[values[v].end - 1] == id);
                REQUIRE(static_cast<int>(values[v].end - values[v].begin) ==
                        KnowledgeBuilder::value_length(static_cast<int>(i), static_cast<int>(values[v].slot)));
                REQUIRE(sliced[sliced_values[v].begin] == id);
                REQUIRE(sliced[sliced_values[v].end - 1] == id);
            }
            REQUIRE(whole.size() <= wide_rows.longest());
            REQUIRE(sliced.size() <= narrow_rows.longest());
            mean += static_cast<double>(whole.size()) / 3000;
        }
    CHECK(wide_rows.mean_length() == Approx(mean).epsilon(0.005));
}
