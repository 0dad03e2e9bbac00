// embedding_cases.cpp - the embedding, forward and backward. What matters to the backward pass is how the tokens
// repeat: runs inside a chunk of 64 sorted rows, over several chunks, one run of everything; and how many passes the
// sort needs.
#include <cmath>
#include <set>

#include "test/cases/case.h"
#include "test/kernel_reference.h"
#include "util/check.h"

namespace {

enum class Tokens { Random, Distinct, Frequent, One, Zipf };
const char* const TOKENS_NAME[] = {"random", "distinct", "frequent", "one", "zipf"};

std::vector<int> make_tokens(Tokens kind, int N, int V, uint64_t seed) {
    std::vector<int> x = random_ints(static_cast<size_t>(N), V, seed);
    for (int n = 0; n < N; ++n) {
        int& token = x[static_cast<size_t>(n)];
        if (kind == Tokens::Distinct) token = V - 1 - n;
        if (kind == Tokens::Frequent && token % 3) token = V / 2 + token % 2;  // two tokens have two thirds
        if (kind == Tokens::One) token = V - 1;
        // token k about as often as 1 / k, as in text
        if (kind == Tokens::Zipf) token = static_cast<int>(std::pow(V, (token + 0.5) / V)) - 1;
    }
    return x;
}

struct Shape {
    int N, C, V, T;  // T positions; 0: none are learned
    Tokens tokens;
    bool timed;
};

std::string name_of(const char* kernel, const char* type, const Shape& s) {
    return format_text("%s %s N=%d C=%d V=%d T=%d %s", kernel, type, s.N, s.C, s.V, s.T,
                       TOKENS_NAME[static_cast<int>(s.tokens)]);
}
size_t cells(int rows, int C) { return static_cast<size_t>(rows) * static_cast<size_t>(C); }

template <class T>
Case forward_case(const Shape& s) {
    Case result;
    result.name = name_of("embedding_forward", type_name<T>(), s);
    const std::vector<int> ids = make_tokens(s.tokens, s.N, s.V, 1);
    const size_t rows_read = std::set<int>(ids.begin(), ids.end()).size() + static_cast<size_t>(s.T);
    result.bytes = static_cast<double>((cells(s.N, s.C) + rows_read * static_cast<size_t>(s.C)) * sizeof(T));
    result.timed = s.timed;
    result.make = [=] {
        const auto wte = normal_values<T>(cells(s.V, s.C), 2), wpe = normal_values<T>(cells(s.T, s.C), 3);
        const auto positions = random_ints(static_cast<size_t>(s.N), std::max(s.T, 1), 4);
        const auto d_ids = device_copy(ids), d_positions = device_copy(positions);
        const auto d_wte = device_copy(wte), d_wpe = device_copy(wpe);
        const auto out = std::make_shared<DeviceArray<T>>(cells(s.N, s.C));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool) {
            gpu::embedding_forward<T>(out->get(), d_ids->get(), s.T ? d_positions->get() : nullptr, d_wte->get(),
                                      s.T ? d_wpe->get() : nullptr, s.N, s.C, stream);
        };
        instance.check = [=] {
            // a copy is exact, a sum rounded once
            const double tolerance = s.T == 0 ? 1e-30 : sizeof(T) == 2 ? 3e-3 : 1e-7;
            return std::vector<Output>{{"out", static_cast<size_t>(s.C), tolerance, host_doubles(*out),
                                        reference::embedding_forward(ids, positions, doubles(wte), doubles(wpe), s.C)}};
        };
        return instance;
    };
    return result;
}

template <class T>
Case backward_case(const Shape& s) {
    Case result;
    result.name = name_of("embedding_backward", type_name<T>(), s);
    const std::vector<int> ids = make_tokens(s.tokens, s.N, s.V, 1);
    const auto positions = random_ints(static_cast<size_t>(s.N), std::max(s.T, 1), 4);
    // dout for each table, the rows of the tables that are met (read and written, float), the ids
    const size_t met = std::set<int>(ids.begin(), ids.end()).size() +
                       (s.T ? std::set<int>(positions.begin(), positions.end()).size() : 0);
    result.bytes =
        static_cast<double>((cells(s.N, s.C) * sizeof(T) + static_cast<size_t>(s.N) * sizeof(int)) * (s.T ? 2 : 1) +
                            met * static_cast<size_t>(s.C) * 2 * sizeof(float));
    result.timed = s.timed;
    result.make = [=] {
        const auto dout = normal_values<T>(cells(s.N, s.C), 5);
        const auto dwte = normal_values<float>(cells(s.V, s.C), 6), dwpe = normal_values<float>(cells(s.T, s.C), 7);
        const auto d_ids = device_copy(ids), d_positions = device_copy(positions);
        const auto d_dout = device_copy(dout);
        const auto d_dwte = device_copy(dwte), d_dwpe = device_copy(dwpe);
        const auto scratch = std::make_shared<DeviceArray<char>>(gpu::embedding_backward_scratch(s.N, s.C));
        Instance instance;
        instance.run = [=](gpu::stream_t stream, bool fresh) {
            if (fresh) {
                copy_to_device(d_dwte->get(), dwte.data(), dwte.size());
                copy_to_device(d_dwpe->get(), dwpe.data(), dwpe.size());
                CUDA_CHECK(cudaMemset(scratch->get(), 0xff, scratch->size()));  // NaN, and ids that are none
            }
            gpu::embedding_backward<T>(d_dwte->get(), s.T ? d_dwpe->get() : nullptr, scratch->get(), d_dout->get(),
                                       d_ids->get(), s.T ? d_positions->get() : nullptr, s.N, s.C, s.V, s.T, stream);
        };
        instance.check = [=] {
            const reference::Doubles d = doubles(dout);
            const auto sums = [&](std::vector<double> table, const std::vector<int>& rows) {
                for (size_t i = 0; i < d.size(); ++i) {
                    const size_t n = i / static_cast<size_t>(s.C), c = i % static_cast<size_t>(s.C);
                    table[static_cast<size_t>(rows[n]) * static_cast<size_t>(s.C) + c] += d[i];
                }
                return table;
            };
            const size_t row = static_cast<size_t>(s.C);
            std::vector<Output> outputs{{"dwte", row, 6e-7, host_doubles(*d_dwte), sums(doubles(dwte), ids)}};
            if (s.T) outputs.push_back({"dwpe", row, 6e-7, host_doubles(*d_dwpe), sums(doubles(dwpe), positions)});
            return outputs;
        };
        return instance;
    };
    return result;
}

template <class T>
void add_cases(std::vector<Case>& cases) {
    const Shape FORWARD[] = {
        {1, 8, 1, 0, Tokens::One, false},
        {7, 24, 10, 3, Tokens::Random, false},
        {61, 264, 300, 0, Tokens::Random, false},
        {33, 768, 100, 32, Tokens::Random, false},
        {65536, 512, 50304, 0, Tokens::Zipf, true},
        {65536, 128, 50304, 0, Tokens::Zipf, true},
        {32768, 768, 50304, 1024, Tokens::Zipf, true},
    };
    const Shape BACKWARD[] = {
        {1, 8, 1, 0, Tokens::One, false},
        {63, 40, 70, 2, Tokens::Distinct, false},
        {64, 8, 64, 1, Tokens::One, false},
        {65, 8, 65, 300, Tokens::Distinct, false},
        {997, 136, 200, 17, Tokens::Frequent, false},
        {1025, 24, 257, 1025, Tokens::Random, false},  // a second tile of the sort, two passes
        {3001, 8, 50257, 0, Tokens::Zipf, false},
        {4099, 16, 300, 2, Tokens::One, false},       // one run over 65 chunks
        {2500, 8, 70000, 0, Tokens::Random, false},   // three passes
        {34567, 8, 250, 0, Tokens::Frequent, false},  // more tiles than the lanes that scan them
        {65536, 512, 50304, 0, Tokens::Zipf, true},
        {65536, 512, 50304, 0, Tokens::Random, true},
        {65536, 512, 50304, 0, Tokens::One, true},
        {65536, 128, 50304, 0, Tokens::Zipf, true},
        {32768, 768, 50304, 1024, Tokens::Zipf, true},
    };
    for (const Shape& s : FORWARD) cases.push_back(forward_case<T>(s));
    for (const Shape& s : BACKWARD) cases.push_back(backward_case<T>(s));
}

}  // namespace

std::vector<Case> embedding_cases() {
    std::vector<Case> cases;
    add_cases<bf16>(cases);
    add_cases<float>(cases);
    return cases;
}
