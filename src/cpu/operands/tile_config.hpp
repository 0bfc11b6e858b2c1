// Tuned numbers of the CPU kernels, each with its reason. Measurements: docs/performance.md.
#pragma once

#include <cstdint>

#include "core/inline.hpp"

namespace octavo::cpu {

// Query rows that go through the three stages together. 16 rows of scores against a key block of 128 are 8 KiB, so
// scores, weights and one operand of each product stay in a first-level cache of 32 or 48 KiB; it is also the most that
// one transposing reduction of 16 lanes serves.
inline constexpr int kGroupRows = 16;

// Keys are taken in whole steps of this many: the widest register tile of scores, and one vector of 8-bit weights.
inline constexpr std::int64_t kKeyStep = 64;

// Words of a packed operand that lie side by side: the widest register tile. Whole rows of a block would put a tile's
// words a power of two apart, and they would share half of a first-level cache's sets.
inline constexpr std::int64_t kStrip = 64;

// Channels of a row with zeros behind them: four vectors of the widest policy, so that kernels never see a tail.
OCTAVO_INLINE constexpr std::int64_t padded(std::int64_t channels) { return (channels + 63) / 64 * 64; }

// Query blocks of 128 rows that one task may hold: smooth_q's smooth_q_bias reads the caller's K once for all of them.
inline constexpr std::int64_t kMaxQueryBlocks = 4;

// The longest key block kernels take: the recipes' range of integer products ends there (255 * 127 * 512 < 2^24).
inline constexpr std::int64_t kMaxKeyBlock = 512;

// Keys whose products with the means are summed side by side in the smooth_q_bias: enough chains to hide FMA's latency.
inline constexpr std::int64_t kSmoothQBiasKeys = 4;

// How many rows ahead the caller's tensors are asked for: preparing a row takes less time than memory does, and
// processors do not look across pages by themselves. 8 to 48 are alike.
inline constexpr std::uint64_t kFetchRows = 24;
inline constexpr std::uint64_t kCacheLine = 64;

}  // namespace octavo::cpu
