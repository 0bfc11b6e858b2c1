// Masks, ALiBi, tree masks and packed queries over a cache: every implementation against the oracle, and the oracle
// against what the masks mean.
#include "masked_calls.hpp"
#include "runners.hpp"

namespace octavo::test {
namespace {

KVCache filled(const MaskedCall& call, const std::string& name = {}) {
  KVCache cache = make_cache(call.c.options);
  const Status status = cache.append(call.k.view(), call.v.view(), Layout::nhd, {}, call.c.lengths, on(name));
  EXPECT_TRUE(status.ok()) << status.message();
  return cache;
}

TEST(KVCacheMasks, EveryImplementationAgreesWithTheOracle) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 300; ++trial) {
    const MaskedCase drawn = draw_masked_case(random);
    const MaskedCall call(drawn, random, static_cast<std::uint32_t>(trial * 8));
    SCOPED_TRACE(call.description);
    const Output expected = attend_query(filled(call, "reference"), call.query, call.params, on("reference"));
    for (const std::string& name : implementations_here()) {
      SCOPED_TRACE(name);
      const Output got = attend_query(filled(call, name), call.query, call.params, on(name));
      // As in attend_test, and half a digit of f32 terms of 1443 in base 2: 4e-5 of a weight. In s4 that moves one in
      // fifty weights to the next code of 255, sqrt(1 / 50) / 255 of a row of many keys.
      ASSERT_LE(relative_l2(got.o, expected.o), drawn.options.format == DType::s4 ? 6e-4 : 1e-4);
      for (std::size_t i = 0; i < got.lse.size(); ++i)
        ASSERT_TRUE(got.lse[i] == expected.lse[i] ||
                    std::fabs(got.lse[i] - expected.lse[i]) <= 2e-4f + 2e-6f * std::fabs(expected.lse[i]))
            << i << ": " << got.lse[i] << " and " << expected.lse[i];
    }
  }
}

TEST(KVCacheMasks, PackedQueriesHaveTheBitsOfCallsOfTheirOwn) {
  // Prefill chunks beside single rows, for some of the sequences, in an order of their own.
  const std::vector<std::int64_t> lengths{700, 40, 1500, 0, 130}, named{2, 0, 4, 1}, begins{0, 150, 151, 151, 160};
  const Rows k(5, 1500, 2, 64, 1, DType::f16, 3), v(5, 1500, 2, 64, 2, DType::f16), q(1, 160, 6, 64, 3, DType::f16);
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16, DType::f32}) {
    SCOPED_TRACE(to_string(format));
    KVCacheOptions options{.batch = 5, .kv_heads = 2, .head_dim = 64, .capacity = 1600};
    options.format = format;
    KVCache cache = make_cache(options);
    ASSERT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, {}, lengths).ok());
    CacheQuery query;
    query.q = {q.bytes.data(), DType::f16, {160, 6, 64}};
    query.cu_seqlens_q = integers(begins);
    query.sequences = named;
    const Output packed = attend_query(cache, query);
    for (const int threads : {1, 3, 16}) {
      ThreadsRunner runner(threads);
      Execution execution;
      execution.runner = &runner;
      EXPECT_EQ(attend_query(cache, query, {}, execution), packed) << threads << " threads";
    }
    for (std::size_t i = 0; i < named.size(); ++i) {
      const std::int64_t rows = begins[i + 1] - begins[i], one[] = {named[i]};
      if (rows == 0) continue;
      const Output alone = attend(cache, q.part(begins[i], rows), {}, {}, one);
      EXPECT_EQ(std::memcmp(alone.o.data(), packed.o.data() + begins[i] * 6 * 64, alone.o.size() * 4), 0) << i;
      for (std::int64_t h = 0; h < 6; ++h)
        EXPECT_EQ(std::memcmp(alone.lse.data() + h * rows, packed.lse.data() + h * 160 + begins[i],
                              static_cast<std::size_t>(rows) * 4),
                  0);
    }
  }
}

// Where a draft lies in the cache decides which block its weight is coded in: up to one code of 15 bits, s4 of 8.
double path_tolerance(DType format) {
  return format == DType::s8 ? 1.0 / 32767 : format == DType::s4 ? 1.0 / 255 : 2e-6;
}

TEST(KVCacheMasks, ATreeIsItsPaths) {
  // Each draft against a cache that holds only the draft's own path behind the prompt.
  constexpr std::int64_t kPrompt = 200, kDim = 64, kHeads = 4;
  std::mt19937 random(5);
  for (const std::int64_t drafts : {2, 5, 16, 64}) {
    const Bytes tree = draw_tree(random, drafts);
    const Rows k(1, kPrompt + drafts, 2, kDim, 1, DType::f32, 3), v(1, kPrompt + drafts, 2, kDim, 2);
    const Rows q(1, drafts, kHeads, kDim, 3), s(1, 1, 1, kHeads, 4);
    for (const DType format : {DType::f32, DType::e4m3, DType::s8, DType::s4}) {
      SCOPED_TRACE(::testing::Message() << to_string(format) << " " << drafts);
      KVCacheOptions options{.batch = 1, .kv_heads = 2, .head_dim = kDim, .capacity = kPrompt + drafts};
      options.format = format;
      options.kept_keys = false;
      KVCache cache = make_cache(options);
      ASSERT_TRUE(cache.append(k.part(0, kPrompt), v.part(0, kPrompt)).ok());
      KVCache path = make_cache(options);
      ASSERT_TRUE(path.append(k.part(0, kPrompt), v.part(0, kPrompt)).ok());
      ASSERT_TRUE(cache.append(k.part(kPrompt, drafts), v.part(kPrompt, drafts)).ok());
      CacheQuery query;
      query.q = q.view();
      query.tree_mask = booleans(tree, {drafts, drafts});
      query.sinks = {s.bytes.data(), DType::f32, {kHeads}};
      CacheAttentionParams params;
      params.softcap = 30;
      const Output got = attend_query(cache, query, params);
      for (std::int64_t i = 0; i < drafts; ++i) {
        ASSERT_TRUE(path.trim(0, kPrompt).ok());
        for (std::int64_t c = 0; c <= i; ++c) {
          if (tree[static_cast<std::size_t>(i * drafts + c)] == 0) continue;
          ASSERT_TRUE(path.append(k.part(kPrompt + c, 1), v.part(kPrompt + c, 1)).ok());
        }
        const Output expected = attend(path, q.part(i, 1), params, {}, {}, query.sinks);
        const auto from = got.o.begin() + i * kHeads * kDim;
        ASSERT_LE(relative_l2({from, from + kHeads * kDim}, expected.o), path_tolerance(format)) << "draft " << i;
        for (std::int64_t h = 0; h < kHeads; ++h)
          ASSERT_NEAR(got.lse[static_cast<std::size_t>(h * drafts + i)], expected.lse[static_cast<std::size_t>(h)],
                      1e-5);
      }
    }
  }
}

TEST(KVCacheMasks, KeysThatDoNotExistReachNothing) {
  Rows k(1, 300, 1, 32, 1), v(1, 300, 1, 32, 2);
  const Rows q(1, 20, 2, 32, 3);
  Bytes exist(300, 1);
  for (std::size_t n = 90; n < 150; ++n) exist[n] = 0;
  exist[0] = exist[270] = 0;
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16, DType::f32}) {
    for (const std::string& name : implementations_here()) {
      SCOPED_TRACE(std::string(to_string(format)) + " " + name);
      KVCacheOptions options{.batch = 1, .kv_heads = 1, .head_dim = 32, .capacity = 300};
      options.format = format;
      CacheQuery query;
      query.q = q.view();
      query.key_mask = booleans(exist, {1, 300});
      Output outputs[2];
      for (const bool spoilt : {false, true}) {
        Rows keys = k, values = v;
        for (std::int64_t n = 0; spoilt && n < 300; ++n) {
          if (exist[static_cast<std::size_t>(n)] != 0 || n < 64) continue;  // not in the mean
          keys.at(0, n, 0, 5) = NAN;
          values.at(0, n, 0, 7) = n % 2 == 0 ? INFINITY : NAN;
        }
        keys.store(), values.store();
        KVCache cache = make_cache(options);
        ASSERT_TRUE(cache.append(keys.part(0, 64), values.part(0, 64), Layout::nhd, {}, {}, on(name)).ok());
        ASSERT_TRUE(cache.append(keys.part(64, 236), values.part(64, 236), Layout::nhd, {}, {}, on(name)).ok());
        outputs[spoilt ? 1 : 0] = attend_query(cache, query, {}, on(name));
      }
      for (const float x : outputs[1].o) ASSERT_TRUE(std::isfinite(x));
      EXPECT_EQ(outputs[0], outputs[1]);
    }
  }
}

TEST(KVCacheMasks, AConstantMaskChangesOnlyTheLse) {
  const Rows k(1, 1200, 1, 64, 1), v(1, 1200, 1, 64, 2), q(1, 3, 2, 64, 3);
  const std::vector<float> low(1200, -1e9f);
  for (const DType format : {DType::s8, DType::f32}) {
    KVCacheOptions options{.batch = 1, .kv_heads = 1, .head_dim = 64, .capacity = 1200};
    options.format = format;
    KVCache cache = make_cache(options);
    ASSERT_TRUE(cache.append(k.view(), v.view()).ok());
    CacheQuery query;
    query.q = q.view();
    const Output plain = attend_query(cache, query);
    query.mask = {low.data(), DType::f32, {1200}};
    const Output masked = attend_query(cache, query);
    EXPECT_EQ(masked.o, plain.o);
    for (const float lse : masked.lse) EXPECT_EQ(lse, -1e9f);
  }
}

TEST(KVCacheMasks, WrongMasksAreRefused) {
  const Rows k(2, 100, 1, 32, 1), v(2, 100, 1, 32, 2), q(2, 3, 2, 32, 3);
  KVCache cache = make_cache({.batch = 2, .kv_heads = 1, .head_dim = 32, .capacity = 100});
  const std::int64_t counts[] = {100, 60};
  ASSERT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, {}, counts).ok());
  const Bytes bytes(4000, 1);
  std::vector<float> out(400), floats(400);
  const auto message = [&](auto change, const CacheAttentionParams& params = {}) {
    CacheQuery query;
    query.q = q.view();
    query.out = {out.data(), DType::f32, {2, 3, 2, 32}};
    change(query);
    std::fill(out.begin(), out.end(), -77.0f);
    const Status status = cache.attend(query, params);
    for (const float x : out) EXPECT_EQ(x, -77.0f);
    return std::string(to_string(status.code())) + ": " + status.message();
  };
  EXPECT_EQ(message([&](CacheQuery& x) { x.mask = booleans(bytes, {2, 1, 3, 60}); }),
            "invalid_argument: mask has shape [2, 1, 3, 60]; it must broadcast from the right to [2, 2, 3, 100], "
            "[batch, heads, longest of q, longest of the cache]");
  EXPECT_EQ(message([&](CacheQuery& x) { x.mask = {bytes.data(), DType::u8, {3, 100}}; }),
            "invalid_argument: mask is u8; allowed are bool (true = may attend) and the float dtypes f32, f16, bf16 "
            "and f64 (added)");
  EXPECT_EQ(message([&](CacheQuery& x) { x.key_mask = booleans(bytes, {2, 60}); }),
            "invalid_argument: key_mask has shape [2, 60]; it must be [2, 100] (batch, tokens of the longest of the "
            "call's sequences)");
  EXPECT_EQ(message([&](CacheQuery& x) { x.key_mask = {floats.data(), DType::f32, {2, 100}}; }),
            "invalid_argument: key_mask is f32; it must be bool (true = the key exists)");
  EXPECT_EQ(message([&](CacheQuery& x) { x.tree_mask = booleans(bytes, {3, 100}); }),
            "invalid_argument: tree_mask has shape [3, 100]; allowed are [3, 3] and [2, 3, 3] (query rows, the last "
            "keys)");
  EXPECT_EQ(message([&](CacheQuery& x) { x.tree_mask = {floats.data(), DType::f32, {3, 3}}; }),
            "invalid_argument: tree_mask is f32; it must be bool (true = may attend)");
  CacheAttentionParams symmetric;
  symmetric.alibi = Alibi::symmetric;
  EXPECT_EQ(message([](CacheQuery&) {}, symmetric),
            "invalid_argument: alibi is symmetric and alibi_slopes are missing");
  EXPECT_EQ(message([&](CacheQuery& x) { x.alibi_slopes = {floats.data(), DType::f32, {3}}; }),
            "invalid_argument: alibi_slopes has shape [3]; allowed are [2] and [2, 2] (heads of q)");
  const auto packed = [&](std::vector<std::int64_t> begins, CacheQuery& x) {
    static std::vector<std::int64_t> kept;
    kept = std::move(begins);
    x.q = {q.bytes.data(), DType::f32, {6, 2, 32}};
    x.out = {out.data(), DType::f32, {6, 2, 32}};
    x.cu_seqlens_q = integers(kept);
  };
  EXPECT_EQ(message([&](CacheQuery& x) { packed({0, 4, 5}, x); }),
            "invalid_argument: cu_seqlens_q ends with 5; q has 6 rows");
  EXPECT_EQ(message([&](CacheQuery& x) { packed({0, 7, 6}, x); }),
            "invalid_argument: cu_seqlens_q decreases from 7 to 6 at entry 2; it must never decrease");
  EXPECT_EQ(message([&](CacheQuery& x) { packed({0, 2, 4, 6}, x); }),
            "invalid_argument: cu_seqlens_q has batch size 3 and the cache 2 sequences; name the sequences, or give "
            "all of them");
  EXPECT_EQ(message([&](CacheQuery& x) {
              packed({0, 2, 6}, x);
              x.q = q.view();
            }).substr(0, 40),
            "invalid_argument: q has shape [2, 3, 2, ");
}

}  // namespace
}  // namespace octavo::test
