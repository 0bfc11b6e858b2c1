// The tables of primitives that this processor can run, from the page that lists the implementations.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/float_types.hpp"
#include "cpu/features.hpp"
#include "primitives.hpp"

namespace octavo::cpu {

#define OCTAVO_CPU_IMPLEMENTATION(name, table, features, description) extern const SimdPrimitives k_primitives_##name;
#include "cpu/implementations.inc"
#undef OCTAVO_CPU_IMPLEMENTATION

struct Policy {
  const SimdPrimitives* primitives;
  bool supported;
};

inline const std::vector<Policy>& policies() {
  static const std::vector<Policy> all = {
#define OCTAVO_CPU_IMPLEMENTATION(name, table, needed, description) \
  Policy{&k_primitives_##name, ((needed) & ~features()) == 0 && claim_features(needed)},
#include "cpu/implementations.inc"
#undef OCTAVO_CPU_IMPLEMENTATION
  };
  return all;
}

// Calls body(primitives) for every policy that can run here.
template <class Body>
void for_each_policy(const Body& body) {
  for (const Policy& policy : policies()) {
    if (!policy.supported) continue;
    SCOPED_TRACE(policy.primitives->name);
    body(*policy.primitives);
  }
}

inline constexpr int kMostLanes = 16;

inline bool same_float(float got, float expected) {
  return std::isnan(expected) ? std::isnan(got) : bits_of_f32(got) == bits_of_f32(expected);
}

// Numbers at the edges of f32, both signs, with what rounds to even and what does not.
inline std::vector<float> edge_floats() {
  using Limits = std::numeric_limits<float>;
  std::vector<float> positive = {0.0f,
                                 Limits::denorm_min(),
                                 3 * Limits::denorm_min(),
                                 f32_of_bits(0x007fffffu),
                                 Limits::min(),
                                 f32_of_bits(0x00800001u),
                                 1e-30f,
                                 0.5f,
                                 f32_of_bits(0x3f7fffffu),
                                 1.0f,
                                 f32_of_bits(0x3f800001u),
                                 1.5f,
                                 2.5f,
                                 3.0f,
                                 127.5f,
                                 16777216.0f,
                                 1e30f,
                                 Limits::max(),
                                 Limits::infinity(),
                                 Limits::quiet_NaN()};
  std::vector<float> both;
  for (float x : positive) both.push_back(x), both.push_back(-x);
  return both;
}

inline std::vector<float> random_floats(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& x : values) x = normal(random);
  return values;
}

}  // namespace octavo::cpu
