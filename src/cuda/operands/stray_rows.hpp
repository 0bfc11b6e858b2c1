// Limits of stray rows (spec/stray_rows.hpp) by one warp: from the exponents of 128 rows in registers, or from counts
// in memory.
#pragma once

#include "cuda/operands/load.hpp"
#include "spec/stray_rows.hpp"

namespace octavo::cuda {

// Sum over the warp of what count(lane, values) returns.
template <class Machine, int n, class Count>
OCTAVO_DEVICE std::int64_t count_over_lanes(Machine& machine, Registers<Machine, std::uint32_t, n>& values,
                                            const Count& count) {
  Registers<Machine, std::uint32_t, 1> sum;
  machine.lanes([&](int lane, std::uint32_t(&x)[n], std::uint32_t(&s)[1]) { s[0] = count(lane, x); }, values, sum);
  reduce_over<kLanes>(machine, sum, [](std::uint32_t a, std::uint32_t b) { return a + b; });
  std::uint32_t all = 0;
  machine.lanes([&](int, std::uint32_t(&s)[1]) { all = s[0]; }, sum);
  return all;
}

// The smallest exponent e with 4 * below(e) >= below(254), by bisection; below(e) is the number of rows up to e.
template <class Below>
OCTAVO_DEVICE std::uint32_t exponent_limit_of(const Below& below) {
  const std::int64_t rows = below(254u);
  if (rows == 0) return spec::kAnyExponent;
  std::uint32_t low = 0, high = 254;
  OCTAVO_ROLLED
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    if (4 * below(middle) >= rows) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low + spec::kStrayExponents;
}

// Exponents of rows that are not counted are above 254.
template <int n, class Machine>
OCTAVO_DEVICE std::uint32_t exponent_limit(Machine& machine, Registers<Machine, std::uint32_t, n>& exponents) {
  return exponent_limit_of([&](std::uint32_t e) {
    return count_over_lanes(machine, exponents, [&](int, std::uint32_t(&x)[n]) {
      std::uint32_t count = 0;
      OCTAVO_UNROLL
      for (int i = 0; i < n; ++i) count += x[i] <= e ? 1u : 0u;
      return count;
    });
  });
}

// `counts` [256], by exponent.
template <class Machine>
OCTAVO_DEVICE std::uint32_t exponent_limit(Machine& machine, const std::uint32_t* counts) {
  Registers<Machine, std::uint32_t, 8> of_lane;
  machine.lanes(
      [&](int lane, std::uint32_t(&x)[8]) {
        OCTAVO_UNROLL
        for (int i = 0; i < 8; ++i) x[i] = counts[8 * lane + i];
      },
      of_lane);
  return exponent_limit_of([&](std::uint32_t e) {
    return count_over_lanes(machine, of_lane, [&](int lane, std::uint32_t(&x)[8]) {
      std::uint32_t count = 0;
      OCTAVO_UNROLL
      for (int i = 0; i < 8; ++i) count += static_cast<std::uint32_t>(8 * lane + i) <= e ? x[i] : 0u;
      return count;
    });
  });
}

}  // namespace octavo::cuda
