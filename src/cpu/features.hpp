// Which instruction sets this processor and operating system offer.
#pragma once

#include <cstdint>
#include <string>

namespace octavo::cpu {

enum Feature : std::uint32_t {
  kAvx2 = 1u << 0,  // with FMA and F16C
  kAvxVnni = 1u << 1,
  kAvx512 = 1u << 2,  // F, BW, DQ, VL
  kAvx512Vnni = 1u << 3,
  kAvx512Bf16 = 1u << 4,
  kAmxInt8 = 1u << 5,  // with the tiles
};

// Bits of Feature; asked of the processor, and where state is to be saved of the operating system, once.
std::uint32_t features() noexcept;
// What the processor has and the operating system does not let this process use.
std::uint32_t withheld_features() noexcept;

// Names of the set bits, best last: "avx2 avx512 avx512_vnni".
std::string feature_names(std::uint32_t features);

}  // namespace octavo::cpu
