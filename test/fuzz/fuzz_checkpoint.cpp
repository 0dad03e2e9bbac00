// The JSON files of a checkpoint directory, damaged: read or refused as bad data.
#include "model/checkpoint.h"
#include "test/fuzz/fuzz.h"
#include "test/shard_builder.h"

namespace {

struct Checkpoint {
    FuzzFolder folder;
    std::string path, valid[2];
    Checkpoint() {
        const std::string temporary = checkpoint_begin(folder.path, 3);
        TrainerState state;
        state.step = 3;
        state.options_json = "{\"lr\":0.1}";
        state.metrics_json = "{\"metrics_bytes\":12}";
        write_trainer_state(temporary, state);
        path = checkpoint_finish(temporary);
        valid[0] = read_file(path + "/trainer_state.json");
        valid[1] = read_file(path + "/COMPLETE");
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    static const Checkpoint checkpoint;
    const int which = data[0] % 2;
    const std::string file = checkpoint.path + (which ? "/COMPLETE" : "/trainer_state.json");
    put_file(file, damaged(checkpoint.valid[which], data + 1, size - 1));
    const int result = fuzz([] {
        checkpoint_verify(checkpoint.path);
        read_trainer_state(checkpoint.path);
    });
    put_file(file, checkpoint.valid[which]);
    return result;
}
