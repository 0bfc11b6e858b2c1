// A key-value cache on a device beside one on the CPU: appends give the same bytes, attention what the oracle computes
// from them.
#include "cache_twins.hpp"

namespace octavo::test {
namespace {

void expect_appends_of_the_cpu(DType format) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    KVCacheOptions options = options_of(3, 2, 64, 320);
    options.value_head_dim = 48;
    options.format = format;
    Twins twins(options);
    const Rows k(3, 300, 2, 64, 1, dtype, 4), v(3, 300, 2, 48, 2, dtype);
    const std::int64_t counts[] = {150, 20, 64};
    twins.append(k.part(0, 150), v.part(0, 150), {}, counts);  // 20 rows: no mean
    const std::int64_t some[] = {2, 0};
    const std::int64_t few[] = {1, 100};
    Rows more_k(2, 100, 2, 64, 3, dtype), more_v(2, 100, 2, 48, 4, dtype);
    twins.append(more_k.view(), more_v.view(), some, few);
    twins.append(k.part(150, 1), v.part(150, 1));
    twins.expect_same_contents();
  }
}
TEST(CudaCacheTest, AppendsGiveTheBytesOfTheCpu) {
  const Card card;
  for (const DType format : kFormats) {
    SCOPED_TRACE(to_string(format));
    expect_appends_of_the_cpu(format);
  }
}

void expect_one_row(DType format, std::int64_t dim, bool kept) {
  KVCacheOptions options = options_of(2, 2, dim, 640);
  options.kept_keys = kept;
  options.format = format;
  Twins twins(options);
  const Rows k(2, 600, 2, dim, 1, DType::f16, 4), v(2, 600, 2, dim, 2, DType::f16);
  const std::int64_t counts[] = {600, 37};
  twins.append(k.view(), v.view(), {}, counts);
  const Rows q(2, 1, 6, dim, 3);
  CacheQuery query;
  query.q = q.view();
  expect_oracle(twins, query);
}
TEST(CudaCacheTest, OneRowIsTheOracles) {
  const Card card;
  for (const DType format : kFormats) {
    for (const std::int64_t dim : {64, 128}) {
      for (const bool kept : {false, true}) {
        if (kept && !spec::cache_rotates(format)) continue;
        SCOPED_TRACE(to_string(format));
        expect_one_row(format, dim, kept);
      }
    }
  }
}

TEST(CudaCacheTest, AnyRowsWindowsSoftcapSinksAndDims) {
  const Card card;
  struct Case {
    std::int64_t dim, value_dim, rows, heads, length;
    bool causal;
    std::int64_t left, right;
    double softcap;
    bool sinks;
    DType format = DType::s8;
  };
  std::vector<Case> cases = {{128, 128, 5, 8, 700, true, -1, -1, 0, true},
                             {40, 72, 8, 4, 530, true, 100, 0, 20, true},
                             {256, 200, 2, 2, 140, false, -1, -1, 0, false},
                             {24, 8, 3, 2, 17, false, 4, 2, 5, false},
                             {64, 64, 20, 2, 9, true, -1, -1, 0, true}};
  for (const DType format : {DType::s4, DType::e4m3, DType::f16, DType::bf16, DType::f32}) {
    cases.push_back({40, 72, 8, 4, 530, true, 100, 0, 20, true, format});
    cases.push_back({256, 200, 2, 2, 140, false, -1, -1, 0, false, format});
    cases.push_back({24, 8, 3, 2, 17, false, 4, 2, 5, false, format});
  }
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(to_string(c.format)) + " " + std::to_string(c.dim));
    KVCacheOptions options = options_of(1, 2, c.dim, 720);
    options.format = c.format;
    options.value_head_dim = c.value_dim;
    Twins twins(options);
    const Rows k(1, c.length, 2, c.dim, 1, DType::f32, 3), v(1, c.length, 2, c.value_dim, 2);
    twins.append(k.view(), v.view());
    const Rows q(1, c.rows, c.heads, c.dim, 3);
    const Rows sinks(1, 1, 1, c.heads, 4);
    CacheQuery query;
    query.q = q.view();
    if (c.sinks) query.sinks = TensorView(sinks.values.data(), DType::f32, {c.heads});
    CacheAttentionParams params;
    params.causal = c.causal;
    params.window_left = c.left;
    params.window_right = c.right;
    params.softcap = c.softcap;
    expect_oracle(twins, query, params);
  }
}

TEST(CudaCacheTest, MasksOfKeysAndTrees) {
  const Card card;
  Twins twins(options_of(2, 1, 64, 256));
  const Rows k(2, 200, 1, 64, 1), v(2, 200, 1, 64, 2), q(2, 4, 2, 64, 3);
  twins.append(k.view(), v.view());
  std::vector<std::uint8_t> exists(2 * 200, 1), tree(4 * 4, 0);
  for (std::size_t i = 0; i < exists.size(); ++i) exists[i] = i % 3 != 0;
  const int parents[] = {-1, 0, 0, 1};
  for (int i = 0; i < 4; ++i) {
    for (int at = i; at >= 0; at = parents[at]) tree[static_cast<std::size_t>(4 * i + at)] = 1;
  }
  CacheQuery query;
  query.q = q.view();
  query.tree_mask = {tree.data(), DType::boolean, {4, 4}};
  expect_oracle(twins, query);
  query.key_mask = {exists.data(), DType::boolean, {2, 200}};
  expect_oracle(twins, query);
}

// Every mask, ALiBi, and rows of q of different numbers.
TEST(CudaCacheTest, MaskedCallsAreTheOracles) {
  const Card card;
  std::mt19937 random(3);
  for (int trial = 0; trial < 60; ++trial) {
    MaskedCase drawn = draw_masked_case(random);
    const MaskedCall call(drawn, random, static_cast<std::uint32_t>(trial * 8));
    SCOPED_TRACE(call.description);
    Twins twins(drawn.options);
    twins.append(call.k.view(), call.v.view(), {}, drawn.lengths);
    const Output expected = attend_query(twins.host, call.query, call.params, on("reference"));
    const Output got = attend_on_device(twins.device, call.query, call.params);
    // As on the CPU: terms of 1443 in base 2 cost a weight half a digit of f32.
    ASSERT_LE(relative_l2(got.o, expected.o), drawn.options.format == DType::s4 ? 6e-4 : 1e-4);
    for (std::size_t i = 0; i < got.lse.size(); ++i) {
      ASSERT_TRUE(got.lse[i] == expected.lse[i] ||
                  std::fabs(got.lse[i] - expected.lse[i]) <= 2e-4f + 2e-6f * std::fabs(expected.lse[i]))
          << i << ": " << got.lse[i] << " and " << expected.lse[i];
    }
  }
}

TEST(CudaCacheTest, NonfiniteRowsStayNan) {
  const Card card;
  Twins twins(options_of(1, 1, 64, 256));
  Rows k(1, 150, 1, 64, 1), v(1, 150, 1, 64, 2), q(1, 3, 2, 64, 3);
  k.at(0, 60, 0, 5) = NAN;
  v.at(0, 149, 0, 7) = INFINITY;  // only the last row sees it
  q.at(0, 0, 1, 3) = NAN;
  for (Rows* rows : {&k, &v, &q}) rows->store();
  twins.append(k.view(), v.view());
  CacheQuery query;
  query.q = q.view();
  expect_oracle(twins, query);
  CacheAttentionParams params;
  params.window_left = 40;  // without the NaN of K
  expect_oracle(twins, query, params);
}

TEST(CudaCacheTest, PagesTrimAndReset) {
  const Card card;
  KVCacheOptions options = options_of(2, 2, 64, 512);
  options.page_size = 32;
  Twins twins(options);
  const Rows k(2, 300, 2, 64, 1), v(2, 300, 2, 64, 2), q(2, 2, 4, 64, 3);
  CacheQuery query;
  query.q = q.view();
  for (std::int64_t first = 0; first < 300; first += 100) twins.append(k.part(first, 100), v.part(first, 100));
  expect_oracle(twins, query);
  for (KVCache* cache : {&twins.host, &twins.device}) {
    ASSERT_TRUE(cache->trim(0, 130).ok());
    ASSERT_TRUE(cache->reset(std::vector<std::int64_t>{1}).ok());
  }
  EXPECT_EQ(twins.host.free_pages(), twins.device.free_pages());
  twins.append(k.part(50, 70), v.part(50, 70));
  twins.expect_same_contents();
  expect_oracle(twins, query);
}

TEST(CudaCacheTest, ACallersPool) {
  const Card card;
  KVCacheOptions options = options_of(2, 1, 64, 128);
  options.page_size = 16;
  options.pages = 12;
  const std::size_t bytes = *KVCache::pool_size(options);
  std::vector<std::byte> on_host(bytes + 64);
  const DeviceMemory on_device = *DeviceMemory::allocate(kGpu, bytes);
  void* aligned = on_host.data();
  std::size_t space = on_host.size();
  KVCacheOptions there = Twins::on_gpu(options);
  options.pool = {static_cast<std::byte*>(std::align(64, bytes, aligned, space)), bytes};
  there.pool = {static_cast<std::byte*>(on_device.data()), bytes};
  Twins twins(options, there);
  there.pool = options.pool;  // the host's
  EXPECT_EQ(KVCache::create(there).status().code(), StatusCode::kInvalidArgument);
  const Rows k(2, 70, 1, 64, 1), v(2, 70, 1, 64, 2), q(2, 1, 2, 64, 3);
  for (KVCache* cache : {&twins.host, &twins.device}) {
    ASSERT_TRUE(cache->set_block_table(0, std::vector<std::int32_t>{3, 1, 0, 7, 5}).ok());
    ASSERT_TRUE(cache->set_block_table(1, std::vector<std::int32_t>{2, 11, 4, 8, 6}).ok());
  }
  twins.append(k.view(), v.view());
  for (KVCache* cache : {&twins.host, &twins.device})
    ASSERT_TRUE(cache->set_block_table(0, std::vector<std::int32_t>{3, 1, 0, 7, 5, 9}).ok());
  const std::int64_t first[] = {0};
  const Rows more(1, 20, 1, 64, 5);
  twins.append(more.view(), more.view(), first);
  twins.expect_same_contents();
  CacheQuery query;
  query.q = q.view();
  expect_oracle(twins, query);
}

// A row gives the same bits alone and in a batch, contiguous and paged.
TEST(CudaCacheTest, BitsDoNotDependOnBatchOrPages) {
  const Card card;
  const Rows k(3, 600, 1, 64, 1), v(3, 600, 1, 64, 2), q(3, 1, 4, 64, 3);
  std::vector<Output> results;
  for (const std::int64_t page_size : {0, 64}) {
    KVCacheOptions options = options_of(3, 1, 64, 640);
    options.page_size = page_size;
    Twins twins(options);
    twins.append(k.view(), v.view());
    CacheQuery query;
    query.q = q.view();
    results.push_back(attend_on_device(twins.device, query));
    const std::int64_t second[] = {1};
    query.q = q.sequence(1, 0, 1);
    query.sequences = second;
    const Output alone = attend_on_device(twins.device, query);
    EXPECT_TRUE(std::equal(alone.o.begin(), alone.o.end(), results.back().o.begin() + 4 * 64));
  }
  EXPECT_TRUE(results[0] == results[1]);
}

TEST(CudaCacheTest, Refusals) {
  const Card card;
  const auto message = [](const auto& result) { return std::string(result.message()); };
  EXPECT_EQ(KVCache::create(Twins::on_gpu(options_of(1, 1, 264, 64))).status().code(), StatusCode::kUnimplemented);
  KVCacheOptions elsewhere = options_of(1, 1, 64, 64);
  elsewhere.device = {DeviceType::cuda, 7};
  EXPECT_EQ(KVCache::create(elsewhere).status().code(), StatusCode::kInvalidArgument);

  Twins twins(options_of(1, 1, 64, 64));
  const Rows rows(1, 8, 1, 64, 1);
  Status status = twins.device.append(rows.view(), rows.view());
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(message(status).find("on the CPU and the key-value cache is on CUDA device 0"), std::string::npos);
  twins.append(rows.view(), rows.view());
  status = twins.device.evict(0, 1, 1);
  EXPECT_EQ(status.code(), StatusCode::kUnimplemented);
  EXPECT_NE(message(status).find("keep_first is 1 and 6 tokens would be evicted"), std::string::npos)
      << message(status);
  EXPECT_EQ(twins.host.advance(1).code(), StatusCode::kInvalidArgument);

  DeviceTwins moved(kGpu);
  std::vector<float> out(64);
  CacheQuery query;
  query.q = moved.to_device(rows.part(0, 1));
  query.out = moved.to_device(TensorView(out.data(), DType::f32, {1, 1, 1, 64}));
  Execution execution;
  execution.implementation = "scalar";
  EXPECT_EQ(twins.device.attend(query, {}, execution).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(twins.device.attend(query).ok());
}

}  // namespace
}  // namespace octavo::test
