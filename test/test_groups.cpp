// Group weights: how often each group of a knowledge source comes, what stays as it is, and what is refused.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "dataloader/data_set.h"
#include "dataloader/fair_order.h"
#include "dataloader/loader.h"
#include "dataloader/stream.h"
#include "test/cases/traits.h"
#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"
#include "test/world.h"

namespace {

constexpr int T = 64;

// Weights k^-exponent that sum to 1.
std::vector<double> power_law(size_t groups, double exponent) {
    std::vector<double> weights;
    double sum = 0;
    for (size_t k = 1; k <= groups; ++k) {
        weights.push_back(std::pow(static_cast<double>(k), -exponent));
        sum += weights.back();
    }
    for (double& weight : weights) weight /= sum;
    return weights;
}

// The people are in groups, entity i in group i * groups / entities, as the generator has it.
World make_world(int entities, const std::vector<double>& weights, int64_t tokens = 1000000) {
    KnowledgeBuilder people;
    people.entities = entities;
    people.weights = weights;
    for (size_t i = 0, n = static_cast<size_t>(entities); i < n; ++i)
        people.group.push_back(static_cast<uint32_t>(i * weights.size() / n));
    return World(people, T, tokens, 2 * T);
}

// The people's pieces of a whole run.
std::vector<Piece> people_of(const DataSet& data) {
    Stream stream(data.sources, data.mixture);
    std::vector<Piece> pieces;
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        if (piece.source == 1) pieces.push_back(piece);
    }
    return pieces;
}

// Exposures of each entity that occurs.
std::map<uint64_t, int64_t> count(const DataSet& data, const std::vector<Piece>& pieces) {
    std::map<uint64_t, int64_t> counts;
    for (const Piece& piece : pieces) ++counts[data.sources[1].entity(piece.index)];
    return counts;
}

bool warns(const DataSet& data, const std::string& part) {
    return std::any_of(data.plan.warnings.begin(), data.plan.warnings.end(),
                       [&](const std::string& warning) { return warning.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("fair order: every group has its share of every prefix to less than one, and goes on from anywhere",
          "[groups]") {
    constexpr int64_t one = int64_t{1} << share_bits;
    const size_t n = GENERATE(1, 2, 3, 17, 400);
    const int kind = GENERATE(0, 1, 2);
    const int64_t part = one / static_cast<int64_t>(n);
    int64_t left = one;
    std::vector<int64_t> shares(n);
    for (size_t g = 0; g < n; ++g) {
        shares[g] = kind == 0 ? part : 1;  // equal: all are ties; a unit each, so that one has nearly everything
        if (kind == 1) shares[g] += static_cast<int64_t>(random_below(static_cast<uint64_t>(part), n, 1, g));
        left -= shares[g];
    }
    shares[n / 2] += left;

    FairOrder order(shares);
    std::vector<int64_t> counts(n, 0);
    bool exact = true, resumed = true;
    for (int64_t turn = 1; turn <= 5000; ++turn) {
        std::optional<FairOrder> continued;
        if (n < 100 || turn % 13 == 0) continued = order;  // 13: comes by every one of the 400
        const size_t group = order.next();
        if (continued) resumed &= continued->restore(counts) && continued->next() == group;
        ++counts[group];
        for (size_t g = 0; g < n; ++g) {
            const __int128 lag = static_cast<__int128>(turn) * shares[g] - (static_cast<__int128>(counts[g]) * one);
            exact &= lag < one && -lag < one;
        }
    }
    CHECK(exact);
    CHECK(resumed);
    CHECK(order.taken() == counts);
    if (n > 1) {
        counts[0] += 5000;
        CHECK(!order.restore(counts));
        counts[0] = -1;
        CHECK(!order.restore(counts));
        counts[0] = INT64_MAX;
        CHECK(!order.restore(counts));
        counts.pop_back();
        CHECK(!order.restore(counts));
    }
}

TEST_CASE("group weights: groups are exact to one document, their entities to one exposure", "[groups]") {
    const std::vector<double> weights = power_law(100, 1.5);
    World world = make_world(1000, weights, 4000000);
    const bool free = GENERATE(false, true);
    if (free) world.options.sources[1].ratio = -1;
    const DataSet data = open_data_set(world.options);
    const std::vector<Piece> pieces = people_of(data);
    REQUIRE(pieces.size() > 20000);
    std::vector<int64_t> groups(100, 0), entities(1000, 0);
    double worst = 0;
    bool numbered = true, even = true;
    int64_t nearest = T;
    std::map<uint64_t, int64_t> last_end;
    for (size_t i = 0; i < pieces.size(); ++i) {
        const uint64_t entity = data.sources[1].entity(pieces[i].index);
        numbered &= pieces[i].epoch == static_cast<uint64_t>(entities[entity]);
        ++entities[entity];
        ++groups[world.people.group[entity]];
        if (last_end.count(entity)) nearest = std::min(nearest, pieces[i].begin - last_end[entity]);
        last_end[entity] = pieces[i].end();
        for (size_t g = 0; g < 100; ++g)
            worst = std::max(worst, std::abs(weights[g] * static_cast<double>(i + 1) - static_cast<double>(groups[g])));
        const auto first = entities.begin() + 10 * world.people.group[entity];
        even &= *std::max_element(first, first + 10) - *std::min_element(first, first + 10) <= 1;
    }
    CHECK(worst < 1.0001);
    CHECK(numbered);  // an entity's k-th exposure is the rendering of its k-th epoch
    CHECK(even);
    CHECK(nearest >= T);

    const SourcePlan& plan = data.plan.sources[1];
    int64_t tokens = 0;
    for (const Piece& piece : pieces) tokens += std::min(piece.end(), data.mixture.length) - piece.begin;
    CHECK(std::abs(static_cast<double>(tokens) - plan.tokens) <= T);
    CHECK(plan.exposures == Approx(static_cast<double>(pieces.size()) / 1000).epsilon(0.01));
    CHECK(plan.epochs == plan.exposures);
    CHECK(plan.max_exposures == Approx(static_cast<double>(entities[0])).epsilon(0.01));
    CHECK(plan.min_exposures == Approx(static_cast<double>(groups[99]) / 10).epsilon(0.1));
    CHECK(plan.max_exposures / plan.min_exposures == Approx(1000));  // 100^1.5

    world.options.data_seed = 43;
    const std::vector<Piece> others = people_of(open_data_set(world.options));
    size_t moved = 0;
    for (size_t i = 0; i < 1000; ++i) moved += others[i].index != pieces[i].index;
    CHECK(moved > 800);
}

TEST_CASE("the mean length follows the weights where groups differ in length", "[groups]") {
    World world = make_world(12, {0.9, 0.1});
    world.people.group = {0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    world.people.write(world.folder / "people");
    const DataSet data = open_data_set(world.options);
    const std::vector<Piece> pieces = people_of(data);
    double tokens = 0;
    for (const Piece& piece : pieces) tokens += static_cast<double>(piece.length);
    CHECK(data.sources[1].mean_length() == Approx(tokens / static_cast<double>(pieces.size())).epsilon(0.005));
    CHECK(data.plan.sources[1].pieces == Approx(static_cast<double>(pieces.size())).epsilon(0.005));
}

TEST_CASE("weights that are the same for every entity leave the order as it is", "[groups]") {
    const int entities = GENERATE(2, 12, 60);
    World world = make_world(entities, {1});
    const int kind = GENERATE(0, 1, 2);
    if (kind == 1) world.options.sources[1].subsample = 0.5;
    if (kind == 2) {
        world.options.sources[1].ratio = -1;
        world.options.sources[1].exposures = 20;
    }
    const auto order = [&] {
        const DataSet data = open_data_set(world.options);
        CHECK(!data.sources[1].weighted());
        CHECK(!warns(data, "group"));
        CHECK(data.plan.sources[1].min_exposures == Approx(data.plan.sources[1].exposures));
        CHECK(data.plan.sources[1].max_exposures == Approx(data.plan.sources[1].exposures));
        std::string text;
        Stream stream(data.sources, data.mixture);
        while (stream.position() < data.mixture.length) {
            const Piece piece = stream.next();
            for (const uint64_t number : {static_cast<uint64_t>(piece.source), piece.index, piece.epoch})
                append(&text, number);
        }
        return text + stream.state().dump();
    };
    const std::string expected = order();
    // groups of 1 and the rest, of a third and two thirds, and one that is empty
    for (const uint32_t first : {1u, static_cast<uint32_t>(entities + 2) / 3}) {
        world.people.group.assign(static_cast<size_t>(entities), 2);
        std::fill_n(world.people.group.begin(), first, 0u);
        const double part = first / static_cast<double>(entities);
        world.people.weights = {7 * part, 3, 7 * (1 - part)};
        world.people.write(world.folder / "people");
        CHECK(order() == expected);
    }
    const std::string path = world.folder / "people.facts.json", text = read_file(path);
    const size_t begin = text.find("\"group_weights\""), end = text.find("\"slots\"");
    put_file(path, text.substr(0, begin) + text.substr(end));  // none at all
    CHECK(order() == expected);
}

TEST_CASE("a stream goes on after any piece, with group weights and without", "[groups]") {
    const int entities = GENERATE(3, 4, 9, 200);
    const bool weighted = GENERATE(false, true);
    World world = make_world(entities, weighted ? power_law(3, 1.5) : std::vector<double>{1}, 60000);
    world.options.sources[1].ratio = GENERATE(0.05, 0.3, 0.9);
    // slices as long as rows: of several people deferred at once, some are long gone
    const bool long_slices = GENERATE(false, true);
    if (long_slices) {
        SidecarText sidecar;
        sidecar.vocab_size = world.people.vocab_size();
        write_text(world.folder / "web", random_documents(300, 400, 1200, 5), sidecar);
        world.options.T = 8 * T;
        world.options.tokens = 400000;
    }
    const DataSet data = open_data_set(world.options);
    REQUIRE(data.sources[1].weighted() == weighted);
    Stream stream(data.sources, data.mixture);
    std::optional<Stream> other(std::in_place, data.sources, data.mixture);
    bool same = true;
    // unoptimised and sanitized, states take nearly all of the time
    const uint64_t pieces_a_life = under_sanitizer() ? 30 : 3;
    for (uint64_t i = 0; stream.position() < data.mixture.length; ++i) {
        if (random_below(pieces_a_life, 1, 0, i) == 0) {
            const std::string state = stream.state().dump();
            other.emplace(data.sources, data.mixture);
            other->restore(nlohmann::json::parse(state));
            same &= other->state().dump() == state;
        }
        const Piece a = stream.next(), b = other->next();
        same &= a.source == b.source && a.index == b.index && a.epoch == b.epoch && a.begin == b.begin;
    }
    CHECK(same);
}

TEST_CASE("a loader with group weights resumes at any step, and only with the same groups", "[groups][loader]") {
    World world = make_world(60, power_law(20, 1.5), 40000);
    const auto batches = [&](const std::string& state) {
        Loader loader(world.options, {});
        loader.start(state);
        std::vector<Batch> result;
        do result.push_back(loader.next());
        while (result.back().step + 1 < loader.plan().steps);
        return result;
    };
    const std::vector<Batch> expected = batches("");
    for (uint64_t i = 0; i < 10; ++i) {
        const size_t step = random_below(expected.size() - 1, 1, 0, i);
        const std::vector<Batch> rest = batches(expected[step].state);
        REQUIRE(rest.size() == expected.size() - step - 1);
        for (size_t j = 0; j < rest.size(); ++j) {
            const Batch &a = rest[j], &b = expected[step + 1 + j];
            REQUIRE((a.step == b.step && a.inputs == b.inputs && a.targets == b.targets && a.state == b.state));
        }
    }

    const std::string state = expected[30].state;
    const auto damaged = [&](const std::string& from, const std::string& to) {
        std::string text = state;
        const size_t at = text.find(from);
        REQUIRE(at != std::string::npos);
        batches(text.replace(at, from.size(), to));
    };
    REQUIRE_DIES(Exit::Data, "people", damaged("\"groups\":[", "\"groups\":[9"));
    REQUIRE_DIES(Exit::Data, "people", damaged("\"groups\":[", "\"groups\":[0,"));
    REQUIRE_DIES(Exit::Data, "damaged", damaged("\"groups\":[", "\"others\":["));
    std::swap(world.people.group[0], world.people.group[59]);  // another column under the same names and weights
    world.people.write(world.folder / "people");
    REQUIRE_DIES(Exit::Data, "people.bin: not the file", batches(state));
    std::swap(world.people.group[0], world.people.group[59]);
    world.people.weights = power_law(20, 1.4);
    world.people.write(world.folder / "people");
    REQUIRE_DIES(Exit::Data, "people.bin: not the file", batches(state));
}

TEST_CASE("--exposures is the same for every entity, whatever the weights", "[groups]") {
    World world = make_world(50, power_law(10, 1.5));
    world.options.sources[1].ratio = -1;
    world.options.sources[1].exposures = 13;
    const DataSet data = open_data_set(world.options);
    CHECK(warns(data, "source people: --exposures shows every entity equally often"));
    CHECK(data.plan.sources[1].min_exposures == Approx(13));
    CHECK(data.plan.sources[1].max_exposures == Approx(13));
    const std::map<uint64_t, int64_t> counts = count(data, people_of(data));
    REQUIRE(counts.size() == 50);
    for (const auto& [entity, n] : counts) CHECK(n == 13);
}

TEST_CASE("a group without entities leaves its weight to the others", "[groups]") {
    World world = make_world(400, {0.4, 0.3, 0, 0.2, 0.1});
    for (uint32_t& group : world.people.group) group = group == 3 ? 0 : group;
    std::fill_n(world.people.group.begin() + 300, 20, 3u);
    world.people.write(world.folder / "people");
    // of group 3 there are 20 among 400 people: some seed keeps none of them
    for (const double subsample : {1.0, 0.02}) {
        world.options.sources[1].subsample = subsample;
        world.options.data_seed = 0;
        std::set<uint32_t> kept;
        do {
            kept.clear();
            const Source source(world.options.sources[1], ++world.options.data_seed, T, -1);
            for (uint64_t i = 0; i < source.draws(); ++i) kept.insert(world.people.group[source.entity(i)]);
        } while (subsample < 1 && kept != std::set<uint32_t>{0, 1, 2, 4});
        const DataSet data = open_data_set(world.options);
        const std::vector<Piece> pieces = people_of(data);
        std::vector<double> groups(5, 0);
        for (const auto& [entity, n] : count(data, pieces))
            groups[world.people.group[entity]] += static_cast<double>(n);
        const double all = static_cast<double>(pieces.size()), sum = subsample < 1 ? 0.8 : 1;
        const double expected[] = {0.4, 0.3, 0, subsample < 1 ? 0 : 0.2, 0.1};
        for (size_t g = 0; g < 5; ++g) CHECK(std::abs(groups[g] - all * expected[g] / sum) <= 1);
        CHECK(warns(data, "1 of 5 groups have a weight but no entity that --subsample keeps") == (subsample < 1));
        CHECK(warns(data, "never appear"));
        CHECK(data.plan.sources[1].min_exposures == 0);
        CHECK(data.plan.sources[1].max_exposures > data.plan.sources[1].exposures);
    }
}

TEST_CASE("files that name the same groups are one population", "[groups]") {
    World world = make_world(60, {0.8, 0.2});
    KnowledgeBuilder others = world.people;
    others.group.assign(60, 1);
    others.write(world.folder / "people2");
    world.options.sources[1].glob = world.folder / "people*.bin";
    const DataSet data = open_data_set(world.options);
    const std::vector<Piece> pieces = people_of(data);
    double first = 0;
    for (const Piece& piece : pieces) first += data.sources[1].entity(piece.index) < 30;
    CHECK(std::abs(first - 0.8 * static_cast<double>(pieces.size())) <= 1);

    // 90 to 30 entities: in proportion
    others.weights = world.people.weights = {0.25, 0.75};
    others.write(world.folder / "people2");
    world.people.write(world.folder / "people");
    CHECK(!open_data_set(world.options).sources[1].weighted());

    others.weights = {0.3, 0.7};
    others.write(world.folder / "people2");
    REQUIRE_DIES(Exit::Data, "people.bin do not fit its other files", open_data_set(world.options));
    world.options.sources[1].ratio = -1;
    world.options.sources[1].exposures = 3;
    CHECK(warns(open_data_set(world.options), "not used"));
}

TEST_CASE("bad groups are refused with their file", "[groups]") {
    World world = make_world(20, {0.75, 0.25});
    const std::string path = world.folder / "people.facts.json", text = read_file(path);
    const auto open = [&](const std::string& from, const std::string& to) {
        std::string changed = text;
        put_file(path, changed.replace(changed.find(from), from.size(), to));
        open_data_set(world.options);
    };
    CHECK(outcome_of([&] { open("0.75", "0.75"); }).code == Exit::Ok);
    for (const char* weights : {"[1]", "[0.5, 0.25, 0.25]", "[]", "7", "null"})
        REQUIRE_DIES(Exit::Data, path, open("[0.75, 0.25]", weights));
    for (const char* weight : {"-0.1", "\"1\"", "null", "NaN", "1e999", "true"})
        REQUIRE_DIES(Exit::Data, path, open("0.75", weight));
    REQUIRE_DIES(Exit::Data, "sum to 0", open("[0.75, 0.25]", "[0, 0.0]"));
    REQUIRE_DIES(Exit::Data, "sum to inf", open("[0.75, 0.25]", "[1e308, 1e308]"));
    REQUIRE_DIES(Exit::Data, "groups", open("[\"group0\", \"group1\"]", "[]"));
    REQUIRE_DIES(Exit::Data, "groups", open("[\"group0\", \"group1\"]", "[1, 2]"));
    REQUIRE_DIES(Exit::Data, path, open("\"groups\"", "\"group\""));
    CHECK(outcome_of([&] { open("[0.75, 0.25]", "[1e308, 1e-300]"); }).code == Exit::Ok);

    put_file(path, text);
    world.people.group[7] = 2;
    world.people.write(world.folder / "people");
    REQUIRE_DIES(Exit::Data, "people.group.npy: entity 7 is of group 2, facts.json names 2",
                 open_data_set(world.options));
    world.people.group.assign(20, 0);
    world.people.weights = {0, 1};
    world.people.write(world.folder / "people");
    REQUIRE_DIES(Exit::Data, "people.bin: no entity is of a group", open_data_set(world.options));
}
