// What an attention kernel is told: packed operands, the caller's options, where results go. Plain data, copied to the
// device with the launch; every pointer leads to device memory.
#pragma once

#include <cstdint>

#include "core/inline.hpp"
#include "cuda/packed.hpp"
#include "octavo/attention.hpp"

namespace octavo::cuda {

// s32 or s64 integers of the caller's.
struct DeviceIntegers {
  const void* data = nullptr;
  std::int64_t stride = 1;
  bool is_64_bit = false;
};
OCTAVO_INLINE std::int64_t read_integer(const DeviceIntegers& x, std::int64_t i) {
  return x.is_64_bit ? static_cast<const std::int64_t*>(x.data)[i * x.stride]
                     : static_cast<const std::int32_t*>(x.data)[i * x.stride];
}

// A tensor of the caller's with element strides (0 where it is broadcast); null: not given.
struct DeviceTensor {
  const void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t strides[4] = {0, 0, 0, 0};  // mask: b, hq, m, n; alibi_slopes, sinks: b, hq, 0, 0
};

struct DeviceOutput {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t strides[4] = {0, 0, 0, 0};  // b (packed: 0), hq, row (packed: of all sequences), channel
};

struct AttentionKernelParams {
  PackedQuery q;
  PackedKeys k;
  PackedValues v;
  QueryCorrection correction;
  Chunk chunk;

  std::int64_t sequences = 0;  // of the batch
  std::int64_t q_heads = 0, kv_heads = 0;
  std::int64_t q_rows = 0, k_rows = 0;  // of each sequence; a packed batch: the totals
  std::int64_t value_dim = 0;           // channels of the output
  DeviceIntegers kv_lens, cu_seqlens_q, cu_seqlens_k;

  Causal causal = Causal::none;
  std::int64_t window_left = -1, window_right = -1;
  float softmax_scale = 1, logit_scale = 1;  // the latter times log2 e
  float softcap = 0;
  DeviceTensor mask, alibi_slopes, sinks;

  float p_range = 255;           // R of integer weights
  bool running_maximum = false;  // codes are relative to the row's running maximum, else to the key block's own
  bool sum_codes = false;        // the row sum adds the codes
  bool rotate_output = false;    // V was rotated

  DeviceOutput out;
  float* lse = nullptr;                     // null: not wanted
  std::int64_t lse_strides[3] = {0, 0, 0};  // b (packed: 0), hq, row
};

}  // namespace octavo::cuda
