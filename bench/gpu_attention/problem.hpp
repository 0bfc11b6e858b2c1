// Q, K and V [B, H, N, D] from N(0, 1) in bf16 on the device, O beside them, and the error of O's last rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "octavo/attention.hpp"
#include "octavo/device.hpp"

namespace octavo::bench {

struct Shape {
  std::int64_t batch = 1, heads = 64, kv_heads = 8, rows = 16384, head_dim = 128;
  bool causal = false;

  /// Two operations for each of two products, each visible pair and each channel.
  double operations() const;
};

class DeviceProblem {
 public:
  /// Throws std::runtime_error where the device has not enough memory.
  explicit DeviceProblem(const Shape& shape);

  const AttentionInputs& inputs() const { return inputs_; }
  /// Relative L2 of the last rows (128 at most) of the first head, beside attention in double; waits for the device.
  double error() const;

 private:
  TensorView place(const std::vector<std::uint16_t>& values, std::int64_t heads);

  Shape shape_;
  std::vector<std::uint16_t> q_, k_, v_;
  std::vector<DeviceMemory> memory_;
  AttentionInputs inputs_;
};

}  // namespace octavo::bench
