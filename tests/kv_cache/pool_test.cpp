// A pool of pages in the caller's memory: the bits of a cache with memory of its own, every byte where docs/kv_cache.md
// says, and block tables that are refused before anything is written.
#include <algorithm>
#include <numeric>

#include "cases.hpp"

namespace octavo::test {
namespace {

constexpr std::int64_t kPages = 12, kPageSize = 32, kHeads = 2, kDim = 20, kValueDim = 24;

struct Pool {
  std::vector<std::byte> memory;
  std::span<std::byte> bytes;

  explicit Pool(const KVCacheOptions& options) {
    const Result<std::size_t> size = KVCache::pool_size(options);
    EXPECT_TRUE(size.ok()) << size.status().message();
    memory.assign(*size + 64, std::byte{0xa5});
    const std::size_t skipped = -reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
    bytes = std::span(memory).subspan(skipped, *size);
  }
};

KVCacheOptions options_of(DType format) {
  KVCacheOptions options{
      .batch = 2, .kv_heads = kHeads, .head_dim = kDim, .value_head_dim = kValueDim, .capacity = 200};
  options.format = format;
  options.page_size = kPageSize;
  options.pages = kPages;
  return options;
}

KVCache over(const Pool& pool, KVCacheOptions options) {
  options.pool = pool.bytes;
  return make_cache(options);
}

constexpr std::int32_t kFirst[] = {7, 2, 11, 0, 5}, kSecond[] = {1, 10, 4};

TEST(KVCachePool, GivesTheBitsOfACacheWithItsOwnMemory) {
  const Rows k(2, 150, kHeads, kDim, 1, DType::f16, 3), v(2, 150, kHeads, kValueDim, 2, DType::f16);
  const Rows q(2, 3, 4, kDim, 3, DType::f16);
  for (const DType format : {DType::s8, DType::s4, DType::e4m3, DType::f16, DType::f32}) {
    SCOPED_TRACE(to_string(format));
    const Pool pool(options_of(format));
    KVCache cache = over(pool, options_of(format)), own = make_cache(options_of(format));
    EXPECT_EQ(cache.free_pages(), kPages);
    ASSERT_TRUE(cache.set_block_table(0, kFirst).ok());
    ASSERT_TRUE(cache.set_block_table(1, kSecond).ok());
    EXPECT_EQ(cache.free_pages(), kPages - 8);
    const std::int64_t counts[] = {100, 70}, more[] = {50, 20};
    for (KVCache* each : {&cache, &own}) {
      ASSERT_TRUE(each->append(k.part(0, 100), v.part(0, 100), Layout::nhd, {}, counts).ok());
      ASSERT_TRUE(each->append(k.part(100, 50), v.part(100, 50), Layout::nhd, {}, more).ok());
    }
    const Output expected = attend(own, q.view());
    EXPECT_EQ(attend(cache, q.view()), expected);
    EXPECT_EQ(cache.nbytes(), own.nbytes());
    // The bytes of a saved cache say nothing about where its pages were.
    std::vector<std::byte> bytes(cache.saved_size()), of_own(own.saved_size());
    ASSERT_TRUE(cache.save(bytes).ok() && own.save(of_own).ok());
    EXPECT_EQ(bytes, of_own);
    // Pages that the caller moves.
    const std::size_t page_bytes = pool.bytes.size() / kPages;
    const std::int32_t moved[] = {7, 2, 11, 0, 9};
    if (format == DType::f32) {  // K's pages, then V's: no scales, and sizes that are multiples of 64
      const std::size_t k_page = kHeads * kPageSize * 24 * 4, v_page = kHeads * kPageSize * 32 * 4;
      ASSERT_EQ(page_bytes, k_page + v_page);
      std::memcpy(pool.bytes.data() + 9 * k_page, pool.bytes.data() + 5 * k_page, k_page);
      std::byte* const values = pool.bytes.data() + kPages * k_page;
      std::memcpy(values + 9 * v_page, values + 5 * v_page, v_page);
      ASSERT_TRUE(cache.set_block_table(0, moved).ok());
      EXPECT_EQ(attend(cache, q.view()), expected);
    }
    ASSERT_TRUE(cache.reset().ok());
    EXPECT_EQ(cache.free_pages(), kPages);
  }
}

// docs/kv_cache.md, "A pool in the caller's memory".
TEST(KVCachePool, EveryByteIsWhereTheDocumentationSays) {
  Rows k(1, 40, kHeads, kDim, 1), v(1, 40, kHeads, kValueDim, 2);
  KVCacheOptions options = options_of(DType::f32);
  options.batch = 1;
  const Pool pool(options);
  KVCache cache = over(pool, options);
  ASSERT_TRUE(cache.set_block_table(0, kFirst).ok());
  ASSERT_TRUE(cache.append(k.view(), v.view()).ok());
  const auto* floats = reinterpret_cast<const float*>(pool.bytes.data());
  const std::int64_t k_floats = kPages * kHeads * kPageSize * 24;
  for (std::int64_t token = 0; token < 40; ++token) {
    for (std::int64_t h = 0; h < kHeads; ++h) {
      const std::int64_t strip = ((kFirst[token / 32] * kHeads + h) * kPageSize + token % 32 / 16 * 16);
      for (std::int64_t d = 0; d < kDim; ++d)
        ASSERT_EQ(floats[strip * 24 + d * 16 + token % 16], k.at(0, token, h, d)) << token << " " << h << " " << d;
      for (std::int64_t d = 0; d < kValueDim; ++d)
        ASSERT_EQ(floats[k_floats + strip * 32 + token % 16 * 32 + d], v.at(0, token, h, d));
    }
  }
  // s8: rows of 24 and 32 bytes, then both arrays of scales.
  KVCacheOptions of_codes = options_of(DType::s8);
  const std::size_t rows = kPages * kHeads * kPageSize;
  EXPECT_EQ(*KVCache::pool_size(of_codes), rows * (24 + 32 + 4 + 4));
  of_codes.format = DType::s4;
  EXPECT_EQ(*KVCache::pool_size(of_codes), rows * (12 + 16 + 4 + 4));
}

TEST(KVCachePool, BadTablesAreRefusedBeforeAnythingIsWritten) {
  const Rows k(2, 64, kHeads, kDim, 1), v(2, 64, kHeads, kValueDim, 2);
  for (const DType format : {DType::s8, DType::f16}) {
    const Pool pool(options_of(format));
    KVCache cache = over(pool, options_of(format));
    const auto refused = [](const Status& status, const std::string& words) {
      EXPECT_FALSE(status.ok());
      EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
    };
    const auto table = [&](std::int64_t sequence, std::vector<std::int32_t> pages) {
      return cache.set_block_table(sequence, pages);
    };
    ASSERT_TRUE(table(0, {7, 2}).ok());
    ASSERT_TRUE(
        cache.append(k.sequence(0, 0, 50), v.sequence(0, 0, 50), Layout::nhd, std::vector<std::int64_t>{0}).ok());
    const std::vector<std::byte> before = pool.memory;
    refused(table(0, {7, 12}), "pages[1] is 12; the pool has pages 0 to 11");
    refused(table(0, {7, -1}), "pages[1] is -1");
    refused(table(0, {7, 2, 7}), "pages[2] is 7, which the block table names before");
    refused(table(0, {7}), "the block table has 1 pages; sequence 0 has 50 tokens, which take 2");
    refused(table(0, {0, 1, 2, 3, 4, 5, 6, 7}), "the block table has 8 pages; a sequence of at most 200 tokens");
    refused(table(2, {7}), "sequence 2 is named");
    const auto append = [&](std::int64_t rows, std::vector<std::int64_t> sequences) {
      const auto n = static_cast<std::int64_t>(sequences.size());
      TensorView keys = k.part(0, rows), values = v.part(0, rows);
      keys.shape[0] = values.shape[0] = n;
      return cache.append(keys, values, Layout::nhd, sequences);
    };
    refused(append(15, {0}), "the block table of sequence 0 has 2 pages; its 65 tokens take 3");
    refused(append(1, {1}), "the block table of sequence 1 has 0 pages; its 1 tokens take 1");
    refused(append(1, {0, 1}), "sequence 1 has 0 pages");
    ASSERT_TRUE(table(1, {3, 2}).ok());
    refused(append(1, {0}), "the append writes to page 2 of sequence 0, which another sequence has, too");
    refused(append(40, {1}), "the append writes to page 2 of sequence 1");
    refused(cache.evict(0, 1, 2), "evict over a caller's pool");
    EXPECT_EQ(pool.memory, before);
    EXPECT_EQ(cache.length(0), 50);
    EXPECT_EQ(cache.length(1), 0);
    EXPECT_TRUE(append(20, {1}).ok());  // page 3 is its own
    // A shared prefix: full pages are read by both, the partial one must be replaced.
    ASSERT_TRUE(cache.reset(std::vector<std::int64_t>{1}).ok());
    ASSERT_TRUE(cache.fork(0, 1).ok());
    refused(append(1, {1}), "page 2");
    ASSERT_TRUE(cache.trim(1, 32).ok());
    ASSERT_TRUE(table(1, {7, 8}).ok());
    EXPECT_TRUE(append(1, {1}).ok());
    EXPECT_TRUE(append(1, {0}).ok());
  }
}

TEST(KVCachePool, BadPoolsAreRefused) {
  const Pool pool(options_of(DType::s8));
  const auto message = [&](auto change) {
    KVCacheOptions options = options_of(DType::s8);
    options.pool = pool.bytes;
    change(options);
    return KVCache::create(options).status().message();
  };
  const auto has = [](const std::string& text, const char* words) { return text.find(words) != std::string::npos; };
  EXPECT_TRUE(has(message([](auto& o) { o.pages = 13; }), "the pool has 49152 bytes; 13 pages need 53248"));
  EXPECT_TRUE(has(message([](auto& o) { o.pages = 0; }), "pages is 0; over a caller's pool both must be given"));
  EXPECT_TRUE(has(message([](auto& o) { o.page_size = 0, o.pages = 0; }), "page_size is 0"));
  EXPECT_TRUE(has(message([](auto& o) {
                    o.pool = o.pool.subspan(8);
                    o.pages = 11;
                  }),
                  "must be a multiple of 64"));
  KVCacheOptions contiguous = options_of(DType::s8);
  contiguous.page_size = contiguous.pages = 0;
  EXPECT_FALSE(KVCache::pool_size(contiguous).ok());
  KVCache own = make_cache(options_of(DType::s8));
  EXPECT_FALSE(own.set_block_table(0, kFirst).ok());
  // An output inside of the pool.
  KVCache cache = over(pool, options_of(DType::s8));
  const Rows q(2, 1, 4, kDim, 3);
  CacheQuery query;
  query.q = q.view();
  query.out = {pool.bytes.data(), DType::f32, {2, 1, 4, kValueDim}};
  EXPECT_TRUE(has(cache.attend(query).message(), "pool"));
  ASSERT_TRUE(cache.set_block_table(0, kFirst).ok());
  const Rows v(1, 1, kHeads, kValueDim, 4);
  const TensorView inside(pool.bytes.data(), DType::f32, {1, 1, kHeads, kDim});
  EXPECT_TRUE(has(cache.append(inside, v.view(), Layout::nhd, std::vector<std::int64_t>{0}).message(), "pool"));
}

}  // namespace
}  // namespace octavo::test
