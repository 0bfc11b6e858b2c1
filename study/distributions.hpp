// The synthetic data of the studies, by name. All start from N(0, 1) numbers that are the same for a seed on every
// machine; scores of the plain ones are N(0, 1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "study/problem.hpp"

namespace octavo::study {

// What is changed in N(0, 1) data. The fields compose.
struct Distribution {
  std::string name;
  bool uniform = false;     // Q, K and V of U(-0.5, 0.5) instead
  double score_spread = 1;  // standard deviation of the scores: factor of Q
  double sink_nats = 0;     // > 0: the scores of key 0 exceed the others by about this
  double sink_value = 1;    // factor of key 0's value
  double k_bias = 0;        // added to four channels of K
  double v_bias = 0;        // V has an offset per channel of N(0, v_bias^2)
  double v_channels = 0;    // V's channels times exp(N(0, v_channels^2))
  double v_tokens = 0;      // > 0: this factor on one token of V in 500
  double row_outliers = 0;  // > 0: this factor on one element in 1000 of Q, K and V
  double row_spread = 0;    // rows of Q and K times exp(N(0, row_spread^2)), then back to a score spread of 1
};

// Gaussian, uniform, outliers in channels and tokens, sinks of 3 to 12 nats with ordinary and tiny values, biased V.
const std::vector<Distribution>& all_distributions();
// One of them; it must exist.
const Distribution& distribution(const std::string& name);

Problem make_problem(const Distribution& distribution, const Shape& shape, std::uint64_t seed, bool causal = false);

}  // namespace octavo::study
