// What moves the rows of a cache on a device: fork, reorder, evict, save and load. It holds what the CPU's does then,
// as saved bytes, and attention is the oracle's.
#include "cache_twins.hpp"

namespace octavo::test {
namespace {

std::vector<std::byte> saved(const KVCache& cache) {
  std::vector<std::byte> bytes(cache.saved_size());
  const Status status = cache.save(bytes);
  EXPECT_TRUE(status.ok()) << status.message();
  return bytes;
}

// Forks that diverge, a permutation with a sequence twice, all without a call in between; then what the caches hold,
// kept rows and pages included, as saved bytes.
TEST(CudaCacheMovesTest, ForkReorderSaveAndLoad) {
  const Card card;
  const Rows k(4, 120, 2, 40, 1, DType::f16, 3), v(4, 120, 2, 40, 2, DType::f16), q(4, 2, 4, 40, 3);
  CacheQuery query;
  query.q = q.view();
  const std::int64_t first[] = {0}, third[] = {2};
  for (const DType format : kFormats) {
    for (const std::int64_t page_size : {0, 32}) {
      SCOPED_TRACE(std::string(to_string(format)) + " pages of " + std::to_string(page_size));
      KVCacheOptions options = options_of(4, 2, 40, 200);
      options.format = format;
      options.page_size = page_size;
      Twins twins(options);
      twins.append(k.sequence(0, 0, 90), v.sequence(0, 0, 90), first);
      twins.append(k.sequence(2, 0, 70), v.sequence(2, 0, 70), third);
      for (KVCache* cache : {&twins.host, &twins.device}) {
        ASSERT_TRUE(cache->fork(0, 1).ok());
        ASSERT_TRUE(cache->fork(1, 3).ok());
        ASSERT_TRUE(cache->reorder(std::vector<std::int64_t>{2, 0, 2, 3}).ok());
      }
      EXPECT_TRUE(saved(twins.host) == saved(twins.device));
      twins.append(k.part(90, 5), v.part(90, 5));
      expect_oracle(twins, query);
      for (KVCache* cache : {&twins.host, &twins.device}) ASSERT_TRUE(cache->fork(3, 0).ok());
      twins.append(k.part(100, 1), v.part(100, 1));
      twins.expect_same_contents();
      EXPECT_EQ(twins.host.free_pages(), twins.device.free_pages());
      const std::vector<std::byte> bytes = saved(twins.device);
      EXPECT_TRUE(saved(twins.host) == bytes);
      Result<KVCache> loaded = KVCache::load(bytes, kGpu);
      ASSERT_TRUE(loaded.ok()) << loaded.status().message();
      EXPECT_TRUE(loaded->options().device == kGpu);
      EXPECT_TRUE(saved(*loaded) == bytes);
      EXPECT_TRUE(attend_on_device(*loaded, query) == attend_on_device(twins.device, query));
    }
  }
}

// Overlapping moves of whole strips, pages that a fork shares, and pages that are renumbered.
TEST(CudaCacheMovesTest, Evict) {
  const Card card;
  const Rows k(2, 500, 2, 40, 1, DType::f16, 3), v(2, 500, 2, 40, 2, DType::f16), q(2, 2, 4, 40, 3);
  CacheQuery query;
  query.q = q.view();
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16}) {
    for (const std::int64_t page_size : {0, 32, 64, 80}) {
      for (const bool kept : {false, true}) {
        if (kept && !spec::cache_rotates(format)) continue;
        SCOPED_TRACE(std::string(to_string(format)) + " pages of " + std::to_string(page_size));
        KVCacheOptions options = options_of(2, 2, 40, 512);
        options.format = format;
        options.page_size = page_size;
        options.kept_keys = kept;
        Twins twins(options);
        const std::int64_t first[] = {0};
        twins.append(k.sequence(0, 0, 450), v.sequence(0, 0, 450), first);
        for (KVCache* cache : {&twins.host, &twins.device}) {
          ASSERT_TRUE(cache->fork(0, 1).ok());
          ASSERT_TRUE(cache->evict(0, 64, 450 - 64 - 128).ok());  // moves twice as far as the tokens between
          if (!kept) {
            ASSERT_TRUE(cache->evict(1, 16, 450 - 16 - 48).ok());
          }
        }
        EXPECT_TRUE(saved(twins.host) == saved(twins.device));
        EXPECT_EQ(twins.host.free_pages(), twins.device.free_pages());
        twins.append(k.part(450, 20), v.part(450, 20));
        twins.expect_same_contents();
        expect_oracle(twins, query);
      }
    }
  }
}

// Two evictions, the first over more pages than a launch takes, and tokens that move from page to page.
TEST(CudaCacheMovesTest, EvictOverManyPages) {
  const Card card;
  constexpr std::int64_t kTokens = (kPagesOfMove + 40) * 32 - 5;
  const Rows k(1, kTokens, 1, 8, 1, DType::f16), v(1, kTokens, 1, 8, 2, DType::f16);
  KVCacheOptions options = options_of(1, 1, 8, kTokens);
  options.format = DType::s4;
  options.kept_keys = false;
  options.page_size = 32;
  Twins twins(options);
  twins.append(k.view(), v.view());
  for (KVCache* cache : {&twins.host, &twins.device}) {
    ASSERT_TRUE(cache->evict(0, 48, kTokens - 48 - 144).ok());
    ASSERT_TRUE(cache->evict(0, 16, kTokens - 16 - 144 - 16).ok());
  }
  EXPECT_TRUE(saved(twins.host) == saved(twins.device));
  EXPECT_EQ(twins.host.free_pages(), twins.device.free_pages());
}

}  // namespace
}  // namespace octavo::test
