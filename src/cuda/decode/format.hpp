// What the formats of a cache have in common and where they differ, for the products of a warp over a block of 128
// keys. A lane loads 16 bytes (e4m3: 8) of the cache, which are the same register of kRun neighbouring operands B, so
// no key or value passes through shared memory. With lane = 4 g + t, column c of operand i of a group of 8 kRun keys
// (channels of V) is key (channel) kRun c + i, and a lane gets those of columns 2 t and 2 t + 1 for rows g and g + 8.
//   codes    8 keys of each of four groups of 32
//   floats   16 keys of each of two groups of 64, taken as two eights
// Operands A have planes that sum up to the number: of codes bytes, x = 256 high + low (s4: low alone), exactly; of
// floats 16-bit numbers, the first one rounded, the next ones what is left. Numbers of an f32 cache are planes of bf16
// too (operands/bf16_planes.hpp); products of planes below 2^-24 of the whole are left out.
#pragma once

#include "cuda/tile/machine.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::cuda {

template <DType kFormat>
struct DecodeFormat {
  static constexpr bool kCodes = spec::cache_rotates(kFormat), kScales = spec::cache_has_scales(kFormat);
  static constexpr int kBits = static_cast<int>(spec::cache_bits(kFormat));
  static constexpr bool kBf16 = kFormat == DType::bf16 || kFormat == DType::f32;  // products of bf16, else of f16
  static constexpr int kPlanes = kFormat == DType::s4 ? 1 : kBf16 ? 3 : 2;
  static constexpr int kCachePlanes = kFormat == DType::f32 ? 3 : 1;
  static constexpr int kRun = kCodes ? 4 : 8, kGroupKeys = 8 * kRun, kGroups = 128 / kGroupKeys;
  static constexpr Mma kFloatMma = kBf16 ? Mma::bf16 : Mma::f16;
  // What the products of codes are multiplied by, where nibbles are the upper halves of bytes.
  static constexpr int kCodeUnit = kFormat == DType::s4 ? 16 : 1;
  // Of codes the largest one. Floats are scaled to it, so that planes of f16 hold their digits.
  static constexpr float kWeightRange = kCodes ? spec::cache_weight_range(kFormat) : 0x1p14f;
};

// Whether the product of two planes counts.
template <DType kFormat>
OCTAVO_INLINE constexpr bool multiplies_planes(int plane, int of_cache) {
  return DecodeFormat<kFormat>::kCachePlanes == 1 || plane + of_cache < DecodeFormat<kFormat>::kPlanes;
}

inline constexpr int kDecodeScores = 64;  // of a lane: two rows of 32 keys each
inline constexpr int kEights = 4;         // of keys of a lane

// First key of eight number `eight`, counted from the block's first.
template <DType kFormat>
OCTAVO_INLINE constexpr std::int32_t first_key_of_lane(int lane, int eight) {
  return DecodeFormat<kFormat>::kCodes ? 32 * eight + 8 * (lane % 4)
                                       : 64 * (eight / 2) + 16 * (lane % 4) + 8 * (eight % 2);
}
// Element of the lane's scores: key `key` of the eight, row half h.
template <DType kFormat>
OCTAVO_INLINE constexpr int decode_score_index(int eight, int h, int key) {
  if constexpr (DecodeFormat<kFormat>::kCodes) return 16 * eight + 4 * (key % 4) + 2 * h + key / 4;
  return 32 * (eight / 2) + 4 * key + 2 * h + eight % 2;
}

}  // namespace octavo::cuda
