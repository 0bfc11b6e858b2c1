// Saved caches: they come back to the bit, and bytes that are not one are refused.
#include "cases.hpp"

namespace octavo::test {
namespace {

std::vector<std::byte> saved(const KVCache& cache) {
  std::vector<std::byte> bytes(cache.saved_size());
  const Status status = cache.save(bytes);
  EXPECT_TRUE(status.ok()) << status.message();
  return bytes;
}

// As docs/kv_cache.md defines it.
void set_checksum(std::vector<std::byte>& bytes) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    if (at == 24) continue;
    std::uint64_t word;
    std::memcpy(&word, &bytes[at], 8);
    sum = (sum ^ word) * 0x9E3779B97F4A7C15u;
    sum ^= sum >> 32;
  }
  std::memcpy(&bytes[24], &sum, 8);
}

// Sequence 0 and its fork, which went on alone, and an empty one.
KVCache example(DType format, std::int64_t page_size, std::int64_t dim = 24) {
  const Rows k(1, 150, 2, dim, 1, DType::f16, 3), v(1, 150, 2, 16, 2, DType::f16);
  KVCache cache = make_cache({.batch = 3,
                              .kv_heads = 2,
                              .head_dim = dim,
                              .value_head_dim = 16,
                              .capacity = 200,
                              .format = format,
                              .page_size = page_size});
  const std::int64_t first[] = {0}, third[] = {2};
  EXPECT_TRUE(cache.append(k.part(0, 100), v.part(0, 100), Layout::nhd, first).ok());
  EXPECT_TRUE(cache.fork(0, 2).ok());
  EXPECT_TRUE(cache.append(k.part(100, 21), v.part(100, 21), Layout::nhd, third).ok());
  EXPECT_TRUE(cache.trim(0, 85).ok());
  return cache;
}

TEST(KVCacheSave, ComesBackToTheBit) {
  const Rows k(3, 30, 2, 24, 5, DType::f16, 3), v(3, 30, 2, 16, 6, DType::f16), q(3, 2, 4, 24, 7, DType::f16);
  for (const DType format : {DType::f32, DType::f16, DType::bf16, DType::e4m3, DType::s8, DType::s4}) {
    for (const std::int64_t page_size : {0, 32}) {
      SCOPED_TRACE(::testing::Message() << to_string(format) << " page " << page_size);
      KVCache cache = example(format, page_size);
      const std::vector<std::byte> bytes = saved(cache);
      Result<KVCache> loaded = KVCache::load(bytes);
      ASSERT_TRUE(loaded.ok()) << loaded.status().message();
      EXPECT_EQ(saved(*loaded), bytes);
      EXPECT_EQ(loaded->free_pages(), cache.free_pages());
      EXPECT_EQ(loaded->nbytes(), cache.nbytes());
      EXPECT_EQ(loaded->options().capacity, 200);
      for (std::int64_t b = 0; b < 3; ++b) EXPECT_EQ(loaded->length(b), cache.length(b));
      EXPECT_EQ(attend(*loaded, q.view()), attend(cache, q.view()));
      // And goes on alike: pages that are shared stay so until one writes.
      ASSERT_TRUE(cache.append(k.view(), v.view()).ok());
      ASSERT_TRUE(loaded->append(k.view(), v.view()).ok());
      EXPECT_EQ(loaded->free_pages(), cache.free_pages());
      EXPECT_EQ(attend(*loaded, q.view()), attend(cache, q.view()));
      EXPECT_EQ(saved(*loaded), saved(cache));
    }
  }
}

TEST(KVCacheSave, BytesFollowFromTheContents) {
  for (const DType format : {DType::f16, DType::s8, DType::s4}) {
    const auto build = [&](bool detour) {
      KVCache cache = example(format, 32);
      if (detour) {  // other rows in the places that the trims leave
        const Rows k(1, 40, 2, 24, 8, DType::f16), v(1, 40, 2, 16, 9, DType::f16);
        const std::int64_t second[] = {1};
        EXPECT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, second).ok());
        EXPECT_TRUE(cache.trim(1, 0).ok());
      }
      return saved(cache);
    };
    EXPECT_EQ(build(false), build(true));
  }
}

void expect_refused(std::span<const std::byte> bytes, const char* code, const char* word) {
  const Result<KVCache> loaded = KVCache::load(bytes);
  ASSERT_FALSE(loaded.ok());
  EXPECT_EQ(to_string(loaded.status().code()), code) << loaded.status().message();
  EXPECT_NE(loaded.status().message().find(word), std::string::npos) << loaded.status().message();
}

TEST(KVCacheSave, DamageIsFound) {
  const KVCache cache = example(DType::s4, 32, 8);
  const std::vector<std::byte> bytes = saved(cache);
  expect_refused({}, "invalid_argument", "not a saved cache");
  for (std::size_t size = 1; size < bytes.size(); size += size < 120 ? 1 : 97)
    expect_refused({bytes.data(), size}, "invalid_argument", size < 8 ? "not a saved cache" : "truncated");
  std::vector<std::byte> changed = bytes;
  changed.resize(bytes.size() + 8);
  expect_refused(changed, "invalid_argument", "behind its end");
  for (std::size_t at = 0; at < bytes.size(); at += at < 400 ? 1 : 13) {
    changed = bytes;
    changed[at] ^= std::byte{1} << (at % 8);
    ASSERT_FALSE(KVCache::load(changed).ok()) << "byte " << at;
  }
  changed = bytes;
  changed[8] = std::byte{2};
  expect_refused(changed, "unimplemented", "version 2");
  changed = bytes;
  changed.back() ^= std::byte{1};
  expect_refused(changed, "invalid_argument", "checksum");
}

// Contents that no cache writes under a checksum that fits: refused, or a cache that works.
TEST(KVCacheSave, WrongNumbersUnderARightChecksum) {
  const Rows q(3, 1, 4, 8, 7, DType::f16);
  for (const std::int64_t page_size : {0, 32}) {
    const std::vector<std::byte> bytes = saved(example(DType::s8, page_size, 8));
    std::mt19937 random(3);
    int refused = 0;
    for (int trial = 0; trial < 3000; ++trial) {
      std::vector<std::byte> changed = bytes;
      const std::size_t at = 32 + random() % 34 * 8;  // options, lengths, pages
      constexpr std::int64_t kNumbers[] = {-1, 0, 1, 2, 3, 5, 17, 64, 86, 121, 201, 1000, INT64_MAX, INT64_MIN};
      const std::int64_t number = kNumbers[random() % std::size(kNumbers)];
      std::memcpy(&changed[at], &number, 8);
      set_checksum(changed);
      const Result<KVCache> loaded = KVCache::load(changed);
      if (!loaded.ok()) {
        ++refused;
        continue;
      }
      const KVCacheOptions& o = loaded->options();
      if (o.batch == 3 && o.kv_heads == 2 && o.head_dim == 8) attend(*loaded, q.view());
    }
    EXPECT_GT(refused, 1000);
    std::vector<std::byte> same = bytes;
    set_checksum(same);
    EXPECT_EQ(same, bytes);
  }
}

TEST(KVCacheSave, NeedsTheRightSize) {
  const KVCache cache = example(DType::s8, 0);
  std::vector<std::byte> bytes(cache.saved_size() + 8, std::byte{7});
  const Status status = cache.save(bytes);
  EXPECT_EQ(to_string(status.code()), "invalid_argument");
  EXPECT_NE(status.message().find(std::to_string(bytes.size() - 8)), std::string::npos) << status.message();
  for (const std::byte byte : bytes) ASSERT_EQ(byte, std::byte{7});
}

}  // namespace
}  // namespace octavo::test
