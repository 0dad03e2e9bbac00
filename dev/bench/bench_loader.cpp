// bench_loader - how fast batches are made, and how long sources take to open. Makes its own shards in a temporary
// folder (about 800 MB, gone at the end).
//   bench_loader [FOLDER]
#include <malloc.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "dataloader/batches.h"
#include "dataloader/data_set.h"
#include "dataloader/loader.h"
#include "test/shard_builder.h"

namespace {

constexpr int T = 2048, vocab = 50304;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Memory of this process that is no file mapping, in MiB.
double own_memory() {
    std::ifstream status("/proc/self/status");
    std::string word;
    double kib = 0;
    while (status >> word)
        if (word == "RssAnon:") status >> kib;
    return kib / 1024;
}

struct Folder {
    std::string path;
    explicit Folder(const char* base) : path(std::string(base) + "/bench_loader_XXXXXX") {
        ENSURE(mkdtemp(path.data()), "%s: cannot be created", path.c_str());
    }
    ~Folder() { remove_tree(path); }
};

// Web text: documents of 50 to 1500 ids, 700 on average.
void make_web(const std::string& prefix, size_t documents, uint64_t seed) {
    MegatronBuilder builder(2);
    std::vector<int> ids;
    for (size_t i = 0; i < documents; ++i) {
        ids.resize(50 + random_below(1300, seed, 0, i));
        for (size_t j = 0; j < ids.size(); ++j) ids[j] = static_cast<int>(1 + (j * 2654435761u + i) % 50000);
        ids.push_back(0);
        builder.sequence(ids.data(), ids.size());
        builder.end_document();
    }
    builder.write(prefix);
    SidecarText sidecar;
    sidecar.vocab_size = vocab;
    sidecar.documents = builder.documents();
    sidecar.tokens = builder.tokens();
    sidecar.bytes = 4 * sidecar.tokens;
    put_file(prefix + ".json", sidecar.json());
}

// People as SynBio's: 5 slots, 5 templates, 2 forms, sentences of 12 to 17 ids, the value last.
void make_people(const std::string& prefix, int entities) {
    KnowledgeBuilder shape;
    shape.entities = entities;
    shape.slots = 5;
    shape.templates = 5;
    MegatronBuilder builder(2);
    std::vector<uint16_t> spans;
    std::string names;
    int ids[32];
    for (int entity = 0; entity < entities; ++entity) {
        for (int sentence = 0; sentence < 50; ++sentence) {
            const int n = 12 + (entity + sentence * 7) % 6;
            for (int i = 0; i < n; ++i) ids[i] = 1 + (entity * 31 + sentence * 17 + i) % 50000;
            builder.sequence(ids, static_cast<size_t>(n));
            spans.push_back(static_cast<uint16_t>(n - 3));
            spans.push_back(static_cast<uint16_t>(n));
        }
        builder.end_document();
        names += format_text("Person %d\n", entity);
    }
    builder.write(prefix);
    const std::vector<uint32_t> zeros(static_cast<size_t>(entities) * 5, 0);
    write_npy(prefix + ".spans.npy", "<u2", 2, {spans.size() / 2, 2}, spans.data());
    write_npy(prefix + ".values.npy", "<u4", 4, {static_cast<uint64_t>(entities), 5}, zeros.data());
    write_npy(prefix + ".group.npy", "<u4", 4, {static_cast<uint64_t>(entities)}, zeros.data());
    put_file(prefix + ".names.txt", names);
    put_file(prefix + ".facts.json", shape.facts());
    SidecarText sidecar = shape.sidecar;
    sidecar.vocab_size = vocab;
    sidecar.documents = entities;
    sidecar.tokens = builder.tokens();
    put_file(prefix + ".json", sidecar.json());
}

MixtureOptions mixture(const std::string& web, const std::string& people) {
    MixtureOptions options;
    options.sources.resize(people.empty() ? 1 : 2);
    options.sources[0].name = "web";
    options.sources[0].glob = web;
    if (!people.empty()) {
        options.sources[1].name = "people";
        options.sources[1].glob = people;
        options.sources[1].ratio = 0.3;
    }
    options.T = T;
    options.batch_tokens = 64 * T;
    options.tokens = 200 * options.batch_tokens;
    return options;
}

void time_opening(const char* what, const MixtureOptions& options) {
    malloc_trim(0);
    const double memory = own_memory(), start = now();
    const DataSet data = open_data_set(options);
    printf("open   %-42s %8.3f s   %6.1f MiB beyond the mapping\n", what, now() - start, own_memory() - memory);
}

void time_batches(const char* what, const MixtureOptions& options, bool document_mask) {
    const DataSet data = open_data_set(options);
    double best = 1e9;
    for (int repeat = 0; repeat < 3; ++repeat) {
        Batches batches(data, document_mask, "", false);
        Batch batch;
        const double start = now();
        for (int64_t step = 0; step < data.plan.steps; ++step) batches.make(&batch);
        best = std::min(best, now() - start);
    }
    printf("make   %-42s %8.1f million tokens/s on one core\n", what,
           static_cast<double>(data.plan.tokens) / best / 1e6);
}

}  // namespace

int main(int argc, char** argv) {
    const Folder folder(argc > 1 ? argv[1] : "/tmp");
    const std::string& path = folder.path;
    make_web(path + "/web", 30000, 1);
    make_people(path + "/people", 20000);
    make_people(path + "/many", 320000);
    make_directories(path + "/shards");
    for (int i = 0; i < 1000; ++i) make_web(path + "/shards/" + std::to_string(i), 40, static_cast<uint64_t>(i));
    std::ofstream(path + "/llmc.bin", std::ios::binary) << [&] {
        std::vector<int> ids(50000000);
        for (size_t i = 0; i < ids.size(); ++i) ids[i] = i % 700 ? 1 + static_cast<int>(i % 50000) : 0;
        return llmc_bytes(ids, 20240520, 1, 2);
    }();

    MixtureOptions llmc = mixture(path + "/llmc.bin", "");
    llmc.eot_id = 0;
    llmc.vocab = vocab;
    time_opening("1000 shards", mixture(path + "/shards/*", ""));
    time_opening("320,000 entities, 16,000,000 sentences", mixture(path + "/web.bin", path + "/many.bin"));
    time_opening("one llm.c shard of 50M tokens (scanned)", llmc);
    time_batches("web", mixture(path + "/web.bin", ""), false);
    time_batches("web + 30 % composed documents", mixture(path + "/web.bin", path + "/people.bin"), false);
    time_batches("the same, document mask on", mixture(path + "/web.bin", path + "/people.bin"), true);
    time_batches("web + 30 % out of 320,000 entities", mixture(path + "/web.bin", path + "/many.bin"), false);
}
