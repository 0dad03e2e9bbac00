// The sums of a step over its lanes in one process (several processes: test/e2e/test_processes.py), against sums
// written down here.
#include <cmath>
#include <vector>

#include "test/catch.h"
#include "train/lanes.cuh"

namespace {

GptConfig small(const char* name) {
    GptConfig c = config_from_name(name);
    c.V = 1301;  // the embeddings are more than a chunk of the norm's sum
    return c;
}

// Elements that a tensor has; the others are padding, whose gradient nobody writes.
std::vector<char> elements_of_tensors(const GptConfig& c) {
    std::vector<char> used(parameter_elements(c));
    for (const TensorSpec& t : tensor_table(c))
        for (int l = 0; l < t.copies; ++l)
            std::fill_n(used.begin() + static_cast<std::ptrdiff_t>(t.offset(l)), t.copy_size(), 1);
    return used;
}

// Cheap, and nothing that adds up without rounding.
float value(int lane, size_t i) {
    const size_t mixed = (i + 1) * 2654435761u ^ static_cast<size_t>(lane + 1) * 40503u;
    return static_cast<float>(mixed % 2003) * 1e-3f - 1.0f;
}

// A binary tree over the terms first .. first + n.
template <class Term>
auto tree(int first, int n, Term term) -> decltype(term(0)) {
    return n == 1 ? term(first) : tree(first, n / 2, term) + tree(first + n / 2, n / 2, term);
}

// With planted gradients and losses.
void run_step(Lanes<float>& lanes, const GptConfig& c, size_t sources, bool signal) {
    const std::vector<char> used = elements_of_tensors(c);
    for (int lane = 0; lane < lanes.own(); ++lane) {
        Gradients<float>& gradients = lanes.begin(lane, {});
        size_t left = 0;  // of the lane or step before
        for (size_t i = 0; i < used.size(); ++i) {
            left += gradients.memory[i] != 0;
            if (used[i]) gradients.memory[i] += value(lane, i);
        }
        CHECK(left == 0);
        for (size_t s = 0; s < sources; ++s) lanes.losses(lane)[s] += 0.1 * (lane + 1) + static_cast<double>(s);
        for (size_t block = static_cast<size_t>(c.L) + 2; block-- > 0;) lanes.finished(lane, block, {});
        lanes.end(lane, {});
    }
    lanes.sum(signal, {});
}

}  // namespace

TEST_CASE("lanes: gradients, norms and losses are added as the contract's tree", "[model]") {
    backend::Communicator alone;
    for (const char* name : {"gpt2:L3:C48:H3", "pythia:L2:C40:H2"})
        for (const int W : {1, 2, 4, 8, 64}) {
            if (W == 64 && name[0] == 'g') continue;  // one of them: it takes as long as the others together
            const GptConfig c = small(name);
            const size_t n = parameter_elements(c), sources = 3;
            INFO(name << " " << W << " lanes");
            const std::vector<char> used = elements_of_tensors(c);
            Lanes<float> lanes(c, alone, W, false, sources);
            CHECK(gradients_in_memory(W) == static_cast<int>(std::log2(W)) + 1);
            for (int step = 0; step < 2; ++step) {
                run_step(lanes, c, sources, step == 1);
                const float* sum = lanes.gradients().memory;
                size_t wrong = 0;
                for (size_t i = 0; i < n; ++i)
                    wrong += sum[i] != (used[i] ? tree(0, W, [&](int lane) { return value(lane, i); }) : 0);
                CHECK(wrong == 0);

                const std::vector<ElementRange> blocks = parameter_blocks(c);
                double norm = 0;
                for (size_t block = 0; block < blocks.size(); ++block) {
                    const std::vector<ElementRange> slices = block_slices(blocks[block], W);
                    long double exact = 0;
                    for (size_t i = blocks[block].begin; i < blocks[block].end; ++i)
                        exact += static_cast<long double>(sum[i]) * sum[i];
                    const double of_slices = tree(0, W, [&](int lane) {
                        const ElementRange& slice = slices[static_cast<size_t>(lane)];
                        double squares = 0;
                        backend::global_norm_squared(&squares, nullptr, sum + slice.begin, slice.size(), {});
                        return squares;
                    });
                    CHECK(lanes.totals()[lanes.norms_at() + block] == of_slices);
                    CHECK(lanes.totals()[lanes.norms_at() + block] ==
                          Approx(static_cast<double>(exact)).epsilon(1e-13));
                    norm += lanes.totals()[lanes.norms_at() + block];
                }
                CHECK(*lanes.norm_squared() == norm);
                for (size_t s = 0; s < sources; ++s)
                    CHECK(lanes.totals()[s] ==
                          tree(0, W, [&](int lane) { return 0.1 * (lane + 1) + static_cast<double>(s); }));
                CHECK(lanes.totals()[lanes.signal_at()] == step);

                // the next step finds the gradient as it must be: the update leaves zeros
                Gpt<float> gpt(c);
                AdamState<float> adam(c, 0.1f);
                lanes.update(gpt, adam, {1e-2f, 0.9f, 0.95f, 1e-8f, 1.0f, step + 1, 1}, {});
            }
        }
}

TEST_CASE("lanes: what each process keeps adds up to everything", "[model]") {
    const GptConfig c = small("gpt2:L2:C24:H2");
    for (const int W : {1, 2, 4, 64})
        for (int n = 1; n <= W; n *= 2) {
            INFO(W << " lanes, " << n << " processes");
            size_t elements = 0, largest = 0;
            for (const ElementRange& block : parameter_blocks(c)) {
                const Parts parts = block_parts(block, W, n);
                elements += parts.total();
                for (int r = 0; r < n; ++r) CHECK(parts.size(r) <= parts.size(0));
                largest = std::max(largest, parts.size(0) * static_cast<size_t>(n));
            }
            CHECK(elements == parameter_elements(c));
            CHECK(exchange_elements(c, W, n) == (n == 1 ? 0 : largest));
            CHECK(updated_elements(c, W, n) * static_cast<size_t>(n) >= elements);
        }
}
