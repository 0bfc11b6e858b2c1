// Loads the caller's rows into a warp's registers: `count` rows at a time, `per_lane` channels of each in every lane.
// Lane l holds channels 64 i + 2 l and 64 i + 2 l + 1 of a row as its numbers 2 i and 2 i + 1, so a warp reads 16-bit
// rows in whole cache lines, and a pair of s4 codes is one byte of one lane.
#pragma once

#include "core/float_types.hpp"
#include "cuda/operands/rows.hpp"
#include "cuda/tile/machine.hpp"

namespace octavo::cuda {

OCTAVO_INLINE constexpr int channel_of(int lane, int slot) { return slot / 2 * 64 + 2 * lane + slot % 2; }

// An element as f32, exactly.
template <class Machine>
OCTAVO_DEVICE float load_number(const OperandRows& x, std::int64_t at) {
  switch (x.dtype) {
    case DType::f32:
      return static_cast<const float*>(x.data)[at];
    case DType::f16:
      return Machine::from_f16(static_cast<const std::uint16_t*>(x.data)[at]);
    case DType::bf16:
      return bf16_to_f32(static_cast<const std::uint16_t*>(x.data)[at]);
    case DType::s8:
      return static_cast<float>(static_cast<const std::int8_t*>(x.data)[at]);
    case DType::s4: {
      // Rows begin on a byte, so the shift floors correctly below the data pointer too.
      const int nibble = static_cast<const std::uint8_t*>(x.data)[at >> 1] >> ((at & 1) * 4) & 15;
      return static_cast<float>((nibble ^ 8) - 8);
    }
    case DType::e4m3:
      return e4m3_to_f32(static_cast<const std::uint8_t*>(x.data)[at]);
    default:
      return e5m2_to_f32(static_cast<const std::uint8_t*>(x.data)[at]);
  }
}

// Channels c, c + 1 (both below dim, c even) of the row at `at`.
template <class Machine>
OCTAVO_DEVICE void load_pair(const OperandRows& x, std::int64_t at, std::int64_t c, float& first, float& second) {
  if (x.dtype == DType::f32) {
    struct alignas(8) Two {
      float a, b;
    };
    const Two two = *reinterpret_cast<const Two*>(static_cast<const float*>(x.data) + at + c);
    first = two.a;
    second = two.b;
    return;
  }
  const std::uint32_t two = *reinterpret_cast<const std::uint32_t*>(static_cast<const std::uint16_t*>(x.data) + at + c);
  const auto low = static_cast<std::uint16_t>(two), high = static_cast<std::uint16_t>(two >> 16);
  first = x.dtype == DType::f16 ? Machine::from_f16(low) : bf16_to_f32(low);
  second = x.dtype == DType::f16 ? Machine::from_f16(high) : bf16_to_f32(high);
}

// `valid` rows from element offset `at` on; zeros behind them and behind their last channel.
template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void load_rows(Machine& machine, Registers<Machine, float, per_lane * count>& to, const OperandRows& x,
                             std::int64_t at, std::int64_t valid) {
  machine.lanes(
      [&](int lane, float(&v)[per_lane * count]) {
        if (x.pairs) {
          OCTAVO_UNROLL
          for (int i = 0; i < per_lane * count; i += 2) {
            const int c = channel_of(lane, i % per_lane);
            v[i] = v[i + 1] = 0;
            if (i / per_lane < valid && c < x.dim)
              load_pair<Machine>(x, at + i / per_lane * x.strides[2], c, v[i], v[i + 1]);
          }
          return;
        }
        // A rolled loop: unrolled, this switch would be most of the kernel's code.
        OCTAVO_ROLLED
        for (int i = 0; i < per_lane * count; ++i) {
          const int c = channel_of(lane, i % per_lane);
          float number = 0;
          if (i / per_lane < valid && c < x.dim) {
            number = load_number<Machine>(x, at + i / per_lane * x.strides[2] + c * x.strides[3]);
          }
          OCTAVO_UNROLL
          for (int k = 0; k < per_lane * count; ++k) {
            if (k == i) v[k] = number;
          }
        }
      },
      to);
}

// Subtracts mean[0 .. dim) from each row; null: nothing.
template <int per_lane, int count, class Machine>
OCTAVO_DEVICE void subtract_mean(Machine& machine, Registers<Machine, float, per_lane * count>& x, const float* mean,
                                 std::int64_t dim) {
  if (mean == nullptr) return;
  machine.lanes(
      [&](int lane, float(&v)[per_lane * count]) {
        OCTAVO_UNROLL
        for (int s = 0; s < per_lane; ++s) {
          const int c = channel_of(lane, s);
          if (c >= dim) continue;
          const float m = mean[c];
          OCTAVO_UNROLL
          for (int r = 0; r < count; ++r) v[r * per_lane + s] = v[r * per_lane + s] - m;
        }
      },
      x);
}

}  // namespace octavo::cuda
