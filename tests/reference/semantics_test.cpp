// Every option of a call, alone and in combination: `exact` against attention written from its definition, and the
// quantized recipes against the same values within their error. K has a bias: a recipe that smooths K and drops the
// offset from the LSE, the softcap or the sink fails by a wide margin.
#include <gtest/gtest.h>

#include <array>

#include "naive.hpp"

namespace octavo::reference {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Sets a problem up from the naive options; the vectors must outlive the run.
void apply(const NaiveOptions& o, Case& c) {
  Problem& p = c.problem;
  p.causal = o.causal;
  p.window_left = o.left;
  p.window_right = o.right;
  p.softcap = o.softcap;
  p.mask = {};
  if (!o.allowed.empty()) p.mask = shared_mask(o.allowed.data(), DType::boolean, c.n);
  if (!o.added.empty()) p.mask = shared_mask(o.added.data(), DType::f32, c.n);
  p.alibi_slopes = {};
  if (!o.slopes.empty()) p.alibi_slopes = {o.slopes.data(), DType::f32, {0, 1, 0, 0}};
  p.alibi = o.alibi;
  p.sinks = {};
  if (!o.sinks.empty()) p.sinks = {o.sinks.data(), DType::f32, {0, 1, 0, 0}};
  p.kv_lens = {};
  if (!o.kv_lens.empty()) p.kv_lens = {o.kv_lens.data(), DType::s64, 1};
}

void check(Case& c, const NaiveOptions& o, const char* recipe, double out_error, double lse_error) {
  apply(o, c);
  const test::HeadResult expected = naive_attention(c, o);
  c.run(recipe);
  EXPECT_LE(relative_l2(c.out, expected.out), out_error) << recipe;
  for (std::size_t i = 0; i < expected.lse.size(); ++i) {
    if (std::isinf(expected.lse[i])) {
      ASSERT_EQ(c.lse[i], -kInfinity) << recipe;
    } else {
      ASSERT_NEAR(c.lse[i], expected.lse[i], lse_error * std::max(1.0, std::fabs(expected.lse[i])))
          << recipe << " row " << i;
    }
  }
}

// M and N that are no multiples of anything, heads that share keys, more than one block of keys and queries.
// A row that sees one key has that score's rounding error in its LSE. With one scale for 128 x 40 normal values (the
// coarsest of these recipes) a step is 4 / 127, and rounding q and k so gives a score of 40 channels a standard
// deviation of 0.013; five of them. The logit offset of smoothing K is 0.8 on average here.
constexpr double kLseError = 0.065;

struct Semantics : testing::TestWithParam<const char*> {
  Case c{139, 301, 40, 24, 11, 2, 4, 2};
  NaiveOptions o;
  bool exact = std::string_view(GetParam()) == "exact";

  Semantics() {
    for (std::size_t i = 0; i < c.k.size(); ++i) {
      if (i % 40 == 7) c.k[i] += 5;
    }
  }
  std::vector<std::uint8_t> random_mask() {
    std::mt19937 random(2);
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(c.m * c.n));
    for (auto& x : mask) x = random() % 3 != 0;
    std::fill(mask.begin() + 5 * c.n, mask.begin() + 6 * c.n, std::uint8_t{0});  // row 5 sees nothing
    return mask;
  }
  void check_here() { check(c, o, GetParam(), exact ? 1e-6 : 0.03, exact ? 1e-6 : kLseError); }
};

TEST_P(Semantics, Plain) { check_here(); }

TEST_P(Semantics, Causal) {
  for (Causal causal : {Causal::bottom_right, Causal::top_left}) {
    o.causal = causal;
    check_here();
  }
}

TEST_P(Semantics, CausalWithMoreQueriesThanKeys) {
  Case tall(60, 23, 32, 8, 3);
  for (Causal causal : {Causal::bottom_right, Causal::top_left}) {
    o.causal = causal;
    check(tall, o, GetParam(), exact ? 1e-6 : 0.03, exact ? 1e-6 : kLseError);
  }
}

TEST_P(Semantics, Windows) {
  for (auto [left, right] : {std::array<std::int64_t, 2>{20, -1}, {-1, 3}, {140, 0}, {0, 0}, {1LL << 40, 1LL << 40}}) {
    for (Causal causal : {Causal::none, Causal::bottom_right, Causal::top_left}) {
      o.causal = causal;
      o.left = left;
      o.right = right;
      check_here();
    }
  }
}

TEST_P(Semantics, BoolMask) {
  o.allowed = random_mask();
  check_here();
  o.causal = Causal::bottom_right;
  check_here();
}

TEST_P(Semantics, FloatMask) {
  std::mt19937 random(4);
  o.added.resize(static_cast<std::size_t>(c.m * c.n));
  for (float& x : o.added) x = random() % 5 == 0 ? -kInfinity : static_cast<float>(random() % 1000) * 0.002f - 1;
  check_here();
}

TEST_P(Semantics, Alibi) {
  o.slopes = {0.5f, 0.1f, 0.02f, 0.0f};
  check_here();
  o.causal = Causal::top_left;
  check_here();
}

TEST_P(Semantics, SymmetricAlibi) {
  o.slopes = {0.5f, 0.1f, -0.02f, 0.0f};
  o.alibi = Alibi::symmetric;
  check_here();
  o.left = 20, o.right = 9;
  check_here();
  o.causal = Causal::top_left;
  check_here();
}

TEST_P(Semantics, Softcap) {
  o.softcap = 3;
  check_here();
  o.sinks = {-1.0f, 0.0f, 2.0f, 30.0f};
  check_here();
}

TEST_P(Semantics, Sinks) {
  o.sinks = {-kInfinity, 0.0f, 6.0f, 9.0f};
  check_here();
  o.allowed = random_mask();  // a row that sees nothing: O = 0, LSE = the sink
  check_here();
}

TEST_P(Semantics, KvLens) {
  o.kv_lens = {301, 17};
  o.causal = Causal::bottom_right;
  check_here();
  o.kv_lens = {0, 130};
  check_here();
}

TEST_P(Semantics, Everything) {
  o.causal = Causal::bottom_right;
  o.left = 150;
  o.softcap = 5;
  o.allowed = random_mask();
  o.slopes = {0.01f, 0.0f, -0.01f, 0.002f};
  o.sinks = {0.0f, 1.0f, 2.0f, 3.0f};
  o.kv_lens = {290, 200};
  check_here();
}

TEST_P(Semantics, FewRows) {
  for (std::int64_t rows : {1, 2, 15, 16}) {
    Case decode(rows, 200, 64, 0, 21, 1, 4, 2);
    for (std::size_t i = 0; i < decode.k.size(); i += 64) decode.k[i] += 5;
    o.causal = Causal::bottom_right;
    o.sinks = {0.0f, 1.0f, 2.0f, 3.0f};
    check(decode, o, GetParam(), exact ? 1e-6 : 0.03, exact ? 1e-6 : kLseError);
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, Semantics,
                         testing::Values("exact", "int8", "int8_p16", "int8_block", "sage1", "int8_fast,key_block=48",
                                         "int8_fast,smooth_v=off,v_scale=block_channel,hadamard_v=on",
                                         "int8_block,smooth_v=on,smooth_q=on", "int8_fast,v_scale=token",
                                         "int8_fast,channel_gains=on,hadamard_v=off", "int_flash_half,smooth_k=on",
                                         "sage1,key_block=64,accumulator=f16"),
                         [](const auto& tested) {
                           std::string name(tested.param);
                           for (char& letter : name) letter = std::isalnum(letter) != 0 ? letter : '_';
                           return name;
                         });

TEST(Attention, ScaleMayBeZeroOrNegative) {
  Case c(20, 50, 32);
  c.scale_is_set = true;
  for (const char* recipe : {"exact", "int8"}) {
    c.problem.softmax_scale = 0;
    c.run(recipe);
    for (std::int64_t d = 0; d < c.dv; ++d) {  // scale 0: plain means of V
      double mean = 0;
      for (std::int64_t j = 0; j < c.n; ++j) mean += c.v_row(j)[d] / 50.0;
      EXPECT_NEAR(c.out[static_cast<std::size_t>(d)], mean, recipe[0] == 'e' ? 1e-6 : 1e-2);
    }
    EXPECT_NEAR(c.lse[0], std::log(50.0), 1e-6);
  }
  c.problem.softmax_scale = -0.2;
  const std::vector<double> expected = as_double(c.run("exact"));
  for (float& x : c.q) x = -x;
  c.problem.softmax_scale = 0.2;
  EXPECT_LE(relative_l2(c.run("exact"), expected), 1e-6);
}

TEST(Attention, EmptyExtents) {
  Case no_keys(3, 0, 8);
  no_keys.run("int8");
  for (float x : no_keys.out) EXPECT_EQ(x, 0.0f);
  for (float x : no_keys.lse) EXPECT_EQ(x, -kInfinity);
  Case no_queries(0, 5, 8);
  EXPECT_TRUE(no_queries.run("int8").empty());
  Case no_batch(3, 5, 8, 8, 1, 0);
  EXPECT_TRUE(no_batch.run("exact").empty());
}

TEST(Attention, PackedSequencesAreSequences) {
  const std::vector<std::int64_t> q_lengths = {20, 0, 33, 1}, k_lengths = {150, 40, 0, 9};
  Case packed(54, 199, 32, 16, 5, 1, 4, 2);
  std::vector<std::int32_t> q_starts = {0}, k_starts = {0};
  for (std::size_t b = 0; b < 4; ++b) {
    q_starts.push_back(q_starts.back() + static_cast<std::int32_t>(q_lengths[b]));
    k_starts.push_back(k_starts.back() + static_cast<std::int32_t>(k_lengths[b]));
  }
  packed.problem.causal = Causal::bottom_right;
  packed.problem.cu_seqlens_q = {q_starts.data(), DType::s32, 1};
  packed.problem.cu_seqlens_k = {k_starts.data(), DType::s32, 1};
  // [total, H, D] as [H, total, D]: the axes' strides do not matter to the oracle, so the case's own layout serves.
  packed.problem.batch = 4;
  packed.batch = 1;
  struct PackedCase {
    static void run(Case& c, const char* recipe) {
      c.batch = 4;
      c.run(recipe);
      c.batch = 1;
    }
  };
  PackedCase::run(packed, "int8");

  for (std::size_t b = 0; b < 4; ++b) {
    Case alone(q_lengths[b], k_lengths[b], 32, 16, 5, 1, 4, 2);
    alone.problem.causal = Causal::bottom_right;
    for (std::int64_t h = 0; h < 4; ++h) {
      std::copy_n(packed.q_row(q_starts[b], h), q_lengths[b] * 32, alone.q_row(0, h));
      if (h >= 2) continue;
      std::copy_n(packed.k_row(k_starts[b], h), k_lengths[b] * 32, alone.k_row(0, h));
      std::copy_n(packed.v_row(k_starts[b], h), k_lengths[b] * 16, alone.v_row(0, h));
    }
    alone.run("int8");
    for (std::int64_t h = 0; h < 4; ++h) {
      for (std::int64_t i = 0; i < q_lengths[b]; ++i) {
        ASSERT_EQ(packed.lse[static_cast<std::size_t>(h * 54 + q_starts[b] + i)],
                  alone.lse[static_cast<std::size_t>(h * q_lengths[b] + i)]);
        for (std::int64_t d = 0; d < 16; ++d) {
          ASSERT_EQ(packed.out[static_cast<std::size_t>((h * 54 + q_starts[b] + i) * 16 + d)],
                    alone.out[static_cast<std::size_t>((h * q_lengths[b] + i) * 16 + d)]);
        }
      }
    }
  }
}

TEST(Attention, HugeConstantMasksChangeNothing) {
  Case c(20, 300, 64);
  const std::vector<double> expected = as_double(c.run("int8"));
  for (float constant : {-1e4f, -1e9f, std::numeric_limits<float>::lowest()}) {
    const std::vector<float> mask(static_cast<std::size_t>(c.m * c.n), constant);
    c.problem.mask = shared_mask(mask.data(), DType::f32, c.n);
    EXPECT_LE(relative_l2(c.run("int8"), expected), 1e-3) << constant;
  }
}

TEST(Attention, LowestFloatIsANumberBesideOthers) {
  Case c(3, 40, 16);
  std::vector<float> mask(static_cast<std::size_t>(c.m * c.n), std::numeric_limits<float>::lowest());
  for (std::int64_t i = 0; i < c.m; ++i) mask[static_cast<std::size_t>(i * c.n + 4)] = 0;
  c.problem.mask = shared_mask(mask.data(), DType::f32, c.n);
  c.run("exact");
  for (std::int64_t d = 0; d < c.dv; ++d) EXPECT_EQ(c.out[static_cast<std::size_t>(d)], c.v_row(4)[d]);
}

TEST(Attention, OutputTypes) {
  Case c(2, 3, 4);
  for (std::int64_t j = 0; j < 3; ++j) std::fill_n(c.v_row(j), 4, 1e6f);
  c.run("exact");
  std::vector<std::uint16_t> half(8);
  c.problem.out.data = half.data();
  c.problem.out.dtype = DType::f16;
  attention(c.problem);
  for (std::uint16_t x : half) EXPECT_EQ(x, 0x7bff);  // 65504: finite inputs give finite outputs
  c.problem.out.dtype = DType::bf16;
  attention(c.problem);
  for (std::uint16_t x : half) EXPECT_EQ(x, 0x4974);  // 1e6 to eight bits
}

TEST(Attention, Supports) {
  Problem problem;
  EXPECT_TRUE(supports(problem).ok());
  problem.recipe = *parse_recipe("fp8_e4m3,accumulator=sm90");
  EXPECT_TRUE(supports(problem).ok());
  problem.recipe = *parse_recipe("sage2pp,two_level=off");
  EXPECT_EQ(supports(problem).code(), StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace octavo::reference
