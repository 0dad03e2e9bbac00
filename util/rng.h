// rng.h - counter-based random numbers: every value is a pure function of (seed, stream, index), so that nothing has to
// be saved to resume, and any number of threads, on any device, draws the same bits.
#pragma once
#include <cmath>
#include <cstdint>
#include <string_view>

#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__
#else
#define HOST_DEVICE
#endif

struct Philox4 {
    uint32_t x[4];
};

// Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3).
// key = seed (64 bits), counter = (stream, index), 64 bits each.
HOST_DEVICE inline Philox4 philox(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
        c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(b);
        c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(a);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

inline uint64_t random_u64(uint64_t seed, uint64_t stream, uint64_t index) {
    const Philox4 p = philox(seed, stream, index);
    return static_cast<uint64_t>(p.x[1]) << 32 | p.x[0];
}

// Uniform in [0, n) by multiplication with a 64-bit random number; the bias is below n / 2^64.
inline uint64_t random_below(uint64_t n, uint64_t seed, uint64_t stream, uint64_t index) {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(random_u64(seed, stream, index)) * n >> 64);
}

// Standard normal (Box-Muller, in double on the host): the same bits for every backend that asks the host.
inline double random_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    const Philox4 p = philox(seed, stream, index);
    const uint64_t a = static_cast<uint64_t>(p.x[1]) << 32 | p.x[0], b = static_cast<uint64_t>(p.x[3]) << 32 | p.x[2];
    const double u = (static_cast<double>(a >> 11) + 0.5) * 0x1p-53, v = static_cast<double>(b >> 11) * 0x1p-53;
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586476925 * v);
}

// 64-bit FNV-1a: names (of a source, a purpose) become streams of the generators above.
inline uint64_t hash_name(std::string_view name) {
    uint64_t h = 0xcbf29ce484222325ull;
    for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    return h;
}

// A random permutation of [0, n) that needs no memory: four rounds of a Feistel network over the next power of four,
// walked along its cycle until the value lies below n (fewer than four steps on average). (seed, stream) choose it.
class Permutation {
  public:
    Permutation() = default;
    Permutation(uint64_t n, uint64_t seed, uint64_t stream) : n_(n), seed_(seed), stream_(stream) {
        while (half_ < 32 && (1ull << 2 * half_) < n) ++half_;
    }
    uint64_t size() const { return n_; }
    uint64_t operator()(uint64_t i) const {
        do i = encrypt(i);
        while (i >= n_);
        return i;
    }

  private:
    uint64_t encrypt(uint64_t i) const {
        const uint64_t mask = (1ull << half_) - 1;
        uint64_t left = i >> half_, right = i & mask;
        for (uint64_t round = 0; round < 4; ++round) {
            // splitmix64's finaliser is the round function: fast, and good enough for an order of documents
            uint64_t x = right ^ (round << 56) ^ (stream_ + 0x9E3779B97F4A7C15ull * (seed_ + round + 1));
            x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
            x = (x ^ x >> 27) * 0x94D049BB133111EBull;
            const uint64_t next = left ^ ((x ^ x >> 31) & mask);
            left = right;
            right = next;
        }
        return left << half_ | right;
    }
    uint64_t n_ = 0, seed_ = 0, stream_ = 0;
    int half_ = 1;
};
