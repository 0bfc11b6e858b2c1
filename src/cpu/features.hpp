// Which instruction sets this processor and operating system offer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

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

// Of the features `found`, those whose instructions are slower than the ones they replace, by CPUID's vendor. A table
// and not a measurement: the choice of an implementation decides the bits of a result, and must not vary from run to
// run.
//   GenuineIntel, avx512_bf16: VDPBF16PS does half as many products a second as VFMADD on f32 (measured: 191 and 371
//   Gop/s on two cores of the Sapphire Rapids family); on AMD twice as many.
std::uint32_t slow_features(std::uint32_t found, std::string_view vendor) noexcept;
std::uint32_t slow_features() noexcept;  // of this processor

// Whether an implementation that can interleaves the softmax stage with the products of the next row group, by CPUID's
// vendor; OCTAVO_INTERLEAVE_SOFTMAX=on or off overrides it. A result's bits do not depend on it.
//   GenuineIntel: no. All 512-bit instructions share two ports there, so that nothing runs beside the products
//   (measured on the Sapphire Rapids family: interleaved 9546 and 6948 ns, apart 9447 and 6635 ns at D 128 and D 64).
//   Others: yes. On AMD's Zen 5 exponentials use units that the products leave idle (a call takes 7 % less).
bool interleaves_softmax(std::string_view vendor) noexcept;
bool interleaves_softmax() noexcept;  // on this processor, in this environment

// Names of the set bits, best last: "avx2 avx512 avx512_vnni".
std::string feature_names(std::uint32_t features);

}  // namespace octavo::cpu
