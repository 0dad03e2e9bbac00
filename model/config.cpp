#include "model/config.h"

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

GptConfig family_config(Family family) {
    GptConfig c;
    c.family = family;
    if (family == Family::Neox) {
        c.max_T = 2048;
        c.tied = false;
        c.parallel_residual = true;
        c.gelu = Gelu::Exact;
        c.learned_positions = false;
    }
    return c;
}

}  // namespace

std::vector<std::string> preset_names() {
    std::vector<std::string> names;
    for (const Preset& p : presets) names.push_back(p.name);
    return names;
}

GptConfig config_from_name(const std::string& name) {
    for (const Preset& p : presets) {
        if (name != p.name) continue;
        GptConfig c = family_config(p.family);
        c.L = p.L, c.C = p.C, c.NH = p.NH, c.V = p.V;
        return c;
    }
    const bool gpt2 = name.rfind("gpt2:", 0) == 0, neox = name.rfind("pythia:", 0) == 0;
    GptConfig c = family_config(gpt2 ? Family::Gpt2 : Family::Neox);
    int used = 0;
    const size_t colon = name.find(':');
    if ((gpt2 || neox) && sscanf(name.c_str() + colon, ":L%d:C%d:H%d%n", &c.L, &c.C, &c.NH, &used) == 3 &&
        colon + static_cast<size_t>(used) == name.size()) {
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
    if (c.L < 1 || c.C < 1 || c.NH < 1 || c.L > 1000 || c.C > 65536)
        die(Exit::Usage,
            "a model of L=%d layers, C=%d channels, NH=%d heads: each must be at least 1 (L up to 1000, C up to 65536)",
            c.L, c.C, c.NH);
    if (c.C % c.NH != 0 || c.HS() % 2 != 0)
        die(Exit::Usage,
            "C=%d channels over NH=%d heads: C must be a multiple of NH and the head size C/NH even; try NH=%d", c.C,
            c.NH, c.C >= 64 && c.C % 32 == 0 ? c.C / 32 : 1);
    if (c.V < 0 || c.V > 1 << 24 || c.max_T < 1)
        die(Exit::Usage, "a vocabulary of V=%d ids and rows of at most %d tokens cannot be", c.V, c.max_T);
}

size_t num_parameters(const GptConfig& config, bool embedding) {
    size_t n = 0;
    for (const TensorSpec& t : tensor_table(config)) {
        if (t.embedding && !embedding) continue;
        const size_t rows = t.vocabulary_rows ? static_cast<size_t>(config.V) : static_cast<size_t>(t.rows);
        n += static_cast<size_t>(t.layers) * rows * static_cast<size_t>(t.cols);
    }
    return n;
}

double flops_per_token(const GptConfig& config, int T) {
    const double L = config.L, C = config.C, V = config.V;
    return 6.0 * (12 * L * C * C + V * C) + 6.0 * L * C * T;
}
