// Where the scales and means of varlen sequences begin beside their codes (spec/scale_layout.hpp): sums over the
// sequences before. Lengths are in device memory, so a kernel adds them up; one warp an operand.
#pragma once

#include "cuda/operands/params.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

// A sequence never reaches over the end of its head, whatever cu_seqlens hold: it begins earlier instead.
OCTAVO_INLINE std::int64_t place_within(std::int64_t place, std::int64_t own, std::int64_t per_head) {
  return place < per_head - own ? place : per_head - own;
}

template <class Machine>
OCTAVO_DEVICE void find_scale_places(Machine& machine, const ScalePlaceParams& p) {
  begin_kernel(machine);
  const ScalesOfSequences& of = p.of[machine.block(0)];
  const std::int64_t count = of.sequences.count, run = (count + kLanes - 1) / kLanes;
  // A lane takes `run` sequences. Groups and blocks are fewer than rows and sequences together: 32 bits hold them.
  const auto first = [&](int lane) { return lane * run < count ? lane * run : count; };
  const auto groups_of = [&](std::int64_t b) {
    const std::int64_t rows = varlen_rows(of.sequences, b).rows;
    return of.scales_in_rows ? static_cast<std::uint32_t>(spec::row_groups(of.groups, rows)) : 0u;
  };
  const auto blocks_of = [&](std::int64_t b) {
    const std::int64_t rows = varlen_rows(of.sequences, b).rows;
    return of.means_in_rows ? static_cast<std::uint32_t>(spec::query_blocks(rows)) : 0u;
  };
  // Groups and blocks: of the runs of lower lanes; of the lanes that have been joined with this one.
  Registers<Machine, std::uint32_t, 2> before, joined, other;
  machine.lanes(
      [&](int lane, std::uint32_t(&b)[2], std::uint32_t(&sum)[2]) {
        b[0] = b[1] = sum[0] = sum[1] = 0;
        for (std::int64_t i = first(lane); i < first(lane + 1); ++i) sum[0] += groups_of(i), sum[1] += blocks_of(i);
      },
      before, joined);
  OCTAVO_UNROLL
  for (int mask = 1; mask < kLanes; mask *= 2) {
    machine.shuffle_xor(other, joined, mask);
    machine.lanes(
        [&](int lane, std::uint32_t(&b)[2], std::uint32_t(&sum)[2], std::uint32_t(&x)[2]) {
          OCTAVO_UNROLL
          for (int i = 0; i < 2; ++i) {
            if ((lane & mask) != 0) b[i] += x[i];
            sum[i] += x[i];
          }
        },
        before, joined, other);
  }
  machine.lanes(
      [&](int lane, std::uint32_t(&b)[2]) {
        const std::int64_t per_group = spec::per_channel(of.groups.granularity) ? of.dim : 1;
        for (std::int64_t i = first(lane); i < first(lane + 1); ++i) {
          const std::uint32_t groups = groups_of(i), blocks = blocks_of(i);
          of.places[i] = {of.scales_in_rows ? place_within(b[0] * per_group, groups * per_group, of.scales_per_head)
                                            : i * of.scales_per_sequence,
                          of.means_in_rows ? place_within(b[1] * of.dim, blocks * of.dim, of.means_per_head)
                                           : i * of.means_per_sequence};
          b[0] += groups, b[1] += blocks;
        }
        if (of.cu_seqlens_copy == nullptr) return;
        for (std::int64_t i = lane; i <= count; i += kLanes) of.cu_seqlens_copy[i] = of.sequences.cu_seqlens[i];
      },
      before);
}

}  // namespace octavo::cuda
