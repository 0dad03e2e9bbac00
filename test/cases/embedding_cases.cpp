// embedding_cases.cpp - the embedding, forward and backward. What matters to CUDA's backward pass is how the tokens
// repeat: runs inside a chunk of 64 sorted rows, over several chunks, one run of everything; and how many passes the
// sort needs.
#include <algorithm>
#include <cmath>
#include <set>

#include "test/cases/case.h"

namespace {

enum class Tokens { Random, Distinct, Frequent, One, Zipf };
const char* const TOKENS_NAME[] = {"random", "distinct", "frequent", "one", "zipf"};

Ints make_tokens(Tokens kind, int N, int V, uint64_t seed) {
    Ints x = random_ints(static_cast<size_t>(N), V, seed);
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
};

// wpe empty: none are learned.
Doubles embed(const Ints& tokens, const Ints& positions, const Doubles& wte, const Doubles& wpe, size_t C) {
    Doubles out(tokens.size() * C);
    for (size_t i = 0; i < out.size(); ++i) {
        const size_t n = i / C, c = i % C;
        out[i] = wte[static_cast<size_t>(tokens[n]) * C + c] +
                 (wpe.empty() ? 0 : wpe[static_cast<size_t>(positions[n]) * C + c]);
    }
    return out;
}
Doubles add_rows(Doubles table, const Ints& ids, const Doubles& dout, size_t C) {
    for (size_t i = 0; i < dout.size(); ++i) table[static_cast<size_t>(ids[i / C]) * C + i % C] += dout[i];
    return table;
}

std::string name_of(const char* operation, const char* type, const Shape& s) {
    return format_text("%s %s N=%d C=%d V=%d T=%d %s", operation, type, s.N, s.C, s.V, s.T,
                       TOKENS_NAME[static_cast<int>(s.tokens)]);
}
Ints positions_of(const Shape& s) { return random_ints(static_cast<size_t>(s.N), std::max(s.T, 1), 4); }
size_t different(const Ints& ids) { return std::set<int>(ids.begin(), ids.end()).size(); }

template <class Real>
Case forward_case(const Shape& s) {
    Case result;
    result.name = name_of("embedding_forward", TYPE_NAME<Real>, s);
    result.make = [=] {
        const Tensor<int> tokens(make_tokens(s.tokens, s.N, s.V, 1)), positions(positions_of(s));
        const Tensor<Real> wte(normal_values<Real>(product(s.V, s.C), 2)),
            wpe(normal_values<Real>(product(s.T, s.C), 3)), out(product(s.N, s.C));
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool) {
            backend::embedding_forward<Real>(out, tokens, positions, wte, wpe, s.N, s.C, stream);
        };
        instance.check = [=] {
            const size_t C = static_cast<size_t>(s.C);
            // a copy is exact, a sum rounded once
            return Outputs{{"out", C, s.T == 0 ? 0 : tolerance<Real>(3e-3, 1e-7), out.doubles(),
                            embed(tokens.first(), positions.first(), doubles(wte.first()), doubles(wpe.first()), C)}};
        };
        return instance;
    };
    return result;
}

template <class Real>
Case backward_case(const Shape& s) {
    Case result;
    result.name = name_of("embedding_backward", TYPE_NAME<Real>, s);
    result.make = [=] {
        const Tensor<int> tokens(make_tokens(s.tokens, s.N, s.V, 1)), positions(positions_of(s));
        const Tensor<Real> dout(normal_values<Real>(product(s.N, s.C), 5));
        const Tensor<Stat<Real>> dwte(normal_values<Stat<Real>>(product(s.V, s.C), 6)),
            dwpe(normal_values<Stat<Real>>(product(s.T, s.C), 7));
        const Tensor<char> scratch(backend::embedding_backward_scratch(s.N, s.C));  // NaN, and ids that are none
        Instance instance;
        instance.run = [=](backend::stream_t stream, bool fresh) {
            if (fresh) dwte.reset(), dwpe.reset();
            backend::embedding_backward<Real>(dwte, dwpe, scratch, dout, tokens, positions, s.N, s.C, s.V, s.T, stream);
        };
        instance.check = [=] {
            const size_t C = static_cast<size_t>(s.C);
            const Doubles d = doubles(dout.first());
            Outputs outputs{{"dwte", C, stat_tolerance<Real>(6e-7), dwte.doubles(),
                             add_rows(doubles(dwte.first()), tokens.first(), d, C)}};
            if (s.T)
                outputs.push_back({"dwpe", C, stat_tolerance<Real>(6e-7), dwpe.doubles(),
                                   add_rows(doubles(dwpe.first()), positions.first(), d, C)});
            return outputs;
        };
        return instance;
    };
    return result;
}

}  // namespace

std::vector<Case> embedding_cases() {
    std::vector<Case> cases;
    for_each_real([&](auto real) {
        using Real = decltype(real);
        std::vector<Shape> forward = {{1, 8, 1, 0, Tokens::One},
                                      {7, 24, 10, 3, Tokens::Random},
                                      {61, 264, 300, 0, Tokens::Random},
                                      {33, 768, 100, 32, Tokens::Random}};
        std::vector<Shape> backward = {{1, 8, 1, 0, Tokens::One},
                                       {63, 40, 70, 2, Tokens::Distinct},
                                       {64, 8, 64, 1, Tokens::One},
                                       {65, 8, 65, 300, Tokens::Distinct},
                                       {997, 136, 200, 17, Tokens::Frequent},
                                       {1025, 24, 257, 1025, Tokens::Random},  // a second tile of the sort, two passes
                                       {3001, 8, 50257, 0, Tokens::Zipf}};
        if (ON_CPU) {
            for (auto* shapes : {&forward, &backward})
                shapes->insert(
                    shapes->end(),
                    {{1, 1, 1, 1, Tokens::One}, {61, 37, 7, 5, Tokens::Random}, {512, 128, 300, 0, Tokens::Random}});
        } else {
            backward.insert(backward.end(),
                            {{4099, 16, 300, 2, Tokens::One},         // one run over 65 chunks
                             {2500, 8, 70000, 0, Tokens::Random},     // three passes
                             {34567, 8, 250, 0, Tokens::Frequent}});  // more tiles than the lanes that scan them
        }
        for (const Shape& s : forward) cases.push_back(forward_case<Real>(s));
        for (const Shape& s : backward) cases.push_back(backward_case<Real>(s));
    });
    return cases;
}

// Tokens as often as in text; on a GPU also others, since its sort and its sums depend on how they repeat.
std::vector<Case> embedding_timed_cases(const TrainingStep& step) {
    std::vector<Case> cases;
    for_each_timed_real(step.full, [&](auto real) {
        using Real = decltype(real);
        for (const Tokens kind : {Tokens::Zipf, Tokens::Random, Tokens::One}) {
            if (kind != Tokens::Zipf && (ON_CPU || !step.full)) continue;
            const Shape s{step.N(), step.C, step.Vp(), step.neox || step.llama() ? 0 : step.T, kind};
            const size_t C = static_cast<size_t>(s.C), out = product(s.N, s.C), tables = s.T ? 2 : 1;
            // rows of the tables that are met
            const size_t met = different(make_tokens(s.tokens, s.N, s.V, 1)) + (s.T ? different(positions_of(s)) : 0);
            Case forward = forward_case<Real>(s), backward = backward_case<Real>(s);
            forward.bytes = static_cast<double>((out + met * C) * sizeof(Real));
            // dout and the ids for each table; the tables' rows read and written
            backward.bytes =
                static_cast<double>((out * sizeof(Real) + static_cast<size_t>(s.N) * sizeof(int)) * tables +
                                    met * C * 2 * sizeof(Stat<Real>));
            forward.calls = backward.calls = kind == Tokens::Zipf ? 1 : 0;
            cases.push_back(std::move(forward));
            cases.push_back(std::move(backward));
        }
    });
    return cases;
}
