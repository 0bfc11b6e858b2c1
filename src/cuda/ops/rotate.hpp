// O rotated back over its channels, in the registers of the second product: x = sign * (H y) / sqrt(n),
// laws/rotation.hpp. Of channel 8 tile + 2 t + e a lane holds e and all tiles itself; the two bits of t are its
// neighbours' in the quad.
#pragma once

#include <cstdint>

#include "cuda/tile/machine.hpp"
#include "laws/rotation.hpp"

namespace octavo::cuda {

// One level of butterflies on channels begin .. begin + n - 1: (a, b) at distance h -> (a + b, a - b).
template <int n, class Machine>
OCTAVO_DEVICE void butterflies_of_lane(Machine& machine, Registers<Machine, float, n>& out, int begin, int size,
                                       int h) {
  machine.lanes(
      [&](int lane, float(&o)[n]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n; ++i) {
          const int channel = i / 4 * 8 + lane % 4 * 2 + i % 2;
          const int distance = h == 1 ? 1 : h / 2;
          // The bit of h is the same in all lanes: a register's partner is known when this is compiled.
          if (((i / 4 * 8 + i % 2) & h) != 0 || channel < begin || channel >= begin + size) continue;
          const float a = o[i], b = o[(i + distance) % n];
          o[i] = a + b;
          o[(i + distance) % n] = a - b;
        }
      },
      out);
}

template <int n, class Machine>
OCTAVO_DEVICE void butterflies_of_quad(Machine& machine, Registers<Machine, float, n>& out, int begin, int size,
                                       int h) {
  Registers<Machine, float, n> other;
  machine.shuffle_xor(other, out, h / 2);
  machine.lanes(
      [&](int lane, float(&o)[n], float(&theirs)[n]) {
        OCTAVO_UNROLL
        for (int i = 0; i < n; ++i) {
          const int channel = i / 4 * 8 + lane % 4 * 2 + i % 2;
          if (channel < begin || channel >= begin + size) continue;
          o[i] = (channel & h) != 0 ? theirs[i] - o[i] : o[i] + theirs[i];
        }
      },
      out, other);
}

template <int kDim, class Machine>
OCTAVO_DEVICE void rotate_back(Machine& machine, int dim, Registers<Machine, float, kDim / 2>& out) {
  constexpr int kRegisters = kDim / 2;
  for (int begin = 0; begin < dim;) {
    const int size = static_cast<int>(laws::rotation_block(dim - begin));
    OCTAVO_UNROLL
    for (int h = 1; h < kDim + kDim; h *= 2) {
      if (h >= size) continue;
      if (h == 2 || h == 4) {
        butterflies_of_quad<kRegisters>(machine, out, begin, size, h);
      } else {
        butterflies_of_lane<kRegisters>(machine, out, begin, size, h);
      }
    }
    const float factor = laws::rotation_factor(size);
    machine.lanes(
        [&](int lane, float(&o)[kRegisters]) {
          OCTAVO_UNROLL
          for (int i = 0; i < kRegisters; ++i) {
            const int channel = i / 4 * 8 + lane % 4 * 2 + i % 2;
            if (channel >= begin && channel < begin + size) {
              o[i] *= laws::rotation_negates(channel) ? -factor : factor;
            }
          }
        },
        out);
    begin += size;
  }
}

}  // namespace octavo::cuda
