// What append() stores: the codes, scales and mean of quantize(), by every implementation and in every chunking.
#include "cases.hpp"

namespace octavo::test {
namespace {

struct Stored {
  std::vector<std::int8_t> codes;
  std::vector<float> scales, mean;
  friend bool operator==(const Stored&, const Stored&) = default;
};

Stored stored(const KVCache& cache, std::int64_t sequence, bool is_k) {
  const KVCacheOptions& o = cache.options();
  const std::int64_t n = cache.length(sequence), dim = is_k ? o.head_dim : o.value_head_dim;
  Stored s;
  s.codes.resize(static_cast<std::size_t>(o.kv_heads * n * dim));
  s.scales.resize(static_cast<std::size_t>(o.kv_heads * n));
  const TensorView codes(s.codes.data(), DType::s8, {o.kv_heads, n, dim});
  const TensorView scales(s.scales.data(), DType::f32, {o.kv_heads, n});
  Status status;
  if (is_k) {
    s.mean.resize(static_cast<std::size_t>(o.kv_heads * dim));
    status = cache.read_k(sequence, codes, scales, {s.mean.data(), DType::f32, {o.kv_heads, dim}});
  } else {
    status = cache.read_v(sequence, codes, scales);
  }
  EXPECT_TRUE(status.ok()) << status.message();
  return s;
}

// quantize() of [1, N, H, D] rows: codes in the order [H, N, D], scales [H, N].
Stored quantized(const TensorView& rows, Role role, const std::string& recipe) {
  const Result<Recipe> parsed =
      parse_recipe(recipe + ",robust=off,qk_gains=off,smooth_v=off,keep_first=0,keep_near=0,keep_heavy=0");
  EXPECT_TRUE(parsed.ok());
  const Result<QuantizedTensor> q = quantize(rows, role, *parsed);
  EXPECT_TRUE(q.ok()) << q.status().message();
  const QuantizedView view = q->view();
  const std::int64_t n = rows.shape[1], h = rows.shape[2], d = rows.shape[3];
  Stored s;
  const auto* codes = static_cast<const std::int8_t*>(view.codes.data);
  for (std::int64_t head = 0; head < h; ++head)
    for (std::int64_t r = 0; r < n; ++r)
      for (std::int64_t c = 0; c < d; ++c)
        s.codes.push_back(codes[r * view.codes.strides[1] + head * view.codes.strides[2] + c * view.codes.strides[3]]);
  const auto* scales = static_cast<const float*>(view.scales.data);
  s.scales.assign(scales, scales + h * n);
  if (role != Role::k) return s;
  s.mean.assign(static_cast<std::size_t>(h * d), 0.0f);
  if (view.mean.given()) {
    const auto* mean = static_cast<const float*>(view.mean.data);
    s.mean.assign(mean, mean + h * d);
  }
  return s;
}

TEST(KVCacheAppend, CodesAreThoseOfQuantize) {
  std::vector<std::string> names = implementations_here();
  names.emplace_back("reference");
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    for (const std::int64_t dim : {1, 8, 40, 64, 80, 128, 200}) {
      for (const std::int64_t rows : {1, 17, 63, 64, 200}) {
        SCOPED_TRACE(::testing::Message() << "D " << dim << " rows " << rows);
        const std::int64_t value_dim = dim == 40 ? 24 : dim;
        KVCache cache =
            make_cache({.batch = 1, .kv_heads = 2, .head_dim = dim, .value_head_dim = value_dim, .capacity = 300});
        const Rows k(1, rows, 2, dim, 1, DType::f32, 5), v(1, rows, 2, value_dim, 2);
        const Status status = cache.append(k.view(), v.view(), Layout::nhd, {}, {}, on(name));
        ASSERT_TRUE(status.ok()) << status.message();
        const char* const recipe = rows >= 64 ? "int8" : "int8,smooth_k=off";
        EXPECT_EQ(stored(cache, 0, true), quantized(k.view(), Role::k, recipe));
        EXPECT_EQ(stored(cache, 0, false), quantized(v.view(), Role::v, "int8"));
      }
    }
  }
}

TEST(KVCacheAppend, ChunksBehindTheFirstDoNotMatter) {
  const Rows k(1, 300, 3, 64, 1, DType::f16, 3), v(1, 300, 3, 64, 2, DType::f16);
  const KVCacheOptions options{.batch = 1, .kv_heads = 3, .head_dim = 64, .capacity = 300};
  std::vector<Stored> all;
  for (const std::int64_t chunk : {1, 7, 64, 200}) {
    KVCache cache = make_cache(options);
    ASSERT_TRUE(cache.append(k.part(0, 100), v.part(0, 100)).ok());
    for (std::int64_t first = 100; first < 300; first += chunk) {
      const std::int64_t count = std::min<std::int64_t>(chunk, 300 - first);
      ASSERT_TRUE(cache.append(k.part(first, count), v.part(first, count)).ok());
    }
    EXPECT_EQ(cache.length(0), 300);
    all.push_back(stored(cache, 0, true));
    all.push_back(stored(cache, 0, false));
  }
  for (std::size_t i = 2; i < all.size(); ++i) EXPECT_EQ(all[i], all[i % 2]);
  // The mean is that of the first 100 tokens.
  EXPECT_EQ(all[0].mean, quantized(k.part(0, 100), Role::k, "int8").mean);
}

TEST(KVCacheAppend, FloatFormatsKeepTheRows) {
  for (const DType format : {DType::f32, DType::f16, DType::bf16}) {
    const Rows k(1, 50, 2, 24, 1, format), v(1, 50, 2, 40, 2, format);
    KVCache cache =
        make_cache({.batch = 1, .kv_heads = 2, .head_dim = 24, .value_head_dim = 40, .capacity = 64, .format = format});
    ASSERT_TRUE(cache.append(k.part(0, 33), v.part(0, 33)).ok());
    ASSERT_TRUE(cache.append(k.part(33, 17), v.part(33, 17)).ok());
    const std::size_t size = format == DType::f32 ? 4 : 2;
    for (const bool is_k : {true, false}) {
      const Rows& rows = is_k ? k : v;
      std::vector<std::byte> got(static_cast<std::size_t>(2 * 50 * rows.dim) * size);
      const TensorView codes(got.data(), format, {2, 50, rows.dim});
      ASSERT_TRUE((is_k ? cache.read_k(0, codes) : cache.read_v(0, codes)).ok());
      for (std::int64_t h = 0; h < 2; ++h) {
        for (std::int64_t n = 0; n < 50; ++n) {
          EXPECT_EQ(std::memcmp(&got[static_cast<std::size_t>((h * 50 + n) * rows.dim) * size],
                                &rows.bytes[static_cast<std::size_t>((n * 2 + h) * rows.dim) * size],
                                static_cast<std::size_t>(rows.dim) * size),
                    0);
        }
      }
    }
  }
}

TEST(KVCacheAppend, RaggedCountsAndNamedSequences) {
  const Rows k(3, 80, 2, 32, 1), v(3, 80, 2, 32, 2);
  KVCache cache = make_cache({.batch = 5, .kv_heads = 2, .head_dim = 32, .capacity = 100});
  const std::int64_t sequences[] = {4, 0, 2}, counts[] = {80, 0, 13};
  ASSERT_TRUE(cache.append(k.view(), v.view(), Layout::nhd, sequences, counts).ok());
  EXPECT_EQ(cache.length(4), 80);
  EXPECT_EQ(cache.length(0), 0);
  EXPECT_EQ(cache.length(2), 13);
  EXPECT_EQ(cache.length(1), 0);
  EXPECT_EQ(cache.length(5), -1);
  EXPECT_EQ(stored(cache, 4, true), quantized(k.sequence(0, 0, 80), Role::k, "int8"));
  EXPECT_EQ(stored(cache, 2, true), quantized(k.sequence(2, 0, 13), Role::k, "int8,smooth_k=off"));
  EXPECT_EQ(stored(cache, 2, false), quantized(v.sequence(2, 0, 13), Role::v, "int8"));
}

TEST(KVCacheAppend, ANewSequenceFixesANewMean) {
  const Rows k(1, 200, 1, 16, 1, DType::f32, 4), v(1, 200, 1, 16, 2);
  KVCache cache = make_cache({.batch = 1, .kv_heads = 1, .head_dim = 16, .capacity = 200});
  ASSERT_TRUE(cache.append(k.part(0, 100), v.part(0, 100)).ok());
  ASSERT_TRUE(cache.trim(0, 10).ok());
  ASSERT_TRUE(cache.append(k.part(10, 90), v.part(10, 90)).ok());
  EXPECT_EQ(stored(cache, 0, true), quantized(k.part(0, 100), Role::k, "int8"));
  ASSERT_TRUE(cache.reset().ok());
  EXPECT_EQ(cache.length(0), 0);
  ASSERT_TRUE(cache.append(k.part(100, 100), v.part(100, 100)).ok());
  EXPECT_EQ(stored(cache, 0, true), quantized(k.part(100, 100), Role::k, "int8"));
}

}  // namespace
}  // namespace octavo::test
