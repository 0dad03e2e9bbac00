#include "dataloader/manifest.h"

#include <vector>

#include "dataloader/stream.h"
#include "util/check.h"
#include "util/files.h"
#include "util/npy.h"

namespace {

struct Row {
    uint64_t position;
    uint32_t step, entity, epoch, length;
};
static_assert(sizeof(Row) == 24, "as NumPy packs it");
constexpr const char* dtype =
    "[('position', '<u8'), ('step', '<u4'), ('entity', '<u4'), ('epoch', '<u4'), ('length', '<u4')]";

}  // namespace

void write_placements(const DataSet& data, const std::string& folder) {
    std::vector<std::vector<Row>> rows(data.sources.size());
    Stream stream(data.sources, data.mixture);
    while (stream.position() < data.mixture.length) {
        const Piece piece = stream.next();
        const Source& source = data.sources[piece.source];
        if (!source.knowledge()) continue;
        // token p of the stream is target p - 1 of the run
        const int64_t step = std::max<int64_t>(piece.begin - 1, 0) / data.plan.batch_tokens;
        rows[piece.source].push_back({static_cast<uint64_t>(piece.begin), narrow<uint32_t>(step),
                                      static_cast<uint32_t>(source.entity(piece.index)), narrow<uint32_t>(piece.epoch),
                                      static_cast<uint32_t>(piece.length)});
    }
    for (size_t s = 0; s < rows.size(); ++s)
        if (data.sources[s].knowledge())
            write_npy(path_join(folder, data.sources[s].name() + ".npy"), dtype, sizeof(Row), {rows[s].size()},
                      rows[s].data());
}
