// What evict() leaves: the codes of the other tokens, and attention as over a cache that never had the evicted ones.
#include <array>

#include "cases.hpp"

namespace octavo::test {
namespace {

constexpr DType kFormats[] = {DType::f32, DType::f16, DType::bf16, DType::e4m3, DType::s8, DType::s4};

// Bytes of the rows and of the scales of a sequence, by KV head and token.
std::vector<std::vector<std::byte>> rows_of(const KVCache& cache, std::int64_t sequence, bool is_k) {
  const KVCacheOptions& o = cache.options();
  const std::int64_t n = cache.length(sequence), dim = is_k ? o.head_dim : o.value_head_dim;
  const auto row_bytes = static_cast<std::size_t>(dim * bits_of(o.format) / 8);
  const bool has_scales = o.format == DType::s8 || o.format == DType::s4 || o.format == DType::e4m3;
  std::vector<std::byte> codes(static_cast<std::size_t>(o.kv_heads * n) * row_bytes);
  std::vector<float> scales(static_cast<std::size_t>(o.kv_heads * n));
  const TensorView c(codes.data(), o.format, {o.kv_heads, n, dim}), s(scales.data(), DType::f32, {o.kv_heads, n});
  const Status status = is_k ? cache.read_k(sequence, c, has_scales ? s : TensorView())
                             : cache.read_v(sequence, c, has_scales ? s : TensorView());
  EXPECT_TRUE(status.ok()) << status.message();
  std::vector<std::vector<std::byte>> rows;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const auto* from = codes.data() + i * row_bytes;
    rows.emplace_back(from, from + row_bytes);
    if (!has_scales) continue;
    const auto* scale = reinterpret_cast<const std::byte*>(&scales[i]);
    rows.back().insert(rows.back().end(), scale, scale + 4);
  }
  return rows;
}

// `rows` without those of evicted tokens.
std::vector<std::vector<std::byte>> without(const std::vector<std::vector<std::byte>>& rows, std::int64_t heads,
                                            std::int64_t keep_first, std::int64_t keep_last) {
  std::vector<std::vector<std::byte>> left;
  const auto n = static_cast<std::int64_t>(rows.size()) / heads;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t t = 0; t < n; ++t)
      if (t < keep_first || t >= n - keep_last) left.push_back(rows[static_cast<std::size_t>(h * n + t)]);
  return left;
}

TEST(KVCacheEvict, OtherRowsStayAsTheyAre) {
  const Rows k(1, 300, 2, 24, 1, DType::f16, 3), v(1, 300, 2, 40, 2, DType::f16);
  for (const DType format : kFormats) {
    for (const std::int64_t page_size : {0, 16, 48}) {
      for (const auto& [first, last] : {std::pair<std::int64_t, std::int64_t>{4, 100},
                                        {0, 70},
                                        {16, 236},
                                        {48, 60},
                                        {5, 247},
                                        {0, 252},
                                        {32, 12},
                                        {7, 1},
                                        {299, 0},
                                        {100, 0},
                                        {200, 90}}) {
        SCOPED_TRACE(::testing::Message()
                     << to_string(format) << " page " << page_size << " keeps " << first << " and " << last);
        KVCache cache = make_cache({.batch = 2,
                                    .kv_heads = 2,
                                    .head_dim = 24,
                                    .value_head_dim = 40,
                                    .capacity = 310,
                                    .format = format,
                                    .page_size = page_size});
        const std::int64_t zero[] = {0};
        ASSERT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, zero).ok());
        ASSERT_TRUE(cache.fork(0, 1).ok());
        const auto all_k = rows_of(cache, 0, true), all_v = rows_of(cache, 0, false);
        ASSERT_TRUE(cache.evict(0, first, last).ok());
        ASSERT_EQ(cache.length(0), first + last);
        EXPECT_EQ(rows_of(cache, 0, true), without(all_k, 2, first, last));
        EXPECT_EQ(rows_of(cache, 0, false), without(all_v, 2, first, last));
        // The fork, which shared the pages, is as it was.
        EXPECT_EQ(rows_of(cache, 1, true), all_k);
        EXPECT_EQ(rows_of(cache, 1, false), all_v);
      }
    }
  }
}

// K's mean is 0 (a short first append), so a cache of the remaining rows has the same codes, and with 64 or more last
// tokens and a first one the same kept rows.
TEST(KVCacheEvict, AttentionIsThatOfACacheWithoutTheTokens) {
  const Rows k(1, 400, 2, 32, 1, DType::f16, 3), v(1, 400, 2, 16, 2, DType::f16), q(1, 7, 6, 32, 3, DType::f16);
  for (const DType format : kFormats) {
    for (const std::int64_t page_size : {0, 16, 64}) {
      for (const auto& [first, last] : {std::pair<std::int64_t, std::int64_t>{4, 100},
                                        {1, 64},
                                        {16, 272},
                                        {64, 208},
                                        {5, 300},
                                        {0, 70},
                                        {0, 364},
                                        {40, 3}}) {
        const bool same_kept = first > 0 && last >= 64;
        SCOPED_TRACE(::testing::Message()
                     << to_string(format) << " page " << page_size << " keeps " << first << " and " << last);
        KVCacheOptions options{.batch = 1,
                               .kv_heads = 2,
                               .head_dim = 32,
                               .value_head_dim = 16,
                               .capacity = 500,
                               .format = format,
                               .kept_keys = same_kept,
                               .page_size = page_size};
        KVCache cache = make_cache(options), other = make_cache(options);
        const auto append = [&](KVCache& to, std::int64_t from, std::int64_t rows) {
          for (std::int64_t at = from; at < from + rows; at += 50) {
            const std::int64_t count = std::min<std::int64_t>(50, from + rows - at);
            ASSERT_TRUE(to.append(k.part(at, count), v.part(at, count)).ok());
          }
        };
        append(cache, 0, 380);
        ASSERT_TRUE(cache.evict(0, first, last).ok());
        append(other, 0, first);
        append(other, 380 - last, last);
        ASSERT_EQ(cache.length(0), other.length(0));
        EXPECT_EQ(attend(cache, q.view()), attend(other, q.view()));
        append(cache, 380, 20);
        append(other, 380, 20);
        EXPECT_EQ(attend(cache, q.view()), attend(other, q.view()));
        CacheAttentionParams window;
        window.window_left = 30;
        EXPECT_EQ(attend(cache, q.view(), window), attend(other, q.view(), window));
      }
    }
  }
}

// The first of the remaining tokens becomes a kept key: from its 16-bit row, or from what its codes stand for.
TEST(KVCacheEvict, ANewFirstTokenIsKept) {
  const Rows k(1, 200, 1, 32, 1, DType::f32, 3), v(1, 200, 1, 32, 2), q(1, 1, 2, 32, 3);
  for (const DType format : {DType::s8, DType::s4}) {
    for (const std::int64_t last : {30, 64, 65, 150}) {
      SCOPED_TRACE(::testing::Message() << to_string(format) << " keeps " << last);
      KVCache cache = make_cache({.batch = 1, .kv_heads = 1, .head_dim = 32, .capacity = 200, .format = format});
      ASSERT_TRUE(cache.append(k.view(), v.view()).ok());
      ASSERT_TRUE(cache.evict(0, 0, last).ok());
      const Output expected = attend(cache, q.view(), {}, on("reference"));
      for (const std::string& name : implementations_here())
        EXPECT_LE(relative_l2(attend(cache, q.view(), {}, on(name)).o, expected.o), 2e-5) << name;
      // Without kept keys only what their precision changes.
      KVCache plain = make_cache(
          {.batch = 1, .kv_heads = 1, .head_dim = 32, .capacity = 200, .format = format, .kept_keys = false});
      ASSERT_TRUE(plain.append(k.view(), v.view()).ok());
      ASSERT_TRUE(plain.evict(0, 0, last).ok());
      EXPECT_LE(relative_l2(attend(plain, q.view()).o, expected.o), format == DType::s8 ? 0.03 : 0.5);
    }
  }
}

TEST(KVCacheEvict, PagesAreFreed) {
  const Rows k(1, 160, 1, 16, 1), v(1, 160, 1, 16, 2);
  KVCache cache = make_cache({.batch = 2, .kv_heads = 1, .head_dim = 16, .capacity = 320, .page_size = 32, .pages = 6});
  const std::int64_t zero[] = {0};
  ASSERT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, zero).ok());
  EXPECT_EQ(cache.free_pages(), 1);
  ASSERT_TRUE(cache.evict(0, 4, 100).ok());  // 104 tokens: 4 pages
  EXPECT_EQ(cache.free_pages(), 2);
  ASSERT_TRUE(cache.evict(0, 32, 40).ok());  // by whole pages: 72 tokens
  EXPECT_EQ(cache.free_pages(), 3);
  ASSERT_TRUE(cache.evict(0, 100, 0).ok());  // it has no more
  EXPECT_EQ(cache.length(0), 72);
  ASSERT_TRUE(cache.evict(0, 0, 0).ok());
  EXPECT_EQ(cache.length(0), 0);
  EXPECT_EQ(cache.free_pages(), 6);
}

TEST(KVCacheEvict, RefusedCallsChangeNothing) {
  const Rows k(1, 90, 1, 16, 1), v(1, 90, 1, 16, 2), q(1, 1, 1, 16, 3);
  KVCache cache = make_cache({.batch = 2, .kv_heads = 1, .head_dim = 16, .capacity = 90, .page_size = 32, .pages = 3});
  const std::int64_t zero[] = {0};
  ASSERT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, zero).ok());
  ASSERT_TRUE(cache.fork(0, 1).ok());
  const Output before = attend(cache, q.view(), {}, {}, zero);
  const Status status = cache.evict(0, 4, 20);  // would write a page that the fork has
  EXPECT_EQ(to_string(status.code()), "resource_exhausted");
  EXPECT_NE(status.message().find("needs 1 pages"), std::string::npos) << status.message();
  EXPECT_EQ(cache.length(0), 90);
  EXPECT_EQ(attend(cache, q.view(), {}, {}, zero), before);
  ASSERT_TRUE(cache.evict(0, 0, 26).ok());  // the last page as it is
  EXPECT_EQ(cache.length(0), 26);
  for (const auto& [sequence, first, last] : {std::array<std::int64_t, 3>{2, 1, 1}, {0, -1, 1}, {0, 1, -1}}) {
    const Status refused = cache.evict(sequence, first, last);
    EXPECT_EQ(to_string(refused.code()), "invalid_argument");
    EXPECT_NE(refused.message().find(sequence == 2 ? "sequence 2" : "at least 0"), std::string::npos);
  }
  EXPECT_TRUE(cache.evict(0, INT64_MAX, INT64_MAX).ok());
  EXPECT_EQ(cache.length(0), 26);
}

}  // namespace
}  // namespace octavo::test
