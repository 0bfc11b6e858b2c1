// quantize(): 128 rows of a head -> codes in natural order, and the scales of rows or of groups inside the block.
//   x [rows, D] -> codes s8, e4m3, e5m2 [rows, D] or s4 [rows, D / 2 bytes], scales f32
#pragma once

#include "cuda/operands/row_scales.hpp"

namespace octavo::cuda {

// The number of E4M3 or E5M2 nearest to x * inverse, ties to even: that of spec::e4m3_code() and e5m2_code(), by an f32
// addition whose unit in the last place is the format's. Codes and their numbers again would be most of a kernel.
OCTAVO_DEVICE float float8_number(bool e5m2, float x, float inverse) {
  const float scaled = x * inverse;
  if (!is_finite(scaled)) return f32_of_bits(0x7fc00000u);
  const float largest = e5m2 ? spec::kRangeE5m2 : spec::kRangeE4m3;
  const std::uint32_t least_exponent = e5m2 ? 127 - 14 : 127 - 6, dropped_bits = e5m2 ? 23 - 2 : 23 - 3;
  const std::uint32_t bits = bits_of_f32(scaled), sign = bits & 0x80000000u;
  const float positive = f32_of_bits(bits ^ sign), magnitude = positive < largest ? positive : largest;
  const std::uint32_t exponent = bits_of_f32(magnitude) >> 23;
  const float units = f32_of_bits(((exponent > least_exponent ? exponent : least_exponent) + dropped_bits) << 23);
  return f32_of_bits(bits_of_f32(magnitude + units - units) | sign);
}

// The code of a number that E4M3 has. Times 2^-120 its exponent is f32's; subnormal numbers stay subnormal.
OCTAVO_DEVICE std::int32_t code_of_e4m3(float number) {
  if (number != number) return 0x7f;
  const std::uint32_t bits = bits_of_f32(number * 0x1p-120f);
  return static_cast<std::int32_t>((bits >> 24 & 0x80u) | (bits >> 20 & 0x7fu));
}

// A code of one byte.
OCTAVO_DEVICE std::uint8_t code_byte(DType dtype, float x, float inverse, float range) {
  if (dtype == DType::e4m3) return spec::e4m3_code(x, inverse);
  if (dtype == DType::e5m2) return spec::e5m2_code(x, inverse);
  return static_cast<std::uint8_t>(spec::integer_code(x, inverse, range));
}

template <int per_lane, class Machine>
OCTAVO_DEVICE void quantize_rows(Machine& machine, const QuantizeParams& p) {
  begin_kernel(machine);
  const BlockOfRows at = own_block(machine, p.steps.sequences);
  if (!at.live) return;
  const std::int64_t dim = p.steps.x.dim, of_head = first_scale(p.array, p.steps.sequences, at.b, at.head);
  const std::int64_t codes_at = at.b * p.strides[0] + at.head * p.strides[1] + at.begin * p.strides[2];
  const bool by_channel = spec::per_channel(p.groups.granularity), by_group = groups_in_block(p.groups);
  auto* const bytes = static_cast<std::uint8_t*>(p.codes);
  for_coded_rows<per_lane>(
      machine, p.steps, p.groups, p.array, p.ranges, p.rule, at, mean_of(p.steps, at),
      [&](std::int64_t r, Registers<Machine, float, per_lane * kRowsAtOnce<per_lane>>& x,
          RowScales<Machine, per_lane>& scales) {
        machine.lanes(
            [&](int lane, float(&v)[per_lane * kRowsAtOnce<per_lane>], float(&scale)[kRowsAtOnce<per_lane>],
                float(&inverse)[kRowsAtOnce<per_lane>]) {
              OCTAVO_UNROLL
              for (int i = 0; i < kRowsAtOnce<per_lane>; ++i) {
                const std::int64_t row = at.row + r + i;
                if (row >= at.rows) continue;
                if (p.scales != nullptr && !by_group && lane == i) p.scales[of_head + row] = scale[i];
                const std::int64_t group = spec::group_of_row(p.groups, row);
                const std::int64_t to = codes_at + row * p.strides[2];
                OCTAVO_UNROLL
                for (int s = 0; s < per_lane; s += 2) {
                  const int c = channel_of(lane, s);
                  if (c >= dim) continue;
                  const auto factor = [&](int channel) {
                    if (!by_channel) return inverse[i];
                    const std::int64_t index = of_head + group * dim + channel;
                    return spec::scale_of(f32_of_bits(p.ranges.amax[index]), p.rule.range).inverse;
                  };
                  const float* pair = v + i * per_lane + s;
                  const bool both = c + 1 < dim;
                  if (p.dtype == DType::s4) {
                    const int low = spec::integer_code(pair[0], factor(c), p.rule.range);
                    const int high = both ? spec::integer_code(pair[1], factor(c + 1), p.rule.range) : 0;
                    bytes[(to + c) >> 1] = static_cast<std::uint8_t>((low & 15) | (high & 15) << 4);
                  } else {
                    bytes[to + c] = code_byte(p.dtype, pair[0], factor(c), p.rule.range);
                    if (both) bytes[to + c + 1] = code_byte(p.dtype, pair[1], factor(c + 1), p.rule.range);
                  }
                }
              }
            },
            x, scales.scale, scales.inverse);
      });
  if (p.scales == nullptr || !by_group || machine.warp() != 0) return;
  // Groups without rows have the scale of an empty range, 1.
  const std::int64_t first = spec::group_of_row(p.groups, at.row);
  Registers<Machine, float, 1> none;
  machine.lanes(
      [&](int lane, float(&)[1]) {
        const std::int64_t per_block = spec::row_groups(p.groups, kPackedRows);
        const std::int64_t groups = spec::row_groups(p.groups, at.rows);
        for (std::int64_t group = lane; group < per_block && first + group < groups; group += kLanes) {
          p.scales[of_head + first + group] =
              machine.template shared<float>(kScaleAt + static_cast<std::uint32_t>(group) * 4);
        }
      },
      none);
}

}  // namespace octavo::cuda
