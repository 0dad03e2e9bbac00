// Where a source is placed, when something is due, and the account of both: against counts made here.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "dataloader/account.h"
#include "dataloader/loader.h"
#include "dataloader/placement.h"
#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"
#include "test/world.h"
#include "train/when.h"
#include "util/npy.h"

namespace {

constexpr int T = 32;
constexpr int64_t batch_tokens = 8 * T;

bool near(const RunWindows& a, const RunWindows& b) {
    bool equal = a.size() == b.size();
    for (size_t i = 0; equal && i < a.size(); ++i)
        equal = std::abs(a[i].first - b[i].first) < 1e-12 && std::abs(a[i].second - b[i].second) < 1e-12;
    return equal;
}

struct ManifestRow {
    uint64_t position;
    uint32_t step, entity, epoch, length;
};
constexpr const char* MANIFEST =
    "[('position', '<u8'), ('step', '<u4'), ('entity', '<u4'), ('epoch', '<u4'), ('length', '<u4')]";

}  // namespace

TEST_CASE("placements are parts of the windows, put end to end", "[placement]") {
    const auto place = [](const char* text, RunWindows windows) { return place_windows("x", text, windows); };
    CHECK(near(place("uniform", {}), {{0, 1}}));
    CHECK(near(place("front:0.25", {}), {{0, 0.25}}));
    CHECK(near(place("back:0.25", {}), {{0.75, 1}}));
    CHECK(near(place("burst:0.5:0.2", {}), {{0.4, 0.6}}));
    CHECK(near(place("periodic:2:0.5", {}), {{0.125, 0.375}, {0.625, 0.875}}));
    CHECK(near(place("periodic:3:1", {{0.5, 1}}), {{0.5, 1}}));
    CHECK(near(place("front:0.5", {{0.6, 1}, {0, 0.2}}), {{0, 0.2}, {0.6, 0.7}}));
    CHECK(near(place("back:0.5", {{0, 0.2}, {0.6, 1}}), {{0.7, 1}}));
    CHECK(near(place("burst:0.5:0.5", {{0, 0.2}, {0.8, 1}}), {{0.1, 0.2}, {0.8, 0.9}}));
    CHECK(near(place("burst:0.25:0.5", {{0.2, 0.4}}), {{0.2, 0.3}}));
    for (const char* wrong : {"", "front", "front:0", "front:1.5", "front:x", "uniform:1", "burst:0.5", "burst:0.9:0.5",
                              "periodic:0:0.5", "periodic:2.5:0.5", "middle:0.5", "front:0.5:0.5"}) {
        INFO(wrong);
        REQUIRE_DIES(Exit::Usage, "--placement x", place(wrong, {}));
    }
    for (const RunWindows& wrong : {RunWindows{{0.5, 0.2}}, RunWindows{{0.2, 1.5}}, RunWindows{{0.2, 0.5}, {0.4, 0.6}}})
        REQUIRE_DIES(Exit::Usage, "--window x", place("front:0.5", wrong));
}

TEST_CASE("when something is due", "[placement]") {
    const auto steps = [](const char* text, const RunWindows& windows, int64_t run) {
        When when("--eval-at", text);
        when.add_windows(windows, run);
        std::set<int64_t> due;
        for (int64_t step = 0; step <= run; ++step)
            if (when.due(step, run)) due.insert(step);
        return due;
    };
    CHECK(steps("end", {}, 10) == std::set<int64_t>{10});
    CHECK(steps("log", {}, 11) == std::set<int64_t>{0, 1, 2, 4, 8, 11});
    CHECK(steps("every:3,at:7,at:0", {}, 10) == std::set<int64_t>{0, 3, 6, 7, 9, 10});
    CHECK(steps("windows", {{0.3, 0.5}}, 20) == std::set<int64_t>{6, 10, 11, 12, 14, 18, 20});
    CHECK(steps("windows", {{0.31, 0.501}}, 20) == std::set<int64_t>{6, 11, 12, 13, 15, 19, 20});
    CHECK(steps("every:9", {{0.3, 0.5}}, 20) == std::set<int64_t>{9, 18, 20});
    When("--eval-at", "at:10,log").check(10);
    REQUIRE_DIES(Exit::Usage, "the run has 10 steps", When("--eval-at", "at:3,at:11").check(10));
    for (const char* wrong : {"", "log,", "every:0", "every:", "at:-1", "sometimes", "at:1.5"}) {
        INFO(wrong);
        REQUIRE_DIES(Exit::Usage, "--eval-at", When("--eval-at", wrong));
    }
}

TEST_CASE("the manifest and the account are what the batches hold", "[placement]") {
    const char* text = GENERATE("uniform", "front:0.3", "back:0.4", "burst:0.5:0.3", "periodic:4:0.5");
    KnowledgeBuilder people;
    people.entities = 15;
    people.filler = 0;
    World world(people, T, 300 * batch_tokens, 30);
    world.options.sources[1].ratio = -1;
    world.options.sources[1].exposures = 8;
    world.options.sources[1].windows = place_windows("people", text, {});
    Loader loader(world.options, {});
    const std::string folder = world.folder / "manifest";
    const RunAccount account = loader.write_manifest(folder);

    // the tokens themselves: an entity's document begins at an EOT before a sentence in form 0
    loader.start();
    std::vector<int> stream;
    for (int64_t step = 0; step < loader.plan().steps; ++step) {
        const Batch& batch = loader.next();
        if (stream.empty()) stream.push_back(batch.inputs[0]);
        stream.insert(stream.end(), batch.targets.begin(), batch.targets.end());
    }
    const NpyArray file(path_join(folder, "people.npy"), MANIFEST, sizeof(ManifestRow), 0);
    const ManifestRow* rows = static_cast<const ManifestRow*>(file.data());
    REQUIRE(file.rows() == 8 * 15);
    std::vector<uint32_t> seen(15);
    size_t found = 0;
    for (size_t i = 0; i + 4 < stream.size(); ++i) {
        if (stream[i] != 0 || stream[i + 1] < 10 || stream[i + 1] >= 13 || stream[i + 3] != 50) continue;
        size_t value = i + 4;
        while (stream[value] < 100) ++value;
        const uint32_t entity = static_cast<uint32_t>(stream[value] - 100) / 3;
        const ManifestRow& row = rows[found++];
        REQUIRE(row.position == i);
        REQUIRE(row.entity == entity);
        REQUIRE(row.epoch == seen[entity]++);
        REQUIRE(row.step == (i == 0 ? 0 : (i - 1) / batch_tokens));
        REQUIRE((i + row.length == stream.size() || stream[i + row.length] == 0));
    }
    CHECK(found == file.rows());
    for (const uint32_t n : seen) CHECK(n == 8);

    // inside the windows, but for the document that reaches over an end
    const double run = static_cast<double>(stream.size() - 1);
    for (size_t i = 0; i < file.rows(); ++i) {
        const double begin = static_cast<double>(rows[i].position) / run;
        const double slack = 3.0 * 8 * T / run;
        bool inside = false;
        for (const auto& [a, b] : world.options.sources[1].windows) inside |= begin >= a - 1e-9 && begin < b + slack;
        INFO(text << ": " << begin);
        REQUIRE(inside);
    }

    const nlohmann::json json = nlohmann::json::parse(read_file(path_join(folder, "mixture.json")));
    CHECK(json["sources"][1]["realised"]["exposures"]["least"] == 8);
    CHECK(json["sources"][1]["realised"]["exposures"]["most"] == 8);
    CHECK(json["sources"][1]["planned"]["exposures"]["mean"] == 8.0);
    CHECK(account.sources[0].tokens + account.sources[1].tokens == static_cast<int64_t>(stream.size()) - 1);
    int64_t tokens = 0;
    for (size_t i = 0; i < file.rows(); ++i) tokens += rows[i].length - (rows[i].position == 0);
    CHECK(account.sources[1].tokens == tokens);
    CHECK(json["sources"][1]["realised"]["tokens"] == tokens);
    CHECK(std::abs(account.sources[1].share - account.sources[1].planned_share) < 0.01);
}
