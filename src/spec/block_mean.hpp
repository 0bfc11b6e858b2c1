// K's mean per block of 128 keys, for heads whose mean moves along the sequence (a bias of K under RoPE). A refinement
// of smooth_k in recipes with gains: the head's own data decide.
//   K'_j = K_j - mean of block b,   score_ij = q'_i . K'_j + Delta_j + q'_i . (mean of b - mean)
// q' is the row that becomes codes, in f32: the last term is one number for a row and a block. Delta_j and the rest of
// smoothing keep the sequence's mean.
// The evidence, from what gains are made of: per channel d, over blocks with a value that counts,
//   A_d = sum of n_b max_j |K_jd - mean_d|,   B_d = sum of n_b max_j |K_jd - (mean of b)_d|,   n_b = values that count
// Block means are taken where sum_d (g_d A_d)^2 > 1.5 sum_d (g_d B_d)^2, that is, where they make a typical row's range
// smaller by a fifth; f32, blocks ascending, then channels ascending. A channel without a value in a block has the
// sequence's mean there. Heads of real models reach 1.4; a head that does not follow the rule pays nothing.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "spec/mean.hpp"
#include "spec/qk_gain.hpp"

namespace octavo::spec {

constexpr float kBlockMeanRatio = 1.5f;

// Whether blocks of that many keys lie within blocks of means.
OCTAVO_INLINE constexpr bool divides_mean_blocks(std::int64_t key_block) { return kMeanBlock % key_block == 0; }

// Of one channel: A and B.
struct ChannelSpreads {
  float from_mean = 0, from_block_mean = 0;
};

// low > high: the block has no value that counts.
OCTAVO_INLINE constexpr void add_spreads(ChannelSpreads& to, float count, float low, float high, float mean,
                                         float block_mean) {
  if (low > high) return;
  to.from_mean = to.from_mean + count * spread(low, high, mean);
  to.from_block_mean = to.from_block_mean + count * spread(low, high, block_mean);
}

// Of a head: both sums over its channels.
struct BlockMeanEvidence {
  float from_mean = 0, from_block_mean = 0;
};
OCTAVO_INLINE constexpr void add_channel(BlockMeanEvidence& to, const ChannelSpreads& of, float gain) {
  const float a = gain * of.from_mean, b = gain * of.from_block_mean;
  to.from_mean = to.from_mean + a * a;
  to.from_block_mean = to.from_block_mean + b * b;
}
OCTAVO_INLINE constexpr bool takes_block_means(const BlockMeanEvidence& e) {
  return e.from_mean > kBlockMeanRatio * e.from_block_mean;
}

}  // namespace octavo::spec
