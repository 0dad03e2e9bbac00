#include "dataloader/subsample.h"

#include <algorithm>

#include "util/check.h"
#include "util/files.h"
#include "util/npy.h"

namespace {

const std::string form = "file:", npy = ".npy";

// A number a line; the last line may have no line break.
std::vector<uint32_t> read_lines(const std::string& what, const std::string& path) {
    const std::string text = read_file(path);
    std::vector<uint32_t> list;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        std::string line = text.substr(begin, end - begin);
        if (!line.empty() && line.back() == '\r') line.pop_back();
        begin = end + 1;
        uint64_t number = 0;
        bool plain = !line.empty() && line.size() <= 10;
        for (const char c : line) {
            plain &= c >= '0' && c <= '9';
            if (plain) number = 10 * number + static_cast<uint64_t>(c - '0');
        }
        if (!plain || number > UINT32_MAX)
            die(Exit::Data, "%s: %s, line %d: expected the number of an entity, found '%.80s'", what, path,
                list.size() + 1, line);
        list.push_back(static_cast<uint32_t>(number));
    }
    return list;
}

}  // namespace

bool asks_for_list(const std::string& text) { return text.rfind(form, 0) == 0; }

std::vector<uint32_t> read_subsample_list(const std::string& what, const std::string& text) {
    const std::string path = text.substr(form.size());
    if (path.empty()) die(Exit::Usage, "%s=%s: expected file:PATH", what, text);
    if (!file_exists(path)) die(Exit::Data, "%s=%s: there is no such file", what, text);
    std::vector<uint32_t> list;
    if (path.size() > npy.size() && path.compare(path.size() - npy.size(), npy.size(), npy) == 0) {
        const NpyArray array(path, "<u4", sizeof(uint32_t), 0);
        const uint32_t* const data = static_cast<const uint32_t*>(array.data());
        list.assign(data, data + array.rows());
    } else {
        list = read_lines(what, path);
    }
    if (list.empty()) die(Exit::Data, "%s: %s is empty; expected the entities to keep, one a line", what, path);
    std::sort(list.begin(), list.end());
    const auto twice = std::adjacent_find(list.begin(), list.end());
    if (twice != list.end()) die(Exit::Data, "%s: %s has entity %d twice", what, path, *twice);
    return list;
}

uint64_t hash_of_list(const std::vector<uint32_t>& list) {
    std::string text;
    for (const uint32_t entity : list) text += std::to_string(entity) + "\n";
    return hash_name(text);
}
