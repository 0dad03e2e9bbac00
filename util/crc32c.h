// crc32c.h - CRC-32C (Castagnoli; RFC 3720, appendix B.4), in parts: crc32c(b, n, crc32c(a, m)) is that of a and b
// joined.
#pragma once
#include <cstddef>
#include <cstdint>

uint32_t crc32c(const void* data, size_t bytes, uint32_t before = 0);
// What data are known by where reading all of them would take too long: up to 256 KiB all of them, else 64 blocks of 4
// KiB, the first, the last and 62 between at places that their size alone decides; and their size.
uint32_t crc32c_sample(const void* data, size_t bytes);
