// Q and K on their way into the packed format (cuda/packed.hpp): 128 rows of a head -> codes [128][dim], factors,
// addends, and what K's mean owes to a row of Q. Short sequences of Q are taken in 16 bits, as two planes.
#pragma once

#include "cuda/kernels/quantize_rows.hpp"
#include "spec/query_width.hpp"

namespace octavo::cuda {

// Where row `r` of a block is stored.
OCTAVO_INLINE constexpr std::int64_t stored_row(bool slots, std::int64_t r) {
  return slots ? slot_of_key(static_cast<std::int32_t>(r)) : r;
}

// q . mean of K for each of the rows, before anything is taken off them but what `mean` says: x + mean is the row.
template <int slots, class Machine>
OCTAVO_DEVICE void dot_rows(Machine& machine, Registers<Machine, float, kRowsAtOnce<slots>>& sum,
                            Registers<Machine, float, slots * kRowsAtOnce<slots>>& x,
                            Registers<Machine, float, kRowsAtOnce<slots>>& scale, const float* mean, const float* with,
                            std::int64_t dim) {
  machine.lanes(
      [&](int lane, float(&to)[kRowsAtOnce<slots>], float(&v)[slots * kRowsAtOnce<slots>],
          float(&s)[kRowsAtOnce<slots>]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kRowsAtOnce<slots>; ++i) {
          to[i] = 0;
          OCTAVO_UNROLL
          for (int slot = 0; slot < slots; ++slot) {
            const int c = channel_of(lane, slot);
            if (c < dim) to[i] += (v[i * slots + slot] * s[i] + (mean != nullptr ? mean[c] : 0.0f)) * with[c];
          }
        }
      },
      sum, x, scale);
  OCTAVO_UNROLL
  for (int mask = 1; mask < kLanes; mask *= 2) {
    Registers<Machine, float, kRowsAtOnce<slots>> other;
    machine.shuffle_xor(other, sum, mask);
    machine.lanes(
        [](int, float(&a)[kRowsAtOnce<slots>], float(&b)[kRowsAtOnce<slots>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<slots>; ++i) a[i] += b[i];
        },
        sum, other);
  }
}

template <int slots, class Machine>
OCTAVO_DEVICE void pack_rows(Machine& machine, const PackParams& p) {
  const BlockOfRows at = own_block(machine, p.steps.sequences);
  if (!at.live) return;
  const DeviceRows& source = p.steps.x;
  const std::int64_t dim = source.dim, head = at.b * p.steps.sequences.heads + at.head;
  const bool wide = p.wide && at.rows < spec::kWideQueryRows;
  const bool bits16 = p.format != PackedFormat::s8;
  ScaleRule rule = p.rule;
  if (wide) rule.range = spec::kRangeWide;
  // The caller's codes are what they are; his mean still belongs to the row as it was.
  const float* const given_mean =
      source.codes && source.mean != nullptr
          ? source.mean + head * source.means_per_head + (p.steps.mean_of_block ? at.row / kPackedRows * dim : 0)
          : nullptr;
  const float* const mean = wide || source.codes ? nullptr : mean_of(p.steps, at);
  spec::Groups groups = p.groups;
  if (source.codes) groups.granularity = Granularity::none;  // their scales are read, not made

  const auto emit = [&](std::int64_t r, Registers<Machine, float, slots * kRowsAtOnce<slots>>& x,
                        RowScales<Machine, slots>& scales) {
    Registers<Machine, float, kRowsAtOnce<slots>> constant;
    machine.lanes(
        [&](int, float(&scale)[kRowsAtOnce<slots>], float(&c)[kRowsAtOnce<slots>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<slots>; ++i) {
            c[i] = 0;
            if (!source.codes || source.scales == nullptr || at.row + r + i >= at.rows) continue;
            const float given =
                source.scales[head * source.scales_per_head + spec::group_of_row(p.groups, at.row + r + i)];
            scale[i] = is_finite(given) ? given : f32_of_bits(0x7fc00000u);
          }
        },
        scales.scale, constant);
    if (p.constant != nullptr) {
      Registers<Machine, float, kRowsAtOnce<slots>> unit;
      machine.lanes(
          [&](int, float(&u)[kRowsAtOnce<slots>], float(&s)[kRowsAtOnce<slots>]) {
            OCTAVO_UNROLL
            for (int i = 0; i < kRowsAtOnce<slots>; ++i) u[i] = source.codes ? s[i] : 1.0f;
          },
          unit, scales.scale);
      const float* with =
          p.key_mean + (at.b * (p.steps.sequences.heads / p.heads_per_kv_head) + at.head / p.heads_per_kv_head) * dim;
      dot_rows<slots>(machine, constant, x, unit, source.codes ? given_mean : mean, with, dim);
    }
    machine.lanes(
        [&](int lane, float(&v)[slots * kRowsAtOnce<slots>], float(&scale)[kRowsAtOnce<slots>],
            float(&inverse)[kRowsAtOnce<slots>], std::uint32_t(&odd)[kRowsAtOnce<slots>],
            float(&owed)[kRowsAtOnce<slots>]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRowsAtOnce<slots>; ++i) {
            const bool exists = at.row + r + i < at.rows;
            const bool zeros = !exists || odd[i] != 0;
            const std::int64_t stored = at.block * kPackedRows + stored_row(p.slots, r + i);
            OCTAVO_UNROLL
            for (int s = 0; s < slots; s += 2) {
              const int c = channel_of(lane, s);
              if (c >= p.dim) continue;
              const std::int64_t to = stored * p.dim + c;
              const float a = zeros ? 0.0f : v[i * slots + s], b = zeros ? 0.0f : v[i * slots + s + 1];
              if (bits16) {
                static_cast<std::uint32_t*>(p.codes)[to / 2] =
                    p.format == PackedFormat::f16 ? Machine::pack_f16(a, b) : Machine::pack_bf16(a, b);
                continue;
              }
              std::int32_t first, second;
              if (source.codes) {
                first = static_cast<std::int32_t>(a);
                second = static_cast<std::int32_t>(b);
              } else {
                first = spec::integer_code(a, inverse[i], rule.range);
                second = spec::integer_code(b, inverse[i], rule.range);
              }
              if (wide) {
                const spec::WideCode low = spec::split_wide(first), high = spec::split_wide(second);
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
              // The key's poison is in its addend; that of a query has no other place.
              const bool poisoned = odd[i] != 0 && p.addend == nullptr;
              const float of_row = bits16 ? 1.0f : scale[i];
              p.factor[stored] = !exists ? 0.0f : poisoned ? nan : of_row * p.factor_scale;
            }
            if (p.addend != nullptr) {
              const bool poisoned = odd[i] != 0 || scale[i] != scale[i];
              p.addend[stored] = !exists ? -__builtin_inff() : poisoned ? nan : 0.0f;
            }
            if (p.constant != nullptr) p.constant[stored] = exists ? p.softmax_scale * owed[i] : 0.0f;
          }
        },
        x, scales.scale, scales.inverse, scales.odd, constant);
  };
  for_coded_rows<slots>(machine, p.steps, groups, 1, p.ranges, rule, at, mean, emit);
}

}  // namespace octavo::cuda
