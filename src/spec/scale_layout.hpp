// Where the scales and means of a head lie in the arrays beside its codes, in floats; n of them for each head:
//   batched                                           [B, H, n]           b * H * n + h * n
//   varlen, one set for a sequence (tensor, channel;
//   means of K and V)                                 [B, H, n]           likewise
//   varlen, in row order (every other granularity;
//   means of Q's blocks)                              [H, sum of all n]   n of the sequences before + h * sum of all n
// On a device the host does not know the sum of varlen sequences: there the axis has its bound, most_slices() and
// most_row_groups(), and what lies behind the last group has no meaning.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "core/problem.hpp"
#include "spec/granularity.hpp"

namespace octavo::spec {

// Whether longer sequences have more scales.
OCTAVO_INLINE constexpr bool grows_with_rows(Granularity granularity) {
  return granularity != Granularity::none && granularity != Granularity::tensor && granularity != Granularity::channel;
}

OCTAVO_INLINE constexpr std::int64_t query_blocks(std::int64_t rows) { return (rows + kQueryBlock - 1) / kQueryBlock; }

// The most slices of `width` rows that `total` rows in `sequences` sequences have: as many sequences as possible begin
// one with a single row, and all other slices are whole.
OCTAVO_INLINE constexpr std::int64_t most_slices(std::int64_t total, std::int64_t sequences, std::int64_t width) {
  const std::int64_t begun = total < sequences ? total : sequences;
  return begun + (total - begun) / width;
}
OCTAVO_INLINE constexpr std::int64_t most_query_blocks(std::int64_t total, std::int64_t sequences) {
  return most_slices(total, sequences, kQueryBlock);
}
// Of granularities that grow with the rows.
OCTAVO_INLINE constexpr std::int64_t most_row_groups(const Groups& groups, std::int64_t total, std::int64_t sequences) {
  return row_groups(groups, most_slices(total, sequences, groups.width) * groups.width);
}

// Of head 0 of a sequence.
struct ScalePlace {
  std::int64_t scales = 0, means = 0;
};

OCTAVO_INLINE const float* scales_at(const Operand& x, const ScalePlace& place, std::int64_t head) {
  return x.scales != nullptr ? x.scales + place.scales + head * x.scales_per_head : nullptr;
}
OCTAVO_INLINE const float* means_at(const Operand& x, const ScalePlace& place, std::int64_t head) {
  return x.mean != nullptr ? x.mean + place.means + head * x.means_per_head : nullptr;
}

// Follows the places from sequence to sequence, in their order.
class ScaleCursor {
 public:
  constexpr ScaleCursor(const Operand& x, const Groups& groups, std::int64_t dim, bool varlen)
      : scales_per_sequence_(x.scales_per_sequence),
        means_per_sequence_(x.means_per_sequence),
        groups_(groups),
        dim_(dim),
        scales_in_rows_(varlen && grows_with_rows(groups.granularity)),
        means_in_rows_(varlen && groups.role == Role::q) {}

  constexpr const ScalePlace& place() const { return place_; }
  // Past a sequence of `rows` rows.
  constexpr void pass(std::int64_t rows) {
    place_.scales += scales_in_rows_ ? scales_per_head(groups_, rows, dim_) : scales_per_sequence_;
    place_.means += means_in_rows_ ? query_blocks(rows) * dim_ : means_per_sequence_;
  }

 private:
  ScalePlace place_;
  std::int64_t scales_per_sequence_, means_per_sequence_;
  Groups groups_;
  std::int64_t dim_;
  bool scales_in_rows_, means_in_rows_;
};

}  // namespace octavo::spec
