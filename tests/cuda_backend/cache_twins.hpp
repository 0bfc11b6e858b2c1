// A key-value cache on a device beside one on the CPU, for tests of both.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "../kv_cache/masked_calls.hpp"
#include "card.hpp"
#include "device_twin.hpp"
#include "spec/cache_layout.hpp"

namespace octavo::test {

inline constexpr DType kFormats[] = {DType::s8, DType::s4, DType::e4m3, DType::f16, DType::bf16, DType::f32};
inline constexpr Device kGpu{DeviceType::cuda, 0};

// The same cache twice.
class Twins {
 public:
  explicit Twins(const KVCacheOptions& options) : Twins(options, on_gpu(options)) {}
  Twins(const KVCacheOptions& options, const KVCacheOptions& there)
      : host(make_cache(options)), device(make_cache(there)) {}

  KVCache host, device;

  static KVCacheOptions on_gpu(KVCacheOptions options) {
    options.device = kGpu;
    return options;
  }
  void append(const TensorView& k, const TensorView& v, std::span<const std::int64_t> sequences = {},
              std::span<const std::int64_t> counts = {}) {
    Status status = host.append(k, v, Layout::nhd, sequences, counts);
    ASSERT_TRUE(status.ok()) << status.message();
    DeviceTwins twins(kGpu);
    status = device.append(twins.to_device(k), twins.to_device(v), Layout::nhd, sequences, counts);
    ASSERT_TRUE(status.ok()) << status.message();
    ASSERT_TRUE(synchronize(kGpu).ok());
  }

  // Codes, scales and mean of a sequence, as bytes.
  static std::vector<std::byte> contents(const KVCache& cache, std::int64_t sequence) {
    const KVCacheOptions& o = cache.options();
    const std::int64_t n = cache.length(sequence);
    std::vector<std::byte> all;
    for (const bool is_k : {true, false}) {
      const std::int64_t dim = is_k ? o.head_dim : o.value_head_dim;
      const std::int64_t bits = spec::cache_bits(o.format);
      std::vector<std::byte> codes(static_cast<std::size_t>((o.kv_heads * n * dim * bits + 7) / 8));
      std::vector<float> scales(static_cast<std::size_t>(o.kv_heads * n)),
          mean(static_cast<std::size_t>(o.kv_heads * dim));
      const TensorView of_codes(codes.data(), o.format, {o.kv_heads, n, dim});
      TensorView of_scales, of_mean;
      if (spec::cache_has_scales(o.format)) of_scales = {scales.data(), DType::f32, {o.kv_heads, n}};
      if (spec::cache_rotates(o.format)) of_mean = {mean.data(), DType::f32, {o.kv_heads, dim}};
      const Status status =
          is_k ? cache.read_k(sequence, of_codes, of_scales, of_mean) : cache.read_v(sequence, of_codes, of_scales);
      EXPECT_TRUE(status.ok()) << status.message();
      const auto add = [&](const auto& values) {
        const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
        all.insert(all.end(), bytes, bytes + values.size() * sizeof(values[0]));
      };
      add(codes), add(scales);
      if (is_k) add(mean);
    }
    return all;
  }
  void expect_same_contents() const {
    for (std::int64_t b = 0; b < host.options().batch; ++b) {
      ASSERT_EQ(host.length(b), device.length(b));
      if (host.length(b) > 0) {
        EXPECT_TRUE(contents(host, b) == contents(device, b)) << "sequence " << b;
      }
    }
  }
};

// attend() with every tensor on the device.
inline Output attend_on_device(const KVCache& cache, CacheQuery query, const CacheAttentionParams& params = {},
                               const Execution& execution = {}) {
  DeviceTwins read(kGpu), written(kGpu);
  const bool packed = query.cu_seqlens_q.given();
  const auto& shape = query.q.shape;
  const std::int64_t dv = cache.options().value_head_dim;
  const std::int64_t b = packed ? 1 : shape[0], m = shape[packed ? 0 : 1], h = shape[packed ? 1 : 2];
  Output output{std::vector<float>(static_cast<std::size_t>(b * m * h * dv), -77.0f),
                std::vector<float>(static_cast<std::size_t>(b * h * m), -77.0f)};
  TensorView out(output.o.data(), DType::f32, {b, m, h, dv}), lse(output.lse.data(), DType::f32, {b, h, m});
  if (packed) out = {output.o.data(), DType::f32, {m, h, dv}}, lse = {output.lse.data(), DType::f32, {h, m}};
  query.out = written.to_device(out);
  query.lse = written.to_device(lse);
  for (TensorView CacheQuery::* tensor : {&CacheQuery::q, &CacheQuery::sinks, &CacheQuery::mask, &CacheQuery::key_mask,
                                          &CacheQuery::alibi_slopes, &CacheQuery::tree_mask})
    query.*tensor = read.to_device(query.*tensor);
  Status status = cache.attend(query, params, execution);
  EXPECT_TRUE(status.ok()) << status.message();
  if (status.ok()) status = synchronize(kGpu, execution.stream);
  EXPECT_TRUE(status.ok()) << status.message();
  if (status.ok()) written.to_host();
  return output;
}

// exp2 of a GPU and of the emulation differ from the oracle's by 2^-21 and less; codes of weights may round otherwise.
inline double most_error(DType format) { return spec::cache_rotates(format) ? 2e-5 : 5e-6; }

inline void expect_oracle(const Twins& twins, const CacheQuery& query, const CacheAttentionParams& params = {}) {
  const Output expected = attend_query(twins.host, query, params, on("reference"));
  const Output got = attend_on_device(twins.device, query, params);
  EXPECT_LT(relative_l2(got.o, expected.o), most_error(twins.host.options().format));
  EXPECT_LT(worst_difference(got.lse, expected.lse), 1e-5);
}

inline KVCacheOptions options_of(std::int64_t batch, std::int64_t heads, std::int64_t dim, std::int64_t capacity) {
  KVCacheOptions options;
  options.batch = batch;
  options.kv_heads = heads;
  options.head_dim = dim;
  options.capacity = capacity;
  return options;
}

}  // namespace octavo::test
