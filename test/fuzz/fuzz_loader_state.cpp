// loader_state.json, damaged: the stream goes on from it, or it is refused.
#include <memory>

#include "dataloader/loader.h"
#include "test/fuzz/fuzz.h"
#include "test/shard_builder.h"

namespace {

struct World {
    FuzzFolder folder;
    std::unique_ptr<Loader> loader;
    std::string state;
    World() {
        MixtureOptions options;
        KnowledgeBuilder people;
        people.sidecar.vocab_size = 200;
        people.write(folder.path + "/people");
        SidecarText sidecar;
        sidecar.vocab_size = 200;
        write_text(folder.path + "/web", random_documents(20, 5, 40, 1), sidecar);
        options.sources.resize(3);
        options.sources[0].name = "web";
        options.sources[0].glob = folder.path + "/web.bin";
        options.sources[1].name = "people";
        options.sources[1].glob = folder.path + "/people.bin";
        options.sources[1].ratio = 0.4;
        options.sources[2].name = "dosed";
        options.sources[2].glob = options.sources[1].glob;
        options.sources[2].doses = {1, 2};
        options.T = 32;
        options.batch_tokens = 64;
        options.tokens = 64 * 20;
        loader = std::make_unique<Loader>(options, LoaderOptions{false, 0});
        loader->start();
        loader->next();
        state = loader->next().state;
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    die_throws = true;
    static const World world;  // its data are opened once: nothing of them depends on the state
    try {                      // Usage: a state of other options; Data: no state at all
        world.loader->start(damaged(world.state, data, size));
        world.loader->next();
    } catch (const DieError& error) {
        if (error.code != Exit::Data && error.code != Exit::Usage) abort();
    }
    return 0;
}
