// sha256.h - SHA-256 (FIPS 180-4), in parts: update(...) any number of times, then hex() once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

class Sha256 {
  public:
    void update(const void* data, size_t bytes);
    std::string hex();  // 64 digits; ends the message

  private:
    void block(const unsigned char* data);
    uint32_t state_[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char rest_[64] = {};  // what does not fill a block yet
    uint64_t bytes_ = 0;
};
