#include "model/config.h"

#include <cstdint>
#include <cstdio>

#include "model/tensors.h"
#include "util/check.h"

namespace {

struct Preset {
    const char* name;
    Family family;
    int L, C, NH, V;
};

// GPT-2: Radford et al. 2019; Pythia: the published model cards (vocabulary padded to 50,304, 6.9b to 50,432).
constexpr Preset presets[] = {
    {"gpt2-124m", Family::Gpt2, 12, 768, 12, 50257},    {"gpt2-355m", Family::Gpt2, 24, 1024, 16, 50257},
    {"gpt2-774m", Family::Gpt2, 36, 1280, 20, 50257},   {"gpt2-1558m", Family::Gpt2, 48, 1600, 25, 50257},
    {"pythia-14m", Family::Neox, 6, 128, 4, 50304},     {"pythia-31m", Family::Neox, 6, 256, 8, 50304},
    {"pythia-70m", Family::Neox, 6, 512, 8, 50304},     {"pythia-160m", Family::Neox, 12, 768, 12, 50304},
    {"pythia-410m", Family::Neox, 24, 1024, 16, 50304}, {"pythia-1b", Family::Neox, 16, 2048, 8, 50304},
    {"pythia-1.4b", Family::Neox, 24, 2048, 16, 50304}, {"pythia-2.8b", Family::Neox, 32, 2560, 32, 50304},
    {"pythia-6.9b", Family::Neox, 32, 4096, 32, 50432},
};

// The first word of FAMILY:Lx:Cy:Hz.
struct FamilyName {
    const char* name;
    Family family;
};
constexpr FamilyName family_names[] = {{"gpt2", Family::Gpt2}, {"pythia", Family::Neox}};

constexpr int MAX_LAYERS = 1000, MAX_CHANNELS = 65536, MAX_HIDDEN = 1 << 20;

}  // namespace

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
    }
    return c;
}

void set_sizes(GptConfig* c, int L, int C, int NH) {
    c->L = L, c->C = C, c->NH = NH;
    c->KV = NH;
    c->HS = NH > 0 ? C / NH : 0;
    c->F = static_cast<int>(FEED_FORWARD_RATIO * static_cast<int64_t>(C));
}

std::vector<std::string> preset_names() {
    std::vector<std::string> names;
    for (const Preset& p : presets) names.push_back(p.name);
    return names;
}

GptConfig config_from_name(const std::string& name) {
    for (const Preset& p : presets) {
        if (name != p.name) continue;
        GptConfig c = family_config(p.family);
        set_sizes(&c, p.L, p.C, p.NH);
        c.V = p.V;
        return c;
    }
    const size_t colon = name.find(':');
    for (const FamilyName& f : family_names) {
        if (colon == std::string::npos || name.substr(0, colon) != f.name) continue;
        int L = 0, C = 0, NH = 0, used = 0;
        // nine digits: more would wrap to another number
        if (sscanf(name.c_str() + colon, ":L%9d:C%9d:H%9d%n", &L, &C, &NH, &used) != 3 ||
            colon + static_cast<size_t>(used) != name.size())
            break;
        GptConfig c = family_config(f.family);
        set_sizes(&c, L, C, NH);
        c.V = 0;
        validate_config(c);
        return c;
    }
    std::string known;
    for (const std::string& n : preset_names()) known += (known.empty() ? "" : ", ") + n;
    die(Exit::Usage, "--model %s: not a model; give one of %s, or a size as gpt2:L4:C128:H4 or pythia:L6:C384:H6",
        name.c_str(), known.c_str());
}

void validate_config(const GptConfig& c) {
    if (c.L < 1 || c.C < 1 || c.NH < 1 || c.L > MAX_LAYERS || c.C > MAX_CHANNELS)
        die(Exit::Usage,
            "a model of L=%d layers, C=%d channels, NH=%d heads: each must be at least 1 (L up to %d, C up to %d)", c.L,
            c.C, c.NH, MAX_LAYERS, MAX_CHANNELS);
    if (c.HS < 1 || static_cast<int64_t>(c.NH) * c.HS != c.C || c.HS % 2 != 0)
        die(Exit::Usage,
            "C=%d channels over NH=%d heads: C must be a multiple of NH and the head size C/NH even; try NH=%d", c.C,
            c.NH, c.C >= 64 && c.C % 32 == 0 ? c.C / 32 : 1);
    if (c.KV != c.NH)
        die(Exit::Usage, "NH=%d heads over KV=%d heads of keys and values: the attention needs as many of both", c.NH,
            c.KV);
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
