// crc32c.h - CRC-32C (Castagnoli; RFC 3720, appendix B.4), in parts: crc32c(b, n, crc32c(a, m)) is that of a and b
// joined.
#pragma once
#include <cstddef>
#include <cstdint>

uint32_t crc32c(const void* data, size_t bytes, uint32_t before = 0);
