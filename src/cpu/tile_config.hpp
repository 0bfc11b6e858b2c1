// Tuned numbers of the CPU kernels, each with its reason. Measurements: docs/performance.md.
#pragma once

#include <cstdint>

namespace octavo::cpu {

// Query rows that go through the three stages together. 16 rows of scores against a key block of 128 are 8 KiB, so
// scores, weights and one operand of each product stay in a first-level cache of 32 or 48 KiB; it is also the most that
// one transposing reduction of 16 lanes serves.
inline constexpr int kGroupRows = 16;

// Query blocks of 128 rows that one task may hold: smooth_q's correction reads the caller's K once for all of them.
inline constexpr std::int64_t kMaxQueryBlocks = 4;

// Keys whose products with the means are summed side by side in the correction: enough chains to hide FMA's latency.
inline constexpr std::int64_t kCorrectionKeys = 4;

}  // namespace octavo::cpu
