// Keys split at block boundaries, attention on each part, and the merged result equals the whole. Holds for recipes
// whose codes are relative to their key block's maximum, with means that do not depend on the part (smooth_k=off).
#include <gtest/gtest.h>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

// Keys first..last-1 of every head.
std::vector<float> part_of(const std::vector<float>& values, std::int64_t heads, std::int64_t keys, std::int64_t dim,
                           std::int64_t first, std::int64_t last) {
  std::vector<float> part;
  for (std::int64_t h = 0; h < heads; ++h)
    part.insert(part.end(), values.begin() + (h * keys + first) * dim, values.begin() + (h * keys + last) * dim);
  return part;
}

struct Partial {
  std::vector<float> out, lse;
};

Partial merged(const Partial& a, const Partial& b, std::int64_t heads, std::int64_t m, std::int64_t dv) {
  Partial result{std::vector<float>(a.out.size()), std::vector<float>(a.lse.size())};
  const auto o = [&](const Partial& p) { return TensorView(p.out.data(), DType::f32, {1, heads, m, dv}); };
  const auto lse = [&](const Partial& p) { return TensorView(p.lse.data(), DType::f32, {1, heads, m}); };
  const Status status = merge_state(o(a), lse(a), o(b), lse(b), o(result), lse(result), Layout::hnd);
  EXPECT_TRUE(status.ok()) << status.message();
  return result;
}

TEST(Merge, KeysSplitAtBlockBorders) {
  struct Expected {
    const char* recipe;
    std::int64_t block;
    double output, lse;
  };
  for (const Expected& e : {Expected{"exact", 128, 2e-6, 1e-5},
                            {"int8_fast,smooth_k=off", 128, 2e-6, 1e-5},
                            {"int8_fast,smooth_k=off,key_block=64", 64, 2e-6, 1e-5},
                            {"int8_p16,smooth_k=off", 128, 2e-6, 1e-5},
                            {"int8_block,smooth_k=off", 128, 2e-6, 1e-5},
                            {"int4,smooth_k=off", 128, 2e-6, 1e-5},
                            {"int_flash_half", 128, 2e-3, 1e-4}}) {
    Scenario s;
    s.recipe = e.recipe;
    s.kv_heads = 2;
    s.ratio = 2;
    s.m = 33;
    s.n = 7 * e.block + 9;
    s.d = 64;
    s.dv = 40;
    Call call(s);
    // The fold's s_max is that of the part's keys. The first token of every block has a scale far above the others',
    // which leaves it out of s_max where the recipe is robust.
    for (std::int64_t head = 0; head < s.kv_heads; ++head)
      for (std::int64_t key = 0; key < s.n; key += e.block)
        for (std::int64_t c = 0; c < s.dv; ++c)
          call.v_values[static_cast<std::size_t>((head * s.n + key) * s.dv + c)] = 8.0f + static_cast<float>(c % 3);
    call.place();
    for (const std::string& implementation : supported_implementations()) {
      const Outcome whole = call.run(implementation);
      ASSERT_TRUE(whole.status.ok()) << whole.status.message();
      Partial joined;
      std::int64_t first = 0;
      for (const std::int64_t last : {e.block, 4 * e.block, s.n}) {
        Scenario piece = s;
        piece.n = last - first;
        Call part(piece);
        part.q_values = call.q_values;
        part.k_values = part_of(call.k_values, s.kv_heads, s.n, s.d, first, last);
        part.v_values = part_of(call.v_values, s.kv_heads, s.n, s.dv, first, last);
        part.place();
        const Outcome got = part.run(implementation);
        ASSERT_TRUE(got.status.ok()) << got.status.message();
        const Partial here{got.out, got.lse};
        joined = first == 0 ? here : merged(joined, here, s.q_heads(), s.m, s.dv);
        first = last;
      }
      EXPECT_LE(relative_l2(joined.out, whole.out), e.output) << implementation << " " << e.recipe;
      for (std::size_t i = 0; i < joined.lse.size(); ++i)
        EXPECT_NEAR(joined.lse[i], whole.lse[i], e.lse) << implementation << " " << e.recipe << " row " << i;
    }
  }
}

}  // namespace
}  // namespace octavo::test
