// kernel_reference.h - every kernel straight from its formula, in double, one element at a time. Slow and obvious;
// shares no code with kernels/.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace reference {

using Doubles = std::vector<double>;
using Ints = std::vector<int>;

// C[m,n] = alpha sum_k op(A)[m,k] op(B)[k,n] + beta C[m,n]
inline void gemm(bool ta, bool tb, int M, int N, int K, double alpha, const Doubles& A, int lda, const Doubles& B,
                 int ldb, double beta, Doubles& C, int ldc) {
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n) {
            double sum = 0;
            for (int k = 0; k < K; ++k)
                sum += A[ta ? size_t(k) * lda + m : size_t(m) * lda + k] *
                       B[tb ? size_t(n) * ldb + k : size_t(k) * ldb + n];
            double& c = C[size_t(m) * ldc + n];
            c = alpha * sum + (beta == 0 ? 0 : beta * c);
        }
}

inline Doubles matmul_forward(const Doubles& inp, const Doubles& weight, const Doubles& bias, int N, int C, int OC) {
    Doubles out(size_t(N) * OC);
    gemm(false, true, N, OC, C, 1, inp, C, weight, C, 0, out, OC);
    if (!bias.empty())
        for (size_t i = 0; i < out.size(); ++i) out[i] += bias[i % OC];
    return out;
}

struct MatmulGradients {
    Doubles inp, weight, bias;
};
inline MatmulGradients matmul_backward(const Doubles& dout, const Doubles& inp, const Doubles& weight, int N, int C,
                                       int OC) {
    MatmulGradients d{Doubles(inp.size()), Doubles(weight.size()), Doubles(OC)};
    gemm(false, false, N, C, OC, 1, dout, OC, weight, C, 0, d.inp, C);
    gemm(true, false, OC, C, N, 1, dout, OC, inp, C, 0, d.weight, C);
    for (size_t i = 0; i < dout.size(); ++i) d.bias[i % OC] += dout[i];
    return d;
}

inline Doubles embedding_forward(const Ints& tokens, const Ints& positions, const Doubles& wte, const Doubles& wpe,
                                 int C) {
    Doubles out(tokens.size() * C);
    for (size_t i = 0; i < out.size(); ++i) {
        const size_t n = i / C, c = i % C;
        out[i] = wte[size_t(tokens[n]) * C + c] + (wpe.empty() ? 0 : wpe[size_t(positions[n]) * C + c]);
    }
    return out;
}

struct Layernorm {
    Doubles out, mean, rstd;
};
inline Layernorm layernorm_forward(const Doubles& inp, const Doubles& weight, const Doubles& bias, int N, int C,
                                   double eps) {
    Layernorm r{Doubles(inp.size()), Doubles(N), Doubles(N)};
    for (int n = 0; n < N; ++n) {
        const double* x = &inp[size_t(n) * C];
        double mean = 0, var = 0;
        for (int c = 0; c < C; ++c) mean += x[c] / C;
        for (int c = 0; c < C; ++c) var += (x[c] - mean) * (x[c] - mean) / C;
        r.mean[n] = mean;
        r.rstd[n] = 1 / std::sqrt(var + eps);
        for (int c = 0; c < C; ++c) r.out[size_t(n) * C + c] = (x[c] - mean) * r.rstd[n] * weight[c] + bias[c];
    }
    return r;
}

struct LayernormGradients {
    Doubles inp, weight, bias;
};
// By the chain rule through mean and variance, one derivative at a time: d out_c / d inp_j.
inline LayernormGradients layernorm_backward(const Doubles& dout, const Doubles& inp, const Doubles& weight, int N,
                                             int C, double eps) {
    const Layernorm f = layernorm_forward(inp, Doubles(C, 1), Doubles(C, 0), N, C, eps);
    LayernormGradients d{Doubles(inp.size()), Doubles(C), Doubles(C)};
    for (int n = 0; n < N; ++n) {
        const size_t row = size_t(n) * C;
        for (int c = 0; c < C; ++c) {
            d.weight[c] += dout[row + c] * f.out[row + c];
            d.bias[c] += dout[row + c];
            for (int j = 0; j < C; ++j)
                d.inp[row + j] +=
                    dout[row + c] * weight[c] * f.rstd[n] * ((j == c) - 1.0 / C - f.out[row + c] * f.out[row + j] / C);
        }
    }
    return d;
}

inline double gelu(double x, bool exact) {
    return exact ? 0.5 * x * std::erfc(-x / std::sqrt(2.0))
                 : 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
inline double gelu_slope(double x, bool exact) {
    if (exact) return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-x * x / 2) / std::sqrt(2 * M_PI);
    const double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x), th = std::tanh(u);
    return 0.5 * (1 + th) + 0.5 * x * (1 - th * th) * std::sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

// x (N, 3, NH, HS); sign -1: the inverse.
inline Doubles rotary(Doubles x, const Ints& positions, int N, int NH, int HS, int R, double base, double sign) {
    for (int n = 0; n < N; ++n)
        for (int part = 0; part < 2; ++part)
            for (int h = 0; h < NH; ++h)
                for (int i = 0; i < R / 2; ++i) {
                    const double a = sign * positions[n] * std::pow(base, -2.0 * i / R);
                    double* head = &x[((size_t(n) * 3 + part) * NH + h) * HS];
                    const double u = head[i], w = head[i + R / 2];
                    head[i] = u * std::cos(a) - w * std::sin(a);
                    head[i + R / 2] = w * std::cos(a) + u * std::sin(a);
                }
    return x;
}

// The whole T x T matrix of probabilities, one row and head at a time.
struct Attention {
    Doubles out, lse, dqkv;
};
inline Attention attention(const Doubles& qkv, const Doubles& dout, const Ints& segment_start, int B, int T, int NH,
                           int HS) {
    Attention r{Doubles(size_t(B) * T * NH * HS), Doubles(size_t(B) * NH * T), Doubles(dout.empty() ? 0 : qkv.size())};
    const double scale = 1 / std::sqrt(double(HS));
    auto at = [&](int b, int t, int part, int h) { return (((size_t(b) * T + t) * 3 + part) * NH + h) * HS; };
    for (int b = 0; b < B; ++b)
        for (int h = 0; h < NH; ++h)
            for (int t = 0; t < T; ++t) {
                const int first = segment_start.empty() ? 0 : segment_start[size_t(b) * T + t];
                const size_t row = ((size_t(b) * T + t) * NH + h) * HS;
                Doubles p(T);
                double sum = 0;
                for (int j = first; j <= t; ++j) {
                    for (int d = 0; d < HS; ++d) p[j] += scale * qkv[at(b, t, 0, h) + d] * qkv[at(b, j, 1, h) + d];
                    sum += std::exp(p[j]);
                }
                r.lse[(size_t(b) * NH + h) * T + t] = std::log(sum);
                for (int j = first; j <= t; ++j) {
                    p[j] = std::exp(p[j]) / sum;
                    for (int d = 0; d < HS; ++d) r.out[row + d] += p[j] * qkv[at(b, j, 2, h) + d];
                }
                if (dout.empty()) continue;
                double mean = 0;  // sum_j p_j dp_j
                Doubles dp(T);
                for (int j = first; j <= t; ++j) {
                    for (int d = 0; d < HS; ++d) dp[j] += dout[row + d] * qkv[at(b, j, 2, h) + d];
                    mean += p[j] * dp[j];
                }
                for (int j = first; j <= t; ++j)
                    for (int d = 0; d < HS; ++d) {
                        const double ds = p[j] * (dp[j] - mean) * scale;
                        r.dqkv[at(b, t, 0, h) + d] += ds * qkv[at(b, j, 1, h) + d];
                        r.dqkv[at(b, j, 1, h) + d] += ds * qkv[at(b, t, 0, h) + d];
                        r.dqkv[at(b, j, 2, h) + d] += p[j] * dout[row + d];
                    }
            }
    return r;
}

struct Classifier {
    Doubles losses, dlogits;
    Ints argmax, rank;
};
inline Classifier classifier(const Doubles& logits, const Ints& targets, double dloss, int N, int V, int Vp) {
    Classifier r{Doubles(N), Doubles(logits.size()), Ints(N), Ints(N, 1)};
    for (int n = 0; n < N; ++n) {
        const double *x = &logits[size_t(n) * Vp], *best = std::max_element(x, x + V);
        double sum = 0;
        for (int v = 0; v < V; ++v) sum += std::exp(x[v] - *best);
        r.losses[n] = std::log(sum) + *best - x[targets[n]];
        for (int v = 0; v < V; ++v) {
            r.dlogits[size_t(n) * Vp + v] = (std::exp(x[v] - *best) / sum - (v == targets[n])) * dloss;
            r.rank[n] += x[v] > x[targets[n]] || (v < targets[n] && x[v] == x[targets[n]]);
        }
        r.argmax[n] = int(best - x);
    }
    return r;
}

}  // namespace reference
