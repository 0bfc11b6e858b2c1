// Long arrays of registers in parts that take turns in the same registers: a rolled loop in place of straight code,
// which for rare options takes the compiler long. Costs a move for each register and part.
#pragma once

#include "cuda/tile/compile.hpp"

namespace octavo::cuda {

// f(first, part) for x[first .. first + part_size) as `part`, an array that it may change; each part in its turn.
template <int part_size, int n, class T, class F>
OCTAVO_DEVICE void for_register_parts(T (&x)[n], F&& f) {
  static_assert(n % part_size == 0);
  OCTAVO_ROLLED
  for (int first = 0; first < n; first += part_size) {
    T part[part_size];
    OCTAVO_UNROLL
    for (int i = 0; i < part_size; ++i) part[i] = x[i];
    f(first, part);
    OCTAVO_UNROLL
    for (int i = 0; i < n - part_size; ++i) x[i] = x[i + part_size];
    OCTAVO_UNROLL
    for (int i = 0; i < part_size; ++i) x[n - part_size + i] = part[i];
  }
}

}  // namespace octavo::cuda
