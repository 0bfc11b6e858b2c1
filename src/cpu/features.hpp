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

// Bits of Feature: what the processor has and the operating system can save; asked once.
std::uint32_t features() noexcept;
// Whether the operating system lets this process use `needed`, a part of features(). Tiles are 8 KiB of state a thread
// for which Linux makes room in a process that asks, for good: signal stacks must hold it from then on. So nobody asks
// before an implementation that needs it is named.
bool claim_features(std::uint32_t needed) noexcept;

// Names of the set bits, best last: "avx2 avx512 avx512_vnni".
std::string feature_names(std::uint32_t features);

}  // namespace octavo::cpu
