// What append() stores: the codes, scales and mean of quantize(), by every implementation and in every chunking.
#include "cases.hpp"
#include "spec/mean.hpp"
#include "spec/rotation.hpp"

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
  s.codes.resize(
      static_cast<std::size_t>(o.format == DType::s4 ? (o.kv_heads * n * dim + 1) / 2 : o.kv_heads * n * dim));
  s.scales.resize(static_cast<std::size_t>(o.kv_heads * n));
  const TensorView codes(s.codes.data(), o.format, {o.kv_heads, n, dim});
  const TensorView scales(s.scales.data(), DType::f32, {o.kv_heads, n});
  Status status;
  if (is_k && o.format == DType::e4m3) {
    status = cache.read_k(sequence, codes, scales);
  } else if (is_k) {
    s.mean.resize(static_cast<std::size_t>(o.kv_heads * dim));
    status = cache.read_k(sequence, codes, scales, {s.mean.data(), DType::f32, {o.kv_heads, dim}});
  } else {
    status = cache.read_v(sequence, codes, scales);
  }
  EXPECT_TRUE(status.ok()) << status.message();
  if (o.format != DType::s4) return s;
  std::vector<std::int8_t> nibbles;
  for (std::int64_t i = 0; i < o.kv_heads * n * dim; ++i) {
    const int code = s.codes[static_cast<std::size_t>(i / 2)] >> (i % 2 * 4) & 15;
    nibbles.push_back(static_cast<std::int8_t>((code ^ 8) - 8));
  }
  s.codes = nibbles;
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

// By the definitions of spec/scale.hpp on rows rotated by spec/rotation.hpp: no other part of the library makes s4 of V
// or e4m3 with neither rotation nor mean.
Stored by_definition(const Rows& rows, DType format, bool is_k) {
  Stored s;
  const auto at = [&](std::int64_t n, std::int64_t h) {
    std::vector<float> row;
    for (std::int64_t d = 0; d < rows.dim; ++d)
      row.push_back(rows.values[static_cast<std::size_t>((n * rows.heads + h) * rows.dim + d)]);
    if (format == DType::s4) spec::rotate_row(row.data(), rows.dim);
    return row;
  };
  for (std::int64_t h = 0; h < rows.heads; ++h) {
    std::vector<float> mean(static_cast<std::size_t>(rows.dim), 0.0f);
    for (std::int64_t d = 0; d < rows.dim && format == DType::s4 && is_k && rows.rows >= 64; ++d) {
      std::vector<float> column;
      for (std::int64_t n = 0; n < rows.rows; ++n) column.push_back(at(n, h)[static_cast<std::size_t>(d)]);
      mean[static_cast<std::size_t>(d)] = spec::column_mean(column.data(), rows.rows, 1);
    }
    if (format == DType::s4 && is_k) s.mean.insert(s.mean.end(), mean.begin(), mean.end());
    for (std::int64_t n = 0; n < rows.rows; ++n) {
      std::vector<float> row = at(n, h);
      float amax = 0;
      for (std::size_t d = 0; d < row.size(); ++d) amax = std::max(amax, std::fabs(row[d] -= mean[d]));
      const float range = format == DType::s4 ? 7.0f : 448.0f;
      s.scales.push_back(amax == 0 ? (is_k ? 1.0f : 0.0f) : amax / range);
      for (const float x : row) {
        const float scaled = amax == 0 ? 0.0f : x * (range / amax);
        s.codes.push_back(format == DType::s4 ? static_cast<std::int8_t>(std::nearbyintf(scaled))
                                              : static_cast<std::int8_t>(f32_to_e4m3(scaled)));
      }
    }
  }
  return s;
}

TEST(KVCacheAppend, S4AndE4m3FollowTheirDefinition) {
  std::vector<std::string> names = implementations_here();
  names.emplace_back("reference");
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    for (const DType format : {DType::s4, DType::e4m3}) {
      for (const std::int64_t dim : {1, 8, 40, 64, 80, 128, 200}) {
        for (const std::int64_t rows : {1, 17, 63, 64, 100}) {
          SCOPED_TRACE(::testing::Message() << to_string(format) << " D " << dim << " rows " << rows);
          const std::int64_t value_dim = dim == 40 ? 24 : dim;
          KVCache cache = make_cache({.batch = 1,
                                      .kv_heads = 2,
                                      .head_dim = dim,
                                      .value_head_dim = value_dim,
                                      .capacity = 300,
                                      .format = format});
          Rows k(1, rows, 2, dim, 1, DType::f32, 5), v(1, rows, 2, value_dim, 2);
          for (std::int64_t d = 0; d < value_dim; ++d) v.at(0, rows / 2, 1, d) = 0;
          v.store();
          const Status status = cache.append(k.view(), v.view(), Layout::nhd, {}, {}, on(name));
          ASSERT_TRUE(status.ok()) << status.message();
          EXPECT_EQ(stored(cache, 0, true), by_definition(k, format, true));
          EXPECT_EQ(stored(cache, 0, false), by_definition(v, format, false));
        }
      }
    }
  }
}

TEST(KVCacheAppend, BytesOfACache) {
  // Per token and KV head at D 128; kept rows, means and tables aside.
  const auto bytes = [](DType format) {
    KVCache cache = make_cache(
        {.batch = 1, .kv_heads = 8, .head_dim = 128, .capacity = 4096, .format = format, .kept_keys = false});
    return static_cast<double>(cache.nbytes()) / (8 * 4096);
  };
  EXPECT_NEAR(bytes(DType::f16), 512, 0.1);
  EXPECT_NEAR(bytes(DType::s8), 264, 0.2);
  EXPECT_NEAR(bytes(DType::e4m3), 264, 0.2);
  EXPECT_NEAR(bytes(DType::s4), 136, 0.2);
  EXPECT_LE(bytes(DType::s4), 0.30 * bytes(DType::f16));
}

TEST(KVCacheAppend, ChunksBehindTheFirstDoNotMatter) {
  const Rows k(1, 300, 3, 64, 1, DType::f16, 3), v(1, 300, 3, 64, 2, DType::f16);
  for (const DType format : {DType::s8, DType::s4, DType::e4m3}) {
    SCOPED_TRACE(to_string(format));
    const KVCacheOptions options{.batch = 1, .kv_heads = 3, .head_dim = 64, .capacity = 300, .format = format};
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
    if (format == DType::s8) {
      EXPECT_EQ(all[0].mean, quantized(k.part(0, 100), Role::k, "int8").mean);
    }
  }
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
