#include "model/config.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "model/tensors.h"
#include "util/check.h"
#include "util/files.h"
#include "util/spelling.h"

namespace {

struct Preset {
    const char* name;
    Family family;
    int L, C, NH, V;
    // where they are not what the family and set_sizes say: 0
    int KV = 0, HS = 0, F = 0, max_T = 0;
    float rotary_base = 0;
    bool tied_otherwise = false;
    double scaled_deviation = 0;  // Deviations::Scaled with it
};

// GPT-2: Radford et al. 2019; Pythia: the published model cards (vocabulary padded to 50,304, 6.9b to 50,432); the
// others: the shape in the config.json that was published with each. Initial weights are the family's; SmolLM2's are
// those of the configurations that it was trained with (model/README.md). llama-3.2-1b is without the scaling of its
// rotation, which was for rows longer than 8,192.
constexpr Preset presets[] = {
    {"gpt2-124m", Family::Gpt2, 12, 768, 12, 50257},
    {"gpt2-355m", Family::Gpt2, 24, 1024, 16, 50257},
    {"gpt2-774m", Family::Gpt2, 36, 1280, 20, 50257},
    {"gpt2-1558m", Family::Gpt2, 48, 1600, 25, 50257},
    {"pythia-14m", Family::Neox, 6, 128, 4, 50304},
    {"pythia-31m", Family::Neox, 6, 256, 8, 50304},
    {"pythia-70m", Family::Neox, 6, 512, 8, 50304},
    {"pythia-160m", Family::Neox, 12, 768, 12, 50304},
    {"pythia-410m", Family::Neox, 24, 1024, 16, 50304},
    {"pythia-1b", Family::Neox, 16, 2048, 8, 50304},
    {"pythia-1.4b", Family::Neox, 24, 2048, 16, 50304},
    {"pythia-2.8b", Family::Neox, 32, 2560, 32, 50304},
    {"pythia-6.9b", Family::Neox, 32, 4096, 32, 50432},
    {"tinyllama-1.1b", Family::Llama, 22, 2048, 32, 32000, 4, 64, 5632, 2048},
    {"smollm2-135m", Family::Llama, 30, 576, 9, 49152, 3, 64, 1536, 8192, 1e5f, true, 1 / 24.0},
    {"smollm2-360m", Family::Llama, 32, 960, 15, 49152, 5, 64, 2560, 8192, 1e5f, true, 0.03227},
    {"llama-3.2-1b", Family::Llama, 16, 2048, 32, 128256, 8, 64, 8192, 8192, 5e5f, true},
    {"qwen2.5-0.5b", Family::Qwen2, 24, 896, 14, 151936, 2, 64, 4864, 32768},
    {"qwen3-0.6b", Family::Qwen3, 28, 1024, 16, 151936, 8, 128, 3072, 40960},
};

// The first word of FAMILY:Lx:Cy:Hz.
struct FamilyName {
    const char* name;
    Family family;
};
constexpr FamilyName family_names[] = {{"gpt2", Family::Gpt2},
                                       {"pythia", Family::Neox},
                                       {"llama", Family::Llama},
                                       {"qwen2", Family::Qwen2},
                                       {"qwen3", Family::Qwen3}};

constexpr int MAX_LAYERS = 1000, MAX_CHANNELS = 65536, MAX_HIDDEN = 1 << 20;

}  // namespace

const char* family_name(Family family) {
    const auto is_it = [&](const FamilyName& f) { return f.family == family; };
    return std::find_if(std::begin(family_names), std::end(family_names), is_it)->name;
}

bool has_grouped_queries(Family family) { return family != Family::Gpt2 && family != Family::Neox; }
bool has_head_size(Family family) { return family == Family::Llama || family == Family::Qwen3; }

GptConfig family_config(Family family) {
    GptConfig c;
    c.family = family;
    switch (family) {
        case Family::Gpt2:
            break;
        case Family::Neox:
            c.max_T = 2048;
            c.activation = Activation::GeluExact;
            c.positions = Positions::Rotary;
            c.residual = Residual::Parallel;
            c.deviations = Deviations::SmallWang;
            c.tied = false;
            break;
        case Family::Qwen2:
        case Family::Qwen3:
        case Family::Llama:
            c.max_T = 8192;
            c.norm = Norm::RmsNorm;
            c.activation = Activation::SwiGlu;
            c.positions = Positions::Rotary;
            c.deviations = Deviations::Equal;
            c.biases = Biases::None;
            c.rotary_fraction = 1;
            c.tied = family != Family::Llama;
            if (family == Family::Llama) break;
            c.max_T = 32768;
            c.rotary_base = 1e6f;
            c.norm_eps = 1e-6f;
            if (family == Family::Qwen2) c.biases = Biases::Qkv;
            if (family == Family::Qwen3) c.qk_norm = true;
            break;
    }
    return c;
}

void set_sizes(GptConfig* c, int L, int C, int NH) {
    c->L = L, c->C = C, c->NH = NH;
    c->KV = NH;
    c->HS = NH > 0 ? C / NH : 0;
    const int64_t F = FEED_FORWARD_RATIO * static_cast<int64_t>(C);
    c->F = static_cast<int>(c->gated() ? (F * 2 + 23) / 24 * 8 : F);
}

std::vector<std::string> preset_names() {
    std::vector<std::string> names;
    for (const Preset& p : presets) names.push_back(p.name);
    return names;
}

namespace {

GptConfig preset_config(const Preset& p) {
    GptConfig c = family_config(p.family);
    set_sizes(&c, p.L, p.C, p.NH);
    c.V = p.V;
    if (p.KV) c.KV = p.KV;
    if (p.HS) c.HS = p.HS;
    if (p.F) c.F = p.F;
    if (p.max_T) c.max_T = p.max_T;
    if (p.rotary_base > 0) c.rotary_base = p.rotary_base;
    if (p.tied_otherwise) c.tied = !c.tied;
    if (p.scaled_deviation > 0) {
        c.deviations = Deviations::Scaled;
        c.deviation = p.scaled_deviation;
    }
    return c;
}

// FAMILY:Lx:Cy:Hz[:KVk][:HSd][:Ff], read part by part: the message names the one that is wrong.
GptConfig sized_config(const std::string& name, const FamilyName& f) {
    struct {
        const char* key;
        int value;
    } sizes[] = {{"L", -1}, {"C", -1}, {"H", -1}, {"KV", -1}, {"HS", -1}, {"F", -1}};  // -1: not given
    constexpr size_t NEEDED = 3;
    const auto refuse = [&](const std::string& wrong) {
        die(Exit::Usage, "--model %s: %s; a size is L, C, H and then, where they are not the family's own, %s: %s%s",
            name, wrong,
            has_head_size(f.family)         ? "KV, HS, F"
            : has_grouped_queries(f.family) ? "KV, F"
                                            : "F",
            f.name, has_grouped_queries(f.family) ? ":L6:C384:H6:KV2:F1024" : ":L6:C384:H6");
    };
    size_t next = 0;  // in sizes
    for (size_t at = strlen(f.name); at < name.size();) {
        const size_t end = std::min(name.find(':', at + 1), name.size());
        const std::string part = name.substr(at + 1, end - at - 1);
        const size_t letters = std::min(part.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), part.size());
        const std::string key = part.substr(0, letters), number = part.substr(letters);
        at = end;
        size_t i = 0;
        while (i < std::size(sizes) && key != sizes[i].key) ++i;
        if (i == std::size(sizes)) refuse(format_text("'%s' is none of L, C, H, KV, HS, F and a number", part));
        if (number.empty() || number.size() > 9 || number.find_first_not_of("0123456789") != std::string::npos)
            refuse(format_text("'%s' is not %s and a whole number of up to nine digits", part, key));
        if (i < next) refuse(format_text("'%s' comes twice or too late", part));
        if (next < NEEDED && i > next) refuse(format_text("%s is missing before '%s'", sizes[next].key, part));
        sizes[i].value = std::stoi(number);
        next = i + 1;
    }
    if (next < NEEDED) refuse(format_text("%s is missing", sizes[next].key));
    const int L = sizes[0].value, C = sizes[1].value, NH = sizes[2].value;
    GptConfig c = family_config(f.family);
    set_sizes(&c, L, C, NH);
    if (sizes[3].value >= 0) c.KV = sizes[3].value;
    if (sizes[4].value >= 0) c.HS = sizes[4].value;
    if (sizes[5].value >= 0) c.F = sizes[5].value;
    if (sizes[4].value < 0 && has_head_size(f.family) && NH > 0 && C % NH != 0)
        die(Exit::Usage,
            "--model %s: C=%d is no multiple of NH=%d heads; give another, or a head size of its own, :HS%d", name, C,
            NH, std::max(2, C / NH / 2 * 2));
    c.V = 0;
    validate_config(c);
    return c;
}

// "did you mean X? Give" of a name that is neither a preset nor a size; "give" where nothing is near. Names of Hugging
// Face (meta-llama/Llama-3.2-1B) are those of the presets but for case and owner.
std::string guess(const std::string& name) {
    const size_t slash = name.rfind('/'), colon = name.find(':');
    std::string plain = slash == std::string::npos || colon != std::string::npos ? name : name.substr(slash + 1);
    for (char& letter : plain) letter = static_cast<char>(tolower(static_cast<unsigned char>(letter)));
    std::vector<std::string> families;
    for (const FamilyName& f : family_names) families.push_back(f.name);
    std::string meant;
    if (colon != std::string::npos) {
        meant = nearest_name(plain.substr(0, colon), families, colon / 3);
        if (!meant.empty()) meant += name.substr(colon);
    } else {
        for (const std::string& preset : preset_names()) {  // qwen3, llama-3.2; llama-3.2-1b-instruct
            const size_t both = std::min(plain.size(), preset.size());
            if (meant.empty() && both > 0 && preset.compare(0, both, plain, 0, both) == 0) meant = preset;
        }
        if (meant.empty()) meant = nearest_name(plain, preset_names(), plain.size() / 3);
    }
    return meant.empty() ? "give" : "did you mean " + meant + "? Give";
}

}  // namespace

GptConfig config_from_name(const std::string& name) {
    for (const Preset& p : presets)
        if (name == p.name) return preset_config(p);
    const size_t colon = name.find(':');
    for (const FamilyName& f : family_names)
        if (colon != std::string::npos && name.substr(0, colon) == f.name) return sized_config(name, f);
    if (directory_exists(name)) die(Exit::Usage, "--model %s: a directory; start from its weights by --init", name);
    std::string known;
    for (const std::string& n : preset_names()) known += (known.empty() ? "" : ", ") + n;
    die(Exit::Usage,
        "--model %s: not a model; %s one of %s, or a size as gpt2:L4:C128:H4, pythia:L6:C384:H6 or "
        "llama:L6:C384:H6:KV2:F1024 (KV, HS and F, in this order, where they are not the family's own)",
        name, guess(name), known);
}

void validate_config(const GptConfig& c) {
    if (c.L < 1 || c.C < 1 || c.NH < 1 || c.L > MAX_LAYERS || c.C > MAX_CHANNELS)
        die(Exit::Usage,
            "a model of L=%d layers, C=%d channels, NH=%d heads: each must be at least 1 (L up to %d, C up to %d)", c.L,
            c.C, c.NH, MAX_LAYERS, MAX_CHANNELS);
    if (has_head_size(c.family)) {
        if (c.HS < 2 || c.HS % 2 != 0 || c.HS > MAX_CHANNELS || static_cast<int64_t>(c.NH) * c.HS > MAX_CHANNELS)
            die(Exit::Usage,
                "NH=%d heads of HS=%d channels (C / NH unless it is given): HS must be even, and NH HS at most %d",
                c.NH, c.HS, MAX_CHANNELS);
    } else if (c.C % c.NH == 0 && c.HS != c.C / c.NH) {
        die(Exit::Usage, "HS=%d, where C=%d over NH=%d heads is %d: the family has no head size of its own", c.HS, c.C,
            c.NH, c.C / c.NH);
    } else if (c.HS < 1 || static_cast<int64_t>(c.NH) * c.HS != c.C || c.HS % 2 != 0) {
        die(Exit::Usage,
            "C=%d channels over NH=%d heads: C must be a multiple of NH and the head size C/NH even; try NH=%d", c.C,
            c.NH, c.C >= 64 && c.C % 32 == 0 ? c.C / 32 : 1);
    }
    if (c.KV < 1 || c.NH % c.KV != 0 || (c.KV != c.NH && !has_grouped_queries(c.family)))
        die(Exit::Usage, "NH=%d heads over KV=%d heads of keys and values: %s", c.NH, c.KV,
            has_grouped_queries(c.family) ? "NH must be a multiple of KV" : "the family has as many of both");
    if (c.F < 1 || c.F > MAX_HIDDEN)
        die(Exit::Usage, "a feed-forward of F=%d hidden channels: expected 1 to %d", c.F, MAX_HIDDEN);
    if (c.V < 0 || c.V > 1 << 24 || c.max_T < 1)
        die(Exit::Usage, "a vocabulary of V=%d ids and rows of at most %d tokens cannot be", c.V, c.max_T);
}

size_t num_parameters(const GptConfig& config, bool embedding) {
    size_t n = 0;
    for (const TensorSpec& t : tensor_table(config))
        if (embedding || !t.embedding)
            n += static_cast<size_t>(t.copies) * static_cast<size_t>(t.stored_rows(config)) *
                 static_cast<size_t>(t.cols);
    return n;
}

double flops_per_token(const GptConfig& c, int T) {
    double matrices = static_cast<double>(c.V) * c.C;  // the head
    for (const TensorSpec& t : tensor_table(c))
        if (t.matrix && !t.embedding) matrices += static_cast<double>(t.size());
    return 6.0 * matrices + 6.0 * c.L * static_cast<double>(c.attention_width()) * T;
}
