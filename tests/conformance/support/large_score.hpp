// A call with scores far from zero whose result everybody knows.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "scenario.hpp"

namespace octavo::test {

// One key whose score is `nats`, in the second key block of most recipes, one of half that in the first, all others 0;
// every value is 1, so the output is.
inline Call one_large_score(const std::string& recipe, double nats, MaskKind mask) {
  Scenario scenario;
  scenario.recipe = recipe;
  scenario.mask = mask;
  scenario.m = 20;
  scenario.n = 200;
  scenario.softmax_scale = 1;
  Call call(scenario);
  const auto factor = static_cast<float>(std::sqrt(nats / static_cast<double>(scenario.d)));
  const auto set_key = [&](std::int64_t key, float value) {
    std::fill_n(call.k_values.begin() + key * scenario.d, scenario.d, value);
  };
  std::ranges::fill(call.q_values, factor);
  std::ranges::fill(call.k_values, 0.0f);
  std::ranges::fill(call.v_values, 1.0f);
  set_key(30, factor / 2);
  set_key(150, factor);
  call.place();
  return call;
}

}  // namespace octavo::test
