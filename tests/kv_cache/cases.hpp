// Random K, V and Q for a key-value cache, and calls on it with vectors in place of views.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/float_types.hpp"
#include "octavo/octavo.hpp"

namespace octavo::test {

inline std::vector<std::string> implementations_here() {
  std::vector<std::string> names;
  for (const ImplementationInfo& each : implementations()) {
    if (each.supported && each.device == DeviceType::cpu && each.name != "reference") names.emplace_back(each.name);
  }
  return names;
}

// Rows with a channel bias and a sink, in the order [batch][rows][heads][dim], rounded to the dtype.
struct Rows {
  std::int64_t batch = 1, rows = 1, heads = 1, dim = 1;
  DType dtype = DType::f32;
  std::vector<float> values;
  std::vector<std::byte> bytes;

  Rows(std::int64_t b, std::int64_t n, std::int64_t h, std::int64_t d, std::uint32_t seed, DType type = DType::f32,
       float bias = 0)
      : batch(b), rows(n), heads(h), dim(d), dtype(type) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < b * n * h * d; ++i) {
      const float channel_bias = (i % d) % 7 == 3 ? bias : 0.0f;
      values.push_back(normal(random) + channel_bias);
    }
    store();
  }
  void store() {
    const std::size_t size = dtype == DType::f32 ? 4 : 2;
    bytes.resize(values.size() * size);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (dtype == DType::f32) {
        std::memcpy(&bytes[i * 4], &values[i], 4);
        continue;
      }
      const std::uint16_t half = dtype == DType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
      values[i] = dtype == DType::f16 ? f16_to_f32(half) : bf16_to_f32(half);
      std::memcpy(&bytes[i * 2], &half, 2);
    }
  }
  float& at(std::int64_t b, std::int64_t n, std::int64_t h, std::int64_t d) {
    return values[static_cast<std::size_t>(((b * rows + n) * heads + h) * dim + d)];
  }
  TensorView view() const { return {bytes.data(), dtype, {batch, rows, heads, dim}}; }
  // Rows first..first+count-1 of all sequences.
  TensorView part(std::int64_t first, std::int64_t count) const {
    TensorView view = this->view();
    const std::int64_t size = dtype == DType::f32 ? 4 : 2;
    view.data = static_cast<std::byte*>(view.data) + first * heads * dim * size;
    view.shape[1] = count;
    return view;
  }
  // One sequence.
  TensorView sequence(std::int64_t b, std::int64_t first, std::int64_t count) const {
    TensorView view = part(first, count);
    const std::int64_t size = dtype == DType::f32 ? 4 : 2;
    view.data = static_cast<std::byte*>(view.data) + b * rows * heads * dim * size;
    view.shape[0] = 1;
    return view;
  }
};

inline KVCache make_cache(const KVCacheOptions& options) {
  Result<KVCache> cache = KVCache::create(options);
  if (!cache.ok()) throw std::runtime_error(cache.status().message());
  return *std::move(cache);
}

inline Execution on(const std::string& implementation) {
  Execution execution;
  execution.implementation = implementation;
  return execution;
}

struct Output {
  std::vector<float> o, lse;
  friend bool operator==(const Output& a, const Output& b) {
    return a.o.size() == b.o.size() && a.lse.size() == b.lse.size() &&
           std::memcmp(a.o.data(), b.o.data(), a.o.size() * 4) == 0 &&
           std::memcmp(a.lse.data(), b.lse.data(), a.lse.size() * 4) == 0;
  }
};

// `query` without outputs: batched, or packed beside cu_seqlens_q.
inline Output attend_query(const KVCache& cache, CacheQuery query, const CacheAttentionParams& params = {},
                           const Execution& execution = {}) {
  const bool packed = query.cu_seqlens_q.given();
  const std::int64_t dv = cache.options().value_head_dim;
  const auto& shape = query.q.shape;
  const std::int64_t b = packed ? 1 : shape[0], m = shape[packed ? 0 : 1], h = shape[packed ? 1 : 2];
  Output output{std::vector<float>(static_cast<std::size_t>(b * m * h * dv), -77.0f),
                std::vector<float>(static_cast<std::size_t>(b * h * m), -77.0f)};
  if (packed) {
    query.out = {output.o.data(), DType::f32, {m, h, dv}};
    query.lse = {output.lse.data(), DType::f32, {h, m}};
  } else {
    query.out = {output.o.data(), DType::f32, {b, m, h, dv}};
    query.lse = {output.lse.data(), DType::f32, {b, h, m}};
  }
  const Status status = cache.attend(query, params, execution);
  EXPECT_TRUE(status.ok()) << status.message();
  return output;
}

inline Output attend(const KVCache& cache, const TensorView& q, const CacheAttentionParams& params = {},
                     const Execution& execution = {}, std::span<const std::int64_t> sequences = {},
                     const TensorView& sinks = {}) {
  CacheQuery query;
  query.q = q;
  query.sinks = sinks;
  query.sequences = sequences;
  return attend_query(cache, query, params, execution);
}

inline double relative_l2(const std::vector<float>& got, const std::vector<float>& expected) {
  double squares = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(got[i]) != std::isnan(expected[i])) return INFINITY;
    if (std::isnan(got[i])) continue;
    const double difference = static_cast<double>(got[i]) - static_cast<double>(expected[i]);
    squares += difference * difference;
    norm += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
  }
  return norm > 0 ? std::sqrt(squares / norm) : std::sqrt(squares);
}

inline double worst_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    const double difference = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = std::max(worst, std::isnan(difference) ? INFINITY : difference);
  }
  return worst;
}

}  // namespace octavo::test
