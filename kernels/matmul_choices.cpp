#include "kernels/matmul_choices.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>
#include <vector>

#include "util/check.h"

namespace gpu {
namespace {

constexpr std::pair<Product, const char*> PRODUCT_NAMES[] = {{Product::Forward, "forward"},
                                                             {Product::ForwardBias, "forward+bias"},
                                                             {Product::InputGradient, "dinp"},
                                                             {Product::WeightGradient, "dweight"}};
constexpr std::pair<Storage, const char*> STORAGE_NAMES[] = {{Storage::Bf16, "bf16"}, {Storage::Fp32, "fp32"}};

template <class Value, size_t COUNT>
const char* name_of(const std::pair<Value, const char*> (&names)[COUNT], Value value) {
    for (const auto& entry : names)
        if (entry.first == value) return entry.second;
    die(Exit::Runtime, "matmul: a value without a name");
}
template <class Value, size_t COUNT>
bool find_name(const std::pair<Value, const char*> (&names)[COUNT], const std::string& name, Value* value) {
    for (const auto& entry : names) {
        if (name != entry.second) continue;
        *value = entry.first;
        return true;
    }
    return false;
}

// "" and `after`, or the rest of a string that begins with `word`.
std::string rest_of(const std::vector<std::string>& strings, size_t i, const std::string& word) {
    const bool begins = i < strings.size() && strings[i].compare(0, word.size(), word) == 0;
    return begins ? strings[i].substr(word.size()) : "";
}

}  // namespace

std::string words_of(const ProductShape& s) {
    return format_text("%s %s %d %d %d", name_of(PRODUCT_NAMES, s.product), name_of(STORAGE_NAMES, s.storage), s.M, s.N,
                       s.K);
}

std::string plain_name(const std::string& name, char other) {
    std::string plain = name;
    for (char& c : plain)
        if (!isalnum(static_cast<unsigned char>(c)) && !strchr(other == ' ' ? " .-_()" : ".-", c)) c = other;
    return plain;
}

// By hand, an entry a line: readable in a checkpoint, and the bytes do not depend on a library's taste.
std::string to_json(const MatmulChoices& choices) {
    std::string json = "[\"gpu " + choices.device + "\",\n \"library " + choices.library + "\"";
    for (const auto& [shape, algorithm] : choices.algorithm)
        json += ",\n \"" + words_of(shape) + " " + algorithm + "\"";
    return json + "]\n";
}

std::string parse(const std::string& json, MatmulChoices* choices) {
    // no name or algorithm has an escape; one array and no object, so that nothing is nested
    if (json.find_first_of("\\{") != std::string::npos || std::count(json.begin(), json.end(), '[') > 1)
        return "expected a JSON array of plain strings";
    const nlohmann::json array = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
    if (!array.is_array()) return "expected a JSON array";
    std::vector<std::string> strings;
    for (const auto& element : array) {
        if (!element.is_string()) return "expected strings";
        strings.push_back(element.get<std::string>());
    }
    if (strings.empty()) return "";
    choices->device = rest_of(strings, 0, "gpu ");
    choices->library = rest_of(strings, 1, "library ");
    if (choices->device.empty() || choices->library.empty()) return "expected the names of a GPU and a library first";
    for (size_t i = 2; i < strings.size(); ++i) {
        std::istringstream words(strings[i]);
        std::string product, storage, algorithm, more;
        ProductShape shape{};
        const bool complete =
            static_cast<bool>(words >> product >> storage >> shape.M >> shape.N >> shape.K >> algorithm);
        if (!complete || words >> more || !find_name(PRODUCT_NAMES, product, &shape.product) ||
            !find_name(STORAGE_NAMES, storage, &shape.storage) || std::min({shape.M, shape.N, shape.K}) < 1)
            return "\"" + strings[i].substr(0, 100) + "\" is not a product with its algorithm";
        choices->algorithm[shape] = algorithm;
    }
    return "";
}

}  // namespace gpu
