// O rotated back over its channels: x = sign * (H y) / sqrt(n), block by block (spec/rotation.hpp). One block of all
// kDim channels is done in the registers of the second product: of channel 8 tile + 2 t + e a lane holds e and all
// tiles itself, the two bits of t are its neighbours' in the quad. Other sizes are done on rows in shared memory.
#pragma once

#include <cstdint>

#include "cuda/tile/machine.hpp"
#include "spec/rotation.hpp"

namespace octavo::cuda {

// Butterflies at distance h: (a, b) -> (a + b, a - b). 1: a lane's own pair; 8 and more: of its own tiles; 2 and 4:
// with a neighbour of the quad.
template <int n, int h, class Machine>
OCTAVO_DEVICE void butterflies(Machine& machine, Registers<Machine, float, n>& out) {
  if constexpr (h == 2 || h == 4) {
    Registers<Machine, float, n> other;
    machine.shuffle_xor(other, out, h / 2);
    machine.lanes(
        [](int lane, float(&o)[n], float(&theirs)[n]) {
          const float sign = (lane % 4 * 2 & h) != 0 ? -1.0f : 1.0f;
          OCTAVO_UNROLL
          for (int i = 0; i < n; ++i) o[i] = __builtin_fmaf(sign, o[i], theirs[i]);
        },
        out, other);
  } else {
    machine.lanes(
        [](int, float(&o)[n]) {
          OCTAVO_UNROLL
          for (int i = 0; i < n; ++i) {
            if (((i / 4 * 8 + i % 2) & h) != 0) continue;
            float &a = o[i], &b = o[i + (h == 1 ? 1 : h / 2)];
            const float sum = a + b;
            b = a - b, a = sum;
          }
        },
        out);
  }
  if constexpr (h < n) butterflies<n, 2 * h>(machine, out);
}

template <int kDim, class Machine>
OCTAVO_DEVICE void rotate_back(Machine& machine, Registers<Machine, float, kDim / 2>& out) {
  butterflies<kDim / 2, 1>(machine, out);
  const float factor = spec::rotation_factor(kDim);
  machine.lanes(
      [&](int lane, float(&o)[kDim / 2]) {
        OCTAVO_UNROLL
        for (int i = 0; i < kDim / 2; ++i) {
          o[i] *= spec::rotation_negates(i / 4 * 8 + lane % 4 * 2 + i % 2) ? -factor : factor;
        }
      },
      out);
}

// `count` rows of f32 at `rows`, `row_bytes` apart, `dim` channels each.
template <int count, class Machine>
OCTAVO_DEVICE void rotate_back_in_shared(Machine& machine, std::uint32_t rows, std::uint32_t row_bytes, int dim) {
  OCTAVO_ROLLED
  for (int begin = 0; begin < dim;) {
    // All are powers of two: shifts, since a division is some twenty instructions.
    const int size = static_cast<int>(spec::rotation_block(dim - begin));
    int log_size = 0;
    while (1 << log_size < size) ++log_size;
    OCTAVO_ROLLED
    for (int log_h = 0; log_h < log_size; ++log_h) {
      const int h = 1 << log_h;
      OCTAVO_ROLLED
      for (int first = 0; first < count / 2 * size; first += kLanes) {
        machine.lanes([&](int lane) {
          const int index = first + lane, row = index >> (log_size - 1), i = index & (size / 2 - 1);
          if (row >= count) return;
          const int channel = begin + (i >> log_h) * 2 * h + (i & (h - 1));
          const std::uint32_t at =
              rows + static_cast<std::uint32_t>(row) * row_bytes + 4 * static_cast<std::uint32_t>(channel);
          const auto a = machine.template shared<float>(at);
          const auto b = machine.template shared<float>(at + 4 * static_cast<std::uint32_t>(h));
          machine.store_shared(at, a + b);
          machine.store_shared(at + 4 * static_cast<std::uint32_t>(h), a - b);
        });
      }
      machine.sync_warp();
    }
    const float factor = spec::rotation_factor(size);
    OCTAVO_ROLLED
    for (int first = 0; first < count * size; first += kLanes) {
      machine.lanes([&](int lane) {
        const int index = first + lane, row = index >> log_size, channel = begin + (index & (size - 1));
        if (row >= count) return;
        const std::uint32_t at =
            rows + static_cast<std::uint32_t>(row) * row_bytes + 4 * static_cast<std::uint32_t>(channel);
        const auto x = machine.template shared<float>(at) * factor;
        machine.store_shared(at, spec::rotation_negates(channel) ? -x : x);
      });
    }
    begin += size;
  }
  machine.sync_warp();
}

}  // namespace octavo::cuda
