// Which elements share a scale: the group of a row, and how many groups there are. Codes stay in natural order; only
// this geometry decides which scale belongs to them.
//   tensor 1 | block r / width | warp Q r / W, K r / T | thread (SageAttention2 section 3.2): Q (r / W) * 8 + r % 8,
//   K (r / T) * 4 + (r % 8) / 2 | token r | block_channel r / key block, once per channel | channel 1, once per channel
#pragma once

#include <cstdint>

#include "spec/operand.hpp"

namespace octavo::spec {

constexpr std::int64_t kQueryBlock = 128;  // rows of Q that share a mean (smooth_q) and a block scale
constexpr std::int64_t kKeyScaleBlock = 64;
constexpr std::int64_t kFloat8KeyScaleBlock = 128;

// How the rows of one head fall into groups.
struct Groups {
  Granularity granularity = Granularity::tensor;
  Role role = Role::q;
  std::int64_t width = 1;  // rows of a block, W (Recipe::q_group), T (k_group), or the key block
};

// The geometry of an operand's scales.
OCTAVO_INLINE constexpr Groups groups_of(Role role, const Recipe& recipe) {
  Groups groups{granularity_of(recipe, role), role, 1};
  const bool float8 = is_float8(format_of(recipe, role));
  switch (groups.granularity) {
    case Granularity::block:
      groups.width = role == Role::q   ? kQueryBlock
                     : role == Role::v ? recipe.key_block
                     : float8          ? kFloat8KeyScaleBlock
                                       : kKeyScaleBlock;
      break;
    case Granularity::warp:
    case Granularity::thread:
      groups.width = role == Role::q ? recipe.q_group : recipe.k_group;
      break;
    case Granularity::block_channel:
      groups.width = recipe.key_block;
      break;
    default:
      break;
  }
  return groups;
}

// Row group of a row: an index into the scales (of a channel, where each channel has its own).
OCTAVO_INLINE constexpr std::int64_t group_of_row(const Groups& groups, std::int64_t row) {
  switch (groups.granularity) {
    case Granularity::block:
    case Granularity::warp:
    case Granularity::block_channel:
      return row / groups.width;
    case Granularity::thread:
      return groups.role == Role::q ? row / groups.width * 8 + row % 8 : row / groups.width * 4 + row % 8 / 2;
    case Granularity::token:
    case Granularity::token_folded:
      return row;
    default:
      return 0;
  }
}

// Number of row groups of `rows` rows. The last slice of per-thread groups is always whole: groups that no row falls
// into carry scale 1.
OCTAVO_INLINE constexpr std::int64_t row_groups(const Groups& groups, std::int64_t rows) {
  const std::int64_t slices = (rows + groups.width - 1) / groups.width;
  switch (groups.granularity) {
    case Granularity::block:
    case Granularity::warp:
    case Granularity::block_channel:
      return slices;
    case Granularity::thread:
      return slices * (groups.role == Role::q ? 8 : 4);
    case Granularity::token:
    case Granularity::token_folded:
      return rows;
    case Granularity::none:
      return 0;
    default:
      return 1;
  }
}

OCTAVO_INLINE constexpr bool per_channel(Granularity granularity) {
  return granularity == Granularity::channel || granularity == Granularity::block_channel;
}

// Scales of one head: row groups, times the channels where each has its own (index group * dim + channel).
OCTAVO_INLINE constexpr std::int64_t scales_per_head(const Groups& groups, std::int64_t rows, std::int64_t dim) {
  return row_groups(groups, rows) * (per_channel(groups.granularity) ? dim : 1);
}

}  // namespace octavo::spec
