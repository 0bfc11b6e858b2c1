// Every head of a Case through attention_in_double: the expected value for `exact`, and for every other recipe within
// its error.
#pragma once

#include <vector>

#include "attention_in_double.hpp"
#include "cases.hpp"

namespace octavo::reference {

// Options of a Case's call; all optional.
struct NaiveOptions {
  Causal causal = Causal::none;
  std::int64_t left = -1, right = -1;
  double softcap = 0;
  std::vector<std::int64_t> kv_lens;  // [B]
  std::vector<std::uint8_t> allowed;  // [M, N]
  std::vector<float> added;           // [M, N]
  std::vector<float> slopes, sinks;   // [Hq]
  Alibi alibi = Alibi::causal;
};

inline test::HeadResult naive_attention(const Case& c, const NaiveOptions& o) {
  test::HeadResult result;
  for (std::int64_t b = 0; b < c.batch; ++b) {
    const std::int64_t keys = o.kv_lens.empty() ? c.n : o.kv_lens[static_cast<std::size_t>(b)];
    for (std::int64_t h = 0; h < c.q_heads; ++h) {
      const auto head = static_cast<std::size_t>(h);
      const std::int64_t kv = b * c.kv_heads + h * c.kv_heads / c.q_heads;
      test::HeadOptions options;
      options.causal = o.causal;
      options.window_left = o.left;
      options.window_right = o.right;
      options.softcap = o.softcap;
      if (!o.slopes.empty()) options.alibi_slope = o.slopes[head];
      options.symmetric_alibi = o.alibi == Alibi::symmetric;
      if (!o.sinks.empty()) options.sink = o.sinks[head];
      if (!o.allowed.empty()) options.bool_mask = o.allowed.data();
      if (!o.added.empty()) options.float_mask = o.added.data();
      options.mask_stride = c.n;
      const test::HeadView view{c.q.data() + (b * c.q_heads + h) * c.m * c.d,
                                c.k.data() + kv * c.n * c.d,
                                c.v.data() + kv * c.n * c.dv,
                                c.m,
                                keys,
                                c.d,
                                c.dv};
      const test::HeadResult one = test::attention_in_double(view, options, test::all_rows(c.m));
      result.out.insert(result.out.end(), one.out.begin(), one.out.end());
      result.lse.insert(result.lse.end(), one.lse.begin(), one.lse.end());
    }
  }
  return result;
}

}  // namespace octavo::reference
