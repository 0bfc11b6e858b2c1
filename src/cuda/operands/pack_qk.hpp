// Packs Q and K (packed_block.hpp): 128 rows of a head -> codes [128][dim], factors, addends, and the logit offset that
// smooth_k takes off a row of Q. Short sequences have 16-bit Q, as two planes.
#pragma once

#include "cuda/operands/quantize.hpp"
#include "spec/base2.hpp"
#include "spec/q16.hpp"

namespace octavo::cuda {

// Where row `r` of a block is stored.
OCTAVO_INLINE constexpr std::int64_t stored_row(bool permuted, std::int64_t r) {
  return permuted ? slot_of_key(static_cast<std::int32_t>(r)) : r;
}

// q . mean of K for each of the rows; x + mean is the row as given.
template <int per_lane, class Machine>
OCTAVO_DEVICE void dot_rows(Machine& machine, Registers<Machine, float, kRowsAtOnce<per_lane>>& sum,
                            Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>>& x,
                            Registers<Machine, float, kRowsAtOnce<per_lane>>& scale, const float* mean,
                            const float* with, std::int64_t dim) {
  machine.lanes(
      [&](int lane, float(&to)[kRowsAtOnce<per_lane>], float(&v)[per_lane * kRowsAtOnce<per_lane>],
          float(&s)[kRowsAtOnce<per_lane>]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
          to[i] = 0;
          OCTAVO_UNROLL
          for (int slot = 0; slot < per_lane; ++slot) {
            const int c = channel_of(lane, slot);
            if (c < dim) to[i] += (v[i * per_lane + slot] * s[i] + (mean != nullptr ? mean[c] : 0.0f)) * with[c];
          }
        }
      },
      sum, x, scale);
  sum_over<kLanes>(machine, sum);
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void pack_rows(Machine& machine, const PackParams& p, const BlockOfRows& at) {
  const OperandRows& source = p.steps.x;
  const std::int64_t dim = source.dim;
  const bool q16 = p.q16 && at.rows < spec::kQ16Rows;
  const bool bits16 = !is_byte(p.format) && p.format != PackedFormat::s4, bytes8 = p.format == PackedFormat::e4m3;
  const bool float8 = p.format == PackedFormat::float8 || bytes8;
  ScaleRule rule = p.rule;
  if (q16) rule.range = spec::kRangeQ16;
  // Codes of the caller's stay as they are; the row as given is code * scale + mean.
  const float* given_mean = source.quantized ? means_of(source, at.b, at.head) : nullptr;
  if (given_mean != nullptr && p.steps.mean_of_block) given_mean += at.row / kPackedRows * dim;
  const float* const mean = q16 || source.quantized ? nullptr : mean_of(p.steps, at);
  spec::Groups groups = p.groups;
  if (source.quantized) groups.granularity = Granularity::none;  // their scales are read, not made

  const auto emit = [&](std::int64_t r, Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>>& x,
                        RowScales<Machine, per_lane>& scales) {
    Registers<Machine, float, kRowsAtOnce<per_lane>> dot;
    machine.lanes(
        [&](int, float(&scale)[kRowsAtOnce<per_lane>], float(&c)[kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
            c[i] = 0;
            if (!source.quantized || source.scales == nullptr || at.row + r + i >= at.rows) continue;
            const float given = scales_of(source, at.b, at.head)[spec::group_of_row(p.groups, at.row + r + i)];
            scale[i] = is_finite(given) ? given : f32_of_bits(0x7fc00000u);
          }
        },
        scales.scale, dot);
    if (p.logit_offset != nullptr) {
      Registers<Machine, float, kRowsAtOnce<per_lane>> row_scale;
      machine.lanes(
          [&](int, float(&u)[kRowsAtOnce<per_lane>], float(&s)[kRowsAtOnce<per_lane>]) {
            OCTAVO_UNROLL
            for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) u[i] = source.quantized ? s[i] : 1.0f;
          },
          row_scale, scales.scale);
      const float* with =
          p.key_mean + (at.b * (p.steps.sequences.heads / p.heads_per_kv_head) + at.head / p.heads_per_kv_head) * dim;
      dot_rows<per_lane>(machine, dot, x, row_scale, source.quantized ? given_mean : mean, with, dim);
    }
    const std::uint32_t existing = existing_rows(p.steps, at, at.row + r, kRowsAtOnce<per_lane>);
    machine.lanes(
        [&](int lane, float(&v)[per_lane * kRowsAtOnce<per_lane>], float(&scale)[kRowsAtOnce<per_lane>],
            float(&inverse)[kRowsAtOnce<per_lane>], std::uint32_t(&nonfinite)[kRowsAtOnce<per_lane>],
            float(&dots)[kRowsAtOnce<per_lane>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
            const bool exists = (existing >> i & 1) != 0;
            const bool zeros = !exists || nonfinite[i] != 0;
            const std::int64_t in_order = at.block * kPackedRows + r + i;
            const std::int64_t stored = at.block * kPackedRows + stored_row(p.permuted, r + i);
            OCTAVO_UNROLL
            for (int s = 0; s < per_lane; s += 2) {
              const int c = channel_of(lane, s);
              if (c >= p.dim) continue;
              const std::int64_t to = stored * p.dim + c;
              float a = zeros ? 0.0f : v[i * per_lane + s], b = zeros ? 0.0f : v[i * per_lane + s + 1];
              if (float8 && !source.quantized) {
                a = float8_number(p.e5m2, a, inverse[i]);
                b = float8_number(p.e5m2, b, inverse[i]);
              }
              if (p.format == PackedFormat::f32) {
                std::uint32_t planes[kPlanesOfF32];
                split_pair(a, b, planes);
                OCTAVO_UNROLL
                for (int plane = 0; plane < kPlanesOfF32; ++plane) {
                  static_cast<std::uint32_t*>(p.codes)[(row_of_plane<kPlanesOfF32>(stored, plane) * p.dim + c) / 2] =
                      planes[plane];
                }
                continue;
              }
              if (bits16) {
                static_cast<std::uint32_t*>(p.codes)[to / 2] =
                    p.format == PackedFormat::bf16 ? Machine::pack_bf16(a, b) : Machine::pack_f16(a, b);
                continue;
              }
              std::int32_t first, second;
              if (bytes8) {  // a number of E4M3 has its own code again
                first = code_of_e4m3(a);
                second = code_of_e4m3(b);
              } else if (source.quantized) {
                first = static_cast<std::int32_t>(a);
                second = static_cast<std::int32_t>(b);
              } else {
                first = spec::integer_code(a, inverse[i], rule.range);
                second = spec::integer_code(b, inverse[i], rule.range);
              }
              if (p.format == PackedFormat::s4) {
                static_cast<std::uint8_t*>(p.codes)[to / 2] =
                    static_cast<std::uint8_t>((first & 15) | (second & 15) << 4);
                continue;
              }
              if (q16) {
                const spec::Q16Code low = spec::split_q16(first), high = spec::split_q16(second);
                static_cast<std::uint16_t*>(p.codes_low)[to / 2] =
                    static_cast<std::uint16_t>((low.low & 255) | (high.low & 255) << 8);
                first = low.high;
                second = high.high;
              }
              static_cast<std::uint16_t*>(p.codes)[to / 2] =
                  static_cast<std::uint16_t>((first & 255) | (second & 255) << 8);
            }
            if (lane != i) continue;
            const float nan = f32_of_bits(0x7fc00000u);
            if (p.factor != nullptr) {
              // A non-finite key is marked in its addend; a query can be marked here only.
              const bool poisoned = nonfinite[i] != 0 && p.addend == nullptr;
              const float of_row = bits16 && !float8 ? 1.0f : scale[i];
              p.factor[in_order] = !exists ? 0.0f : poisoned ? nan : spec::bounded(of_row * p.factor_scale);
            }
            if (p.addend != nullptr) {
              const bool poisoned = nonfinite[i] != 0 || scale[i] != scale[i];
              p.addend[in_order] = !exists ? -__builtin_inff() : poisoned ? nan : 0.0f;
            }
            if (p.logit_offset != nullptr) p.logit_offset[in_order] = exists ? p.softmax_scale * dots[i] : 0.0f;
          }
        },
        x, scales.scale, scales.inverse, scales.nonfinite, dot);
  };
  for_coded_rows<per_lane>(machine, p.steps, groups, {}, p.ranges, rule, at, mean, emit);
}

}  // namespace octavo::cuda
