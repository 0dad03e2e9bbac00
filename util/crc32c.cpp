#include "util/crc32c.h"

#include <cstring>

#include "util/rng.h"

namespace {

// Slicing by eight: table[k][b] is the CRC of byte b followed by k zero bytes, so that eight bytes take eight look-ups
// that do not wait for one another.
struct Tables {
    uint32_t table[8][256];
    Tables() {
        for (uint32_t b = 0; b < 256; ++b) {
            uint32_t crc = b;
            for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
            table[0][b] = crc;
        }
        for (int k = 1; k < 8; ++k)
            for (int b = 0; b < 256; ++b) table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 255];
    }
};

}  // namespace

uint32_t crc32c(const void* data, size_t bytes, uint32_t before) {
    static const Tables tables;
    const auto& t = tables.table;
    const unsigned char* at = static_cast<const unsigned char*>(data);
    uint32_t crc = ~before;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint32_t low, high;
        memcpy(&low, at, 4);
        memcpy(&high, at + 4, 4);
        low ^= crc;
        crc = t[7][low & 255] ^ t[6][low >> 8 & 255] ^ t[5][low >> 16 & 255] ^ t[4][low >> 24] ^ t[3][high & 255] ^
              t[2][high >> 8 & 255] ^ t[1][high >> 16 & 255] ^ t[0][high >> 24];
    }
    for (; bytes > 0; --bytes, ++at) crc = crc >> 8 ^ t[0][(crc ^ *at) & 255];
    return ~crc;
}

uint32_t crc32c_sample(const void* data, size_t bytes) {
    constexpr size_t block = 4096, blocks = 64;
    const uint64_t size = bytes;
    const uint32_t crc = crc32c(&size, sizeof size, 0);
    if (bytes <= blocks * block) return crc32c(data, bytes, crc);
    const unsigned char* const all = static_cast<const unsigned char*>(data);
    uint32_t result = crc;
    const size_t stride = (bytes - block) / (blocks - 1);
    for (size_t i = 0; i < blocks; ++i) {
        // somewhere in its share of the data, so that no period of their layout falls between the blocks
        const size_t shift = i == 0 || i + 1 == blocks || stride <= block
                                 ? 0
                                 : static_cast<size_t>(random_u64(size, 0, i) % (stride - block));
        const size_t at = i + 1 == blocks ? bytes - block : i * stride + shift;
        result = crc32c(all + at, block, result);
    }
    return result;
}
