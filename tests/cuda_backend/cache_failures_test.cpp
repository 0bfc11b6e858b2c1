// What a cache on a device holds after a call that failed: a launch, an allocation of the device's, one of the host's.
// It goes on as the CPU's cache does that never saw the failed call.
#include <algorithm>
#include <functional>

#include "cache_twins.hpp"
#include "emulated_runtime.hpp"
#include "failing_new.hpp"

namespace octavo::test {
namespace {

std::vector<std::byte> saved(const KVCache& cache) {
  std::vector<std::byte> bytes(cache.saved_size());
  const Status status = cache.save(bytes);
  EXPECT_TRUE(status.ok()) << status.message();
  return bytes;
}

Status append_to_device(Twins& twins, const TensorView& k, const TensorView& v) {
  DeviceTwins there(kGpu);
  return twins.device.append(there.to_device(k), there.to_device(v));
}

class CudaCacheFailuresTest : public ::testing::Test {
 protected:
  EmulatedRuntime runtime_;
  const Rows k{3, 400, 2, 40, 1, DType::f16, 3}, v{3, 400, 2, 40, 2, DType::f16}, q{3, 2, 4, 40, 3};

  // A cache with copies that no call has made yet, more than one launch of them. With pages of 32 the evictions
  // renumber them, with pages of 80 and without pages rows move, too.
  static void move(KVCache& cache) {
    ASSERT_TRUE(cache.fork(0, 1).ok());
    ASSERT_TRUE(cache.evict(0, 64, 64).ok());
    ASSERT_TRUE(cache.reorder(std::vector<std::int64_t>{1, 1, 0}).ok());
    ASSERT_TRUE(cache.evict(0, 64, 192).ok());
  }
  Twins make(std::int64_t page_size) {
    KVCacheOptions options = options_of(3, 2, 40, 400);
    options.page_size = page_size;
    options.pages = page_size == 0 ? 0 : 100;
    Twins twins(options);
    const std::int64_t first[] = {0};
    twins.append(k.sequence(0, 0, 320), v.sequence(0, 0, 320), first);
    move(twins.host);
    move(twins.device);
    return twins;
  }
  // Twins whose device's cache has seen `fails` do what those do that have not.
  void expect_unharmed(Twins& twins) {
    EXPECT_EQ(twins.host.free_pages(), twins.device.free_pages());
    EXPECT_TRUE(saved(twins.host) == saved(twins.device));
    twins.append(k.part(320, 5), v.part(320, 5));
    twins.expect_same_contents();
    EXPECT_TRUE(saved(twins.host) == saved(twins.device));
    CacheQuery query;
    query.q = q.view();
    expect_oracle(twins, query);
  }
};

// Wherever a chain of launches breaks off, the next call goes on behind the copies that were made: overlapping ones
// would move a second time.
TEST_F(CudaCacheFailuresTest, AttendBreaksOffAtEveryLaunch) {
  CacheQuery query;
  query.q = q.view();
  for (const std::int64_t page_size : {0, 32, 80}) {
    for (int n = 0;; ++n) {
      SCOPED_TRACE(::testing::Message() << "pages of " << page_size << ", launch " << n);
      Twins twins = make(page_size);
      DeviceTwins there(kGpu);
      CacheQuery on_device = query;
      std::vector<float> o(q.values.size());
      on_device.q = there.to_device(q.view());
      on_device.out = there.to_device(TensorView(o.data(), DType::f32, {3, 2, 4, 40}));
      runtime_.failing_launch = runtime_.launches + n;
      const Status status = twins.device.attend(on_device);
      runtime_.failing_launch = -1;
      expect_unharmed(twins);
      if (status.ok()) {
        EXPECT_GT(n, 3);  // copies of several steps, lengths, attention
        break;
      }
      EXPECT_NE(status.message().find("was not launched"), std::string::npos) << status.message();
    }
  }
}

// One eviction that takes two launches, over more pages than fit in the parameters of one.
TEST_F(CudaCacheFailuresTest, EvictionOverManyPagesBreaksOffAtEveryLaunch) {
  constexpr std::int64_t kTokens = (kPagesOfMove + 40) * 32;
  const Rows many_k(1, kTokens, 1, 8, 1, DType::f16), many_v(1, kTokens, 1, 8, 2, DType::f16);
  KVCacheOptions options = options_of(1, 1, 8, kTokens);
  options.format = DType::s4;
  options.kept_keys = false;
  options.page_size = 32;
  for (int n = 0;; ++n) {
    SCOPED_TRACE(n);
    Twins twins(options);
    twins.append(many_k.view(), many_v.view());
    for (KVCache* cache : {&twins.host, &twins.device}) {
      ASSERT_TRUE(cache->evict(0, 48, kTokens - 48 - 144).ok());
    }
    runtime_.launched.clear();
    runtime_.failing_launch = runtime_.launches + n;
    const Status status = append_to_device(twins, many_k.part(0, 3), many_v.part(0, 3));
    runtime_.failing_launch = -1;
    if (status.ok()) {
      EXPECT_EQ(std::count(runtime_.launched.begin(), runtime_.launched.end(), "move_cache_strips"), 2);
      EXPECT_GT(n, 2);
      break;
    }
    twins.append(many_k.part(0, 3), many_v.part(0, 3));
    twins.expect_same_contents();
    EXPECT_TRUE(saved(twins.host) == saved(twins.device));
  }
}

// The tokens are not there afterwards, their pages are free, and the kept rows whose places they may have taken are
// those that a trim gives up. The append is repeated.
TEST_F(CudaCacheFailuresTest, AppendBreaksOffAtEveryLaunch) {
  for (const std::int64_t page_size : {0, 32, 80}) {
    for (int n = 0;; ++n) {
      SCOPED_TRACE(::testing::Message() << "pages of " << page_size << ", launch " << n);
      Twins twins = make(page_size);
      const std::int64_t pages = twins.device.free_pages();
      const bool written = [&] {
        runtime_.launched.clear();
        runtime_.failing_launch = runtime_.launches + n;
        const Status status = append_to_device(twins, k.part(320, 40), v.part(320, 40));
        runtime_.failing_launch = -1;
        bool rows = false;
        for (const std::string& name : runtime_.launched) rows = rows || name.find("append_cache_rows") == 0;
        if (!status.ok()) return rows;
        EXPECT_GT(n, 4);
        n = -1;
        return true;
      }();
      if (n < 0) break;
      // Pages that the append has copied for itself stay its own.
      EXPECT_GE(twins.device.free_pages(), pages - 3);
      if (written) {
        ASSERT_TRUE(twins.host.append(k.part(320, 40), v.part(320, 40)).ok());
        for (std::int64_t b = 0; b < 3; ++b) ASSERT_TRUE(twins.host.trim(b, twins.device.length(b)).ok());
      }
      twins.append(k.part(360, 3), v.part(360, 3));
      twins.expect_same_contents();
      CacheQuery query;
      const Rows many(3, 60, 4, 40, 5);  // rows so far back that their kept keys are gone
      query.q = many.view();
      expect_oracle(twins, query);
      // All but the numbers of pages.
      if (page_size == 0) {
        EXPECT_TRUE(saved(twins.host) == saved(twins.device));
      }
    }
  }
}

TEST_F(CudaCacheFailuresTest, NoDeviceMemory) {
  Twins twins = make(32);
  const std::int64_t first[] = {0};
  DeviceTwins there(kGpu);
  ASSERT_TRUE(twins.host.reset(first).ok());
  ASSERT_TRUE(twins.device.reset(first).ok());
  const TensorView of_k = there.to_device(k.sequence(0, 0, 200)), of_v = there.to_device(v.sequence(0, 0, 200));
  runtime_.memory_left = 0;  // for the sums of K's mean
  EXPECT_EQ(twins.device.append(of_k, of_v, Layout::nhd, first).code(), StatusCode::kResourceExhausted);
  runtime_.memory_left = std::size_t{4} << 30;
  EXPECT_EQ(twins.host.free_pages(), twins.device.free_pages());
  twins.append(k.sequence(0, 0, 200), v.sequence(0, 0, 200), first);
  expect_unharmed(twins);
}

// The host has no memory for what an operation notes: at every allocation in turn.
TEST_F(CudaCacheFailuresTest, NoHostMemory) {
  static constexpr std::int64_t kSources[] = {0, 0, 0};
  const std::pair<const char*, std::function<Status(KVCache&)>> operations[] = {
      {"fork", [](KVCache& cache) { return cache.fork(0, 2); }},
      {"evict", [](KVCache& cache) { return cache.evict(0, 64, 64); }},
      {"evict a shared one", [](KVCache& cache) { return cache.evict(1, 64, 64); }},
      {"reorder", [](KVCache& cache) { return cache.reorder(kSources); }}};
  for (const std::int64_t page_size : {0, 32, 80}) {
    int failures = 0;
    for (const auto& [name, operation] : operations) {
      for (int n = 0;; ++n) {
        SCOPED_TRACE(::testing::Message() << name << ", pages of " << page_size << ", allocation " << n);
        Twins twins = make(page_size);
        Status status;
        {
          const FailingNew failing(n);
          status = operation(twins.device);
        }
        if (status.ok()) {
          ASSERT_TRUE(operation(twins.host).ok());
          expect_unharmed(twins);
          break;
        }
        EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
        expect_unharmed(twins);
        ++failures;
      }
    }
    EXPECT_GT(failures, 5);
  }
}

// Up to the first launch: the emulation of a kernel needs memory, too.
TEST_F(CudaCacheFailuresTest, NoHostMemoryForAnAppend) {
  runtime_.before_launch = FailingNew::stop;
  for (int n = 0;; ++n) {
    SCOPED_TRACE(n);
    Twins twins = make(32);
    DeviceTwins there(kGpu);
    const TensorView of_k = there.to_device(k.part(320, 40)), of_v = there.to_device(v.part(320, 40));
    const std::int64_t length = twins.device.length(0);
    Status status;
    {
      const FailingNew failing(n);
      status = twins.device.append(of_k, of_v);
    }
    if (status.ok()) {
      EXPECT_GT(n, 0);
      break;
    }
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(twins.device.length(0), length);
    twins.append(k.part(320, 40), v.part(320, 40));
    EXPECT_EQ(twins.host.free_pages(), twins.device.free_pages());
    twins.expect_same_contents();
  }
}

// Rows that move by less than their number, in any order of the warps: one launch, with a page that is copied first
// two.
TEST_F(CudaCacheFailuresTest, OverlappingMovesInAnyOrderOfWarps) {
  for (const DType format : kFormats) {
    for (const std::int64_t page_size : {0, 32, 48}) {
      for (std::uint32_t seed = 0; seed < 4; ++seed) {
        const bool forks = page_size > 0 && seed % 2 == 0;
        SCOPED_TRACE(::testing::Message() << to_string(format) << " pages of " << page_size << " seed " << seed);
        runtime_.options.shuffle = seed;
        KVCacheOptions options = options_of(3, 2, 40, 400);
        options.format = format;
        options.page_size = page_size;
        options.pages = page_size == 0 ? 0 : 100;
        options.kept_keys = false;
        Twins twins(options);
        twins.append(k.view(), v.view());
        runtime_.launched.clear();
        for (KVCache* cache : {&twins.host, &twins.device}) {
          if (forks) {
            ASSERT_TRUE(cache->fork(0, 1).ok());
          }
          ASSERT_TRUE(cache->evict(0, 16, 400 - 32).ok());
        }
        EXPECT_TRUE(saved(twins.host) == saved(twins.device));
        // Of the fork K's mean, of the eviction what stays of a page.
        const std::size_t copies = !forks ? 0 : spec::cache_rotates(format) ? 2 : 1;
        std::vector<std::string> expected(copies, "copy_cache_bytes");
        expected.emplace_back("move_cache_strips");
        EXPECT_EQ(runtime_.launched, expected);
      }
    }
  }
}

}  // namespace
}  // namespace octavo::test
