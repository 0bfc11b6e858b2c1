// Hidden means hidden: what a row cannot see does not reach it. Junk in K and V of hidden keys, for every way of hiding
// them, leaves O and the LSE as they were, bit for bit; junk in other rows of Q costs a row little. The rules are those
// of docs/the_algorithm.md, section 7. OCTAVO_TEST_DRAWS=500 draws more a recipe, OCTAVO_TEST_DRAW=17 only one.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>

#include "compare.hpp"
#include "scenario.hpp"

namespace octavo::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Values for rows that must not matter.
struct Junk {
  const char* name;
  float value;  // 0: random bits
};
constexpr Junk kJunk[] = {{"1", 1},
                          {"1e2", 1e2f},
                          {"1e4", 1e4f},
                          {"1e20", 1e20f},
                          {"3e38", 3e38f},
                          {"NaN", std::numeric_limits<float>::quiet_NaN()},
                          {"infinity", kInfinity},
                          {"random bits", 0}};

// How many of the first ones are finite in a dtype.
int finite_junk(DType dtype) { return dtype == DType::f16 ? 3 : 5; }

// How keys are hidden from all rows: `kv_lens` and `key_mask` in every recipe; by the mask, or by their position
// (causal and window bounds), in recipes with robust=on and, with finite junk, in those without statistics.
enum class Way { kv_lens, key_mask, mask, position };
constexpr const char* kWays[] = {"kv_lens", "key_mask", "mask", "position"};

const char* const kCompositions[] = {
    "int8,keep_first=4,keep_near=1",
    "int8,smooth_q=off",
    "int8_p16,qk_gains=on,smooth_v=on",
    "sage2_8b,robust=on",
    "int_flash,robust=on,smooth_k=on,hadamard=on",
    "int8_fast,channel_gains=on,hadamard_v=off",
    "int8_fast,v_scale=channel,smooth_v=on,hadamard_v=off",
    "int8_fast,k_scale=tensor,v_scale=block",
    "int8_fast,robust=off",
};

std::vector<std::string> all_recipes() {
  std::vector<std::string> names;
  for (const RecipeInfo& preset : recipes()) names.emplace_back(preset.name);
  names.insert(names.end(), std::begin(kCompositions), std::end(kCompositions));
  return names;
}

std::vector<std::string> implementations_and_reference() {
  std::vector<std::string> names = supported_implementations();
  names.emplace_back("reference");
  return names;
}

class Draw {
 public:
  explicit Draw(std::uint32_t seed) : random_(seed) {}
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n)); }
  bool chance(std::int64_t one_in) { return below(one_in) == 0; }
  std::int64_t of(std::initializer_list<std::int64_t> values) {
    return values.begin()[below(static_cast<std::int64_t>(values.size()))];
  }
  float bits() {
    const auto pattern = static_cast<std::uint32_t>(random_());
    return std::bit_cast<float>(pattern);
  }

  Scenario scenario(const std::string& recipe, Way way) {
    Scenario s;
    s.recipe = recipe;
    s.seed = static_cast<std::uint32_t>(random_());
    s.m = of({1, 7, 16, 33, 100, 140});
    s.n = of({5, 40, 64, 130, 257, 300});
    s.d = of({8, 16, 33, 64});
    s.dv = of({8, 24, 64});
    s.kv_heads = of({1, 2});
    s.ratio = of({1, 2});
    s.batch = of({1, 2});
    s.dtype = static_cast<DType>(
        of({static_cast<int>(DType::f32), static_cast<int>(DType::f16), static_cast<int>(DType::bf16)}));
    s.flavour = chance(3) ? Flavour::key_bias : Flavour::gaussian;
    s.causal = static_cast<Causal>(of({0, 0, 1, 2}));
    s.window_left = chance(4) ? of({0, 9, 70}) : -1;
    s.window_right = chance(4) ? of({0, 9, 70}) : -1;
    if (chance(5)) s.softcap = 5;
    s.alibi = chance(5), s.symmetric_alibi = chance(2);
    s.sinks = chance(5);
    if (chance(4)) s.mask = MaskKind::f32_full;
    if (way == Way::kv_lens || chance(6))
      for (std::int64_t b = 0; b < s.batch; ++b) s.kv_lens.push_back(below(s.n + 1));
    s.key_mask = way == Way::key_mask || chance(6);
    if (way == Way::mask) {
      constexpr MaskKind kMasks[] = {MaskKind::bool_full, MaskKind::bool_shared, MaskKind::bool_keys,
                                     MaskKind::f32_full,  MaskKind::f16_heads,   MaskKind::f32_minus_huge};
      s.mask = kMasks[below(6)];
    } else if (way == Way::position && s.causal == Causal::none && s.window_left < 0 && s.window_right < 0) {
      (chance(2) ? s.window_left : s.window_right) = of({0, 9});
    }
    return s;
  }

 private:
  std::mt19937 random_;
};

// [B][N]: true where no row of the call sees the key, by its position and length.
std::vector<bool> hidden_by_position(const Scenario& s) {
  std::vector<bool> hidden(static_cast<std::size_t>(s.batch * s.n), true);
  for (std::int64_t b = 0; b < s.batch; ++b) {
    const std::int64_t n = s.kv_lens.empty() ? s.n : s.kv_lens[static_cast<std::size_t>(b)];
    for (std::int64_t i = 0; i < s.m; ++i) {
      const std::int64_t diagonal = s.causal == Causal::top_left ? i : i + n - s.m;
      for (std::int64_t j = 0; j < n; ++j) {
        const bool seen = (s.causal == Causal::none || j <= diagonal) &&
                          (s.window_left < 0 || j >= diagonal - s.window_left) &&
                          (s.window_right < 0 || j <= diagonal + s.window_right);
        if (seen) hidden[static_cast<std::size_t>(b * s.n + j)] = false;
      }
    }
  }
  return hidden;
}

// Hides a key from every row and head of the mask.
void hide_in_mask(Call& call, std::int64_t key) {
  const Scenario& s = call.scenario();
  std::int64_t rows = 1;
  if (s.mask == MaskKind::bool_full || s.mask == MaskKind::f32_full) rows = s.batch * s.q_heads() * s.m;
  if (s.mask == MaskKind::bool_shared || s.mask == MaskKind::f32_minus_huge) rows = s.m;
  if (s.mask == MaskKind::f16_heads) rows = s.q_heads();
  const bool boolean =
      s.mask == MaskKind::bool_full || s.mask == MaskKind::bool_shared || s.mask == MaskKind::bool_keys;
  for (std::int64_t row = 0; row < rows; ++row) call.spoil_mask(row * s.n + key, boolean ? 0.0f : -kInfinity);
}

void fill(float* row, std::int64_t dim, const Junk& junk, Draw& draw) {
  for (std::int64_t c = 0; c < dim; ++c) row[c] = junk.value != 0 ? junk.value : draw.bits();
}

// [B][N]: the keys of the call that are hidden by `way`; hides some by the mask where that is the way.
std::vector<bool> hidden_keys(Call& call, Way way, Draw& draw) {
  const Scenario& s = call.scenario();
  if (way == Way::position) return hidden_by_position(s);
  std::vector<bool> hidden(static_cast<std::size_t>(s.batch * s.n), false);
  const std::int64_t first = draw.below(s.n);
  for (std::int64_t j = 0; way == Way::mask && j < s.n; ++j) {
    if (!(draw.chance(5) || (first < s.n / 2 ? j < first : j > first))) continue;
    hide_in_mask(call, j);
    for (std::int64_t b = 0; b < s.batch; ++b) hidden[static_cast<std::size_t>(b * s.n + j)] = true;
  }
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      const bool is_beyond = !s.kv_lens.empty() && j >= s.kv_lens[static_cast<std::size_t>(b)];
      const bool is_masked = s.key_mask && !call.key_exists(b, j);
      if (is_beyond || is_masked) hidden[static_cast<std::size_t>(b * s.n + j)] = true;
    }
  }
  return hidden;
}

// Fills the hidden keys' rows of K and V.
void spoil(Call& call, const std::vector<bool>& hidden, const Junk& k, const Junk& v, Draw& draw) {
  const Scenario& s = call.scenario();
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.kv_heads; ++h) {
      for (std::int64_t j = 0; j < s.n; ++j) {
        if (!hidden[static_cast<std::size_t>(b * s.n + j)]) continue;
        const std::int64_t row = (b * s.kv_heads + h) * s.n + j;
        fill(call.k_values.data() + row * s.d, s.d, k, draw);
        fill(call.v_values.data() + row * s.dv, s.dv, v, draw);
      }
    }
  }
  call.place();
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

int draws() {
  const char* text = std::getenv("OCTAVO_TEST_DRAWS");
  return text != nullptr ? std::atoi(text) : 4;
}
template <class Check>
void for_each_draw(std::uint32_t seed, const Check& check) {
  const char* only = std::getenv("OCTAVO_TEST_DRAW");
  for (int i = only != nullptr ? std::atoi(only) : 0; i < (only != nullptr ? std::atoi(only) + 1 : draws()); ++i) {
    SCOPED_TRACE("draw " + std::to_string(i));
    check(i, seed + static_cast<std::uint32_t>(i));
    if (testing::Test::HasFailure()) return;
  }
}

// Whether `way` hides keys from this recipe, whatever they hold.
bool hides(const Recipe& recipe, Way way) { return recipe.robust || way == Way::kv_lens || way == Way::key_mask; }

// Whether codes and weights of a key depend on no other key: finite junk in hidden keys cannot matter.
bool has_no_statistics(const Recipe& recipe) {
  const auto own = [](Granularity scale) { return scale == Granularity::none || scale == Granularity::token; };
  return own(recipe.k_scale) && own(recipe.v_scale) && !recipe.smooth_k && !recipe.smooth_v && !recipe.qk_gains &&
         !recipe.channel_gains && recipe.values != Format::f16;
}

class Hidden : public testing::TestWithParam<std::string> {};

// Junk in K and V of hidden keys changes no bit of the output.
TEST_P(Hidden, JunkInHiddenKeysReachesNothing) {
  const Recipe recipe = recipe_of(GetParam());
  int compared = 0;
  for_each_draw(100, [&](int index, std::uint32_t seed) {
    for (const Way way : {Way::kv_lens, Way::key_mask, Way::mask, Way::position}) {
      const bool finite_only = !hides(recipe, way);
      if (finite_only && !has_no_statistics(recipe)) continue;
      Draw draw(seed * 7 + static_cast<std::uint32_t>(way));
      const Scenario s = draw.scenario(GetParam(), way);
      SCOPED_TRACE(std::string(kWays[static_cast<int>(way)]) + ": " + describe(s));
      Call call(s);
      const std::vector<bool> hidden = hidden_keys(call, way, draw);
      std::vector<std::string> names;
      for (const std::string& name : implementations_and_reference())
        if (call.accepts(name).ok()) names.push_back(name);
      ASSERT_FALSE(names.empty()) << "no implementation supports the recipe";
      std::vector<Outcome> expected;
      spoil(call, hidden, {"0.5", 0.5f}, {"0.5", 0.5f}, draw);
      for (const std::string& name : names) {
        expected.push_back(call.run(name));
        ASSERT_TRUE(expected.back().status.ok()) << expected.back().status.message();
      }
      for (int turn = 0; turn < 3; ++turn) {
        const int kinds = finite_only ? finite_junk(s.dtype) : 8;
        const Junk& k = kJunk[(index * 3 + turn + static_cast<int>(way)) % kinds];
        const Junk& v = kJunk[draw.below(kinds)];
        spoil(call, hidden, k, v, draw);
        for (std::size_t i = 0; i < names.size(); ++i) {
          const Outcome got = call.run(names[i]);
          ASSERT_TRUE(got.status.ok()) << got.status.message();
          EXPECT_TRUE(same_bits(got.out, expected[i].out) && same_bits(got.lse, expected[i].lse))
              << names[i] << ": " << k.name << " in hidden keys, " << v.name << " in their values";
          ++compared;
        }
      }
    }
  });
  EXPECT_GT(compared, 0);
}

// Recipes without robust=on take their statistics over keys that a mask hides, finite ones only. So NaN and infinity
// there leave a row as it is without these keys, or make it NaN: never finite and wrong.
TEST_P(Hidden, NonfiniteJunkIsNeverFiniteAndWrong) {
  const Recipe recipe = recipe_of(GetParam());
  if (recipe.robust) return;  // the stronger rule above
  for_each_draw(300, [&](int index, std::uint32_t seed) {
    Draw draw(seed);
    Scenario s = draw.scenario(GetParam(), Way::mask);
    s.kv_lens.clear();
    s.key_mask = false;
    s.softcap = 0;
    SCOPED_TRACE(describe(s));
    Call call(s);
    const std::vector<bool> hidden = hidden_keys(call, Way::mask, draw);
    spoil(call, hidden, kJunk[5 + index % 2], kJunk[5 + index / 2 % 2], draw);
    std::vector<std::string> names;
    std::vector<Outcome> outcomes;
    for (const std::string& name : implementations_and_reference()) {
      if (!call.accepts(name).ok()) continue;
      names.push_back(name);
      outcomes.push_back(call.run(name));
    }
    call.set_key_mask(hidden);
    for (std::size_t i = 0; i < names.size(); ++i) {
      const std::string& name = names[i];
      const Outcome &got = outcomes[i], expected = call.run(name);
      ASSERT_TRUE(got.status.ok() && expected.status.ok()) << got.status.message() << expected.status.message();
      for (std::size_t row = 0; row < got.lse.size(); ++row) {
        const float* a = got.out.data() + row * static_cast<std::size_t>(s.dv);
        const float* b = expected.out.data() + row * static_cast<std::size_t>(s.dv);
        for (std::int64_t c = 0; c < s.dv; ++c)
          ASSERT_TRUE(std::isnan(a[c]) || a[c] == b[c]) << name << " row " << row << ": " << a[c] << " for " << b[c];
      }
    }
  });
}

// Rows of Q that nobody reads: every second one, the last ones of every block of 128 (at most three quarters of them:
// beyond that they are the typical rows of the block), or one.
std::vector<bool> padding_rows(std::int64_t m, Draw& draw) {
  std::vector<bool> padding(static_cast<std::size_t>(m), false);
  const std::int64_t kind = draw.below(3), only = draw.below(m);
  for (std::int64_t first = 0; first < m; first += 128) {
    const std::int64_t rows = std::min<std::int64_t>(128, m - first), most = rows * 3 / 4;
    const std::int64_t from = first + rows - (most > 0 ? draw.below(most + 1) : 0);
    for (std::int64_t i = first; i < first + rows; ++i)
      padding[static_cast<std::size_t>(i)] = kind == 0 ? i % 2 == 1 : kind == 1 ? i >= from : i == only;
  }
  return padding;
}

// Relative L2 of the rows that are not padding; infinity where one is not finite.
double error_of(const std::vector<float>& out, const std::vector<float>& exact, const std::vector<bool>& padding,
                std::int64_t dv) {
  double squares = 0, norm = 0;
  const std::size_t m = padding.size(), width = static_cast<std::size_t>(dv);
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (padding[i / width % m]) continue;
    const double difference = static_cast<double>(out[i]) - exact[i];
    squares += difference * difference;
    norm += static_cast<double>(exact[i]) * exact[i];
  }
  return std::isfinite(squares) ? std::sqrt(squares / norm) : kInfinity;
}

// Whether the rows of Q are independent of each other: no mean, no gains, no shared scale.
bool rows_are_independent(const Recipe& recipe, std::int64_t m) {
  if (recipe.q_scale != Granularity::token && recipe.q_scale != Granularity::none) return false;
  return (!recipe.smooth_q && !recipe.qk_gains) || (m < 16 && recipe.q_scale == Granularity::token);
}

// Padding rows of Q change no bit of other rows where a row has its own scale and nothing is smoothed; in robust
// recipes with scales of rows they cost others at most half of their error, while they are at most three quarters of
// a block.
TEST_P(Hidden, JunkInRowsOfQ) {
  const Recipe recipe = recipe_of(GetParam());
  for_each_draw(500, [&](int index, std::uint32_t seed) {
    Draw draw(seed);
    Scenario s = draw.scenario(GetParam(), Way::kv_lens);
    s.m = draw.of({7, 40, 100, 260});
    s.n = draw.of({64, 130, 257});
    s.kv_heads = 2, s.ratio = 2;
    s.kv_lens.clear();
    s.window_left = s.window_right = -1;
    if (s.causal == Causal::bottom_right && s.m > s.n) s.causal = Causal::none;
    const bool exactly = rows_are_independent(recipe, s.m);
    if (!exactly && (!recipe.robust || recipe.q_scale != Granularity::token)) return;
    SCOPED_TRACE(describe(s));
    Call call(s);
    const std::vector<float> q = call.q_values;
    const std::vector<bool> padding = padding_rows(s.m, draw);
    const Outcome exact = call.run("reference", {.recipe = "exact"});
    ASSERT_TRUE(exact.status.ok()) << exact.status.message();
    for (const std::string& name : implementations_and_reference()) {
      if (!call.accepts(name).ok()) continue;
      call.q_values = q;
      call.place();
      const Outcome before = call.run(name);
      ASSERT_TRUE(before.status.ok()) << before.status.message();
      const double error = error_of(before.out, exact.out, padding, s.dv);
      for (int turn = 0; turn < 3; ++turn) {
        const Junk& junk = kJunk[(index * 3 + turn) % 8];
        for (std::int64_t row = 0; row < s.batch * s.q_heads() * s.m; ++row)
          if (padding[static_cast<std::size_t>(row % s.m)]) fill(call.q_values.data() + row * s.d, s.d, junk, draw);
        call.place();
        const Outcome got = call.run(name);
        ASSERT_TRUE(got.status.ok()) << got.status.message();
        if (exactly) {
          for (std::size_t i = 0; i < got.out.size(); ++i) {
            if (padding[i / static_cast<std::size_t>(s.dv) % padding.size()]) continue;
            ASSERT_EQ(std::bit_cast<std::uint32_t>(got.out[i]), std::bit_cast<std::uint32_t>(before.out[i]))
                << name << ": " << junk.name << " in padding rows, element " << i;
          }
        } else {
          EXPECT_LE(error_of(got.out, exact.out, padding, s.dv), 1.5 * error)
              << name << ": " << junk.name << " in padding rows";
        }
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Recipes, Hidden, testing::ValuesIn(all_recipes()), [](const auto& recipe) {
  std::string name;
  for (char c : recipe.param) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
});

}  // namespace
}  // namespace octavo::test
