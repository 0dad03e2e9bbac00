// --subsample NAME=file:PATH: exactly the listed entities are drawn, in the ledger as offline; refusals; resuming; what
// an evaluation knows of it.
#include <algorithm>
#include <numeric>

#include "dataloader/data_set.h"
#include "dataloader/loader.h"
#include "dataloader/stream.h"
#include "dataloader/subsample.h"
#include "eval/trainer_choices.h"
#include "model/checkpoint.h"
#include "test/catch.h"
#include "test/question_builder.h"
#include "test/support.h"
#include "test/world.h"
#include "util/files.h"
#include "util/npy.h"

namespace {

constexpr int T = 64;
using List = std::vector<uint32_t>;

KnowledgeBuilder people_of(int entities) {
    KnowledgeBuilder people;
    people.entities = entities;
    return people;
}

struct ListedWorld : World {
    SourceOptions& source;
    explicit ListedWorld(const List& list) : World(people_of(40), T, 60 * 8 * T, 2 * T), source(options.sources[1]) {
        source.kept = list;
    }
};

// Entities of the stream's pieces: how often each comes.
std::vector<uint32_t> offline_counts(const MixtureOptions& options, std::vector<int64_t>* order = nullptr) {
    const DataSet data = open_data_set(options);
    Stream stream(data.sources, data.mixture);
    std::vector<uint32_t> counts(40, 0);
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        if (order) order->push_back(piece.source == 1 ? static_cast<int64_t>(piece.index) : -1);
        if (piece.source == 1) ++counts[data.sources[1].entity(piece.index)];
    }
    return counts;
}

std::vector<Batch> batches(Loader* loader, const std::string& state = "") {
    loader->start(state);
    std::vector<Batch> result;
    while (loader->step() < loader->plan().steps) result.push_back(loader->next());
    return result;
}

}  // namespace

TEST_CASE("a list of --subsample is read, or refused with the reason", "[subsample][loader]") {
    const TemporaryFolder folder;
    const auto read = [&](const std::string& text) {
        write_file(folder / "keep.txt", text);
        return read_subsample_list("--subsample bio", "file:" + (folder / "keep.txt"));
    };
    CHECK(read("7\n0\r\n4294967295\n12") == List{0, 7, 12, 4294967295u});
    CHECK(read("3\n") == List{3});
    const List array{9, 2, 30};
    write_npy(folder / "keep.npy", "<u4", sizeof(uint32_t), {3}, array.data());
    CHECK(read_subsample_list("", "file:" + (folder / "keep.npy")) == List{2, 9, 30});
    CHECK(hash_of_list({2, 9}) != hash_of_list({29}));

    REQUIRE_DIES(Exit::Data, "keep.txt is empty", read(""));
    REQUIRE_DIES(Exit::Data, "entity 7 twice", read("7\n1\n7\n"));
    REQUIRE_DIES(Exit::Data, "line 2: expected the number of an entity, found ''", read("7\n\n8\n"));
    for (const char* line : {"-1", "1.0", " 3", "4294967296", "99999999999", "Ann"})
        REQUIRE_DIES(Exit::Data, "line 2: expected the number of an entity", read(std::string("7\n") + line + "\n"));
    REQUIRE_DIES(Exit::Data, "there is no such file", read_subsample_list("", "file:" + (folder / "none")));
    REQUIRE_DIES(Exit::Usage, "file:PATH", read_subsample_list("", "file:"));
    CHECK((asks_for_list("file:a") && !asks_for_list("0.5")));
}

TEST_CASE("the listed entities are drawn and no others, as the ledger counts them", "[subsample][loader]") {
    const List list{1, 2, 5, 17, 30, 39};
    ListedWorld world(list);
    const int kind = GENERATE(0, 1, 2);
    if (kind == 1) world.source.ratio = -1, world.source.exposures = 7;
    if (kind == 2) world.source.ratio = -1, world.source.doses = {2, 3, 4};
    const std::vector<uint32_t> offline = offline_counts(world.options);

    Loader loader(world.options, {});
    std::vector<Ledger> ledgers = loader.make_ledgers();
    std::vector<int64_t> tokens(2, 0);
    for (const Batch& batch : batches(&loader)) {
        for (const Exposure& e : batch.exposures) ledgers[e.source].book(e, batch.step);
        for (size_t s = 0; s < 2; ++s) tokens[s] += batch.source_targets[s];
    }
    for (uint32_t e = 0; e < 40; ++e) {
        const bool kept = std::count(list.begin(), list.end(), e) > 0;
        CHECK((offline[e] > 0) == kept);
        for (uint32_t slot = 0; slot < ledgers[1].slots(); ++slot) {
            const uint32_t count = ledgers[1].at(e, slot).count;
            CHECK(count <= offline[e]);
            CHECK(count + (kind == 0 ? 1 : 0) >= offline[e]);  // by ratio the run's end may cut the last document
            if (kind == 1) CHECK(count == (kept ? 7 : 0));
        }
    }
    const RunAccount account = loader.account(ledgers, tokens, loader.plan().steps);
    const SourcePlan& plan = loader.plan().sources[1];
    CHECK((plan.entities == 6 && plan.listed_of == 40 && plan.list_hash == hash_of_list(list)));
    CHECK(account.sources[1].least >= (kind == 2 ? 2 : 1));
    CHECK(std::abs(account.sources[1].exposures - plan.exposures) < 0.05 * plan.exposures);
    CHECK(plan_json(loader.plan()).find("\"list\": {\"of\": 40, \"hash\": \"") != std::string::npos);

    // whole next to the ledger, so that nobody needs the file
    ledgers[1].write(world.folder / "");
    CHECK(Ledger::read_listed(world.folder / "", "people") == list);
    CHECK(Ledger::read_listed(world.folder / "", "web").empty());
    CHECK(Ledger::read_all(world.folder / "").size() == 1);
}

TEST_CASE("a list of everybody is no subsample, and a text may have one", "[subsample][mixture]") {
    List all(40);
    std::iota(all.begin(), all.end(), 0);
    ListedWorld everybody(all), nobody({});
    std::vector<int64_t> with, without;
    CHECK(offline_counts(everybody.options, &with) == offline_counts(nobody.options, &without));
    CHECK(with == without);

    ListedWorld world({3});
    world.options.sources[0].kept = {0, 299};
    CHECK(open_data_set(world.options).plan.sources[0].documents == 2);
    world.options.sources[0].kept = {0, 300};
    REQUIRE_DIES(Exit::Data, "--subsample web: its list has entity 300; the source has 300",
                 open_data_set(world.options));
    world.options.sources[0].kept = {};
    world.source.kept = {39, 40};
    REQUIRE_DIES(Exit::Data, "has entity 40; the source has 40, counted from 0", open_data_set(world.options));
}

TEST_CASE("a run on a list goes on after any step, on no other list", "[subsample][loader]") {
    ListedWorld world({0, 3, 4, 11, 12, 13, 25});
    Loader loader(world.options, {true, 0});
    const std::vector<Batch> expected = batches(&loader);
    for (size_t step = 0; step + 1 < expected.size(); step += 7) {
        Loader again(world.options, {true, 0});
        const std::vector<Batch> rest = batches(&again, expected[step].state);
        REQUIRE(rest.back().state == expected.back().state);
        REQUIRE(rest[0].targets == expected[step + 1].targets);
    }
    for (const List& other : {List{0, 3, 4, 11, 12, 13, 26}, List{0, 3, 4}, List{}}) {
        world.source.kept = other;
        Loader another(world.options, {});
        REQUIRE_DIES(Exit::Usage, "options of source people", another.start(expected[3].state));
    }
}

TEST_CASE("an evaluation knows the list from the checkpoint", "[subsample][eval]") {
    const TemporaryFolder folder;
    const std::string checkpoint = checkpoint_begin(folder / "run", 1);
    const std::string options = R"({"seq-len":64,"data-seed":9,"doc-mask":true,"source":["bio=d/people.bin"],)"
                                R"("subsample":["bio=file:gone.txt"]})";
    write_trainer_state(checkpoint, {1, 64, options, "{}"});
    const std::string exposures = path_join(checkpoint, "exposures");
    make_directories(exposures);
    Ledger("bio", {{"people", 40}}, {"a0"}).write(exposures);
    const std::string done = checkpoint_finish(checkpoint);
    REQUIRE_DIES(Exit::Data, "the list of entities that --subsample bio kept is not in", read_trainer_choices(done));
    Ledger("bio", {{"people", 40}}, {"a0"}, {}, {3, 39}).write(path_join(done, "exposures"));
    const TrainerChoices choices = read_trainer_choices(done);
    REQUIRE(choices.subsampled.size() == 1);
    CHECK(choices.subsampled[0].listed == List{3, 39});

    synthetic_questions(40, 1).write(folder / "people_questions");
    const QuestionSet set(folder / "people_questions", 64, 45);
    std::vector<bool> expected(40);
    expected[3] = expected[39] = true;
    CHECK(kept_entities(set, choices.subsampled, 9) == expected);
}
