// A small, legal attention call whose parts a test can bend one at a time.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "octavo/octavo.hpp"

namespace octavo {

inline std::vector<float> normal_values(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

// B 2, Hq 4, Hkv 2, M 5, N 7, D 8, Dv 6, f32, NHD, on the reference.
struct Call {
  static constexpr std::int64_t kB = 2, kHq = 4, kHkv = 2, kM = 5, kN = 7, kD = 8, kDv = 6;
  static constexpr float kUntouched = -77.0f;

  std::vector<float> q = normal_values(kB * kM * kHq * kD, 1);
  std::vector<float> k = normal_values(kB * kN * kHkv * kD, 2);
  std::vector<float> v = normal_values(kB * kN * kHkv * kDv, 3);
  std::vector<float> out = std::vector<float>(kB * kM * kHq * kDv, kUntouched);
  std::vector<float> lse = std::vector<float>(kB * kHq * kM, kUntouched);
  AttentionInputs inputs;
  AttentionParams params;
  Execution execution;

  Call() {
    inputs.q = {q.data(), DType::f32, {kB, kM, kHq, kD}};
    inputs.k = {k.data(), DType::f32, {kB, kN, kHkv, kD}};
    inputs.v = {v.data(), DType::f32, {kB, kN, kHkv, kDv}};
    inputs.out = {out.data(), DType::f32, {kB, kM, kHq, kDv}};
    inputs.lse = {lse.data(), DType::f32, {kB, kHq, kM}};
    execution.implementation = "reference";
  }
  Call(const Call&) = delete;

  Status run() { return attention(inputs, params, execution); }

  bool untouched() const {
    for (float value : out) {
      if (value != kUntouched) return false;
    }
    for (float value : lse) {
      if (value != kUntouched) return false;
    }
    return true;
  }
};

// The call fails with this code and a message that contains all of `words`, and writes nothing.
inline void expect_refused(Call& call, StatusCode code, std::initializer_list<const char*> words) {
  const Status status = call.run();
  EXPECT_EQ(to_string(status.code()), to_string(code)) << status.message();
  for (const char* word : words) {
    EXPECT_NE(status.message().find(word), std::string::npos) << "no \"" << word << "\" in: " << status.message();
  }
  EXPECT_TRUE(call.untouched()) << "a refused call wrote something";
}
inline void expect_invalid(Call& call, std::initializer_list<const char*> words) {
  expect_refused(call, StatusCode::kInvalidArgument, words);
}

// The call runs and writes every element.
inline void expect_served(Call& call) {
  const Status status = call.run();
  ASSERT_TRUE(status.ok()) << status.message();
  for (float value : call.out) ASSERT_NE(value, Call::kUntouched);
}

}  // namespace octavo
