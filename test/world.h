// world.h - two sources in a folder, web text and people, and a mixture of them: what most tests of the loader need.
#pragma once
#include "dataloader/plan.h"
#include "test/shard_builder.h"
#include "test/support.h"

struct World {
    TemporaryFolder folder;
    KnowledgeBuilder people;
    MixtureOptions options;  // sources[0]: "web", sources[1]: "people", a share of 0.3; steps of 8 rows

    // The web's 300 documents have up to `longest` tokens.
    World(const KnowledgeBuilder& builder, int T, int64_t tokens, size_t longest) : people(builder) {
        people.write(folder / "people");
        SidecarText sidecar;
        sidecar.vocab_size = people.vocab_size();
        write_text(folder / "web", random_documents(300, 1, longest, 5), sidecar);
        options.sources.resize(2);
        options.sources[0].name = "web";
        options.sources[0].glob = folder / "web.bin";
        options.sources[1].name = "people";
        options.sources[1].glob = folder / "people.bin";
        options.sources[1].ratio = 0.3;
        options.data_seed = 42;
        options.T = T;
        options.batch_tokens = 8 * T;
        options.tokens = tokens;
    }
};
