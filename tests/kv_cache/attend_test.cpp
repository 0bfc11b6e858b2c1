// Attention over a cache: every implementation against the oracle, the oracle against plain double arithmetic, and the
// invariances that docs/kv_cache.md promises.
#include <random>

#include "cases.hpp"
#include "runners.hpp"

namespace octavo::test {
namespace {

struct Case {
  KVCacheOptions options;
  std::int64_t group = 1, q_rows = 1, keys = 0, first = 0;  // `first` tokens are appended at once
  DType dtype = DType::f32;
  CacheAttentionParams params;
  bool sinks = false;

  std::string describe() const {
    return ::testing::PrintToString(std::string(to_string(options.format))) + " batch " +
           std::to_string(options.batch) + " heads " + std::to_string(options.kv_heads) + " x " +
           std::to_string(group) + " D " + std::to_string(options.head_dim) + "/" +
           std::to_string(options.value_head_dim) + " M " + std::to_string(q_rows) + " N " + std::to_string(keys) +
           " first " + std::to_string(first) + " page " + std::to_string(options.page_size) + " kept " +
           std::to_string(options.kept_keys) + " causal " + std::to_string(params.causal) + " window " +
           std::to_string(params.window_left) + "," + std::to_string(params.window_right) + " softcap " +
           std::to_string(params.softcap) + " sinks " + std::to_string(sinks) + " dtype " +
           std::string(to_string(dtype));
  }
};

template <class T>
T any(std::mt19937& random, std::initializer_list<T> values) {
  return *(values.begin() + static_cast<std::ptrdiff_t>(random() % values.size()));
}

Case draw(std::mt19937& random) {
  Case c;
  c.options.batch = any<std::int64_t>(random, {1, 1, 2, 3});
  c.options.kv_heads = any<std::int64_t>(random, {1, 2, 3});
  c.options.head_dim = any<std::int64_t>(random, {1, 7, 8, 16, 40, 64, 80, 96, 128, 256});
  c.options.value_head_dim =
      random() % 3 == 0 ? any<std::int64_t>(random, {1, 16, 24, 48, 64, 128}) : c.options.head_dim;
  c.options.format = any<DType>(
      random, {DType::s8, DType::s8, DType::s4, DType::s4, DType::e4m3, DType::f32, DType::f16, DType::bf16});
  c.options.kept_keys = random() % 3 != 0;
  c.group = any<std::int64_t>(random, {1, 2, 3, 4, 5, 8});
  c.q_rows = any<std::int64_t>(random, {1, 1, 1, 2, 3, 5, 8, 20, 40});
  c.keys = any<std::int64_t>(random, {0, 1, 5, 15, 16, 17, 31, 64, 65, 100, 127, 128, 129, 200, 300, 1024, 1025, 2100});
  if (c.keys > 1000) c.q_rows = 1, c.options.batch = 1, c.options.kv_heads = 1;
  c.first = random() % 2 == 0 ? c.keys : c.keys / 3;
  c.options.capacity = c.keys + 1 + static_cast<std::int64_t>(random() % 40);
  if (random() % 2 == 0) c.options.page_size = any<std::int64_t>(random, {16, 32, 48, 128, 256});
  c.dtype = any<DType>(random, {DType::f32, DType::f16, DType::bf16});
  c.params.causal = random() % 4 != 0;
  if (random() % 4 == 0) c.params.window_left = any<std::int64_t>(random, {0, 3, 20, 100, 500});
  if (random() % 8 == 0) c.params.window_right = any<std::int64_t>(random, {0, 2, 30});
  if (random() % 4 == 0) c.params.softcap = any<double>(random, {0.5, 20.0});
  if (random() % 6 == 0) c.params.softmax_scale = any<double>(random, {0.0, -0.1, 0.3});
  c.sinks = random() % 4 == 0;
  return c;
}

KVCache filled(const Case& c, const Rows& k, const Rows& v, const Execution& execution = {}) {
  KVCache cache = make_cache(c.options);
  for (const auto& [first, count] : {std::pair{std::int64_t{0}, c.first}, std::pair{c.first, c.keys - c.first}}) {
    const Status status = cache.append(k.part(first, count), v.part(first, count), Layout::nhd, {}, {}, execution);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return cache;
}

TEST(KVCacheAttend, EveryImplementationAgreesWithTheOracle) {
  const std::vector<std::string> names = implementations_here();
  int other_codes = 0;
  std::mt19937 random(1);
  for (int trial = 0; trial < 400; ++trial) {
    const Case c = draw(random);
    SCOPED_TRACE(c.describe());
    const auto seed = static_cast<std::uint32_t>(trial * 4 + 1);
    const Rows k(c.options.batch, c.keys, c.options.kv_heads, c.options.head_dim, seed, c.dtype, 2);
    const Rows v(c.options.batch, c.keys, c.options.kv_heads, c.options.value_head_dim, seed + 1, c.dtype);
    const Rows q(c.options.batch, c.q_rows, c.options.kv_heads * c.group, c.options.head_dim, seed + 2, c.dtype);
    const Rows s(1, 1, 1, c.options.kv_heads * c.group, seed + 3);
    const TensorView sinks =
        c.sinks ? TensorView(s.bytes.data(), DType::f32, {c.options.kv_heads * c.group}) : TensorView();
    const KVCache cache = filled(c, k, v, on("reference"));
    const Output expected = attend(cache, q.view(), c.params, on("reference"), {}, sinks);
    for (const std::string& name : names) {
      SCOPED_TRACE(name);
      const KVCache own = filled(c, k, v, on(name));
      const Output got = attend(own, q.view(), c.params, on(name), {}, sinks);
      // f32 sums of scores of at most some tens: exp() of what they lose.
      const double error = relative_l2(got.o, expected.o);
      // s4: a weight may round to the next code of 255, which is 1 / (255 sqrt(n)) of a row of n keys; few do.
      ASSERT_LE(error, c.options.format == DType::s4 ? 2e-3 : 2e-5);
      if (error > 2e-5) ++other_codes;
      ASSERT_LE(worst_difference(got.lse, expected.lse), 2e-4);
    }
  }
  EXPECT_LE(other_codes, 10 * static_cast<int>(names.size()));  // of about 100 trials of s4 each
}

// softmax(s) V in double over given floats, for one row of one head.
std::vector<double> plain_attention(const std::vector<double>& q, const std::vector<std::vector<double>>& k,
                                    const std::vector<std::vector<double>>& v, double scale) {
  double most = -INFINITY, sum = 0;
  std::vector<double> s, o(v[0].size(), 0.0);
  for (const std::vector<double>& row : k) {
    double product = 0;
    for (std::size_t d = 0; d < q.size(); ++d) product += q[d] * row[d];
    s.push_back(scale * product);
    most = std::max(most, s.back());
  }
  for (std::size_t j = 0; j < k.size(); ++j) {
    const double w = std::exp(s[j] - most);
    sum += w;
    for (std::size_t d = 0; d < o.size(); ++d) o[d] += w * v[j][d];
  }
  for (double& value : o) value /= sum;
  return o;
}

std::vector<double> row_of(Rows& rows, std::int64_t b, std::int64_t n, std::int64_t h) {
  std::vector<double> row;
  for (std::int64_t d = 0; d < rows.dim; ++d) row.push_back(rows.at(b, n, h, d));
  return row;
}

// The oracle's own check: the last row of each head against exact attention on the rows that were appended.
TEST(KVCacheAttend, TheOracleIsNearExactAttention) {
  constexpr std::int64_t kKeys = 700, kDim = 64, kHeads = 2, kGroup = 3;
  Rows k(1, kKeys, kHeads, kDim, 5, DType::f32, 6), v(1, kKeys, kHeads, kDim, 6), q(1, 2, kHeads * kGroup, kDim, 7);
  for (const DType format : {DType::f32, DType::f16, DType::e4m3, DType::s8, DType::s4}) {
    for (const bool kept : {false, true}) {
      Case c;
      c.options = {.batch = 1, .kv_heads = kHeads, .head_dim = kDim, .value_head_dim = kDim, .capacity = kKeys};
      c.options.format = format;
      c.options.kept_keys = kept;
      c.keys = kKeys;
      c.first = 300;
      const Output got = attend(filled(c, k, v), q.view(), {}, on("reference"));
      std::vector<float> rows, expected;
      for (std::int64_t h = 0; h < kHeads * kGroup; ++h) {
        std::vector<std::vector<double>> keys, values;
        for (std::int64_t n = 0; n < kKeys; ++n) {
          keys.push_back(row_of(k, 0, n, h / kGroup));
          values.push_back(row_of(v, 0, n, h / kGroup));
        }
        for (const double x : plain_attention(row_of(q, 0, 1, h), keys, values, 1 / std::sqrt(double{kDim})))
          expected.push_back(static_cast<float>(x));
        const std::size_t at = static_cast<std::size_t>((kHeads * kGroup + h) * kDim);
        rows.insert(rows.end(), got.o.begin() + static_cast<std::ptrdiff_t>(at),
                    got.o.begin() + static_cast<std::ptrdiff_t>(at + kDim));
      }
      // e4m3: nine channels near 6 err by 2.6 % each, which moves a score by 0.06, and V errs by 2.6 %: 0.065 in all.
      const double bound = format == DType::f32    ? 1e-6
                           : format == DType::f16  ? 1e-3
                           : format == DType::e4m3 ? 8e-2
                           : format == DType::s8   ? 1.1e-2
                                                   : 2e-1;
      EXPECT_LE(relative_l2(rows, expected), bound) << to_string(format) << " kept " << kept;
    }
  }
}

TEST(KVCacheAttend, KeptKeysAreExact) {
  // The first key and the last ones carry all the weight; without kept keys the codes' error shows.
  constexpr std::int64_t kKeys = 400, kDim = 128;
  Rows k(1, kKeys, 1, kDim, 1), v(1, kKeys, 1, kDim, 2), q(1, 1, 1, kDim, 3);
  for (std::int64_t n = 0; n < kKeys; ++n) {
    for (std::int64_t d = 0; d < kDim; ++d)
      k.at(0, n, 0, d) += (n == 0 || n >= kKeys - 10 ? 1.0f : -1.0f) * q.at(0, 0, 0, d);
  }
  k.store();
  double errors[2];
  std::vector<std::vector<double>> keys, values;
  for (std::int64_t n = 0; n < kKeys; ++n) keys.push_back(row_of(k, 0, n, 0)), values.push_back(row_of(v, 0, n, 0));
  std::vector<float> expected;
  for (const double x : plain_attention(row_of(q, 0, 0, 0), keys, values, 1 / std::sqrt(double{kDim})))
    expected.push_back(static_cast<float>(x));
  for (const bool kept : {false, true}) {
    Case c;
    c.options = {.batch = 1, .kv_heads = 1, .head_dim = kDim, .value_head_dim = kDim, .capacity = kKeys};
    c.options.kept_keys = kept;
    c.keys = kKeys;
    c.first = 200;
    errors[kept ? 1 : 0] = relative_l2(attend(filled(c, k, v), q.view()).o, expected);
  }
  EXPECT_GT(errors[0], 3e-3);
  EXPECT_LT(errors[1], 5e-4);
}

TEST(KVCacheAttend, SameBitsForThreadsBatchPagesAndChunks) {
  Case c;
  c.options = {.batch = 3, .kv_heads = 2, .head_dim = 64, .value_head_dim = 64, .capacity = 2600};
  c.group = 3, c.q_rows = 2, c.keys = 2300, c.first = 1000;
  const Rows k(3, c.keys, 2, 64, 1, DType::f16, 3), v(3, c.keys, 2, 64, 2, DType::f16), q(3, 2, 6, 64, 3, DType::f16);
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16}) {
    SCOPED_TRACE(to_string(format));
    c.options.format = format;
    c.options.page_size = 0;
    const KVCache cache = filled(c, k, v);
    const Output expected = attend(cache, q.view());
    for (const int threads : {1, 2, 5, 40}) {
      ThreadsRunner runner(threads);
      Execution execution;
      execution.runner = &runner;
      EXPECT_EQ(attend(cache, q.view(), {}, execution), expected) << threads << " threads";
    }
    c.options.page_size = 80;
    const KVCache paged = filled(c, k, v);
    EXPECT_EQ(attend(paged, q.view()), expected) << "paged";
    // Alone, in chunks, row by row.
    KVCacheOptions alone = c.options;
    alone.batch = 1;
    KVCache one = make_cache(alone);
    for (std::int64_t first = 0; first < c.keys;) {
      const std::int64_t count = first == 0 ? 1000 : std::min<std::int64_t>(c.keys - first, 37);
      ASSERT_TRUE(one.append(k.sequence(1, first, count), v.sequence(1, first, count)).ok());
      first += count;
    }
    const Output of_one = attend(one, q.sequence(1, 0, 2));
    const std::size_t size = of_one.o.size();
    EXPECT_EQ(std::memcmp(of_one.o.data(), expected.o.data() + size, size * 4), 0);
    ASSERT_TRUE(one.trim(0, c.keys - 1).ok());
    const Output before = attend(one, q.sequence(1, 0, 1));
    EXPECT_EQ(std::memcmp(before.o.data(), expected.o.data() + size, before.o.size() * 4), 0) << "row by row";
  }
}

// A prompt's later part in one call after all of it was appended, and in chunks as they were appended:
// docs/kv_cache.md, "What the bits of a row depend on".
TEST(KVCacheAttend, ChunksOfAPrefillGiveTheSameBits) {
  constexpr std::int64_t kKeys = 1400, kFirst = 200, kDim = 64;
  const Rows k(1, kKeys, 1, kDim, 1, DType::f16, 3), v(1, kKeys, 1, kDim, 2, DType::f16), q(1, kKeys, 3, kDim, 3);
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16, DType::f32}) {
    for (const bool kept : {false, true}) {
      KVCacheOptions options{.batch = 1, .kv_heads = 1, .head_dim = kDim, .capacity = kKeys};
      options.format = format;
      options.kept_keys = kept;
      const auto in_chunks = [&](std::int64_t chunk) {
        KVCache cache = make_cache(options);
        std::vector<float> rows;
        EXPECT_TRUE(cache.append(k.part(0, kFirst), v.part(0, kFirst)).ok());
        for (std::int64_t first = kFirst; first < kKeys; first += chunk) {
          const std::int64_t count = std::min(chunk, kKeys - first);
          EXPECT_TRUE(cache.append(k.part(first, count), v.part(first, count)).ok());
          const Output part = attend(cache, q.part(first, count));
          rows.insert(rows.end(), part.o.begin(), part.o.end());
        }
        return rows;
      };
      const std::vector<float> by_33 = in_chunks(33);
      EXPECT_EQ(in_chunks(8), by_33) << to_string(format) << " kept " << kept;
      const bool has_kept = kept && (format == DType::s8 || format == DType::s4);
      for (const std::int64_t chunk : {std::int64_t{300}, kKeys}) {
        const bool same = in_chunks(chunk) == by_33;
        EXPECT_EQ(same, !has_kept) << to_string(format) << " kept " << kept << " chunk " << chunk;
      }
    }
  }
}

TEST(KVCacheAttend, NonfiniteValuesReachOnlyRowsThatSeeThem) {
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f32}) {
    for (const std::string& name : implementations_here()) {
      SCOPED_TRACE(name);
      Rows k(1, 300, 1, 32, 1), v(1, 300, 1, 32, 2), q(1, 40, 2, 32, 3);
      k.at(0, 280, 0, 5) = NAN;  // seen by the rows of tokens 280 to 299
      k.store();
      q.at(0, 3, 1, 0) = INFINITY;
      q.store();
      Case c;
      c.options = {.batch = 1, .kv_heads = 1, .head_dim = 32, .value_head_dim = 32, .capacity = 320};
      c.options.format = format;
      c.keys = 300, c.first = 200;
      const Output got = attend(filled(c, k, v), q.view(), {}, on(name));
      for (std::int64_t m = 0; m < 40; ++m) {
        for (std::int64_t h = 0; h < 2; ++h) {
          const bool nan = m >= 20 || (m == 3 && h == 1);
          const auto at = static_cast<std::size_t>((m * 2 + h) * 32);
          for (std::size_t d = at; d < at + 32; ++d) ASSERT_EQ(std::isnan(got.o[d]), nan) << m << " " << h;
          ASSERT_EQ(std::isnan(got.lse[static_cast<std::size_t>(h * 40 + m)]), nan);
        }
      }
      // V: a token in the middle, of its codes.
      Rows w(1, 300, 1, 32, 2);
      w.at(0, 150, 0, 5) = NAN;
      w.store();
      const Rows k_fine(1, 300, 1, 32, 1), q_fine(1, 1, 2, 32, 3);
      for (const float x : attend(filled(c, k_fine, w), q_fine.view(), {}, on(name)).o) {
        if (format != DType::f32) {  // a float format may keep the other channels
          ASSERT_TRUE(std::isnan(x));
        }
      }
      // One of the last tokens, which codes keep in 16 bits: the LSE as well.
      Rows last(1, 300, 1, 32, 2);
      last.at(0, 299, 0, 5) = INFINITY;
      last.store();
      const Output of_last = attend(filled(c, k_fine, last), q_fine.view(), {}, on(name));
      if (format == DType::s8 || format == DType::s4) {
        for (const float x : of_last.o) ASSERT_TRUE(std::isnan(x));
        for (const float x : of_last.lse) ASSERT_TRUE(std::isnan(x));
      }
      // Nothing of it is left when the token is gone.
      KVCache trimmed = filled(c, k, v);
      ASSERT_TRUE(trimmed.trim(0, 280).ok());
      for (const float x : attend(trimmed, q_fine.view(), {}, on(name)).o) ASSERT_TRUE(std::isfinite(x));
    }
  }
}

}  // namespace
}  // namespace octavo::test
