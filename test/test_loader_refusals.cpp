// Every mixture and every set of files that the loader refuses, with its exit code.
#include "dataloader/data_set.h"
#include "test/catch.h"
#include "test/shard_builder.h"
#include "test/support.h"

namespace {

struct Case {
    TemporaryFolder folder;
    KnowledgeBuilder people;
    MixtureOptions options;

    Case() {
        people.write(folder / "people");
        SidecarText sidecar;
        sidecar.vocab_size = people.vocab_size();
        write_text(folder / "web", random_documents(50, 5, 60, 1), sidecar);
        write_text(folder / "code", random_documents(50, 5, 60, 2), sidecar);
        options.sources.resize(3);
        for (const auto& [s, name] : {std::pair<size_t, const char*>{0, "web"}, {1, "code"}, {2, "people"}}) {
            options.sources[s].name = name;
            options.sources[s].glob = folder / (std::string(name) + ".bin");
        }
        options.T = 64;
        options.batch_tokens = 640;
        options.tokens = 64000;
    }
    Plan open() { return open_data_set(options).plan; }
};

}  // namespace

TEST_CASE("impossible mixtures are refused", "[mixture]") {
    Case c;
    SourceOptions &web = c.options.sources[0], &code = c.options.sources[1], &people = c.options.sources[2];
    CHECK(c.open().steps == 100);
    SECTION("no source") {
        c.options.sources.clear();
        REQUIRE_DIES(Exit::Usage, "--source", c.open());
    }
    SECTION("name") {
        web.name = "we b";
        REQUIRE_DIES(Exit::Usage, "we b", c.open());
    }
    SECTION("empty name") {
        web.name = "";
        REQUIRE_DIES(Exit::Usage, "name", c.open());
    }
    SECTION("name twice") {
        web.name = "code";
        REQUIRE_DIES(Exit::Usage, "twice", c.open());
    }
    SECTION("ratio 0") {
        people.ratio = 0;
        REQUIRE_DIES(Exit::Usage, "people=0", c.open());
    }
    SECTION("ratio 1") {
        people.ratio = 1;
        REQUIRE_DIES(Exit::Usage, "needs no --ratio", c.open());
    }
    SECTION("ratio nan") {
        people.ratio = std::stod("nan");
        REQUIRE_DIES(Exit::Usage, "--ratio", c.open());
    }
    SECTION("ratio negative") {
        people.ratio = -0.5;
        REQUIRE_DIES(Exit::Usage, "--ratio", c.open());
    }
    SECTION("sum above 1") {
        people.ratio = 0.6;
        web.ratio = 0.5;
        REQUIRE_DIES(Exit::Usage, "1.1", c.open());
    }
    SECTION("a rest for nobody") {
        web.ratio = 0.5;
        code.ratio = 0.2;
        people.ratio = 0.2;
        REQUIRE_DIES(Exit::Usage, "rest of 0.1", c.open());
    }
    SECTION("no rest for a source") {
        web.ratio = 0.5;
        code.ratio = 0.5;
        REQUIRE_DIES(Exit::Usage, "people would get nothing", c.open());
    }
    SECTION("less than a piece") {
        people.ratio = 1e-5;
        REQUIRE_DIES(Exit::Usage, "people would get nothing", c.open());
    }
    SECTION("ratio and exposures") {
        people.ratio = 0.1;
        people.exposures = 3;
        REQUIRE_DIES(Exit::Usage, "both", c.open());
    }
    SECTION("exposures 0") {
        people.exposures = 0;
        REQUIRE_DIES(Exit::Usage, "people=0", c.open());
    }
    SECTION("exposures of text") {
        web.exposures = 2;
        REQUIRE_DIES(Exit::Usage, "no entities", c.open());
    }
    SECTION("exposures that do not fit") {
        people.exposures = 500;
        REQUIRE_DIES(Exit::Usage, "needs", c.open());
    }
    SECTION("exposures that do not fit the window") {
        people.exposures = 50;
        people.windows = {{0.1, 0.2}};
        REQUIRE_DIES(Exit::Usage, "needs", c.open());
    }
    SECTION("exposures next to ratios") {
        people.exposures = 200;
        web.ratio = 0.3;
        code.windows = {{0, 0.5}};
        code.ratio = 0.4;
        REQUIRE_DIES(Exit::Usage, "in all", c.open());
    }
    SECTION("exposures alone") {
        c.options.sources.erase(c.options.sources.begin(), c.options.sources.begin() + 2);
        c.options.sources[0].exposures = 20;
        c.options.append = true;
        REQUIRE_DIES(Exit::Usage, "no source to take it", c.open());
    }
    SECTION("window too narrow for the ratio") {
        people.ratio = 0.4;
        people.windows = {{0, 0.3}};
        REQUIRE_DIES(Exit::Usage, "people", c.open());
    }
    SECTION("windows that meet") {
        people.ratio = code.ratio = 0.4;
        people.windows = {{0, 0.5}};
        code.windows = {{0.3, 0.9}};
        REQUIRE_DIES(Exit::Usage, "from 30 % to 50 %", c.open());
    }
    SECTION("a stretch with no source") {
        web.windows = code.windows = people.windows = {{0, 0.5}};
        REQUIRE_DIES(Exit::Usage, "from 50 % to 100 %", c.open());
    }
    SECTION("window borders") {
        for (const auto& w : {std::pair<double, double>{0.5, 0.5}, {0.6, 0.5}, {-0.1, 0.5}, {0.5, 1.1}}) {
            web.windows = {w};
            REQUIRE_DIES(Exit::Usage, "--window web", c.open());
        }
        web.windows = {{0, 0.5}, {0.4, 1}};
        REQUIRE_DIES(Exit::Usage, "overlaps", c.open());
    }
    SECTION("subsample") {
        for (const double rho : {0.0, -1.0, 1.5}) {
            people.subsample = rho;
            REQUIRE_DIES(Exit::Usage, "--subsample", c.open());
        }
        people.subsample = 0.01;
        REQUIRE_DIES(Exit::Usage, "keeps none", c.open());
    }
    SECTION("max epochs") {
        people.ratio = 0.5;
        people.max_epochs = 90;
        REQUIRE_DIES(Exit::Usage, "--max-epochs", c.open());
        people.max_epochs = 2000;
        const Plan plan = c.open();
        CHECK(plan.sources[2].epochs > 90);
        REQUIRE(plan.warnings.size() == 2);
        CHECK(plan.warnings[0].find("source web is seen") == 0);
    }
    SECTION("too few tokens") {
        c.options.tokens = 639;
        REQUIRE_DIES(Exit::Usage, "one step", c.open());
    }
    SECTION("batch") {
        c.options.batch_tokens = 100;
        REQUIRE_DIES(Exit::Usage, "--batch-tokens", c.open());
    }
}

TEST_CASE("files that do not go together are refused", "[mixture]") {
    Case c;
    SECTION("no match") {
        c.options.sources[0].glob = c.folder / "none*";
        REQUIRE_DIES(Exit::Data, "none*", c.open());
    }
    SECTION("a match that is no shard") {
        c.options.sources[0].glob = c.folder / "web.idx";
        REQUIRE_DIES(Exit::Data, "web.idx", c.open());
    }
    SECTION("tokenizers differ") {
        write_text(c.folder / "code", random_documents(50, 5, 60, 2), {"text", "bb22", c.people.vocab_size()});
        const DieError outcome = outcome_of([&] { c.open(); });
        CHECK(outcome.code == Exit::Data);
        CHECK(outcome.message.find("web.bin") != std::string::npos);
        CHECK(outcome.message.find("code.bin") != std::string::npos);
    }
    SECTION("EOT differs") {
        write_text(c.folder / "code", random_documents(50, 5, 60, 2), {"text", "aa11", c.people.vocab_size(), 3});
        REQUIRE_DIES(Exit::Data, "tokenizers differ", c.open());
    }
    SECTION("vocabulary") {
        CHECK(c.open().vocab == c.people.vocab_size());
        c.options.vocab = 100;
        REQUIRE_DIES(Exit::Data, "the model 100", c.open());
        c.options.vocab = 50304;
        CHECK(c.open().vocab == 50304);
    }
    SECTION("text and knowledge in one source") {
        c.options.sources[0].glob = c.folder / "*";
        REQUIRE_DIES(Exit::Data, "do not go together", c.open());
    }
    SECTION("knowledge without facts") {
        remove_tree(c.folder / "people.facts.json");
        REQUIRE_DIES(Exit::Data, "people.bin", c.open());
    }
    SECTION("a question set") {
        write_text(c.folder / "code", random_documents(50, 5, 60, 2), {"questions", "aa11", c.people.vocab_size()});
        REQUIRE_DIES(Exit::Data, "--questions", c.open());
    }
    SECTION("foreign shards") {
        remove_tree(c.folder / "code.json");
        REQUIRE_DIES(Exit::Usage, "--eot-id", c.open());
        c.options.eot_id = 0;
        const Plan plan = c.open();
        CHECK(plan.eot_id == 0);
        CHECK(std::any_of(plan.warnings.begin(), plan.warnings.end(),
                          [](const std::string& w) { return w.find("source code: 1 of 1") == 0; }));
        c.options.eot_id = 5;
        REQUIRE_DIES(Exit::Data, "tokenizers differ", c.open());
        for (const char* name : {"web.json", "people.json"}) remove_tree(c.folder / name);
        REQUIRE_DIES(Exit::Usage, "--tokenizer", c.open());  // nothing gives the vocabulary
        c.options.vocab = 1000;
        CHECK(c.open().eot_id == 5);
        write_file(c.folder / "tokenizer.json",
                   R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},)"
                   R"( "added_tokens": [{"id": 2, "content": "<|endoftext|>"}], "decoder": {"type": "ByteLevel"}})");
        c.options.eot_id = -1;
        c.options.tokenizer = c.folder / "tokenizer.json";
        CHECK(c.open().eot_id == 2);
    }
}
