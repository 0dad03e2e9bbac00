// --exposures NAME=random:LO:HI: the grid, who gets which dose, and that each entity is seen exactly so often.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "dataloader/data_set.h"
#include "dataloader/doses.h"
#include "dataloader/loader.h"
#include "dataloader/stream.h"
#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"
#include "test/world.h"

namespace {

constexpr int T = 64;
using Doses = std::vector<int64_t>;

KnowledgeBuilder people_of(int entities) {
    KnowledgeBuilder people;
    people.entities = entities;
    return people;
}

// The people, `entities` of them, have doses.
struct DosedWorld : World {
    DosedWorld(int entities, const std::string& grid, int64_t tokens) : World(people_of(entities), T, tokens, 2 * T) {
        options.sources[1].ratio = -1;
        options.sources[1].doses = dose_grid("people", grid);
    }
};

std::vector<uint32_t> doses_of(const MixtureOptions& options) { return open_data_set(options).sources[1].doses(); }

// Entities with each dose that is given.
std::map<uint32_t, int64_t> sizes(const std::vector<uint32_t>& doses) {
    std::map<uint32_t, int64_t> result;
    for (const uint32_t dose : doses)
        if (dose > 0) ++result[dose];
    return result;
}

// Batches from the step after `state`'s on.
std::vector<Batch> batches(const MixtureOptions& mixture, const LoaderOptions& options, const std::string& state = "") {
    Loader loader(mixture, options);
    loader.start(state);
    std::vector<Batch> result;
    while (loader.step() < loader.plan().steps) result.push_back(loader.next());
    return result;
}

std::vector<int> tokens_of(const std::vector<Batch>& all) {
    std::vector<int> tokens;
    for (const Batch& batch : all) tokens.insert(tokens.end(), batch.targets.begin(), batch.targets.end());
    return tokens;
}

}  // namespace

TEST_CASE("the grid of doses: half powers of two from LO, none twice, none beyond HI", "[doses]") {
    CHECK(dose_grid("a", "random:8:1024") == Doses{8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024});
    CHECK(dose_grid("a", "random:1:16") == Doses{1, 2, 3, 4, 6, 8, 11, 16});
    CHECK(dose_grid("a", "random:10:100") == Doses{10, 14, 20, 28, 40, 57, 80});
    CHECK(dose_grid("a", "random:7:7") == Doses{7});
    CHECK(dose_grid("a", "random:1k:2k") == Doses{1000, 1414, 2000});
    CHECK(dose_grid("a", "random:1:1B").back() == 759250125);
    for (const char* text : {"random:0:8", "random:-1:8", "random:9:8", "random:1:2B", "random:8",
                             "random::", "random:", "random:1:2:3", "random:1.5:8", "random:a:8", "8:16"})
        REQUIRE_DIES(Exit::Usage, "--exposures a", dose_grid("a", text));
}

TEST_CASE("doses are dealt evenly, by data seed and source alone", "[doses]") {
    const int entities = GENERATE(5, 8, 60, 101);
    DosedWorld world(entities, "random:1:16", 200000);  // 8 doses
    const std::vector<uint32_t> doses = doses_of(world.options);
    REQUIRE(doses.size() == static_cast<size_t>(entities));
    for (const auto& [dose, n] : sizes(doses)) CHECK((n == entities / 8 || n == (entities + 7) / 8));
    CHECK(sizes(doses).size() == static_cast<size_t>(std::min(entities, 8)));
    const DataSet data = open_data_set(world.options);
    const auto lacks = [](const std::string& warning) { return warning.find("have none") != std::string::npos; };
    CHECK(std::any_of(data.plan.warnings.begin(), data.plan.warnings.end(), lacks) == (entities < 8));

    MixtureOptions other = world.options;  // another length, order and mixture
    other.tokens = 400000;
    other.T = 2 * T;
    other.batch_tokens = 4 * T;
    other.sources[1].windows = {{0.2, 0.8}};
    std::swap(other.sources[0], other.sources[1]);
    CHECK(open_data_set(other).sources[0].doses() == doses);
    other = world.options;
    other.data_seed = 43;
    CHECK(doses_of(other) != doses);
    CHECK(sizes(doses_of(other)) == sizes(doses));
}

TEST_CASE("doses are independent of the entities' numbers", "[doses]") {
    // means of the doses' numbers over the first half, the even ones and blocks of entities: within 5 standard errors
    const uint64_t entities = 20000, doses = 15;
    for (const uint64_t seed : {1, 2, 3}) {
        const Permutation order = dose_order(entities, seed, "people");
        std::vector<double> half, even, block;
        for (uint64_t i = 0; i < entities; ++i) {
            const double number = static_cast<double>(dose_number(order(i), entities, doses)) - 7;
            if (i < entities / 2) half.push_back(number);
            if (i % 2 == 0) even.push_back(number);
            if (i / 100 % 10 == 3) block.push_back(number);
        }
        for (const std::vector<double>& sample : {half, even, block}) {
            const double n = static_cast<double>(sample.size());
            const double mean = std::accumulate(sample.begin(), sample.end(), 0.0) / n;
            CHECK(std::abs(mean) < 5 * std::sqrt((15.0 * 15 - 1) / 12 / n));
        }
    }
}

TEST_CASE("every entity is seen as often as its dose is, spread over its windows", "[doses][mixture]") {
    DosedWorld world(60, "random:1:64", 400000);  // 12 doses of 5
    MixtureOptions& options = world.options;
    SourceOptions& people = options.sources[1];
    const int kind = GENERATE(0, 1, 2, 3, 4);
    if (kind == 1) people.windows = {{0.2, 0.4}, {0.7, 1}};
    if (kind == 2) people.subsample = 0.5;
    if (kind == 3) options.append = true, options.tokens = 20000;
    if (kind == 4) {  // so many that the last ones press: nearly all of the run
        const double tokens = open_data_set(options).plan.sources[1].tokens;
        options.tokens = (static_cast<int64_t>(tokens) / options.batch_tokens + 2) * options.batch_tokens;
    }
    const DataSet data = open_data_set(options);
    const std::vector<uint32_t> doses = data.sources[1].doses();
    const int64_t K = std::accumulate(doses.begin(), doses.end(), int64_t{0});
    CHECK(std::count(doses.begin(), doses.end(), 0u) == (kind == 2 ? 30 : 0));

    // the plan
    const SourcePlan& plan = data.plan.sources[1];
    std::map<uint32_t, int64_t> planned;
    for (const Dose& dose : plan.doses) planned[static_cast<uint32_t>(dose.exposures)] = dose.entities;
    CHECK(planned == sizes(doses));
    CHECK(plan.exposures * static_cast<double>(plan.entities) == Approx(static_cast<double>(K)));
    CHECK((plan.min_exposures == 1 && plan.max_exposures == 64));

    Stream stream(data.sources, data.mixture);
    std::vector<uint32_t> counts(60, 0);
    std::map<uint32_t, std::vector<int64_t>> of_dose;
    std::map<uint64_t, int64_t> last_end;
    int64_t k = 0, latest = 0, tokens = 0, near = 0;
    bool numbered = true, inside = true;
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        if (piece.source == 0) continue;
        inside &= piece.end() <= data.mixture.length;
        const uint64_t entity = data.sources[1].entity(piece.index);
        numbered &= piece.epoch == counts[entity];
        ++counts[entity];
        of_dose[doses[entity]].push_back(k);
        near += last_end.count(entity) > 0 && piece.begin - last_end[entity] < T;
        last_end[entity] = piece.end();
        latest = std::max(latest, piece.begin - data.mixture.places[1].due(k++));
        tokens += piece.length;
    }
    CHECK(counts == doses);
    CHECK(k == K);
    CHECK(inside);
    CHECK(numbered);  // an entity's k-th exposure is the rendering of its k-th epoch
    if (kind != 4) CHECK(latest <= 2 * T);
    CHECK(std::abs(static_cast<double>(tokens) - plan.tokens) < 0.02 * plan.tokens);
    // of any prefix of the source's documents each dose has its share, to less than one document
    double worst = 0;
    for (const auto& [dose, places] : of_dose) {
        const double n = static_cast<double>(places.size());
        for (size_t i = 0; i < places.size(); ++i) {
            const double share = n * static_cast<double>(places[i] + 1) / static_cast<double>(K);
            worst = std::max(worst, std::abs(static_cast<double>(i + 1) - share));
        }
    }
    CHECK(worst < 1);
    CHECK(near < K / 10);  // only where a dose has so few entities that each was seen within the last T tokens
}

TEST_CASE("no row shows an entity twice where each dose has enough of them", "[doses][mixture]") {
    DosedWorld world(600, "random:2:16", 300000);
    const DataSet data = open_data_set(world.options);
    Stream stream(data.sources, data.mixture);
    std::map<uint64_t, int64_t> last_end;
    int64_t nearest = T;
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        if (piece.source == 0) continue;
        if (last_end.count(piece.index)) nearest = std::min(nearest, piece.begin - last_end[piece.index]);
        last_end[piece.index] = piece.end();
    }
    CHECK(nearest >= T);
}

TEST_CASE("several sources with doses, exposures and ratios in one run", "[doses][mixture]") {
    DosedWorld world(60, "random:1:16", 400000);
    KnowledgeBuilder others;
    others.entities = 40;
    others.write(world.folder / "others");
    others.write(world.folder / "third");
    for (const char* name : {"others", "third"}) {
        world.options.sources.emplace_back();
        world.options.sources.back().name = name;
        world.options.sources.back().glob = world.folder / (std::string(name) + ".bin");
    }
    world.options.sources[2].doses = dose_grid("others", "random:1:16");
    world.options.sources[2].windows = {{0, 0.5}};
    world.options.sources[3].exposures = 5;
    const DataSet data = open_data_set(world.options);
    Stream stream(data.sources, data.mixture);
    std::vector<std::vector<uint32_t>> counts{
        {}, std::vector<uint32_t>(60), std::vector<uint32_t>(40), std::vector<uint32_t>(40)};
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        if (piece.source > 0) ++counts[piece.source][piece.index];
    }
    CHECK(counts[1] == data.sources[1].doses());
    CHECK(counts[2] == data.sources[2].doses());
    CHECK(counts[3] == std::vector<uint32_t>(40, 5));
}

TEST_CASE("ledgers of a run with doses equal them, in account and files", "[doses][loader]") {
    DosedWorld world(30, "random:2:8", 60 * 8 * T);
    const bool mask = GENERATE(false, true);
    Loader loader(world.options, {mask, 2});
    loader.start();
    std::vector<Ledger> ledgers = loader.make_ledgers();
    std::vector<int64_t> tokens(2, 0);
    while (loader.step() < loader.plan().steps) {
        const Batch& batch = loader.next();
        for (const Exposure& e : batch.exposures) ledgers[e.source].book(e, batch.step);
        for (size_t s = 0; s < 2; ++s) tokens[s] += batch.source_targets[s];
    }
    const std::vector<uint32_t> doses = doses_of(world.options);
    CHECK(ledgers[1].doses() == doses);
    CHECK(ledgers[0].doses().empty());
    bool equal = true;
    for (uint64_t e = 0; e < 30; ++e)
        for (uint32_t slot = 0; slot < ledgers[1].slots(); ++slot) equal &= ledgers[1].at(e, slot).count == doses[e];
    CHECK(equal);
    const RunAccount account = loader.account(ledgers, tokens, loader.plan().steps);
    REQUIRE(account.sources[1].doses.size() == 5);  // 2, 3, 4, 6, 8
    for (const DoseAccount& dose : account.sources[1].doses)
        CHECK((dose.least == dose.exposures && dose.most == dose.exposures && dose.entities == 6));
    CHECK(account_json(account).find("\"doses\"") != std::string::npos);

    ledgers[1].write(world.folder / "");
    const std::vector<Ledger> read = Ledger::read_all(world.folder / "");
    REQUIRE(read.size() == 1);
    CHECK(read[0].doses() == doses);
    const RunAccount manifest = loader.write_manifest(world.folder / "manifest");
    CHECK(account_json(manifest) == account_json(account));
    CHECK(read_file(world.folder / "manifest/people.doses.npy") == read_file(world.folder / "people.doses.npy"));
    write_file(world.folder / "people.doses.npy", "no array");
    REQUIRE_DIES(Exit::Data, "people.doses.npy", Ledger::read_all(world.folder / ""));
}

TEST_CASE("a loader with doses goes on after any step, for any number of processes", "[doses][loader]") {
    DosedWorld world(GENERATE(7, 40), "random:1:12", 40 * 8 * T);  // 7 entities for 7 doses: one of each
    const std::vector<Batch> expected = batches(world.options, {true, 0});
    const size_t steps = expected.size();
    REQUIRE(steps == 40);
    for (size_t step = 0; step + 1 < steps; ++step) {
        const std::vector<Batch> rest = batches(world.options, {true, step % 3 == 0 ? 2 : 0}, expected[step].state);
        REQUIRE(rest.size() == steps - step - 1);
        REQUIRE(rest.back().state == expected.back().state);
        REQUIRE(tokens_of(rest) == tokens_of({expected.begin() + static_cast<int64_t>(step) + 1, expected.end()}));
    }
    for (const int parts : {2, 4})
        for (int part = 0; part < parts; ++part) {
            const std::vector<Batch> own = batches(world.options, {true, 0, part, parts});
            for (size_t i = 0; i < steps; ++i) {
                const size_t n = expected[i].targets.size() / static_cast<size_t>(parts), from = n * part;
                REQUIRE(std::equal(own[i].targets.begin(), own[i].targets.end(), expected[i].targets.begin() + from));
                REQUIRE(own[i].exposures.size() == expected[i].exposures.size());
                REQUIRE(own[i].state == expected[i].state);
            }
        }
    MixtureOptions other = world.options;
    other.sources[1].doses = dose_grid("people", "random:1:8");
    Loader loader(other, {});
    REQUIRE_DIES(Exit::Usage, "options of source people", loader.start(expected[3].state));
    other = world.options;
    other.tokens *= 2;
    Loader longer(other, {});
    REQUIRE_DIES(Exit::Usage, "--exposures and --window of source people", longer.start(expected[3].state, true));
}

TEST_CASE("group weights are not used next to doses", "[doses][mixture]") {
    KnowledgeBuilder people;
    people.entities = 40;
    people.weights = {0.7, 0.3};
    for (uint32_t i = 0; i < 40; ++i) people.group.push_back(i % 2);
    World world(people, T, 200000, 2 * T);
    world.options.sources[1].ratio = -1;
    world.options.sources[1].doses = dose_grid("people", "random:1:16");
    const DataSet data = open_data_set(world.options);
    const auto says = [](const std::string& warning) {
        return warning.find("as often as its dose") != std::string::npos;
    };
    CHECK(std::any_of(data.plan.warnings.begin(), data.plan.warnings.end(), says));
    CHECK(sizes(data.sources[1].doses()).size() == 8);
}

TEST_CASE("impossible doses are refused", "[doses][mixture]") {
    DosedWorld world(40, "random:1:16", 100000);
    SourceOptions &web = world.options.sources[0], &people = world.options.sources[1];
    SECTION("with a ratio") {
        people.ratio = 0.3;
        REQUIRE_DIES(Exit::Usage, "--ratio and --exposures are both given for people", open_data_set(world.options));
    }
    SECTION("of a text") {
        web.doses = people.doses;
        REQUIRE_DIES(Exit::Usage, "--exposures web: not a knowledge source", open_data_set(world.options));
    }
    SECTION("more than fits") {
        people.doses = dose_grid("people", "random:1:1k");
        REQUIRE_DIES(Exit::Usage, "people needs", open_data_set(world.options));
        people.doses = dose_grid("people", "random:1:1B");
        REQUIRE_DIES(Exit::Usage, "people needs", open_data_set(world.options));
    }
    SECTION("more than its windows hold") {
        people.windows = {{0.5, 0.51}};
        REQUIRE_DIES(Exit::Usage, "people needs", open_data_set(world.options));
    }
    SECTION("more epochs than allowed") {
        people.max_epochs = 3;
        REQUIRE_DIES(Exit::Usage, "--max-epochs", open_data_set(world.options));
    }
}
