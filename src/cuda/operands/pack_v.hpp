// Packs V (packed_block.hpp): 128 keys of a head. Codes of 8 bits are transposed in shared
// memory, V [128, Dv] -> [dim][128] (in tiles of 64 keys [2][dim][64]), with zeros behind the last key and the last
// channel; 16-bit values keep their order; so do numbers of FP8 that are stored in f16. Scales are per token (the
// fold), per block (of all its channels, or of each), or were found before. Shared memory: codes [dim][132] | amax f32,
// nonfinite u32 [warps][dim] | inverse f32 [dim].
#pragma once

#include "cuda/operands/quantize.hpp"
#include "cuda/operands/row_scales.hpp"
#include "spec/fold.hpp"
#include "spec/stray_rows.hpp"

namespace octavo::cuda {

// Scales per block: [dim] inverses in shared memory, and the column scales of the product.
template <int per_lane, class Machine>
OCTAVO_DEVICE void scale_value_block(Machine& machine, const PackValuesParams& p, const BlockOfRows& at,
                                     const float* mean, std::uint32_t amax_at, std::uint32_t nonfinite_at,
                                     std::uint32_t inverse_at) {
  const std::int64_t dim = p.steps.x.dim, head = at.b * p.steps.sequences.heads + at.head;
  const OperandRows& source = p.steps.x;
  Registers<Machine, float, per_lane> amax;
  Registers<Machine, std::uint32_t, per_lane> nonfinite;
  clear_ranges<per_lane>(machine, amax, nonfinite);
  for (std::int64_t r = machine.warp() * kRowsAtOnce<per_lane>;
       !source.quantized && r < kPackedRows && at.row + r < at.rows; r += kCodeWarps * kRowsAtOnce<per_lane>) {
    Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>> x;
    load_transformed<per_lane>(machine, x, p.steps, at, at.row + r);
    subtract_mean<per_lane, kRowsAtOnce<per_lane>>(machine, x, mean, dim);
    grow_channel_ranges<per_lane, kRowsAtOnce<per_lane>>(machine, amax, nonfinite, x,
                                                         existing_rows(p.steps, at, at.row + r, kRowsAtOnce<per_lane>));
  }
  const int warp = machine.warp();
  machine.lanes(
      [&](int lane, float(&a)[per_lane], std::uint32_t(&o)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < per_lane; ++i) {
          const auto word = static_cast<std::uint32_t>(warp * p.dim + channel_of(lane, i)) * 4;
          if (channel_of(lane, i) >= p.dim) continue;
          machine.store_shared(amax_at + word, a[i]);
          machine.store_shared(nonfinite_at + word, o[i]);
        }
      },
      amax, nonfinite);
  machine.sync("ranges of channels");
  if (warp == 0) {
    // Joins the ranges of the warps per channel; over all channels where they share a scale.
    machine.lanes(
        [&](int lane, float(&a)[per_lane], std::uint32_t(&o)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            a[i] = 0;
            o[i] = 0;
            if (channel_of(lane, i) >= p.dim) continue;
            for (int w = 0; w < kCodeWarps; ++w) {
              const auto word = static_cast<std::uint32_t>(w * p.dim + channel_of(lane, i)) * 4;
              const float of_warp = machine.template shared<float>(amax_at + word);
              a[i] = of_warp > a[i] ? of_warp : a[i];
              o[i] |= machine.template shared<std::uint32_t>(nonfinite_at + word);
            }
          }
        },
        amax, nonfinite);
    Registers<Machine, float, 1> of_block;
    Registers<Machine, std::uint32_t, 1> nonfinite_block;
    join_lanes<per_lane>(machine, of_block, nonfinite_block, amax, nonfinite);
    const bool by_channel = p.granularity == Granularity::block_channel;
    const std::int64_t block = at.row / kPackedRows;
    const float prescale = v_prescale(p.prescale_amax, head);
    machine.lanes(
        [&](int lane, float(&a)[per_lane], std::uint32_t(&o)[per_lane], float(&b)[1], std::uint32_t(&q)[1]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
            const int c = channel_of(lane, i);
            if (c >= p.dim) continue;
            spec::Scale scale = by_channel ? scale_of_range(a[i], o[i], p.rule.range, false)
                                           : scale_of_range(b[0], q[0], p.rule.range, false);
            if (source.quantized && c < dim) {
              scale.scale = prescale * scales_of(source, at.b, at.head)[by_channel ? block * dim + c : block];
            }
            p.column_scale[at.block * p.dim + c] = c < dim ? scale.scale : 1.0f;
            machine.store_shared(inverse_at + static_cast<std::uint32_t>(c) * 4, scale.inverse);
          }
        },
        amax, nonfinite, of_block, nonfinite_block);
  }
  machine.sync("scales of channels");
}

// Rows r .. r + kRowsAtOnce - 1 of the block: 16-bit values go to memory, codes of 8 bits into `words`, by key
// modulo 4.
template <int per_lane, class Machine>
OCTAVO_DEVICE void pack_value_rows(Machine& machine, const PackValuesParams& p, const BlockOfRows& at,
                                   const float* mean, std::int64_t r, std::uint32_t inverse_at,
                                   Registers<Machine, std::uint32_t, per_lane>& words) {
  const OperandRows& source = p.steps.x;
  const std::int64_t dim = source.dim, head = at.b * p.steps.sequences.heads + at.head;
  const bool bits16 = !is_byte(p.format), bytes8 = p.format == PackedFormat::e4m3;
  const bool float8 = p.format == PackedFormat::float8 || bytes8;
  const bool of_block = p.granularity == Granularity::block || p.granularity == Granularity::block_channel;
  const bool by_token = p.granularity == Granularity::token_folded;
  const float prescale = v_prescale(p.prescale_amax, head);
  Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>> x;
  Registers<Machine, float, kRowsAtOnce<per_lane>> amax;
  Registers<Machine, std::uint32_t, kRowsAtOnce<per_lane>> nonfinite;
  load_transformed<per_lane>(machine, x, p.steps, at, at.row + r);
  subtract_mean<per_lane, kRowsAtOnce<per_lane>>(machine, x, mean, dim);
  row_ranges<per_lane, kRowsAtOnce<per_lane>>(machine, amax, nonfinite, x);
  const std::uint32_t existing = existing_rows(p.steps, at, at.row + r, kRowsAtOnce<per_lane>);
  machine.lanes(
      [&](int lane, float(&v)[per_lane * kRowsAtOnce<per_lane>], float(&a)[kRowsAtOnce<per_lane>],
          std::uint32_t(&o)[kRowsAtOnce<per_lane>], std::uint32_t(&w)[per_lane]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
          const bool exists = (existing >> i & 1) != 0;
          spec::Scale token{1, 1};
          if (by_token && source.quantized) {
            const float given = exists ? prescale * scales_of(source, at.b, at.head)[at.row + r + i] : 0.0f;
            token.scale = spec::scale_to_fold(given);
          } else if (by_token) {
            token = scale_of_range(a[i], o[i], p.rule.range, true);
          } else if (p.granularity == Granularity::tensor && !source.quantized && (!bits16 || float8 || p.divide)) {
            const float of_head = prescale * f32_of_bits(p.ranges.amax[head]);
            token = p.divide ? spec::Scale{1, 1.0f / spec::f16_value_divisor(of_head)}
                             : spec::scale_of(of_head, p.rule.range);
          }
          if (by_token && lane == i) {
            p.token_scale[at.block * kPackedRows + r + i] = exists ? token.scale : 0.0f;
            if (exists && token.scale > 0) {
              if (p.by_exponent.count == nullptr) {
                grow(p.largest + head, bits_of_f32(token.scale));
              } else {
                const std::int64_t exponent = head * 256 + spec::exponent_of(token.scale);
                count_in(p.by_exponent.count + exponent);
                grow(p.by_exponent.largest + exponent, bits_of_f32(token.scale));
              }
            }
          }
          OCTAVO_UNROLL
          for (int s = 0; s < per_lane; s += 2) {
            const int c = channel_of(lane, s);
            if (c >= p.dim) continue;
            const float pair[2] = {exists ? v[i * per_lane + s] : 0.0f, exists ? v[i * per_lane + s + 1] : 0.0f};
            const std::int64_t to = ((at.block * kPackedRows + r + i) * p.dim + c) / 2;
            auto* const pairs = static_cast<std::uint32_t*>(p.codes);
            if (p.format == PackedFormat::f32) {
              std::uint32_t planes[kPlanesOfF32];
              split_pair(pair[0], pair[1], planes);
              OCTAVO_UNROLL
              for (int plane = 0; plane < kPlanesOfF32; ++plane) {
                pairs[(row_of_plane<kPlanesOfF32>(at.block * kPackedRows + r + i, plane) * p.dim + c) / 2] =
                    planes[plane];
              }
              continue;
            }
            if (bits16 && !float8) {
              const float first = pair[0] * token.inverse, second = pair[1] * token.inverse;
              pairs[to] =
                  p.format == PackedFormat::f16 ? Machine::pack_f16(first, second) : Machine::pack_bf16(first, second);
              continue;
            }
            float number[2] = {pair[0], pair[1]};
            OCTAVO_UNROLL
            for (int e = 0; e < 2; ++e) {
              float inverse = token.inverse;
              if (of_block) {
                inverse = machine.template shared<float>(inverse_at + static_cast<std::uint32_t>(c + e) * 4);
              } else if (p.granularity == Granularity::channel && !source.quantized && c + e < dim) {
                inverse = spec::scale_of(f32_of_bits(p.ranges.amax[head * dim + c + e]), p.rule.range).inverse;
              }
              if (float8 && !source.quantized) number[e] = float8_number(p.e5m2, pair[e], inverse);
              if (bits16) continue;
              // A number of E4M3 has its own code again.
              const std::int32_t code = bytes8             ? code_of_e4m3(number[e])
                                        : source.quantized ? static_cast<std::int32_t>(pair[e])
                                                           : spec::integer_code(pair[e], inverse, p.rule.range);
              w[s + e] |= (static_cast<std::uint32_t>(code) & 255u) << (8 * ((r + i) % 4));
            }
            if (bits16) pairs[to] = Machine::pack_f16(number[0], number[1]);
          }
        }
      },
      x, amax, nonfinite, words);
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void pack_values(Machine& machine, const PackValuesParams& p, const BlockOfRows& at) {
  const OperandRows& source = p.steps.x;
  const float* const mean = source.quantized ? nullptr : mean_of(p.steps, at);
  const bool bits16 = !is_byte(p.format);
  const bool of_block = p.granularity == Granularity::block || p.granularity == Granularity::block_channel;
  const auto packed_dim = static_cast<std::uint32_t>(p.dim);
  const std::uint32_t amax_at = packed_dim * kTransposedRow, nonfinite_at = amax_at + kCodeWarps * packed_dim * 4;
  const std::uint32_t inverse_at = nonfinite_at + kCodeWarps * packed_dim * 4;
  if (of_block) scale_value_block<per_lane>(machine, p, at, mean, amax_at, nonfinite_at, inverse_at);

  // Four keys at a time: their codes of one channel are 32 bits of the transposed tile.
  for (std::int64_t first = machine.warp() * 4; first < kPackedRows; first += kCodeWarps * 4) {
    Registers<Machine, std::uint32_t, per_lane> words;
    machine.lanes(
        [](int, std::uint32_t(&w)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) w[i] = 0;
        },
        words);
    OCTAVO_ROLLED
    for (std::int64_t r = first; r < first + 4; r += kRowsAtOnce<per_lane>) {
      pack_value_rows<per_lane>(machine, p, at, mean, r, inverse_at, words);
    }
    if (bits16) continue;
    machine.lanes(
        [&](int lane, std::uint32_t(&w)[per_lane]) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane; ++i) {
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
  // [dim][keys of a tile], four keys in 32 bits.
  const int tile_words = static_cast<int>(p.tile_keys / 4);
  auto* const words = static_cast<std::uint32_t*>(p.codes) + at.block * p.dim * (kPackedRows / 4);
  const int warp = machine.warp();
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        for (int c = warp; c < p.dim; c += kCodeWarps) {
          const std::int64_t tile = lane / tile_words * p.dim * tile_words;
          words[tile + c * tile_words + lane % tile_words] =
              machine.template shared<std::uint32_t>(static_cast<std::uint32_t>(c) * kTransposedRow +
                                                     static_cast<std::uint32_t>(lane) * 4) ^
              p.flip;
        }
      },
      none);
}

}  // namespace octavo::cuda
