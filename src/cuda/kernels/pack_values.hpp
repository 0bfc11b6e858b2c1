// V on its way into the packed format (cuda/packed.hpp): 128 keys of a head. Codes of 8 bits are transposed in shared
// memory, V [128, Dv] -> [dim][128], with zeros behind the last key and the last channel; 16-bit values keep their
// order. Scales are a token's own (the fold), the block's (of all its channels, or of each), or were found before.
// Shared memory: codes [dim][132] | amax f32, odd u32 [warps][dim] | inverse f32 [dim].
#pragma once

#include "cuda/kernels/code_rows.hpp"
#include "spec/fold.hpp"

namespace octavo::cuda {

// Scales of the block's own: [dim] inverses in shared memory, and what the product is multiplied by.
template <int slots, class Machine>
OCTAVO_DEVICE void scale_value_block(Machine& machine, const PackValuesParams& p, const BlockOfRows& at,
                                     const float* mean, std::uint32_t amax_at, std::uint32_t odd_at,
                                     std::uint32_t inverse_at) {
  const std::int64_t dim = p.steps.x.dim, head = at.b * p.steps.sequences.heads + at.head;
  const DeviceRows& source = p.steps.x;
  Registers<Machine, float, slots> amax;
  Registers<Machine, std::uint32_t, slots> odd;
  clear_ranges<slots>(machine, amax, odd);
  for (std::int64_t r = machine.warp() * kRowsAtOnce<slots>; !source.codes && r < kPackedRows && at.row + r < at.rows;
       r += kCodeWarps * kRowsAtOnce<slots>) {
    Registers<Machine, float, slots * kRowsAtOnce<slots>> x;
    load_prepared<slots>(machine, x, p.steps, at, at.row + r);
    centre_rows<slots, kRowsAtOnce<slots>>(machine, x, mean, dim);
    grow_channel_ranges<slots, kRowsAtOnce<slots>>(machine, amax, odd, x, at.rows - at.row - r);
  }
  const int warp = machine.warp();
  machine.lanes(
      [&](int lane, float(&a)[slots], std::uint32_t(&o)[slots]) {
        OCTAVO_UNROLL
        for (int i = 0; i < slots; ++i) {
          const auto word = static_cast<std::uint32_t>(warp * p.dim + channel_of(lane, i)) * 4;
          if (channel_of(lane, i) >= p.dim) continue;
          machine.store_shared(amax_at + word, a[i]);
          machine.store_shared(odd_at + word, o[i]);
        }
      },
      amax, odd);
  machine.sync("ranges of channels");
  if (warp == 0) {
    // Of each channel over the warps; of all channels where they share a scale.
    machine.lanes(
        [&](int lane, float(&a)[slots], std::uint32_t(&o)[slots]) {
          OCTAVO_UNROLL
          for (int i = 0; i < slots; ++i) {
            a[i] = 0;
            o[i] = 0;
            if (channel_of(lane, i) >= p.dim) continue;
            for (int w = 0; w < kCodeWarps; ++w) {
              const auto word = static_cast<std::uint32_t>(w * p.dim + channel_of(lane, i)) * 4;
              const float of_warp = machine.template shared<float>(amax_at + word);
              a[i] = of_warp > a[i] ? of_warp : a[i];
              o[i] |= machine.template shared<std::uint32_t>(odd_at + word);
            }
          }
        },
        amax, odd);
    Registers<Machine, float, 1> of_block;
    Registers<Machine, std::uint32_t, 1> odd_block;
    join_lanes<slots>(machine, of_block, odd_block, amax, odd);
    const bool by_channel = p.granularity == Granularity::block_channel;
    const std::int64_t block = at.row / kPackedRows;
    const float unit = unit_of(p.unit_amax, head);
    machine.lanes(
        [&](int lane, float(&a)[slots], std::uint32_t(&o)[slots], float(&b)[1], std::uint32_t(&q)[1]) {
          OCTAVO_UNROLL
          for (int i = 0; i < slots; ++i) {
            const int c = channel_of(lane, i);
            if (c >= p.dim) continue;
            spec::Scale scale = by_channel ? scale_of_range(a[i], o[i], p.rule.range, false)
                                           : scale_of_range(b[0], q[0], p.rule.range, false);
            if (source.codes && c < dim) {
              scale.scale =
                  unit * source.scales[head * source.scales_per_head + (by_channel ? block * dim + c : block)];
            }
            p.column_scale[at.block * p.dim + c] = c < dim ? scale.scale : 1.0f;
            machine.store_shared(inverse_at + static_cast<std::uint32_t>(c) * 4, scale.inverse);
          }
        },
        amax, odd, of_block, odd_block);
  }
  machine.sync("scales of channels");
}

// Rows r .. r + kRowsAtOnce - 1 of the block: 16-bit values go to memory, codes of 8 bits into `words`, by key
// modulo 4.
template <int slots, class Machine>
OCTAVO_DEVICE void pack_value_rows(Machine& machine, const PackValuesParams& p, const BlockOfRows& at,
                                   const float* mean, std::int64_t r, std::uint32_t inverse_at,
                                   Registers<Machine, std::uint32_t, slots>& words) {
  const DeviceRows& source = p.steps.x;
  const std::int64_t dim = source.dim, head = at.b * p.steps.sequences.heads + at.head;
  const bool bits16 = p.format != PackedFormat::s8;
  const bool of_block = p.granularity == Granularity::block || p.granularity == Granularity::block_channel;
  const bool by_token = p.granularity == Granularity::token_folded;
  const float unit = unit_of(p.unit_amax, head);
  Registers<Machine, float, slots * kRowsAtOnce<slots>> x;
  Registers<Machine, float, kRowsAtOnce<slots>> amax;
  Registers<Machine, std::uint32_t, kRowsAtOnce<slots>> odd;
  load_prepared<slots>(machine, x, p.steps, at, at.row + r);
  centre_rows<slots, kRowsAtOnce<slots>>(machine, x, mean, dim);
  row_ranges<slots, kRowsAtOnce<slots>>(machine, amax, odd, x);
  machine.lanes(
      [&](int lane, float(&v)[slots * kRowsAtOnce<slots>], float(&a)[kRowsAtOnce<slots>],
          std::uint32_t(&o)[kRowsAtOnce<slots>], std::uint32_t(&w)[slots]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kRowsAtOnce<slots>; ++i) {
          const bool exists = at.row + r + i < at.rows;
          spec::Scale token{1, 1};
          if (by_token && source.codes) {
            const float given = exists ? unit * source.scales[head * source.scales_per_head + at.row + r + i] : 0.0f;
            token.scale = spec::scale_to_fold(given);
          } else if (by_token) {
            token = scale_of_range(a[i], o[i], p.rule.range, true);
          } else if (p.granularity == Granularity::tensor && !source.codes && (!bits16 || p.divide)) {
            const float of_head = unit * f32_of_bits(p.ranges.amax[head]);
            token = bits16 ? spec::Scale{1, 1.0f / spec::f16_value_divisor(of_head)}
                           : spec::scale_of(of_head, p.rule.range);
          }
          if (by_token && lane == i) {
            p.token_scale[at.block * kPackedRows + r + i] = exists ? token.scale : 0.0f;
            if (exists && token.scale > 0) grow(p.largest + head, bits_of_f32(token.scale));
          }
          OCTAVO_UNROLL
          for (int s = 0; s < slots; s += 2) {
            const int c = channel_of(lane, s);
            if (c >= p.dim) continue;
            const float pair[2] = {exists ? v[i * slots + s] : 0.0f, exists ? v[i * slots + s + 1] : 0.0f};
            if (bits16) {
              const std::int64_t to = (at.block * kPackedRows + r + i) * p.dim + c;
              const float first = pair[0] * token.inverse, second = pair[1] * token.inverse;
              static_cast<std::uint32_t*>(p.codes)[to / 2] =
                  p.format == PackedFormat::f16 ? Machine::pack_f16(first, second) : Machine::pack_bf16(first, second);
              continue;
            }
            OCTAVO_UNROLL
            for (int e = 0; e < 2; ++e) {
              float inverse = token.inverse;
              if (of_block) {
                inverse = machine.template shared<float>(inverse_at + static_cast<std::uint32_t>(c + e) * 4);
              } else if (p.granularity == Granularity::channel && !source.codes && c + e < dim) {
                inverse = spec::scale_of(f32_of_bits(p.ranges.amax[head * dim + c + e]), p.rule.range).inverse;
              }
              const std::int32_t code = source.codes ? static_cast<std::int32_t>(pair[e])
                                                     : spec::integer_code(pair[e], inverse, p.rule.range);
              w[s + e] |= (static_cast<std::uint32_t>(code) & 255u) << (8 * ((r + i) % 4));
            }
          }
        }
      },
      x, amax, odd, words);
}

template <int slots, class Machine>
OCTAVO_DEVICE void pack_values(Machine& machine, const PackValuesParams& p) {
  const BlockOfRows at = own_block(machine, p.steps.sequences);
  if (!at.live) return;
  const DeviceRows& source = p.steps.x;
  const float* const mean = source.codes ? nullptr : mean_of(p.steps, at);
  const bool bits16 = p.format != PackedFormat::s8;
  const bool of_block = p.granularity == Granularity::block || p.granularity == Granularity::block_channel;
  const auto packed_dim = static_cast<std::uint32_t>(p.dim);
  const std::uint32_t amax_at = packed_dim * kTransposedRow, odd_at = amax_at + kCodeWarps * packed_dim * 4;
  const std::uint32_t inverse_at = odd_at + kCodeWarps * packed_dim * 4;
  if (of_block) scale_value_block<slots>(machine, p, at, mean, amax_at, odd_at, inverse_at);

  // Four keys at a time: their codes of one channel are one word of the transposed tile.
  for (std::int64_t first = machine.warp() * 4; first < kPackedRows; first += kCodeWarps * 4) {
    Registers<Machine, std::uint32_t, slots> words;
    machine.lanes(
        [](int, std::uint32_t(&w)[slots]) {
          OCTAVO_UNROLL
          for (int i = 0; i < slots; ++i) w[i] = 0;
        },
        words);
    OCTAVO_ROLLED
    for (std::int64_t r = first; r < first + 4; r += kRowsAtOnce<slots>) {
      pack_value_rows<slots>(machine, p, at, mean, r, inverse_at, words);
    }
    if (bits16) continue;
    machine.lanes(
        [&](int lane, std::uint32_t(&w)[slots]) {
          OCTAVO_UNROLL
          for (int i = 0; i < slots; ++i) {
            const int c = channel_of(lane, i);
            if (c < p.dim) {
              machine.store_shared(static_cast<std::uint32_t>(c) * kTransposedRow + static_cast<std::uint32_t>(first),
                                   w[i]);
            }
          }
        },
        words);
  }
  if (bits16) return;
  machine.sync("codes of V");
  // [dim][128], four keys to a word.
  auto* const words = static_cast<std::uint32_t*>(p.codes) + at.block * p.dim * (kPackedRows / 4);
  const int warp = machine.warp();
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        for (int c = warp; c < p.dim; c += kCodeWarps) {
          words[c * (kPackedRows / 4) + lane] = machine.template shared<std::uint32_t>(
              static_cast<std::uint32_t>(c) * kTransposedRow + static_cast<std::uint32_t>(lane) * 4);
        }
      },
      none);
}

}  // namespace octavo::cuda
