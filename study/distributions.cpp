// N(0, 1) tensors, changed in place. Random choices (which tokens, which gains) come from further N(0, 1) numbers of
// the same generator, so that everything follows from the seed.
#include "study/distributions.hpp"

#include <cmath>
#include <numbers>

#include "common/failure.hpp"
#include "common/random_tensor.hpp"

namespace octavo::study {
namespace {

using tool::random_tensor;

// Streams of one seed.
enum Stream : std::uint64_t { kQ, kK, kV, kSpread, kRows, kStreams = 8 };

float* data_of(const io::Tensor& x) { return static_cast<float*>(x.data()); }

template <class Change>
void for_each(const io::Tensor& x, const Change& change) {
  const TensorView& view = x.view();
  for (std::int64_t h = 0; h < view.shape[0]; ++h) {
    for (std::int64_t n = 0; n < view.shape[1]; ++n) {
      float* row = data_of(x) + (h * view.shape[1] + n) * view.shape[2];
      for (std::int64_t d = 0; d < view.shape[2]; ++d) change(row[d], h, n, d);
    }
  }
}

// Phi(x) - 1/2: uniform for a normal x.
float uniform_of(float x) { return static_cast<float>(0.5 * std::erfc(-x / std::numbers::sqrt2) - 0.5); }

// True for about one in `rate` normal numbers.
bool one_in(double rate, float x) { return std::fabs(uniform_of(x)) > 0.5 - 0.5 / rate; }

// A direction of length 1 that every query and the sink share.
float direction(std::int64_t d, std::int64_t dim) {
  return static_cast<float>((d % 3 == 0 ? -1 : 1) / std::sqrt(static_cast<double>(dim)));
}

// q += 4 u and k_0 = nats sqrt(D) / 4 u: the score of key 0 is nats (1 + N(0, 1) / 4).
void add_sink(const Distribution& data, const io::Tensor& q, const io::Tensor& k, const io::Tensor& v) {
  const std::int64_t dim = q.view().shape[2];
  const float length = static_cast<float>(data.sink_nats * std::sqrt(static_cast<double>(dim)) / 4);
  for_each(q, [&](float& x, std::int64_t, std::int64_t, std::int64_t d) { x += 4 * direction(d, dim); });
  for_each(k, [&](float& x, std::int64_t, std::int64_t n, std::int64_t d) {
    if (n == 0) x = length * direction(d, dim);
  });
  for_each(v, [&](float& x, std::int64_t, std::int64_t n, std::int64_t) {
    if (n == 0) x *= static_cast<float>(data.sink_value);
  });
}

void change_values(const Distribution& data, const io::Tensor& v, std::uint64_t seed) {
  const std::int64_t heads = v.view().shape[0], rows = v.view().shape[1], dim = v.view().shape[2];
  const io::Tensor channels = random_tensor("channels", DType::f32, {heads, dim}, seed + kSpread);
  const io::Tensor tokens = random_tensor("tokens", DType::f32, {heads, rows}, seed + kRows);
  for_each(v, [&](float& x, std::int64_t h, std::int64_t n, std::int64_t d) {
    const float channel = data_of(channels)[h * dim + d];
    if (data.v_channels > 0) x *= static_cast<float>(std::exp(data.v_channels * channel));
    if (data.v_tokens > 0 && one_in(500, data_of(tokens)[h * rows + n])) x *= static_cast<float>(data.v_tokens);
    x += static_cast<float>(data.v_bias) * channel;
  });
}

// exp(N(0, s^2)) has the root mean square exp(s^2), which is divided out of Q and K each.
void spread_rows(double spread, const io::Tensor& x, std::uint64_t seed) {
  const std::int64_t heads = x.view().shape[0], rows = x.view().shape[1];
  const io::Tensor normal = random_tensor("rows", DType::f32, {heads, rows}, seed);
  for_each(x, [&](float& value, std::int64_t h, std::int64_t n, std::int64_t) {
    value *= static_cast<float>(std::exp(spread * data_of(normal)[h * rows + n] - spread * spread));
  });
}

std::vector<Distribution> make_all() {
  std::vector<Distribution> all = {
      {.name = "gaussian"},
      {.name = "uniform", .uniform = true},
      {.name = "k_bias", .k_bias = 4},
      {.name = "v_channels", .v_channels = 1},
      {.name = "v_tokens", .v_tokens = 20},
      {.name = "outliers", .row_outliers = 10},
      {.name = "v_bias", .v_bias = 3},
  };
  for (const double nats : {3.0, 6.0, 8.0, 10.0, 12.0}) {
    const std::string name = "sink" + std::to_string(static_cast<int>(nats));
    all.push_back({.name = name, .sink_nats = nats});
    all.push_back({.name = name + "_tiny", .sink_nats = nats, .sink_value = 0.02});
  }
  return all;
}

}  // namespace

const std::vector<Distribution>& all_distributions() {
  static const std::vector<Distribution> all = make_all();
  return all;
}

const Distribution& distribution(const std::string& name) {
  for (const Distribution& each : all_distributions()) {
    if (each.name == name) return each;
  }
  tool::fail(tool::kExitUnsupported, "the distribution '" + name + "' is unknown");
}

Problem make_problem(const Distribution& data, const Shape& shape, std::uint64_t seed, bool causal) {
  const std::int64_t kv_heads = shape.kv_heads == 0 ? shape.heads : shape.kv_heads;
  const std::uint64_t first = seed * kStreams * 7919;
  io::Tensor q = random_tensor("q", DType::f32, {shape.heads, shape.q_rows, shape.dim}, first + kQ);
  io::Tensor k = random_tensor("k", DType::f32, {kv_heads, shape.k_rows, shape.dim}, first + kK);
  io::Tensor v = random_tensor("v", DType::f32, {kv_heads, shape.k_rows, shape.dim}, first + kV);
  std::uint64_t stream = first + 5;
  for (const io::Tensor& x : {q, k, v}) {
    const io::Tensor choice = random_tensor("choice", DType::f32, {x.view().elements()}, stream++);
    std::int64_t at = 0;
    for_each(x, [&](float& value, std::int64_t, std::int64_t, std::int64_t) {
      if (data.uniform) value = uniform_of(value);
      if (data.row_outliers > 0 && one_in(1000, data_of(choice)[at])) value *= static_cast<float>(data.row_outliers);
      ++at;
    });
  }
  if (data.row_spread > 0) spread_rows(data.row_spread, q, first + 3), spread_rows(data.row_spread, k, first + 4);
  for_each(q, [&](float& x, std::int64_t, std::int64_t, std::int64_t) { x *= static_cast<float>(data.score_spread); });
  for_each(k, [&](float& x, std::int64_t, std::int64_t, std::int64_t d) {
    if (d % (shape.dim / 4) == 1) x += static_cast<float>(data.k_bias);
  });
  change_values(data, v, first);
  if (data.sink_nats > 0) add_sink(data, q, k, v);
  return Problem(data.name, std::move(q), std::move(k), std::move(v), causal);
}

}  // namespace octavo::study
