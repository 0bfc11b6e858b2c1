#include "problem.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

namespace octavo::bench {
namespace {

constexpr Device kDevice{DeviceType::cuda, 0};

std::uint16_t to_bf16(float x) {  // finite; to nearest, ties to even
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
double to_double(std::uint16_t bf16) {
  const std::uint32_t bits = static_cast<std::uint32_t>(bf16) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Drawn from 65536 values of N(0, 1): a hundred million of them in a fraction of a second.
std::vector<std::uint16_t> normal_values(std::int64_t count, std::uint64_t seed) {
  static const std::vector<std::uint16_t> table = [] {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<std::uint16_t> made(65536);
    for (std::uint16_t& x : made) x = to_bf16(normal(random));
    return made;
  }();
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1, bits = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % 4 == 0) {  // xorshift64*
      state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
      bits = state * 0x2545f4914f6cdd1du;
    }
    values[i] = table[bits >> (i % 4 * 16) & 0xffff];
  }
  return values;
}

}  // namespace

double Shape::operations() const {
  const double n = static_cast<double>(rows), pairs = causal ? n * (n + 1) / 2 : n * n;
  return 4.0 * static_cast<double>(batch * heads) * pairs * static_cast<double>(head_dim);
}

TensorView DeviceProblem::place(const std::vector<std::uint16_t>& values, std::int64_t heads) {
  const std::size_t bytes = values.size() * sizeof(std::uint16_t);
  const Result<DeviceMemory> memory = DeviceMemory::allocate(kDevice, bytes);
  if (!memory.ok()) throw std::runtime_error(std::string(memory.status().message()));
  if (const Status status = memory->copy_from(values.data(), bytes); !status.ok()) {
    throw std::runtime_error(std::string(status.message()));
  }
  memory_.push_back(*memory);
  TensorView view(memory->data(), DType::bf16, {shape_.batch, heads, shape_.rows, shape_.head_dim});
  view.device = kDevice;
  return view;
}

DeviceProblem::DeviceProblem(const Shape& shape) : shape_(shape) {
  const std::int64_t head = shape.batch * shape.rows * shape.head_dim;
  q_ = normal_values(head * shape.heads, 1);
  k_ = normal_values(head * shape.kv_heads, 2);
  v_ = normal_values(head * shape.kv_heads, 3);
  inputs_.q = place(q_, shape.heads);
  inputs_.k = place(k_, shape.kv_heads);
  inputs_.v = place(v_, shape.kv_heads);
  // NaN: what no kernel writes is not taken for a result.
  inputs_.out = place(std::vector<std::uint16_t>(q_.size(), 0x7fff), shape.heads);
  inputs_.layout = Layout::hnd;
}

double DeviceProblem::error() const {
  const std::int64_t n = shape_.rows, d = shape_.head_dim, rows = std::min<std::int64_t>(n, 128);
  std::vector<std::uint16_t> out(static_cast<std::size_t>(rows * d));
  const Status status = memory_.back().copy_to(out.data(), out.size() * sizeof out[0],
                                               static_cast<std::size_t>((n - rows) * d) * sizeof out[0]);
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  const auto at = [d](std::int64_t row, std::int64_t channel) { return static_cast<std::size_t>(row * d + channel); };
  std::vector<double> scores(static_cast<std::size_t>(n)), expected(static_cast<std::size_t>(d));
  double difference = 0, size = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t row = n - rows + r, keys = shape_.causal ? row + 1 : n;
    double peak = -INFINITY, sum = 0;
    for (std::int64_t j = 0; j < keys; ++j) {
      double score = 0;
      for (std::int64_t c = 0; c < d; ++c) score += to_double(q_[at(row, c)]) * to_double(k_[at(j, c)]);
      scores[static_cast<std::size_t>(j)] = score /= std::sqrt(static_cast<double>(d));
      peak = std::max(peak, score);
    }
    std::fill(expected.begin(), expected.end(), 0.0);
    for (std::int64_t j = 0; j < keys; ++j) {
      const double weight = std::exp(scores[static_cast<std::size_t>(j)] - peak);
      sum += weight;
      for (std::int64_t c = 0; c < d; ++c) expected[static_cast<std::size_t>(c)] += weight * to_double(v_[at(j, c)]);
    }
    for (std::int64_t c = 0; c < d; ++c) {
      const double e = expected[static_cast<std::size_t>(c)] / sum, x = to_double(out[at(r, c)]) - e;
      difference += x * x, size += e * e;
    }
  }
  return std::sqrt(difference / size);
}

}  // namespace octavo::bench
